"""How much of a GPU a run takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """What one run takes of a GPU.

    Attributes:
        busy: Share of the time in which the GPU computes for it, in (0, 1]; 0: the profiler saw nothing.
        bytes: Memory that it takes, with the context of its process and what stays on the GPU beside the network.
        free_bytes: Memory that the GPU had free before it.
    """

    busy: float
    bytes: int
    free_bytes: int


def explain_no_share(error: Exception) -> str:
    """Describe in one line why each run gets a GPU of its own."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return f"how much of a GPU a run takes could not be measured, so each has one: {reason[0]}"
