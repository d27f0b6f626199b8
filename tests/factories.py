"""Complete, consistent records for tests. Every field can be overridden; what follows from it follows.

Parameter counts are those of a ResNet18 with a head of three classes.
"""

from collections.abc import Sequence
from typing import Any

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, Experiment, ModelConfig, TrainerConfig
from orchestrator.records.facts import Cost, DatasetInfo
from orchestrator.records.runs import EpochMetrics, RunResult, StepLoss
from orchestrator.records.spec import Hyperparameters, RunSpec, run_name
from orchestrator.records.starts import RunStart, SweepStart, SweepSummary
from orchestrator.records.trials import RunRecord, TrialRecord

RESNET18 = find_backbone("resnet18").blocks
BLOCK_PARAMS = {"stem": 9_536, "layer1": 147_968, "layer2": 525_568, "layer3": 2_099_712, "layer4": 8_393_728}
HEAD_3_CLASSES = 512 * 3 + 3
TOTAL_PARAMS = sum(BLOCK_PARAMS.values()) + HEAD_3_CLASSES  # 11_178_051
PREFIXES = ("none", "stem", "stem+layer1", "stem+layer1+layer2", "stem+layer1+layer2+layer3", "+".join(RESNET18))
CLASS_NAMES = ("angular_leaf_spot", "bean_rust", "healthy")
DATA_FINGERPRINT = "d" * 64
WEIGHTS_SHA256 = "a" * 64


def count_trainable(frozen: FrozenSet | str) -> int:
    """Trainable parameters of a ResNet18 with three classes: all, less the frozen blocks."""
    return TOTAL_PARAMS - sum(BLOCK_PARAMS[block] for block in FrozenSet.parse(str(frozen), order=RESNET18).blocks)


def make_cost(frozen: str = "stem") -> Cost:
    """Cost of a frozen set; the FLOPs are made up: 3.6 forward, and twice the trainable share of it backward."""
    share = count_trainable(frozen) / TOTAL_PARAMS
    return Cost(
        trainable_params=count_trainable(frozen),
        total_params=TOTAL_PARAMS,
        gflops_forward_per_image=3.6,
        gflops_train_per_image=3.6 + 7.2 * share,
    )


def make_hyperparameters(**overrides: Any) -> Hyperparameters:
    return Hyperparameters(**({"lr": 1e-4, "weight_decay": 0.0, "batch_size": 16, "optimizer": "adam"} | overrides))


def make_spec(
    frozen: str = "stem", seed: int = 0, *, hyperparameters: Hyperparameters | None = None, **overrides: Any
) -> RunSpec:
    """A run's specification, with `accelerator` and `precision` concrete."""
    chosen: Any = hyperparameters or make_hyperparameters()
    fields: dict[str, Any] = {
        "data": DataConfig(source="synthetic", image_size=32, batch_size=chosen.batch_size),
        "model": ModelConfig(weights="none", num_classes=3),
        "trainer": TrainerConfig(
            max_epochs=3,
            lr=chosen.lr,
            weight_decay=chosen.weight_decay,
            optimizer=chosen.optimizer,
            precision="32-true",
            accelerator="cpu",
        ),
        "frozen": frozen,
        "seed": seed,
        "data_fingerprint": DATA_FINGERPRINT,
        "weights_sha256": WEIGHTS_SHA256,
    }
    return RunSpec(**(fields | overrides))


def make_history(val_acc: Sequence[float] = (0.6, 0.7, 0.8), *, steps: int = 2) -> tuple[EpochMetrics, ...]:
    """An epoch for each validation accuracy: losses are 1 - accuracy, training is 0.05 ahead (at most 1)."""
    return tuple(
        EpochMetrics(
            epoch=epoch,
            train_loss=1 - min(acc + 0.05, 1.0),
            train_acc=min(acc + 0.05, 1.0),
            val_loss=1 - acc,
            val_acc=acc,
            lr=1e-4,
            duration_s=2.0 + epoch / 10,
            step_losses=tuple(StepLoss(step=10 * (steps * epoch + i), loss=1 - acc + i / 100) for i in range(steps)),
        )
        for epoch, acc in enumerate(val_acc)
    )


