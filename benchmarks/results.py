"""What was measured on one workload, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.bound import Bound, StageSeconds
from benchmarks.competitors import Sweep
from benchmarks.equality import Comparison
from benchmarks.scale import ScalePoint
from benchmarks.workloads import SplitSizes, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialScore:
    """One frozen set of one competitor.

    Attributes:
        seconds: Median over the repeats; from asking Optuna for the trial to telling it the result. What a program
            starts when it is first needed falls to its first trial.
        attainment: Seconds that the bound of this trial predicts over `seconds`.
        run_seconds: The run alone as the program itself measures it: loading, training, evaluation.
        run_attainment: The bound over `run_seconds`.
        val_acc: Of the best checkpoint, a fraction.
        test_acc: Likewise.
    """

    seconds: float
    attainment: float
    run_seconds: float
    run_attainment: float
    val_acc: float
    test_acc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One competitor, or one step of the waterfall.

    Attributes:
        seconds: Median wall time of the whole sweep, start-up included.
        repeats: Wall time of each repeat.
        images_per_s: Training and validation images of all epochs and trials, over `seconds`.
        peak_memory_mb: Highest of the repeats, of the whole process tree, shared pages once.
        peak_rss_mb: The same, shared pages in each process.
        attainment: Seconds that the bound of the sweep predicts over `seconds`.
        trials: By frozen set.
    """

    seconds: float
    repeats: tuple[float, ...]
    images_per_s: float
    peak_memory_mb: float
    peak_rss_mb: float
    attainment: float
    trials: dict[str, TrialScore]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallStep:
    """A step of the waterfall; `score` is None where `skipped` says why it was not taken."""

    name: str
    overrides: tuple[str, ...] = ()
    score: Score | None = None
    skipped: str | None = None


@dataclass(slots=True, kw_only=True)
class WorkloadResult:
    """All that was measured on one workload.

    Attributes:
        stages: Measured seconds an image by stage of the network.
        bound: Of the sweep.
        bounds: Of each frozen set.
        scores: By competitor.
    """

    workload: Workload
    sizes: SplitSizes
    stages: dict[str, StageSeconds] = field(default_factory=dict)
    bound: Bound = field(default_factory=Bound)
    bounds: dict[str, Bound] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    waterfall: list[WaterfallStep] = field(default_factory=list)
    scale: dict[str, list[ScalePoint]] = field(default_factory=dict)
    equality: list[Comparison] = field(default_factory=list)

    def ratio(self, score: Score, to: str) -> float | None:
        """Return how many times as long the competitor `to` took; None where it did not run."""
        return self.scores[to].seconds / score.seconds if to in self.scores else None


def build_score(
    sweeps: Sequence[Sweep], workload: Workload, sizes: SplitSizes, bound: Bound, bounds: Mapping[str, Bound]
) -> Score:
    """Sum up the repeats of one competitor."""
    seconds = median(sweep.usage.seconds for sweep in sweeps)
    images = len(workload.frozen) * workload.epochs * (sizes.train + sizes.validation)
    trials = {}
    for frozen in workload.frozen:
        runs = [trial for sweep in sweeps for trial in sweep.trials if trial.frozen == frozen]
        taken = median(trial.seconds for trial in runs)
        run_taken = median(trial.run_seconds for trial in runs)
        trials[frozen] = TrialScore(
            seconds=taken,
            attainment=bounds[frozen].seconds / taken,
            run_seconds=run_taken,
            run_attainment=bounds[frozen].seconds / run_taken,
            val_acc=runs[0].val_acc,
            test_acc=runs[0].test_acc,
        )
    return Score(
        seconds=seconds,
        repeats=tuple(sweep.usage.seconds for sweep in sweeps),
        images_per_s=images / seconds,
        peak_memory_mb=max(sweep.usage.peak_memory_mb for sweep in sweeps),
        peak_rss_mb=max(sweep.usage.peak_rss_mb for sweep in sweeps),
        attainment=bound.seconds / seconds,
        trials=trials,
    )
