"""Whatever sequence of calls, losses, stops and deaths comes before: the next whole call completes the sweep, once."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.config.dimensions import LearningRateDimension
from orchestrator.config.models import Experiment
from tests.fake_training import TRAINABLE
from tests.faults import resuming
from tests.property.worlds import KEYS, World, make_experiment, mean_accuracy

MEMORY = Path("/dev/shm")
STEPS = st.none() | st.integers(1, 140)
LOSSES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["error", "died"]), max_size=2)
NAMES = st.sampled_from(["one", "other"])


class Sweeps(RuleBasedStateMachine):
    """Two experiments of one root, whose trainings are equal: what one finishes answers the other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.world = World(Path(self.folder.name))
        self.keys = {"one": 2, "other": 2}
        self.seeds = {"one": 1, "other": 1}
        self.called: set[str] = set()

    def experiment(self, name: str) -> Experiment:
        return make_experiment(name, KEYS[: self.keys[name]], tuple(range(self.seeds[name])))

    @rule(name=NAMES, dies_at=STEPS, failing=LOSSES, stop_after=st.none() | st.integers(1, 12))
    def call(self, name, dies_at, failing, stop_after):
        """Start the sweep; it may die before any step, lose runs, be stopped."""
        self.called.add(name)
        before = self.unanswered(name)
        ended = self.world.sweep(self.experiment(name), dies_at=dies_at, failing=failing, stop_after=stop_after)
        if ended is None:
            return
        outcome, proposals = ended
        asked = [proposal.choice.frozen for proposal in proposals]
        assert len(asked) == len(set(asked)), "a point was proposed twice in one call"
        assert set(asked) <= before, "a point was proposed that is answered"
        if not outcome.stopped:
            assert set(asked) == before
            lost = {trial.frozen for trial in outcome.failed_trials}
            assert self.unanswered(name) == lost
            assert lost <= set(failing)

    @rule(name=NAMES)
    def add_a_seed(self, name):
        self.seeds[name] = min(3, self.seeds[name] + 1)

    @rule(name=NAMES)
    def add_a_frozen_set(self, name):
        self.keys[name] = min(len(KEYS), self.keys[name] + 1)

    @rule()
    def damage_the_checkpoints(self):
        self.world.damage()

    @invariant()
    def nothing_is_trained_twice(self):
        assert self.world.twice == []
        assert max(self.world.finished.values(), default=1) == 1

    @invariant()
    def no_point_is_complete_twice(self):
        for name in self.called & set(self.world.trackers):
            complete = Counter(self.complete(name))
            assert max(complete.values(), default=1) == 1, complete

    def teardown(self):
        """Call each sweep to its end, and once more for nothing."""
        try:
            for name in sorted(self.called):
                self.call(name, None, {}, None)
                self.check(name)
                trials = len(self.world.study(name).trials)
                again = self.world.sweep(self.experiment(name))
                assert again is not None
                assert (again[0].trained, again[0].reused, again[1]) == (0, 0, [])
                assert len(self.world.study(name).trials) == trials
            self.nothing_is_trained_twice()
        finally:
            self.folder.cleanup()

    def complete(self, name: str) -> list[tuple[str, tuple[int, ...]]]:
        """List the complete trials: frozen set and seeds."""
        try:
            trials = self.world.study(name).trials
        except KeyError:  # it died before it could make the study
            return []
        return [
            (trial.user_attrs["choice"]["frozen"], tuple(sorted(run["seed"] for run in trial.user_attrs["runs"])))
            for trial in trials
            if trial.state.name == "COMPLETE"
        ]

    def unanswered(self, name: str) -> set[str]:
        """Give the frozen sets that no complete trial answers with all seeds."""
        seeds = tuple(range(self.seeds[name]))
        return set(KEYS[: self.keys[name]]) - {key for key, had in self.complete(name) if set(seeds) <= set(had)}

    def check(self, name: str) -> None:
        """Compare study, tracker and files of a sweep that is complete."""
        states = Counter(trial.state.name for trial in self.world.study(name).trials)
        assert not states["RUNNING"], states
        assert not states["WAITING"], states
        runs = self.world.trackers[name].runs
        assert not [run for run in runs if run.status == "running"]
        finished = [run for run in runs if run.status == "finished"]
        keys = Counter((run.start.spec.frozen, run.start.spec.seed) for run in finished)
        seeds = range(self.seeds[name])
        assert keys == Counter({(key, seed): 1 for key in KEYS[: self.keys[name]] for seed in seeds})
        for run in finished:
            assert [step for step, _ in run.curves["val/acc"]] == list(range(1, resuming.EPOCHS + 1))
        for trial in self.world.study(name).trials:
            if trial.state.name == "COMPLETE":
                chosen = trial.user_attrs["choice"]["frozen"]
                had = {run["seed"] for run in trial.user_attrs["runs"]}
                its = [run for run in finished if run.start.spec.frozen == chosen and run.start.spec.seed in had]
                assert trial.values == [mean_accuracy(its), TRAINABLE[chosen]]
                if had == set(seeds):
                    assert {run.start.trial for run in its} == {trial.number}
        for run in finished:
            folder = self.world.root.run_dir(run.start.spec.fingerprint)
            assert (folder / "record.json").exists(), "what answers a trial is in no ledger"
            assert not list(folder.glob("last-*.ckpt"))


class SampledSweeps(Sweeps):
    """The same where a sampler chooses, and may choose a point again."""

    def experiment(self, name: str) -> Experiment:
        rates = LearningRateDimension(choices=(1e-3, 1e-2))
        return make_experiment(name, KEYS, (0,), sampler="random", n_trials=4, lr=rates)

    @rule(name=NAMES, dies_at=STEPS, failing=LOSSES, stop_after=st.none() | st.integers(1, 12))
    def call(self, name, dies_at, failing, stop_after):
        self.called.add(name)
        ended = self.world.sweep(self.experiment(name), dies_at=dies_at, failing=failing, stop_after=stop_after)
        if ended is not None and not ended[0].stopped:
            complete = [t for t in self.world.study(name).trials if t.state.name == "COMPLETE"]
            assert len(complete) + len(ended[0].failed_trials) >= 4
            assert len(complete) <= 4

    @invariant()
    def no_point_is_complete_twice(self):
        """A repeated suggestion is complete again, and says so."""

    def check(self, name: str) -> None:
        trials = self.world.study(name).trials
        states = Counter(trial.state.name for trial in trials)
        assert (states["RUNNING"], states["WAITING"], states["COMPLETE"]) == (0, 0, 4), states
        own = [t for t in trials if t.state.name == "COMPLETE" and "repeats" not in t.user_attrs]
        points = Counter(str(trial.user_attrs["choice"]) for trial in own)
        assert max(points.values()) == 1, points
        finished = [run for run in self.world.trackers[name].runs if run.status == "finished"]
        assert sorted(run.start.trial for run in finished) == sorted(trial.number for trial in own)
        assert not [run for run in self.world.trackers[name].runs if run.status == "running"]


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
    )


TestSweeps = Sweeps.TestCase
TestSweeps.settings = _settings(100)
TestSampledSweeps = SampledSweeps.TestCase
TestSampledSweeps.settings = _settings(50)
