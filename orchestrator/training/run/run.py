"""One run: a specification becomes a trained network and a result."""

import gc
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from orchestrator import names
from orchestrator.errors import ConfigError, RunError, RunStoppedError
from orchestrator.interfaces import EpochSink
from orchestrator.records.document import write_document
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.records.runs import EpochMetrics, RungResult, RunOutcome, RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.storage.cache import Cache
from orchestrator.storage.files import write_atomically
from orchestrator.storage.layout import PREDICTIONS_FILE, RESULT_FILE, RUNG_FILE, SPEC_FILE
from orchestrator.storage.predictions import Predictions, write_predictions
from orchestrator.training.data.loading import LoadedData, load_data, order_seed
from orchestrator.training.data.splits import TEST, TRAIN, VALIDATION
from orchestrator.training.device import choose_memory_format, device_name, open_device
from orchestrator.training.kernels.convolutions import has_quick_convolutions, quicken_convolutions
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.network.freezing import count_parameters
from orchestrator.training.network.lora import merge_factors
from orchestrator.training.network.saved import network_state, read_checkpoint
from orchestrator.training.network.weights import LoadedWeights, load_weights
from orchestrator.training.reuse.prefix import Prefix, find_prefix, open_activations
from orchestrator.training.run.checkpoints import CheckedIO, CheckpointFolder, TrainingProgress, best_epoch
from orchestrator.training.run.energy import EnergyMeter
from orchestrator.training.run.epochs import Epochs, are_steps_short
from orchestrator.training.run.failures import explain
from orchestrator.training.run.lightning import EpochCheckpoint, build_trainer, own_interrupts, quiet, torch_settings
from orchestrator.training.run.memory import MemoryMeter
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.objective import build_objective
from orchestrator.training.run.outcomes import Outcomes
from orchestrator.training.run.randomness import seed_libraries
from orchestrator.training.seeds import derive_seed

_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "datasets", "numpy", "pillow")

Confusion = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    accuracy: float
    loss: float
    confusion: Confusion
    predictions: Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What a run leaves that went to its end.

    Attributes:
        result: Its result.
        predictions: What its best weights say of each image, by split.
        merged: The network's best tensors with the factors of LoRA merged into them; None: there were none.
    """

    result: RunResult
    predictions: dict[str, Predictions]
    merged: dict[str, Tensor] | None


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One attempt at a run: where it is, and what it takes over from earlier ones.

    Attributes:
        validated: What the best epoch gave on the validation images; None where that was in an earlier attempt.
    """

    spec: RunSpec
    workplace: Workplace
    folder: CheckpointFolder
    began: float
    earlier: TrainingProgress | None
    memory: MemoryMeter = field(default_factory=MemoryMeter)
    energy: EnergyMeter = field(default_factory=EnergyMeter)
    history: list[EpochMetrics] = field(default_factory=list)
    validated: Outcomes | None = None

    def __post_init__(self) -> None:
        if self.earlier is not None:
            self.history.extend(self.earlier.history)

    def add_epoch(self, metrics: EpochMetrics, validated: Outcomes) -> None:
        """Enter an epoch, and what it gave on the validation images."""
        self.history.append(metrics)
        if best_epoch(self.history).epoch == metrics.epoch:
            self.validated = validated

    def progress(self, finished: bool) -> TrainingProgress:  # noqa: FBT001 - the only thing that it is told
        """Describe how far the run is; time and memory count earlier attempts in."""
        earlier = self.earlier
        return TrainingProgress(
            history=tuple(self.history),
            finished=finished,
            duration_s=perf_counter() - self.began + (earlier.duration_s if earlier else 0.0),
            peak_memory_mb=max(self.memory.peak_mb(), earlier.peak_memory_mb if earlier else 0.0),
        )


