"""What the predictions of a trial's runs score of each image, read from their folders once for each gain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import NotFoundError, RunError
from orchestrator.records.trials import TrialRecord, results_of
from orchestrator.results.tables import checkpoint_path
from orchestrator.stats.evidence import Scores
from orchestrator.stats.gains import ACCURACY, Gain
from orchestrator.stats.scales import Interval
from orchestrator.stats.uncertainty import accuracy_interval, mean_interval, wilson_interval
from orchestrator.storage.gains import join_folds
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import Predictions, predictions_path, read_predictions

VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredTrial:
    """The score of each image of a split by each run of a trial.

    Attributes:
        scores: Of a gain, higher is better: [runs, images]. Of the accuracy booleans: whether the image is predicted
            rightly.
        image_ids: [images].
    """

    scores: Scores
    image_ids: NDArray[np.str_]


@final
class PredictedTrials:
    """Reads predictions of complete trials, each file once for each gain."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._found: dict[tuple[int, str], dict[str, ScoredTrial]] = {}

    def find(self, trial: TrialRecord, split: str = "validation", gain: Gain = ACCURACY) -> ScoredTrial | None:
        """Return the scores of a trial's runs; None where one of them kept nothing that can be read."""
        if trial.state != "complete":
            return None
        key = trial.number, gain.key
        if key not in self._found:
            self._found[key] = self._read(trial, gain)
        return self._found[key].get(split)

    def interval(self, trial: TrialRecord, split: str = "validation", gain: Gain = ACCURACY) -> Interval | None:
        """Return the 95 % interval of a trial's gain: over images and, with several runs, over seeds.

        The accuracy of one run (but for a fold) needs its result alone, all else the predictions of each. None where
        that is missing.
        """
        if gain.key != ACCURACY.key:
            return self._mean_interval(trial, split, gain)
        results = results_of(trial)
        if trial.state != "complete" or not results or not all(math.isfinite(result.val_acc) for result in results):
            return None
        if len(results) == 1:
            accuracy, images = (
                (results[0].val_acc, results[0].n_val)
                if split == "validation"
                else (results[0].test_acc, results[0].n_test)
            )
            return wilson_interval(round(accuracy * images), images) if images else None
        found = self.find(trial, split)
        return None if found is None else accuracy_interval(found.scores.astype(np.bool_, copy=False))

    def align(self, trials: Sequence[TrialRecord], gain: Gain = ACCURACY) -> list[Scores] | None:
        """Return [runs, images] of each trial on validation; None where one has none, or they are of other images."""
        found = [self.find(trial, gain=gain) for trial in trials]
        whole = [each for each in found if each is not None]
        if not whole or len(whole) < len(found) or len(whole[0].image_ids) < 2:
            return None
        if any(not np.array_equal(each.image_ids, whole[0].image_ids) for each in whole):
            return None
        return [each.scores for each in whole]

    def _mean_interval(self, trial: TrialRecord, split: str, gain: Gain) -> Interval | None:
        found = self.find(trial, split, gain)
        if found is None or found.scores.shape[1] < 2:
            return None
        low, high = sorted(gain.orient(end) for end in mean_interval(found.scores.astype(np.float64), gain.scale))
        return low, high

    def _read(self, trial: TrialRecord, gain: Gain) -> dict[str, ScoredTrial]:
        runs = [run for run in trial.runs if run.result is not None]
        paths = [checkpoint_path(run, self._root) for run in runs]
        try:
            files = [read_predictions(predictions_path(path)) for path in paths if path is not None]
        except (NotFoundError, RunError):
            return {}
        if not files or len(files) < len(trial.runs):
            return {}
        splits = set(files[0]).intersection(*files)
        found = {}
        for split in splits:
            of_runs = [file[split] for file in files]
            if split == VALIDATION:
                of_runs = join_folds(runs, of_runs)
            if (stacked := _stack(of_runs, gain)) is not None:
                found[split] = stacked
        return found


def _stack(runs: Sequence[Predictions], gain: Gain) -> ScoredTrial | None:
    ids = runs[0].image_ids
    if any(not np.array_equal(run.image_ids, ids) for run in runs):
        return None
    stacked: Scores = np.array([gain.score(run.logits, run.labels) for run in runs])
    return ScoredTrial(scores=stacked, image_ids=ids)
