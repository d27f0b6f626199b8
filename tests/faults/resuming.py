"""Trainings for the faults: one that takes a second and leaves what a real one leaves, and the real one.

Workers know no monkeypatch of their parent: a point at which one is to die is laid here (`points.py`).
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunResult, StepLoss
from orchestrator.records.spec import RunSpec
from orchestrator.storage import files
from tests.fake_training import build_result
from tests.faults import points, power

EPOCHS = 4
_STEP_S = 0.06

power.watch("FAULT_POWER")
points.lay("FAULT_WORKER_POINT")


def train(spec: RunSpec, workplace: Workplace, on_epoch: Callable[[EpochMetrics], None]) -> RunResult:
    """Pretend to train, continuing from the newest whole `last-NNN.ckpt`; the numbers depend on what was there."""
    folder = Path(workplace.directory)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "spec.json", spec.model_dump_json())
    history = _continue(folder)
    for metrics in history:
        on_epoch(metrics)
    for epoch in range(len(history), EPOCHS):
        time.sleep(_STEP_S)
        metrics = _epoch(spec, epoch, history)
        history.append(metrics)
        _save(folder / f"best-{epoch:03d}.ckpt", [metrics])
        _save(folder / f"last-{epoch:03d}.ckpt", history)
        _clear(folder, f"last-{epoch:03d}", f"best-{epoch:03d}")
        on_epoch(metrics)
    result = build_result(spec, history)
    _save(folder / "best.ckpt", history[-1:])
    files.write_atomically(folder / "result.json", result.model_dump_json())
    _clear(folder)
    return result


def train_really(spec: RunSpec, workplace: Workplace, on_epoch: Callable[[EpochMetrics], None]) -> RunResult:
    """Train as the product does."""
    from orchestrator.training.run.run import run_training

    return run_training(spec, workplace, on_epoch)


def _continue(folder: Path) -> list[EpochMetrics]:
    for path in sorted(folder.glob("last-*.ckpt"), reverse=True):
        if files.is_whole(path):
            return [EpochMetrics.model_validate(each) for each in json.loads(path.read_bytes())]
    return []


def _epoch(spec: RunSpec, epoch: int, before: list[EpochMetrics]) -> EpochMetrics:
    """Draw an epoch's numbers from all that came before: a history that was lost or repeated shows."""
    state = f"{spec.frozen} {spec.seed} {[metrics.val_loss for metrics in before]}"
    draw = int(hashlib.sha256(state.encode()).hexdigest()[:12], 16) / 16**12
    return EpochMetrics(
        epoch=epoch,
        train_loss=1 - draw / 3,
        train_acc=draw,
        val_loss=1 / (epoch + 1 + draw),
        val_acc=draw * 0.9,
        lr=spec.trainer.lr,
        duration_s=_STEP_S,
        step_losses=(StepLoss(step=10 * epoch, loss=draw),),
    )


def _save(path: Path, history: list[EpochMetrics]) -> None:
    content = json.dumps([json.loads(metrics.model_dump_json()) for metrics in history]).encode()
    files.write_checked(path, lambda file: file.write(content))


def _clear(folder: Path, *kept: str) -> None:
    for path in sorted(folder.glob("*-*.ckpt*")) + sorted(folder.glob(".*.tmp")):
        if not path.name.startswith(kept or ("nothing",)):
            path.unlink()