def run_training(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunOutcome:
    """Train what `spec` says and return the result of its best checkpoint, or where it stands once it is to pause.

    Where the workplace's folder holds a whole checkpoint of this run, the run continues from it; without one, or where
    the folder holds a result already, it starts over. On a CPU equal specifications give equal metrics to the last
    bit, with equal numbers of threads, however often the run was interrupted.

    Writes `spec.json`, checkpoints as often as the workplace lets it, and at the end `best.ckpt`, `predictions.npz` and
    then `result.json`. The checkpoint from which the run would continue goes last. A run that pauses leaves that
    checkpoint, and then writes `rung-NNN.json`.

    Args:
        spec: What to train.
        workplace: Where, and with what.
        on_epoch: Called in this thread after each epoch. A run that continues gives its earlier epochs first, and may
            give some again that came after its checkpoint. What it raises ends the run, which can continue later.

    Raises:
        RunError: A loss is not finite, memory is full, or data or weights are not those of the specification.
        RunStoppedError: `on_epoch` raised it.
        ConfigError: The weights cannot be used.
        SetupError: The weights cannot be brought.
        KeyboardInterrupt: The user stopped it.
    """
    began, path = perf_counter(), Path(workplace.directory)
    path.mkdir(parents=True, exist_ok=True)
    folder = CheckpointFolder(path)
    earlier = _find_earlier(folder, spec)
    write_atomically(path / SPEC_FILE, spec.model_dump_json(indent=2))
    attempt = _Attempt(spec=spec, workplace=workplace, folder=folder, began=began, earlier=earlier)
    try:
        _repeat(attempt.history, on_epoch)
        on_gpu = spec.trainer.accelerator == "gpu"
        with torch_settings(workplace.threads, spec.trainer.matmul_precision if on_gpu else None), quiet():
            trained = _train(attempt, on_epoch)
    except Exception as error:
        explained = explain(error)
        if explained is None or explained is error:
            raise
        raise explained from error
    finally:
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
    if isinstance(trained, RungResult):
        write_atomically(path / RUNG_FILE.format(trained.epochs), write_document(trained))
        return trained
    _publish(folder, trained)
    return trained.result


def _publish(folder: CheckpointFolder, trained: _Trained) -> None:
    """Leave what a finished run leaves, in this order: whoever finds the result finds the checkpoint too."""
    folder.publish(trained.result.best_epoch, trained.merged)
    write_predictions(folder.path / PREDICTIONS_FILE, trained.predictions)
    write_atomically(folder.path / RESULT_FILE, write_document(trained.result))
    folder.keep()


def _find_earlier(folder: CheckpointFolder, spec: RunSpec) -> TrainingProgress | None:
    """Find what an interrupted run left, and remove all that the run will write again."""
    result = folder.path / RESULT_FILE
    earlier = None if result.exists() else folder.find_progress(spec.fingerprint)
    if earlier is None:
        folder.keep()
    else:
        folder.keep(last=earlier.epoch, best=earlier.best.epoch)
    result.unlink(missing_ok=True)
    folder.unpublish()
    return earlier


def _repeat(history: Sequence[EpochMetrics], on_epoch: EpochSink) -> None:
    """Report the epochs of earlier attempts once more; all of them, also where the run is to stop."""
    for metrics in history[:-1]:
        with suppress(RunStoppedError):
            on_epoch(metrics)
    for metrics in history[-1:]:
        on_epoch(metrics)


def _train(attempt: _Attempt, on_epoch: EpochSink) -> RungResult | _Trained:
    spec, folder = attempt.spec, attempt.folder
    device = open_device(spec.trainer.accelerator, attempt.workplace.gpu)
    attempt.energy.start(device)
    data = _load_data(spec, attempt.workplace.cache).with_views()
    weights = _load_weights(spec, attempt.workplace.weights_file)
    seed_libraries(derive_seed(spec.seed, "training"))
    classes, head_seed = len(data.info.class_names), derive_seed(spec.seed, "head")
    network = build_network(spec.model, classes, head_seed, spec.frozen, weights, spec.data.image_size)
    counted = count_parameters(network)
    data, prefix = _compute_prefix(network, data, attempt, device)
    attempt.memory.start(device, data)
    module = FreezingModule(
        network,
        spec,
        data.info.class_names,
        lambda metrics: attempt.add_epoch(metrics, module.eval_outcomes),
        computed=len(prefix.parts) if prefix else 0,
        batches=len(data.batches(TRAIN)),
        objective=build_objective(spec.trainer, data.images[TRAIN].labels.tolist(), classes),
    )
    share, until, files = attempt.workplace.checkpoint_share, attempt.workplace.until_epoch, CheckedIO()
    epochs = EpochCheckpoint(folder, attempt.history, attempt.progress, on_epoch, files, share, until)
    trainer = build_trainer(spec, attempt.workplace, folder, epochs, files, device)
    whole = are_steps_short(module, data, spec, device, attempt.workplace.cost)
    with own_interrupts(), _keeping_the_last_epoch(epochs):
        paused = _fit(trainer, module, data, attempt, epochs, whole=whole)
        files.write_held()
        best = attempt.progress(finished=True).best
        network.load_state_dict(network_state(read_checkpoint(folder.best(best.epoch))))
        if prefix is not None:
            prefix.require_unmoved()
        validation = _sum_up(
            attempt.validated or _evaluate(trainer, module, data, VALIDATION, whole=whole), data, VALIDATION
        )
        if paused:
            correct = tuple(validation.predictions.correct.tolist())
            return RungResult(fingerprint=spec.fingerprint, val_correct=correct, history=tuple(attempt.history))
        merged = network.state_dict() if merge_factors(network) else None
        test = _sum_up(_evaluate(trainer, module, data, TEST, whole=whole), data, TEST)
    result = _build_result(attempt, data, counted, attempt.progress(finished=True), validation, test)
    predictions = {VALIDATION: validation.predictions, TEST: test.predictions}
    return _Trained(result=result, predictions=predictions, merged=merged)


@contextmanager
def _keeping_the_last_epoch(epochs: EpochCheckpoint) -> Iterator[None]:
    """Write what is held in memory of a run that is ended at once after its last epoch."""
    try:
        yield
    except RunStoppedError:
        epochs.write_held()
        raise


def _fit(
    trainer: pl.Trainer,
    module: FreezingModule,
    data: LoadedData,
    attempt: _Attempt,
    epochs: EpochCheckpoint,
    *,
    whole: bool,
) -> bool:
    """Train from where the run is, as far as it is to go. Returns whether it pauses there: epochs may be left."""
    earlier, until = attempt.earlier, attempt.workplace.until_epoch
    if earlier is not None and earlier.finished:
        return False
    if until is not None and len(attempt.history) >= until:  # it died once it was there, before it said so
        return True
    training = Epochs(data.batches(TRAIN, seed=order_seed(attempt.spec.seed)), whole=whole)
    epochs.seen_batches = len(training)
    trainer.fit(
        module,
        training,
        Epochs(data.batches(VALIDATION), whole=whole),
        ckpt_path=attempt.folder.last(earlier.epoch) if earlier is not None else None,
        weights_only=True,
    )
    return epochs.paused


def _load_data(spec: RunSpec, place: CachePlace | None) -> LoadedData:
    cache = Cache.at(place) if place is not None and place.images else None
    data = load_data(spec.data, cache=cache, fold=spec.fold)
    if data.info.fingerprint != spec.data_fingerprint:
        raise RunError(
            f"the images of {spec.data.source} are not those of the run's specification: fingerprint "
            f"{data.info.fingerprint[:16]} instead of {spec.data_fingerprint[:16]}",
            hint="they changed since the sweep began, or another version was loaded; set data.revision",
            cause="data",
        )
    classes = len(data.info.class_names)
    if spec.model.num_classes not in {None, classes}:
        raise ConfigError(
            f"model.num_classes is {spec.model.num_classes}, but {spec.data.source} has {classes} classes"
        )
    return data


def _compute_prefix(
    network: torch.nn.Module, data: LoadedData, attempt: _Attempt, device: torch.device
) -> tuple[LoadedData, Prefix | None]:
    """Put the activations of the frozen prefix in the place of the images, where that pays and they can be kept."""
    spec, place = attempt.spec, attempt.workplace.cache
    memory_format = choose_memory_format(spec.trainer.accelerator, spec.data.image_size)
    network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
    if has_quick_convolutions(spec.trainer):
        size = spec.data.image_size
        quicken_convolutions(network, torch.zeros(1, 3, size, size), memory_format)
    prefix = find_prefix(network, data, spec, place)
    if prefix is not None and place is not None:
        activations = open_activations(Cache.at(place), prefix, data, spec, device, place.boundaries)
        if activations is not None:
            return replace(data, pixels=activations).to(device), prefix
    return data.to(device), None


def _load_weights(spec: RunSpec, file: str | None) -> LoadedWeights | None:
    weights = load_weights(spec.model, file, spec.data.image_size)
    found = None if weights is None else weights.sha256
    if found != spec.weights_sha256:
        expected = spec.weights_sha256 or "none"
        raise RunError(
            f"the weights {spec.model.weights} are not those of the run's specification: sha256 "
            f"{(found or 'none')[:16]} instead of {expected[:16]}",
            hint="the file changed since the sweep began; put it back, or start the sweep again",
        )
    return weights


def _evaluate(trainer: pl.Trainer, module: FreezingModule, data: LoadedData, split: str, *, whole: bool) -> Outcomes:
    run = trainer.test if split == TEST else trainer.validate
    run(module, Epochs(data.batches(split), whole=whole), verbose=False)
    return module.eval_outcomes


def _sum_up(outcomes: Outcomes, data: LoadedData, split: str) -> _Evaluation:
    return _Evaluation(
        accuracy=outcomes.accuracy(),
        loss=outcomes.mean_loss(),
        confusion=tuple(tuple(int(count) for count in row) for row in outcomes.confusion().tolist()),
        predictions=Predictions(
            logits=outcomes.logits().numpy(),
            labels=data.images[split].labels,
            image_ids=np.array(data.images[split].ids),
        ),
    )


def _build_result(
    attempt: _Attempt,
    data: LoadedData,
    counted: tuple[int, int],
    progress: TrainingProgress,
    validation: _Evaluation,
    test: _Evaluation,
) -> RunResult:
    spec, workplace = attempt.spec, attempt.workplace
    best, history = progress.best, progress.history
    cost = workplace.cost
    if cost is None:
        cost = measure_costs(spec.model, len(data.info.class_names), spec.data.image_size, [spec.frozen])[spec.frozen]
    trainable, total = counted
    seconds = [metrics.duration_s for metrics in history]
    energy = None if attempt.earlier else attempt.energy.read_wh()  # what earlier attempts took nobody counted
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
        duration_s=progress.duration_s,
        s_per_epoch=median(seconds),
        images_per_s=images / sum(seconds),
        peak_memory_mb=progress.peak_memory_mb,
        resident_mb=attempt.memory.resident_mb,
        device=device_name(spec.trainer.accelerator, workplace.gpu),
        precision=spec.trainer.precision,
        n_val=data.size(VALIDATION),
        n_test=data.size(TEST),
        class_names=data.info.class_names,
        val_confusion=validation.confusion,
        test_confusion=test.confusion,
        history=history,
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        measured={**best.measured, **({} if energy is None else {names.ENERGY_WH: energy})},
    )
