"""How much each block matters for being among the most accurate trials, by Optuna's PED-ANOVA."""

import math
from collections.abc import Sequence
from typing import Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from orchestrator.errors import NotFoundError
from orchestrator.records.trials import TrialRecord

TARGET_QUANTILE: Final = 0.25
"""Share of the trials that counts as the most accurate."""
_MIN_TARGET: Final = 5
"""Trials among the most accurate that Optuna's documentation asks for."""


def measure_importance(trials: Sequence[TrialRecord], blocks: tuple[str, ...]) -> dict[str, float]:
    """Measure how much what each block does tells the most accurate quarter of the trials from the rest.

    It says nothing of the direction, and has no interval.

    Args:
        trials: Complete trials with finite accuracies.
        blocks: The backbone's blocks.

    Returns:
        Shares in [0, 1] that add up to 1, by block; blocks that do the same in all trials are left out.

    Raises:
        NotFoundError: There is no answer: the trials are too few, equally accurate, or tune all blocks alike.

    Source: S. Watanabe, A. Bansal, F. Hutter, "PED-ANOVA: Efficiently quantifying hyperparameter importance in
    arbitrary subspaces", IJCAI 2023.
    """
    frozen = [trial.frozen for trial in trials]
    varied = [block for block in blocks if len({each.tuning(block) for each in frozen}) > 1]
    accuracies = [trial.val_acc for trial in trials if trial.val_acc is not None]
    _require_target(accuracies)
    if not varied:
        raise NotFoundError("PED-ANOVA needs a block that not all trials freeze or tune alike")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # loads scikit-learn: seconds

    # of one objective: asked for one of several, Optuna warns that it takes low values for good
    study = optuna.create_study(direction="maximize")
    distributions: dict[str, BaseDistribution] = {
        block: CategoricalDistribution(sorted({str(each.tuning(block)) for each in frozen})) for block in varied
    }
    study.add_trials(
        [
            optuna.create_trial(
                value=accuracy,
                params={block: str(each.tuning(block)) for block in varied},
                distributions=distributions,
            )
            for each, accuracy in zip(frozen, accuracies, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)
    importances = get_param_importances(study, evaluator=evaluator, params=list(distributions))
    return {block: importances[block] for block in varied}


def _require_target(accuracies: Sequence[float]) -> None:
    """Require that enough trials are among the most accurate, and not all of them."""
    among = math.ceil(TARGET_QUANTILE * len(accuracies))
    if among < _MIN_TARGET:
        least = math.floor((_MIN_TARGET - 1) / TARGET_QUANTILE) + 1
        raise NotFoundError(f"PED-ANOVA needs at least {least} complete trials, and there are {len(accuracies)}")
    if sorted(accuracies)[-among] == min(accuracies):
        raise NotFoundError("PED-ANOVA needs trials that differ: too many have the lowest accuracy")
