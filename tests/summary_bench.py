"""What the summaries of a sweep cost: `python -m tests.summary_bench 32 200` builds them as a sweep would.

Trials end at a steady pace on a clock of its own, which the building of a summary moves by the processor time it took.
"""

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.records.trials import TrialRecord
from orchestrator.report.summary import build_summarise
from orchestrator.storage.layout import Root
from orchestrator.sweep.updates import Updates
from orchestrator.tracking.memory import MemoryTracker
from tests.factories import RESNET18, make_experiment, make_hyperparameters
from tests.predicted import draw_correct, make_predicted_trial

IMAGES = 500
SUBSETS = ["+".join(itertools.compress(RESNET18, bits)) or "none" for bits in itertools.product((0, 1), repeat=5)]


def make_trials(root: Path, count: int) -> list[TrialRecord]:
    """Complete trials over all subsets of the blocks, and over learning rates where there are more trials."""
    accuracies = np.random.default_rng(0).uniform(0.6, 0.95, count)
    trials = []
    for number, correct in enumerate(draw_correct(accuracies, seeds=1, images=IMAGES)):
        rate = make_hyperparameters(lr=1e-4 * (1 + number // len(SUBSETS)))
        key = SUBSETS[number % len(SUBSETS)]
        trial = make_predicted_trial(root / str(number), number, key, correct, hyperparameters=rate)
        moved = [run.model_copy(update={"checkpoint": f"{number}/{run.checkpoint}"}) for run in trial.runs]
        trials.append(trial.model_copy(update={"runs": tuple(moved)}))
    return trials


class Clock:
    """A clock that stands still but for the processor time of summaries."""

    def __init__(self) -> None:
        self.now = self.spent = 0.0
        self.built = 0


def measure(count: int, pace_s: float | None) -> Clock:
    """Build the summaries of a sweep; `pace_s` None: one after each trial."""
    with tempfile.TemporaryDirectory() as folder:
        root, clock = Root.at(folder), Clock()
        trials = make_trials(root.path, count)
        summarise, ended = build_summarise(root, make_experiment("beans")), []

        class Ended:
            def trials(self):
                return list(ended)

        def timed(trials, *, final):
            began = time.process_time()
            built = summarise(trials, final=False)
            clock.spent += time.process_time() - began
            clock.now += time.process_time() - began
            clock.built += 1
            return built

        updates = Updates(Ended(), MemoryTracker(), timed, clock=lambda: clock.now)
        for trial in trials:
            clock.now += 1e9 if pace_s is None else pace_s
            ended.append(trial)
            updates.note_change()
            updates.update_if_due()
        if pace_s is not None:
            updates.finish()
        return clock


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for count in map(int, sys.argv[1:]):
        for pace_s in (None, 2.0, 20.0):
            found = measure(count, pace_s)
            said = "after each trial" if pace_s is None else f"a trial each {pace_s:g} s"
            share = "" if pace_s is None else f", {found.spent / found.now:.1%} of the sweep"
            print(f"{count} trials, {said}: {found.built} summaries, {found.spent:.1f} s{share}")  # noqa: T201
