"""What a run leaves in every tracker: its params, its summary metrics, its curves."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Self

from orchestrator import names
from orchestrator.quantities import Quantity
from orchestrator.records.facts import DatasetInfo
from orchestrator.records.record import Record, flatten
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart


class CallOrigin(Record):
    """What a run says of the sweep's call that started it; holds no configuration, so no credentials."""

    data: DatasetInfo
    config_hash: str
    git_commit: str | None

    @classmethod
    def of(cls, start: SweepStart) -> Self:
        """Take it from what is known when a sweep starts."""
        return cls(data=start.data, config_hash=start.config_hash, git_commit=start.git_commit)


def run_params(start: RunStart) -> dict[str, str | int | float]:
    """List what was chosen for a run: the frozen set, whether each block is frozen, its tuning, and the rest."""
    spec = start.spec
    return {
        names.FROZEN: spec.frozen.key,
        names.N_FROZEN: len(spec.frozen),
        **{f"{names.FREEZE_PREFIX}{block}": int(block in spec.frozen) for block in start.blocks},
        **{f"{names.TUNE_PREFIX}{block}": str(spec.frozen.tuning(block)) for block in start.blocks},
        **spec.hyperparameters.model_dump(mode="json"),
        names.SEED: spec.seed,
        **({} if spec.fold is None else {names.FOLD: spec.fold}),
        "max_epochs": spec.trainer.max_epochs,
        "patience": spec.trainer.patience,
        "image_size": spec.data.image_size,
        "frozen_batchnorm": spec.model.frozen_batchnorm,
        "precision": spec.trainer.precision,
        "matmul_precision": spec.trainer.matmul_precision,
        "accelerator": spec.trainer.accelerator,
        "backbone": spec.model.backbone,
        "weights": spec.model.weights,
    }


def run_scores(start: RunStart) -> dict[str, float]:
    """List what is known of a run before it trains, as metrics: they can be filtered and sorted by."""
    known = start.scores.model_dump() if start.scores is not None else {}
    return {each.key: known[each.key] for each in names.SCORES if known.get(each.key) is not None}


def sweep_params(start: SweepStart) -> dict[str, str]:
    """List the params of a sweep: the configuration, with dotted keys and values as in YAML's flow style."""
    flat = flatten(start.experiment.model_dump(mode="json"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}


def block_scores(start: SweepStart) -> dict[str, float]:
    """List the scores of the pretrained network's blocks, as metrics."""
    blocks = start.scores.blocks if start.scores is not None else ()
    return {
        **{f"{names.LOGME_PREFIX}{each.block}": each.logme for each in blocks},
        **{f"{names.GRAD_NORM_PREFIX}{each.block}": each.grad_norm for each in blocks},
    }


def summary_metrics(result: RunResult, epochs_from: int = 1) -> dict[str, float]:
    """List the summary metrics of a run: those of `names.OF_RUN` that it has.

    Args:
        result: What the run found.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
    """
    found = {each.key: value for each in names.OF_RUN if (value := result.read(each.key)) is not None}
    return found | {names.BEST_EPOCH: result.best_epoch_number - 1 + epochs_from}


def epoch_step(metrics: EpochMetrics, epochs_from: int = 1) -> int:
    """Returns the step that an epoch has in its run's curves; for `epochs_from` see `names.EPOCHS_FROM`."""
    return metrics.number - 1 + epochs_from


def curve_points(metrics: EpochMetrics, epochs_from: int = 1) -> list[tuple[str, float, int]]:
    """List an epoch's points as (name, value, step): the epoch is the step, but for the loss of single steps.

    Args:
        metrics: The epoch.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
    """
    epoch = _list_points(metrics.read, names.OF_EPOCH, epoch_step(metrics, epochs_from))
    steps = [_list_points(partial(getattr, each), names.OF_STEP, each.step) for each in metrics.step_losses]
    return [*epoch, *(point for points in steps for point in points)]


def _list_points(
    read: Callable[[str], float | None], quantities: Iterable[Quantity], step: int
) -> list[tuple[str, float, int]]:
    found = [(each.curve, read(each.key)) for each in quantities]
    return [(curve, value, step) for curve, value in found if curve is not None and value is not None]
