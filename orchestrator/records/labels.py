"""What trials are called: by their frozen set, and by the values of whatever else varies in their sweep."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.models import Experiment
from orchestrator.records.spec import Choice, Hyperparameters
from orchestrator.records.trials import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLabel:
    """The name of a trial in tables, pictures and sentences.

    Attributes:
        frozen: Its frozen set.
        values: What else tells it from others, such as `lr=0.003`.
        number: Its number, where all that would not tell it from another; None: it does.
    """

    frozen: FrozenSet
    values: tuple[str, ...] = ()
    number: int | None = None

    def __str__(self) -> str:
        """Returns the label as tables and pictures have it: `stem+layer1 lr=0.003 #7`."""
        number = () if self.number is None else (f"#{self.number}",)
        return " ".join([str(self.frozen), *self.values, *number])

    def shorten(self, order: tuple[str, ...]) -> str:
        """Return the label as pictures have it: `stem, rest lora-4` where all blocks that are not frozen do the same.

        Args:
            order: The backbone's blocks.
        """
        tunings = {self.frozen.tuning(block) for block in order if block not in self.frozen}
        if not self.frozen.tuned or len(tunings) > 1:
            return str(self)
        what = f"{'+'.join(self.frozen.blocks)}, rest" if self.frozen.blocks else "all"
        number = () if self.number is None else (f"#{self.number}",)
        return " ".join([what, *map(str, tunings), *self.values, *number])

    @property
    def freezing(self) -> str:
        """The label in a sentence: `freezing stem+layer1 (lr=0.003)`, `freezing stem and tuning layer1 by norm`."""
        number = () if self.number is None else (f"trial {self.number}",)
        known = ", ".join([*self.values, *number])
        what = _describe_set(self.frozen)
        return f"{what} ({known})" if known else what


def _describe_set(frozen: FrozenSet) -> str:
    """Write what is frozen, and which blocks are tuned by what."""
    blocks: dict[Tuning, list[str]] = {}
    for block, tuning in frozen.tunings:
        blocks.setdefault(tuning, []).append(block)
    held = blocks.pop(Tuning.FROZEN, [])
    tuned = ", ".join(f"{'+'.join(each)} by {tuning}" for tuning, each in blocks.items())
    if held:
        return f"freezing {'+'.join(held)}{f' and tuning {tuned}' if tuned else ''}"
    return f"tuning {tuned}" if tuned else "freezing nothing"


def find_varied(experiment: Experiment, trials: Iterable[TrialRecord] = ()) -> tuple[str, ...]:
    """List the hyperparameters that vary in a sweep: those searched, and those in which its trials differ."""
    searched = {
        name
        for name, dimension in experiment.search.dimensions.items()
        if dimension.values is None or len(dimension.values) > 1
    }
    points = [trial.hyperparameters for trial in trials]
    return tuple(
        name
        for name in Hyperparameters.model_fields
        if name in searched or len({getattr(point, name) for point in points}) > 1
    )


def describe_values(hyperparameters: Hyperparameters, varied: Sequence[str]) -> tuple[str, ...]:
    """Write the values of what varies, three digits each: `lr=0.003`."""
    return tuple(f"{name}={format_value(getattr(hyperparameters, name))}" for name in varied)


def label_point(frozen: FrozenSet, hyperparameters: Hyperparameters, varied: Sequence[str]) -> TrialLabel:
    """Name a point of the search space."""
    return TrialLabel(frozen=frozen, values=describe_values(hyperparameters, varied))


def label_planned(experiment: Experiment, choice: Choice | TrialRecord) -> TrialLabel:
    """Name a point of an experiment's search space, where no more than the experiment is known."""
    return label_point(choice.frozen, choice.hyperparameters, find_varied(experiment))


def label_trials(trials: Sequence[TrialRecord], varied: Sequence[str]) -> dict[int, TrialLabel]:
    """Name trials, by number; those whose names would be equal have their number in it."""
    labels = {trial.number: label_point(trial.frozen, trial.hyperparameters, varied) for trial in trials}
    counts = Counter(labels.values())
    return {
        number: label if counts[label] == 1 else TrialLabel(frozen=label.frozen, values=label.values, number=number)
        for number, label in labels.items()
    }


def format_value(value: object) -> str:
    """Write the value of a hyperparameter with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
