"""One workload from the first measurement to the last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.bound import StageSeconds, bound_sweep, bound_trial
from benchmarks.competitors import Arena, Sweep
from benchmarks.equality import compare
from benchmarks.images import Images
from benchmarks.results import Score, WaterfallStep, WorkloadResult, build_score
from benchmarks.scale import learning_rates, measure_scale
from benchmarks.techniques import TECHNIQUES, Technique, all_off, plan_steps, sift
from benchmarks.throughput import measure_stages
from benchmarks.workloads import Workload, parse

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        competitors: Some of `A`, `B`, `C`.
        repeats: Runs of each; medians are reported.
        overrides: Of this project's configuration, in all of its runs.
        waterfall: Switch its techniques on in turn.
        scale: Run it on more images and on more trials.
        equality: Compare its trainings with those of the same loop without any cache, in fp32 on the CPU.
    """

    competitors: tuple[str, ...]
    repeats: int = 1
    overrides: tuple[str, ...] = ()
    waterfall: bool = False
    scale: bool = False
    equality: bool = False


def measure(workload: Workload, arena: Arena, plan: Plan, draw: Callable[[int], Images], say: Say) -> WorkloadResult:
    """Measure one workload.

    Args:
        workload: What is trained.
        arena: Where.
        plan: What is measured.
        draw: Draws images, as many times as the data set has; for the growth with their number.
        say: Hears what is under way.
    """
    session = _Session(workload, arena, plan, say)
    session.run_competitors()
    if plan.equality:
        session.check_equality()
    if plan.waterfall:
        session.run_waterfall()
    if plan.scale:
        session.run_scale(draw)
    return session.result


class _Session:
    """The measurements of one workload, in the order in which they are made."""

    def __init__(self, workload: Workload, arena: Arena, plan: Plan, say: Say) -> None:
        self._workload = workload
        self._arena = arena
        self._plan = plan
        self._say = say
        self._sizes = arena.images.sizes
        self._project: list[Sweep] = []
        self.result = WorkloadResult(workload=workload, sizes=self._sizes)

    def run_competitors(self) -> None:
        """Run the competitors in turn, as often as there are repeats: what drifts meanwhile hits them alike.

        The machine's throughput is measured before and after them, and for each stage the faster one counts.
        """
        self._say(f"{self._workload.name} at {self._workload.image_size} px: measuring this machine's throughput")
        before = measure_stages(self._workload, self._arena.images.classes)
        if len(self._plan.competitors) > 1:
            self._arena.warm_up()
        sweeps: dict[str, list[Sweep]] = {name: [] for name in self._plan.competitors}
        for _ in range(self._plan.repeats):
            for name, done in sweeps.items():
                done.append(self._run(name))
        self._say("measuring this machine's throughput again")
        after = measure_stages(self._workload, self._arena.images.classes)
        self._set_bounds({name: before[name].faster(after[name]) for name in before})
        self._project = sweeps.get("C", [])
        self.result.scores = {name: self._score(done) for name, done in sweeps.items()}

    def _set_bounds(self, stages: dict[str, StageSeconds]) -> None:
        frozen = {key: parse(key) for key in self._workload.frozen}
        epochs = self._workload.epochs
        self.result.stages = stages
        self.result.bound = bound_sweep(frozen.values(), stages, self._sizes, epochs)
        self.result.bounds = {key: bound_trial(each, stages, self._sizes, epochs) for key, each in frozen.items()}

    def check_equality(self) -> None:
        """Compare the project's trainings with those of its loop with every technique off."""
        exact = replace(self._workload, accelerator="cpu", precision="32-true")
        known, refused = self._sift()
        for name, reason in refused.items():
            self._say(f"not switched off, since the configuration refuses it: {name}: {reason}")
        if exact == self._workload and self._project:
            project = self._project[0]
        else:
            project = self._run_project(exact, self._plan.overrides, "C in fp32 on the CPU", digest=True)
        reference = self._run_project(exact, (*self._plan.overrides, *all_off(known)), "C without cache", digest=True)
        self.result.equality = compare(project.trainings, reference.trainings)

    def run_waterfall(self) -> None:
        """Switch the techniques on in turn."""
        known, refused = self._sift()
        steps = [WaterfallStep(name=name, score=score) for name, score in self._baselines().items()]
        for step in plan_steps(known):
            overrides = (*self._plan.overrides, *step.overrides)
            sweeps = [self._run_project(self._workload, overrides, step.name) for _ in range(self._plan.repeats)]
            steps.append(WaterfallStep(name=step.name, overrides=step.overrides, score=self._score(sweeps)))
        steps += [WaterfallStep(name=f"+ {name}", skipped=reason) for name, reason in refused.items()]
        self.result.waterfall = steps

    def run_scale(self, draw: Callable[[int], Images]) -> None:
        """Run the project on drawn images, once, twice and four times as many, and with as many times the trials."""

        def run_images(factor: int) -> tuple[float, float]:
            arena = replace(self._arena, images=draw(factor))
            return self._repeat_project(self._plan.overrides, f"C, images x{factor}", arena)

        def run_trials(factor: int) -> tuple[float, float]:
            rates = learning_rates(self._workload.lr, factor)
            choices = f"search.lr={{choices: [{', '.join(f'{rate:.12f}' for rate in rates)}]}}"
            return self._repeat_project((*self._plan.overrides, choices), f"C, trials x{factor}", self._arena)

        self.result.scale = {"images": measure_scale(run_images), "trials": measure_scale(run_trials)}

    def _baselines(self) -> Mapping[str, Score]:
        """Return the scores of A and B by their names in the waterfall, as far as they ran."""
        names = {"A": "A  full backward", "B": "B  plain script"}
        return {names[key]: score for key, score in self.result.scores.items() if key in names}

    def _run(self, name: str) -> Sweep:
        if name == "C":
            return self._run_project(self._workload, self._plan.overrides, "C", digest=self._plan.equality)
        self._say(f"running {name}")
        return self._arena.run_plain(self._workload, full_backward=name == "A")

    def _run_project(
        self,
        workload: Workload,
        overrides: tuple[str, ...],
        name: str,
        arena: Arena | None = None,
        *,
        digest: bool = False,
    ) -> Sweep:
        self._say(f"running {name}")
        return (arena or self._arena).run_project(workload, overrides, digest=digest)

    def _repeat_project(self, overrides: tuple[str, ...], name: str, arena: Arena) -> tuple[float, float]:
        """Return the median seconds and the highest memory of the repeats."""
        usages = [self._run_project(self._workload, overrides, name, arena).usage for _ in range(self._plan.repeats)]
        return median(usage.seconds for usage in usages), max(usage.peak_memory_mb for usage in usages)

    def _score(self, sweeps: list[Sweep]) -> Score:
        return build_score(sweeps, self._workload, self._sizes, self.result.bound, self.result.bounds)

    def _sift(self) -> tuple[list[Technique], dict[str, str]]:
        """Tell the techniques that the configuration knows from the others."""
        return sift(TECHNIQUES, self._arena.write_config(self._workload, self._arena.folder / "experiments.yaml"))
