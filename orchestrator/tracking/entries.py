"""What a run leaves in every tracker: its params, its summary metrics, its curves."""

import json
from typing import Self

from orchestrator import names
from orchestrator.blocks import FrozenSet
from orchestrator.records.facts import DatasetInfo
from orchestrator.records.record import Record, flatten
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart


class Origin(Record):
    """What a run says of the sweep's call that started it; holds no configuration, so no credentials."""

    data: DatasetInfo
    config_hash: str
    git_commit: str | None

    @classmethod
    def of(cls, start: SweepStart) -> Self:
        """Take it from what is known when a sweep starts."""
        return cls(data=start.data, config_hash=start.config_hash, git_commit=start.git_commit)


def run_params(start: RunStart) -> dict[str, str | int | float]:
    """List what was chosen for a run: the frozen set (whole, and as 0 or 1 a block), then all that may vary."""
    spec = start.spec
    frozen = FrozenSet.parse(spec.frozen, order=start.blocks)
    return {
        names.FROZEN: frozen.key,
        names.N_FROZEN: len(frozen),
        **{f"{names.FREEZE_PREFIX}{block}": int(block in frozen) for block in start.blocks},
        "lr": spec.trainer.lr,
        "weight_decay": spec.trainer.weight_decay,
        "batch_size": spec.data.batch_size,
        "optimizer": spec.trainer.optimizer,
        names.SEED: spec.seed,
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
    return {key: known[key] for key in (names.LOGME, names.GRAD_SHARE_FROZEN) if known.get(key) is not None}


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
    """List the summary metrics of a run, every name of that section of `names.py`; those of a GPU on a GPU only.

    Args:
        result: What the run found.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
    """
    resident = {} if result.resident_mb is None else {names.RESIDENT_MB: result.resident_mb}
    return {
        names.VAL_ACC: result.val_acc,
        names.VAL_LOSS: result.val_loss,
        names.TRAIN_ACC: result.train_acc,
        names.TRAIN_LOSS: result.train_loss,
        names.TEST_ACC: result.test_acc,
        names.TEST_LOSS: result.test_loss,
        names.BEST_EPOCH: result.best_epoch_number - 1 + epochs_from,
        names.EPOCHS_RUN: result.epochs_run,
        names.TRAINABLE_PARAMS: result.trainable_params,
        names.TRAINABLE_PCT: result.trainable_pct,
        names.TOTAL_PARAMS: result.total_params,
        names.DURATION_S: result.duration_s,
        names.S_PER_EPOCH: result.s_per_epoch,
        names.IMAGES_PER_S: result.images_per_s,
        names.GFLOPS_FORWARD: result.gflops_forward_per_image,
        names.GFLOPS_TRAIN: result.gflops_train_per_image,
        names.PEAK_MEMORY_MB: result.peak_memory_mb,
        names.GAP_TRAIN_VAL: result.gap_train_val,
        **resident,
    }


def epoch_step(metrics: EpochMetrics, epochs_from: int = 1) -> int:
    """Returns the step that an epoch has in its run's curves; for `epochs_from` see `names.EPOCHS_FROM`."""
    return metrics.number - 1 + epochs_from


def curve_points(metrics: EpochMetrics, epochs_from: int = 1) -> list[tuple[str, float, int]]:
    """List an epoch's points as (name, value, step): the epoch is the step, but for the loss of single steps.

    Args:
        metrics: The epoch.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
    """
    curves = {
        names.CURVE_TRAIN_LOSS: metrics.train_loss,
        names.CURVE_TRAIN_ACC: metrics.train_acc,
        names.CURVE_VAL_LOSS: metrics.val_loss,
        names.CURVE_VAL_ACC: metrics.val_acc,
        names.CURVE_LR: metrics.lr,
    }
    steps = [(names.CURVE_STEP_LOSS, point.loss, point.step) for point in metrics.step_losses]
    step = epoch_step(metrics, epochs_from)
    return [(name, value, step) for name, value in curves.items()] + steps
