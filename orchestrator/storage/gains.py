"""What the finished runs of a trial gain, as their results or their predictions say it."""

from collections.abc import Sequence
from statistics import fmean

from orchestrator.errors import NotFoundError, RunError
from orchestrator.records.trials import RunRecord, mean_over_images
from orchestrator.stats.gains import Gain
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import Predictions, join_predictions, predictions_path, read_predictions


def measure_gain(gain: Gain, runs: Sequence[RunRecord], root: Root) -> float | None:
    """Measure a gain of a trial on validation, in the gain's own unit: the mean over its seeds.

    Returns:
        It; None where a run has no result, or kept no predictions that can be read and its result does not state it.
    """
    if any(run.result is None for run in runs) or not runs:
        return None
    if gain.in_result:
        return mean_over_images(runs, gain.key)
    try:
        files = [read_predictions(predictions_path(root.path / run.checkpoint)) for run in runs if run.checkpoint]
        found = [file["validation"] for file in files]
    except (NotFoundError, RunError, KeyError):
        return None
    if len(found) < len(runs):
        return None
    return fmean(gain.orient(float(gain.score(each.logits, each.labels).mean())) for each in join_folds(runs, found))


def join_folds(runs: Sequence[RunRecord], of_runs: Sequence[Predictions]) -> list[Predictions]:
    """Put the folds of each seed together, as one run over all images: none was trained on by what predicts it.

    Runs that are no folds stay as they are.
    """
    if any(run.fold is None for run in runs):
        return list(of_runs)
    of_seeds: dict[int, list[Predictions]] = {}
    for run, predictions in sorted(zip(runs, of_runs, strict=True), key=lambda pair: pair[0].fold or 0):
        of_seeds.setdefault(run.seed, []).append(predictions)
    return [join_predictions(parts) for parts in of_seeds.values()]
