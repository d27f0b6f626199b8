"""What a finished run gains, as its result or its predictions say it."""

from orchestrator.errors import NotFoundError, RunError
from orchestrator.records.trials import RunRecord
from orchestrator.stats.gains import Gain
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import predictions_path, read_predictions


def measure_gain(gain: Gain, run: RunRecord, root: Root) -> float | None:
    """Measure a gain of a run on validation, in the gain's own unit.

    Returns:
        It; None where the run has no result, or kept no predictions that can be read and its result does not state it.
    """
    if run.result is None:
        return None
    if gain.in_result:
        return run.result.read(gain.key)
    if run.checkpoint is None:
        return None
    try:
        found = read_predictions(predictions_path(root.path / run.checkpoint)).get("validation")
    except (NotFoundError, RunError):
        return None
    return None if found is None else gain.orient(float(gain.score(found.logits, found.labels).mean()))
