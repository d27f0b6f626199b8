"""The costs: what a front saves, and under which conditions it compares between trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Final, Literal

from orchestrator import names
from orchestrator.objectives import CostKey
from orchestrator.records.trials import RunRecord, TrialRecord, results_of
from orchestrator.stats.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAxis:
    """A quantity of runs that a front minimises. It is above 0.

    Attributes:
        key: Its name, and its column.
        less: What a lower cost is, in a sentence: `fewer parameters`.
        unit: What follows a number.
        axis: Title of its axis.
        freezing: What freezing something does to it, in a sentence; takes the value.
        shared_by: What of a run's surroundings it depends on: `nothing`; the `machine`; or that and what else ran
            there, the `load`.
    """

    key: CostKey
    less: str
    unit: str
    axis: str
    freezing: str
    shared_by: Literal["nothing", "machine", "load"] = "nothing"

    @property
    def head(self) -> str:
        """Head of its column in a text."""
        return self.axis[0].lower() + self.axis[1:]

    @property
    def least(self) -> str:
        """What the lowest cost is, in a sentence: `fewest parameters`."""
        return self.less.replace("fewer", "fewest").replace("less", "least")

    def write(self, value: float) -> str:
        """Write a value for people."""
        return f"{value:,.0f}" if self.key == names.TRAINABLE_PARAMS else f"{value:.4g}"

    def read(self, trial: TrialRecord) -> float:
        """Return the mean over a trial's runs; NaN where it is not complete, or that compares with no other trial."""
        if self.key == names.TRAINABLE_PARAMS:
            return math.nan if trial.trainable_params is None else trial.trainable_params
        results = results_of(trial)
        if trial.state != "complete" or not results or (self.shared_by == "load" and not _is_timed(trial)):
            return math.nan
        values = [result.read(self.key) for result in results]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else math.nan

    def explain(self, trials: Sequence[TrialRecord]) -> str | None:
        """Explain why differences between trials may be the machine's; None where they had it alike."""
        if self.shared_by == "nothing":
            return None
        runs = [run for trial in trials for run in trial.runs]
        results = [run.result for run in runs if run.result is not None]
        devices = {(result.device, result.precision, *sorted(result.versions.items())) for result in results}
        if len(devices) > 1:
            return f"not all trials had the same device, precision and versions: {self.key} may differ by that"
        timings = [timing for run in runs if (timing := read_timing(run)) is not None]
        if self.shared_by == "machine" or not timings:
            return None
        low, high = (choose(timings, key=lambda each: each.at_once) for choose in (min, max))
        if low.is_like(high):
            return None
        return (
            f"the runs had not the machine alike, {low.at_once:.1f} to {high.at_once:.1f} were under way at a time: "
            f"{self.key} may differ by that"
        )


def read_timing(run: RunRecord) -> Timing | None:
    """Read how long a run took; None where that compares with no other run: it did not train here in one piece."""
    result = run.result
    if result is None or run.at_once is None or run.reused_from is not None:
        return None
    machine = (result.device, result.precision, *sorted(result.versions.items()))
    return Timing(seconds=result.duration_s, at_once=run.at_once, machine=machine)


def _is_timed(trial: TrialRecord) -> bool:
    return all(read_timing(run) is not None for run in trial.runs)


COSTS: Final[Mapping[str, CostAxis]] = MappingProxyType(
    {
        cost.key: cost
        for cost in (
            CostAxis(
                key=names.TRAINABLE_PARAMS,
                less="fewer parameters",
                unit="parameters",
                axis="Trainable parameters",
                freezing="trains {:,.0f} parameters",
            ),
            CostAxis(
                key=names.GFLOPS_TRAIN,
                less="fewer training GFLOPs",
                unit="GFLOPs a training image",
                axis="Training GFLOPs an image",
                freezing="takes {:.3g} GFLOPs a training image",
            ),
            CostAxis(
                key=names.S_PER_EPOCH,
                less="fewer seconds an epoch",
                unit="s an epoch",
                axis="Seconds an epoch",
                freezing="takes {:.3g} s an epoch",
                shared_by="load",
            ),
            CostAxis(
                key=names.DURATION_S,
                less="fewer seconds a run",
                unit="s a run",
                axis="Seconds a run",
                freezing="takes {:.3g} s a run",
                shared_by="load",
            ),
            CostAxis(
                key=names.PEAK_MEMORY_MB,
                less="less memory",
                unit="MiB of memory",
                axis="Peak memory (MiB)",
                freezing="takes {:.4g} MiB of memory",
                shared_by="machine",
            ),
            CostAxis(
                key=names.ENERGY_WH,
                less="less energy",
                unit="Wh a run",
                axis="Energy a run (Wh)",
                freezing="takes {:.3g} Wh a run",
                shared_by="load",
            ),
        )
    }
)
"""By key. To add one: its key in `CostKey`, a quantity of `names.OF_RUN`, and here what it depends on."""
