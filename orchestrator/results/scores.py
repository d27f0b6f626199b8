"""What the scores from before training were worth: how they rank the trials, beside how the trials turned out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator import names
from orchestrator.records.trials import TrialRecord
from orchestrator.stats.correlation import rank_correlation

FEWEST = 5
"""Trials below which a rank correlation is not stated: of four, one order in 24 is the right one by chance."""
_Pair = tuple[float | None, float | None]
_WORDS = {
    names.LOGME: "LogME of the frozen prefix",
    names.GRAD_SHARE_FROZEN: "share of the gradient that is frozen",
    names.TRAINABLE_PARAMS: "trainable parameters, for comparison",
}
_METRICS = {
    names.LOGME: names.LOGME_RANK_CORRELATION,
    names.GRAD_SHARE_FROZEN: names.GRAD_SHARE_FROZEN_RANK_CORRELATION,
    names.TRAINABLE_PARAMS: names.TRAINABLE_PARAMS_RANK_CORRELATION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCorrelation:
    """How a score and `val_acc` go together over complete trials.

    Attributes:
        score: Name of the score.
        value: Spearman's rank correlation, in [-1, 1]; None where it is not stated.
        n_trials: Trials that have the score.
    """

    score: str
    value: float | None
    n_trials: int


def correlate_scores(trials: Sequence[TrialRecord]) -> list[ScoreCorrelation]:
    """Compare each score with the outcome, and the number of trainable parameters beside them; empty without scores.

    A score is worth something where it says more than that number does, which needs no network and no images.

    Args:
        trials: Complete trials, each point of the space once.
    """
    scored = [(trial, trial.scores) for trial in trials if trial.scores is not None]
    if not scored:
        return []
    found: dict[str, list[_Pair]] = {
        names.LOGME: [(scores.logme, trial.val_acc) for trial, scores in scored],
        names.GRAD_SHARE_FROZEN: [(scores.grad_share_frozen, trial.val_acc) for trial, scores in scored],
        names.TRAINABLE_PARAMS: [(trial.trainable_params, trial.val_acc) for trial, _ in scored],
    }
    return [_correlate(score, pairs) for score, pairs in found.items()]


def score_metrics(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the rank correlations that are stated, by metric."""
    return {_METRICS[each.score]: each.value for each in correlate_scores(trials) if each.value is not None}


def describe_scores(trials: Sequence[TrialRecord]) -> str | None:
    """Describe what the scores were worth, in a sentence; None where there are none."""
    found = correlate_scores(trials)
    if not found:
        return None
    said = "; ".join(f"{_WORDS[each.score]} {_say(each)}" for each in found)
    return f"rank correlation (Spearman) of what was known before training with val_acc: {said}"


def _say(found: ScoreCorrelation) -> str:
    if found.value is not None:
        return f"{found.value:+.2f} ({found.n_trials} trials)"
    few = found.n_trials < FEWEST
    return f"not stated ({found.n_trials} trials{'' if few else ', all equal'})"


def _correlate(score: str, pairs: Sequence[_Pair]) -> ScoreCorrelation:
    known = [(left, right) for left, right in pairs if left is not None and right is not None]
    value = None
    if len(known) >= FEWEST:
        left, right = np.asarray(known, dtype=np.float64).T
        value = rank_correlation(left, right)
    return ScoreCorrelation(score=score, value=value, n_trials=len(known))