def make_result(frozen: str = "stem", val_acc: float = 0.8, seed: int = 0, **overrides: Any) -> RunResult:
    """A run's result; unless overridden, the curve rises to `val_acc` in the last of three epochs."""
    history = overrides.get("history") or make_history((val_acc * 0.75, val_acc * 0.9, val_acc))
    best = min(history, key=lambda epoch: epoch.val_loss)
    cost = make_cost(frozen)
    right = round(val_acc * 20)
    confusion = ((right, 20 - right, 0), (0, right, 20 - right), (20 - right, 0, right))
    fields: dict[str, Any] = {
        "fingerprint": make_spec(frozen, seed).fingerprint,
        "val_acc": val_acc,
        "val_loss": best.val_loss,
        "train_acc": best.train_acc,
        "train_loss": best.train_loss,
        "test_acc": max(val_acc - 0.02, 0.0),
        "test_loss": best.val_loss + 0.02,
        "best_epoch": best.epoch,
        "epochs_run": len(history),
        **cost.model_dump(),
        "duration_s": sum(epoch.duration_s for epoch in history) + 1.5,
        "s_per_epoch": sorted(epoch.duration_s for epoch in history)[len(history) // 2],
        "images_per_s": 150.0,
        "peak_memory_mb": 512.0,
        "device": "cpu",
        "precision": "32-true",
        "n_val": 60,
        "n_test": 60,
        "class_names": CLASS_NAMES,
        "val_confusion": confusion,
        "test_confusion": confusion,
        "history": history,
        "versions": {"python": "3.11.9", "torch": "2.15.0", "torchvision": "0.29.2"},
    }
    return RunResult(**(fields | overrides))


def make_run(number: int = 0, frozen: str = "stem", seed: int = 0, val_acc: float = 0.8, **overrides: Any) -> RunRecord:
    """A finished run; with `error=...` a lost one."""
    fingerprint = make_spec(frozen, seed).fingerprint
    lost = overrides.get("error") is not None
    fields: dict[str, Any] = {
        "name": run_name(number, frozen, seed),
        "seed": seed,
        "fingerprint": fingerprint,
        "result": None if lost else make_result(frozen, val_acc, seed),
        "mlflow_run_id": f"{number:016x}{seed:016x}",
        "checkpoint": None if lost else f"checkpoints/{fingerprint}/best.ckpt",
    }
    return RunRecord(**(fields | overrides))


def make_trial(
    number: int = 0,
    frozen: str = "stem",
    val_acc: float = 0.8,
    *,
    seeds: Sequence[int] = (0,),
    error: str | None = None,
    **overrides: Any,
) -> TrialRecord:
    """A complete trial with a run for each seed, all of `val_acc`; with `error` a failed one."""
    runs = tuple(make_run(number, frozen, seed, val_acc, error=error) for seed in seeds)
    fields: dict[str, Any] = {
        "number": number,
        "frozen": frozen,
        "hyperparameters": make_hyperparameters(),
        "state": "complete" if error is None else "failed",
        "runs": runs,
        "val_acc": val_acc if error is None else None,
        "trainable_params": count_trainable(frozen) if error is None else None,
        "error": error,
    }
    return TrialRecord(**(fields | overrides))


def make_trials(val_accs: Sequence[float] = (0.95, 0.94, 0.96, 0.90, 0.85, 0.60)) -> tuple[TrialRecord, ...]:
    """A trial for each prefix, by rising number of frozen blocks."""
    return tuple(make_trial(i, frozen, acc) for i, (frozen, acc) in enumerate(zip(PREFIXES, val_accs, strict=False)))


def make_experiment(name: str = "demo", **overrides: Any) -> Experiment:
    fields: dict[str, Any] = {"data": DataConfig(source="synthetic"), "model": ModelConfig(weights="none")}
    return Experiment(name=name, **(fields | overrides))


def make_dataset(**overrides: Any) -> DatasetInfo:
    fields: dict[str, Any] = {
        "source": "synthetic",
        "fingerprint": DATA_FINGERPRINT,
        "class_names": CLASS_NAMES,
        "split_sizes": {"train": 240, "validation": 60, "test": 60},
    }
    return DatasetInfo(**(fields | overrides))


def make_sweep_start(name: str = "demo", **overrides: Any) -> SweepStart:
    fields: dict[str, Any] = {
        "experiment": make_experiment(name),
        "data": make_dataset(),
        "config_yaml": f"name: {name}\ndata:\n  source: synthetic\n",
        "config_hash": "c0ffee00",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
    }
    return SweepStart(**(fields | overrides))


def make_run_start(number: int = 0, frozen: str = "stem", seed: int = 0, **overrides: Any) -> RunStart:
    fields: dict[str, Any] = {
        "name": run_name(number, frozen, seed),
        "trial": number,
        "spec": make_spec(frozen, seed),
        "cost": make_cost(frozen),
        "blocks": RESNET18,
    }
    return RunStart(**(fields | overrides))


def make_summary(trials: Sequence[TrialRecord], front: Sequence[int], **overrides: Any) -> SweepSummary:
    fields: dict[str, Any] = {
        "trials": tuple(trials),
        "front": tuple(front),
        "table": tuple(
            {
                "trial": trial.number,
                "frozen": trial.frozen.key,
                "state": trial.state,
                "val_acc": trial.val_acc,
                "trainable_params": trial.trainable_params,
                "pareto": trial.number in front,
            }
            for trial in trials
        ),
        "metrics": {"n_trials": float(len(trials)), "front_size": float(len(front))},
        "note": "## Front\n\nnone yet",
    }
    return SweepSummary(**(fields | overrides))
