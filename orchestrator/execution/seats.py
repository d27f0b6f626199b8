"""Which GPU a run gets, and when: the one with the fewest runs, or one of its own."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Place:
    runs: int = 0
    alone: bool = False
    """What runs there tolerates nobody beside it."""
    kept_for: object | None = None
    """Who waits for the place to be empty: nobody else sits down there meanwhile."""


class Seats:
    """The GPUs of a machine, and how many runs each has. A machine without a GPU is one place.

    Args:
        gpus: Number of GPUs; 0: none.
    """

    def __init__(self, gpus: int) -> None:
        self._places = [_Place() for _ in range(max(1, gpus))]

    def take(self, who: object, *, alone: bool = False, only: int | None = None) -> int | None:
        """Take a seat for a run.

        A run that must be alone waits for the place with the fewest runs to be empty; no other run gets a seat there
        until it has been taken.

        Args:
            who: Names the run.
            alone: No other run may use the GPU at the same time.
            only: The GPU that it must be; None: any.

        Returns:
            Index of the GPU; None where the run has to wait.
        """
        every = range(len(self._places))
        candidates = [only] if only is not None and only in every else list(every)
        if alone:
            return self._take_whole(who, candidates)
        free = [number for number in candidates if self._is_open(number)]
        if not free:
            return None
        place = min(free, key=lambda number: self._places[number].runs)
        self._places[place].runs += 1
        return place

    def leave(self, place: int) -> None:
        """Release a seat."""
        self._places[place].runs -= 1
        self._places[place].alone = False

    def _is_open(self, number: int) -> bool:
        place = self._places[number]
        return not place.alone and place.kept_for is None

    def _take_whole(self, who: object, candidates: list[int]) -> int | None:
        kept = next((number for number in candidates if self._places[number].kept_for is who), None)
        if kept is None:
            unkept = [number for number in candidates if self._places[number].kept_for is None]
            if not unkept:
                return None
            kept = min(unkept, key=lambda number: self._places[number].runs)
        place = self._places[kept]
        if place.runs:
            place.kept_for = who
            return None
        place.kept_for, place.alone, place.runs = None, True, 1
        return kept
