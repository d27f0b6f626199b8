"""A training that takes no time: its accuracy is known, and it leaves what a real one leaves."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.spec import RunSpec

ACCURACY = {"none": 0.95, "stem": 0.96, "stem+layer1": 0.94, "stem+layer1+layer2": 0.90}
"""Of seed 0; seed s has 0.01 * s less. Frozen sets that are not named here have 0.5."""
TRAINABLE = {"none": 100, "stem": 90, "stem+layer1": 70, "stem+layer1+layer2": 40}


def train(spec: RunSpec, workplace: Workplace, on_epoch: Callable[[EpochMetrics], None]) -> RunResult:
    """Pretend to train two epochs.

    FAKE_FAIL names a frozen set whose runs raise, FAKE_INTERRUPT one whose runs are interrupted, FAKE_SIGNAL a signal
    that this process gets in its first epoch.
    """
    folder = Path(workplace.directory)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "trained.log").open("a") as file:
        file.write("trained\n")
    if os.environ.get("FAKE_FAIL") == spec.frozen:
        raise ValueError(os.environ.get("FAKE_FAIL_WITH", "the fake was told to fail"))
    if os.environ.get("FAKE_INTERRUPT") == spec.frozen:
        raise KeyboardInterrupt
    accuracy = ACCURACY.get(spec.frozen, 0.5) - 0.01 * spec.seed
    history = []
    for epoch in range(2):
        metrics = EpochMetrics(
            epoch=epoch, train_loss=0.5, train_acc=accuracy, val_loss=0.4, val_acc=accuracy, lr=1e-4, duration_s=0.1
        )
        if epoch == 0 and "FAKE_SIGNAL" in os.environ:
            os.kill(os.getpid(), signal.Signals[os.environ["FAKE_SIGNAL"]])
        on_epoch(metrics)
        history.append(metrics)
    result = build_result(spec, history)
    (folder / "best.ckpt").write_bytes(b"weights")
    (folder / "result.json").write_text(result.model_dump_json())
    return result


def build_result(spec: RunSpec, history: Sequence[EpochMetrics]) -> RunResult:
    """Give what a run finds whose last epoch is its best, and whose test split is its validation split."""
    best = history[-1]
    return RunResult(
        fingerprint=spec.fingerprint,
        val_acc=best.val_acc,
        val_loss=best.val_loss,
        train_acc=best.train_acc,
        train_loss=best.train_loss,
        test_acc=best.val_acc,
        test_loss=best.val_loss,
        best_epoch=best.epoch,
        epochs_run=len(history),
        trainable_params=TRAINABLE.get(spec.frozen, 10),
        total_params=100,
        gflops_forward_per_image=1.0,
        gflops_train_per_image=2.0,
        duration_s=0.2,
        s_per_epoch=0.1,
        images_per_s=100.0,
        peak_memory_mb=10.0,
        device="fake",
        precision="32-true",
        n_val=100,
        n_test=100,
        class_names=("a", "b"),
        val_confusion=((50, 0), (5, 45)),
        test_confusion=((50, 0), (5, 45)),
        history=tuple(history),
        versions={"python": "3"},
    )
