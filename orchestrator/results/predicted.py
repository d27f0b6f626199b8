"""Which images the runs of a trial predict rightly, read from their folders once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import NotFoundError, RunError
from orchestrator.records.trials import RunRecord, TrialRecord, results_of
from orchestrator.results.tables import checkpoint_path
from orchestrator.stats.uncertainty import Interval, accuracy_interval, wilson_interval
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import Predictions, join_predictions, predictions_path, read_predictions

VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correct:
    """Whether each image of a split is predicted rightly by each run of a trial.

    Attributes:
        right: [runs, images].
        image_ids: [images].
    """

    right: NDArray[np.bool_]
    image_ids: NDArray[np.str_]


@final
class PredictedTrials:
    """Reads predictions of complete trials, each file once."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._found: dict[int, dict[str, Correct]] = {}

    def find(self, trial: TrialRecord, split: str = "validation") -> Correct | None:
        """Return what the runs of a trial predict rightly; None where one of them kept nothing that can be read."""
        if trial.state != "complete":
            return None
        if trial.number not in self._found:
            self._found[trial.number] = self._read(trial)
        return self._found[trial.number].get(split)

    def interval(self, trial: TrialRecord, split: str = "validation") -> Interval | None:
        """Return the 95 % interval of a trial's accuracy: over images and, with several runs, over seeds.

        One run needs its result alone; several (also those of folds) need the predictions of each. None where that is
        missing.
        """
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
        return None if found is None else accuracy_interval(found.right)

    def align(self, trials: Sequence[TrialRecord]) -> list[NDArray[np.bool_]] | None:
        """Return [runs, images] of each trial on validation; None where one has none, or they are of other images."""
        found = [self.find(trial) for trial in trials]
        whole = [each for each in found if each is not None]
        if not whole or len(whole) < len(found) or len(whole[0].image_ids) < 2:
            return None
        if any(not np.array_equal(each.image_ids, whole[0].image_ids) for each in whole):
            return None
        return [each.right for each in whole]

    def _read(self, trial: TrialRecord) -> dict[str, Correct]:
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
            if split == VALIDATION and runs[0].fold is not None:
                of_runs = _join_folds(runs, of_runs)
            if (stacked := _stack(of_runs)) is not None:
                found[split] = stacked
        return found


def _join_folds(runs: Sequence[RunRecord], of_runs: Sequence[Predictions]) -> list[Predictions]:
    """Put the folds of each seed together, as one run over all images: none was trained on by what predicts it."""
    of_seeds: dict[int, list[Predictions]] = {}
    for run, predictions in sorted(zip(runs, of_runs, strict=True), key=lambda pair: pair[0].fold or 0):
        of_seeds.setdefault(run.seed, []).append(predictions)
    return [join_predictions(folds) for folds in of_seeds.values()]


def _stack(runs: Sequence[Predictions]) -> Correct | None:
    ids = runs[0].image_ids
    if any(not np.array_equal(run.image_ids, ids) for run in runs):
        return None
    return Correct(right=np.stack([run.correct for run in runs]), image_ids=ids)
