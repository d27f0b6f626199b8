"""One run: a specification becomes a trained network and a result."""

import gc
import os
import platform
import random
import resource
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pytorch_lightning as pl
import torch

from orchestrator.blocks import BLOCKS, FrozenSet
from orchestrator.errors import ConfigError, RunError
from orchestrator.interfaces import EpochSink
from orchestrator.names import BEST_CHECKPOINT, RESULT_FILE, SPEC_FILE
from orchestrator.records import EpochMetrics, RunResult, RunSpec, Workplace
from orchestrator.training.backbones import build_network, describe_weights, network_state, read_checkpoint
from orchestrator.training.costs import measure_costs
from orchestrator.training.data import LoadedData, load_data, order_seed
from orchestrator.training.device import device_name
from orchestrator.training.freezing import count_parameters
from orchestrator.training.lightning import StepLosses, build_trainer, own_interrupts, quiet, torch_settings
from orchestrator.training.module import FreezingModule, accuracy_of
from orchestrator.training.seeds import derive_seed
from orchestrator.training.splits import TEST, TRAIN, VALIDATION

_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "datasets", "numpy", "pillow")

Confusion = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    accuracy: float
    loss: float
    confusion: Confusion


def run_training(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train what `spec` says and return the result of its best checkpoint.

    Writes `spec.json`, `best.ckpt` and, last and atomically, `result.json` to the workplace's folder; what an
    interrupted run left there goes first. On a CPU equal specifications give equal metrics to the last bit, with equal
    numbers of threads.

    Args:
        spec: What to train.
        workplace: Where, and with what.
        on_epoch: Called after each epoch, in this thread.

    Raises:
        RunError: A loss is not finite, or data or weights are not those of the specification.
        ConfigError: Data or weights cannot be used.
        SetupError: Data or weights cannot be brought.
        KeyboardInterrupt: The user stopped it.
    """
    began = perf_counter()
    folder = Path(workplace.directory)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (RESULT_FILE, BEST_CHECKPOINT):
        (folder / stale).unlink(missing_ok=True)
    _write_atomically(folder / SPEC_FILE, spec.model_dump_json(indent=2))
    try:
        with torch_settings(workplace.threads), quiet():
            result = _train(spec, workplace, on_epoch, began)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    with (folder / BEST_CHECKPOINT).open("rb") as file:
        os.fsync(file.fileno())  # whoever finds the result finds the checkpoint too
    _write_atomically(folder / RESULT_FILE, result.model_dump_json())
    return result


def _train(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink, began: float) -> RunResult:
    if spec.trainer.accelerator == "gpu" and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats(workplace.gpu)
    data = _load_data(spec)
    _require_weights(spec)
    _seed_everything(derive_seed(spec.seed, "training"))
    frozen = FrozenSet.parse(spec.frozen, order=BLOCKS[spec.model.backbone])
    network = build_network(spec.model, len(data.info.class_names), derive_seed(spec.seed, "head"), frozen)
    history: list[EpochMetrics] = []

    def keep(metrics: EpochMetrics) -> None:
        history.append(metrics)
        on_epoch(metrics)

    losses = StepLosses()
    module = FreezingModule(network, spec, data.info.class_names, keep, losses.take)
    trainer = build_trainer(spec, workplace, losses)
    module.train()
    with own_interrupts():
        trainer.fit(module, data.batches(TRAIN, seed=order_seed(spec.seed)), data.batches(VALIDATION))
        checkpoint = read_checkpoint(Path(workplace.directory) / BEST_CHECKPOINT)
        network.load_state_dict(network_state(checkpoint))
        validation = _evaluate(trainer, module, data, VALIDATION)
        test = _evaluate(trainer, module, data, TEST)
    return _build_result(
        spec,
        workplace,
        data,
        network,
        history,
        _best_epoch(history),
        validation.confusion,
        test,
        perf_counter() - began,
    )


def _load_data(spec: RunSpec) -> LoadedData:
    data = load_data(spec.data)
    if data.info.fingerprint != spec.data_fingerprint:
        raise RunError(
            f"the images of {spec.data.source} are not those of the run's specification: fingerprint "
            f"{data.info.fingerprint[:16]} instead of {spec.data_fingerprint[:16]}",
            hint="they changed since the sweep began, or another version was loaded; set data.revision",
        )
    classes = len(data.info.class_names)
    if spec.model.num_classes not in {None, classes}:
        raise ConfigError(
            f"model.num_classes is {spec.model.num_classes}, but {spec.data.source} has {classes} classes"
        )
    return data


def _require_weights(spec: RunSpec) -> None:
    found = describe_weights(spec.model).sha256
    if found != spec.weights_sha256:
        expected = spec.weights_sha256 or "none"
        raise RunError(
            f"the weights {spec.model.weights} are not those of the run's specification: sha256 "
            f"{(found or 'none')[:16]} instead of {expected[:16]}",
            hint="the file changed since the sweep began; put it back, or start the sweep again",
        )


def _evaluate(trainer: pl.Trainer, module: FreezingModule, data: LoadedData, split: str) -> _Evaluation:
    run = trainer.test if split == TEST else trainer.validate
    run(module, data.batches(split), verbose=False)
    confusion = module.eval_confusion.compute()
    return _Evaluation(
        accuracy=accuracy_of(confusion),
        loss=float(module.eval_loss.compute()),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion.tolist()),
    )


def _best_epoch(history: list[EpochMetrics]) -> EpochMetrics:
    """Find the epoch of the best checkpoint: lowest `val_loss`, the first of equals."""
    return min(history, key=lambda metrics: metrics.val_loss)


def _build_result(
    spec: RunSpec,
    workplace: Workplace,
    data: LoadedData,
    network: torch.nn.Module,
    history: list[EpochMetrics],
    best: EpochMetrics,
    val_confusion: Confusion,
    test: _Evaluation,
    duration_s: float,
) -> RunResult:
    frozen = FrozenSet.parse(spec.frozen, order=BLOCKS[spec.model.backbone])
    cost = measure_costs(spec.model, len(data.info.class_names), spec.data.image_size, [frozen])[frozen.key]
    trainable, total = count_parameters(network)
    seconds = [metrics.duration_s for metrics in history]
    images = (data.size(TRAIN) + data.size(VALIDATION)) * len(history)
    return RunResult(
        fingerprint=spec.fingerprint,
        val_acc=best.val_acc,
        val_loss=best.val_loss,
        train_acc=best.train_acc,
        train_loss=best.train_loss,
        test_acc=test.accuracy,
        test_loss=test.loss,
        best_epoch=best.epoch,
        epochs_run=len(history),
        trainable_params=trainable,
        total_params=total,
        gflops_forward_per_image=cost.gflops_forward_per_image,
        gflops_train_per_image=cost.gflops_train_per_image,
        duration_s=duration_s,
        s_per_epoch=median(seconds),
        images_per_s=images / sum(seconds),
        peak_memory_mb=_peak_memory_mb(spec, workplace),
        device=device_name(spec.trainer.accelerator, workplace.gpu),
        precision=spec.trainer.precision,
        n_val=data.size(VALIDATION),
        n_test=data.size(TEST),
        class_names=data.info.class_names,
        val_confusion=val_confusion,
        test_confusion=test.confusion,
        history=tuple(history),
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )


def _seed_everything(seed: int) -> None:
    """Seed what a library might draw from; order of data and weights have generators of their own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _peak_memory_mb(spec: RunSpec, workplace: Workplace) -> float:
    if spec.trainer.accelerator == "gpu":
        return torch.cuda.max_memory_allocated(workplace.gpu) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
