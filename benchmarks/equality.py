"""Whether speed changes what is found: this project's trainings against those of its loop without any cache."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.competitors import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two trainings of one frozen set.

    Attributes:
        frozen: Key of the frozen set.
        metrics: All losses and accuracies are equal, to the last bit.
        weights: The network of the final checkpoint is, BatchNorm statistics included.
        largest_difference: Of two metrics; infinite where one of them is missing.
        sha256: Hash of the weights of this project, and without any cache.
    """

    frozen: str
    metrics: bool
    weights: bool
    largest_difference: float
    sha256: tuple[str, str]

    @property
    def equal(self) -> bool:
        """Both are."""
        return self.metrics and self.weights


def compare(project: Mapping[str, Training], reference: Mapping[str, Training]) -> list[Comparison]:
    """Compare trainings by frozen set, in the reference's order.

    Raises:
        ValueError: They are of different frozen sets.
    """
    if set(project) != set(reference):
        raise ValueError(f"trainings of {sorted(project)} cannot be compared with those of {sorted(reference)}")
    return [_compare(frozen, project[frozen], reference[frozen]) for frozen in reference]


def _compare(frozen: str, one: Training, other: Training) -> Comparison:
    missing = one.metrics.keys() ^ other.metrics.keys()
    shared = one.metrics.keys() & other.metrics.keys()
    differences = [abs(one.metrics[name] - other.metrics[name]) for name in shared]
    return Comparison(
        frozen=frozen,
        metrics=one.metrics == other.metrics,
        weights=one.weights_sha256 == other.weights_sha256,
        largest_difference=float("inf") if missing else max(differences, default=0.0),
        sha256=(one.weights_sha256, other.weights_sha256),
    )
