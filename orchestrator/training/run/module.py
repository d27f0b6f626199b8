"""The LightningModule of a run: a network of which some blocks are frozen."""

import math
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from orchestrator.errors import RunError
from orchestrator.interfaces import EpochSink
from orchestrator.names import VAL_ACC, VAL_LOSS
from orchestrator.records.runs import EpochMetrics, StepLoss
from orchestrator.records.spec import RunSpec
from orchestrator.training.images.batches import Batch, Batches
from orchestrator.training.kernels.graphs import GraphedParts
from orchestrator.training.network.backbones import block_modules, network_rest, network_span
from orchestrator.training.network.freezing import hold
from orchestrator.training.reuse.padding import compute_padded
from orchestrator.training.reuse.plan import count_padded
from orchestrator.training.run.averaging import WeightAverage
from orchestrator.training.run.mixing import Mixing
from orchestrator.training.run.objective import TrainingObjective
from orchestrator.training.run.optimizers import build_optimizer, set_lr
from orchestrator.training.run.outcomes import Outcomes
from orchestrator.training.run.scores import score
from orchestrator.training.seeds import derive_seed

_AVERAGE = "weight_average"
"""Key of a checkpoint that holds the average of the weights."""


class FreezingModule(pl.LightningModule):
    """Trains what is not frozen, and reports each epoch to a sink.

    What Lightning takes for a batch may be an epoch of them (`Epochs`). It leaves the optimizer to the module, so that
    steps are the same either way: gradients of several batches are averaged, clipped, and the learning rate follows its
    schedule, which is a function of the steps before.

    Args:
        network: With its frozen blocks frozen; takes normalised images [n, 3, h, w], gives logits [n, classes].
        computed: Parts of the network (`network_stages`) that batches have been through: they are activations then,
            not images.
        spec: What the run is.
        class_names: Names of the classes, by label.
        on_epoch: Called after each epoch, in this thread.
        batches: Batches of an epoch.
        objective: The loss of training batches; None: mean cross-entropy.

    Attributes:
        eval_outcomes: What became of the images that were evaluated last, with their logits.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: RunSpec,
        class_names: Sequence[str],
        on_epoch: EpochSink,
        computed: int = 0,
        batches: int = 1,
        objective: TrainingObjective | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        data, model = spec.data, spec.model
        self.save_hyperparameters(_describe(spec, class_names))
        self.network, known = network, model.network
        self._objective = objective or TrainingObjective()
        self._mixing = Mixing(data, derive_seed(spec.seed, "mixing"))
        self._trainer_config = spec.trainer
        self._blocks = block_modules(network, known)
        self._frozen, self._frozen_batchnorm = spec.frozen, model.frozen_batchnorm
        self._computed = computed
        # tuples, so that no part is registered under a second name
        self._left = network_rest(network, known, computed, data.image_size)
        frozen = count_padded(model, spec.frozen, spec.trainer.accelerator) if computed == 0 else 0
        self._padded = (network_span(network, known, 0, frozen, data.image_size),) if frozen else ()
        self._behind = network_rest(network, known, frozen, data.image_size) if frozen else ()
        # the gradients that a graph gives lie in its own memory, where the next batch overwrites what is to be added to
        graphed = spec.trainer.accelerator == "gpu" and spec.trainer.accumulate == 1
        self._graphed = GraphedParts(self._left, spec.trainer.precision) if graphed else None
        self._average = None if spec.trainer.ema is None else WeightAverage(network, spec.trainer.ema)
        self._batches, self._full_batch = batches, data.batch_size
        self._batch = 0
        self._on_epoch = on_epoch
        self._epoch_began = 0.0
        self._mean: Tensor
        self._std: Tensor
        # batches travel as bytes and are normalised on the device
        self.register_buffer("_mean", 255 * torch.tensor(data.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(data.std).view(1, 3, 1, 1), persistent=False)
        self.train_outcomes = Outcomes(len(class_names))
        self.eval_outcomes = Outcomes(len(class_names), logits=True)
        self._scores: dict[str, float] = {}
        self._step_losses: list[tuple[int, Tensor]] = []

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switch to training mode, but for frozen blocks whose BatchNorm statistics are held."""
        super().train(mode)
        hold(self._blocks, self._frozen, self._frozen_batchnorm)
        return self

    def forward(self, batch: Tensor) -> Tensor:
        """Return the logits [n, classes] of uint8 images [n, 3, h, w], or of the activations that they gave."""
        return self._compute(self.prepare(batch))

    def _compute(self, value: Tensor) -> Tensor:
        if self.training and self._graphed is not None:
            return self._graphed(value)
        left = self._left
        for part in self._padded if len(value) != self._full_batch else ():
            value, left = compute_padded(part, value, self._full_batch), self._behind
        for part in left:
            value = part(value)
        return value

    def prepare(self, batch: Tensor) -> Tensor:
        """Normalise images; activations are as the next part takes them."""
        return batch if self._computed else (batch.float() - self._mean) / self._std

    def training_step(self, given: Batch | Batches) -> None:
        """Train on a batch, or on all batches of an epoch."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 - there is one
        for batch in self._list_batches(given):
            loss = self.train_on(batch)
            self._descend(optimizer, loss)
            self._batch += 1

    def _list_batches(self, given: Batch | Batches) -> Iterable[Batch]:
        """Return the batches; Lightning has put one that it knows as such on the device."""
        return [given] if isinstance(given, tuple | list) else map(self.trainer.strategy.batch_to_device, given)

    def train_on(self, batch: Batch) -> Tensor:
        """Return a batch's loss, and add the batch to the metrics."""
        images, labels = batch
        others, share = None, 1.0
        if self._mixing:
            value, share = self._mixing(self.prepare(images), self.current_epoch, self._batch)
            logits, others = self._compute(value), labels.roll(1)
        else:
            logits = self(images)
        loss: Tensor
        loss, losses = self._objective(logits, labels, others, share)
        self.train_outcomes.add(losses, logits, labels, others, share)
        step = self.global_step
        if self._ends_step and (step + 1) % self._trainer_config.log_every_n_steps == 0:
            self._step_losses.append((step, loss.detach()))
        return loss

    @property
    def _ends_step(self) -> bool:
        """Whether the optimizer steps after this batch."""
        seen = self._batch + 1
        return seen % self._trainer_config.accumulate == 0 or seen == self._batches

    def _descend(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """Add the gradients of a batch's loss to those of its step, and step after the last of them."""
        accumulate = self._trainer_config.accumulate
        place = self._batch % accumulate
        if place == 0:
            optimizer.zero_grad()
        with torch.autocast(self.device.type, enabled=False):  # Lightning's is for the forward pass only
            together = min(accumulate, self._batches - (self._batch - place))
            self.manual_backward(loss if accumulate == 1 else loss / together)
            if self._ends_step:
                self._clip_gradient(optimizer)
                self._set_lr(optimizer)
                optimizer.step()
                if self._average is not None:
                    self._average.update()

    def _clip_gradient(self, optimizer: LightningOptimizer) -> None:
        limit = self._trainer_config.gradient_clip
        if limit is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:  # the limit is for the gradient itself
            scaler.unscale_(optimizer.optimizer)
        nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], limit)

    def _set_lr(self, optimizer: LightningOptimizer) -> None:
        config = self._trainer_config
        per_epoch = math.ceil(self._batches / config.accumulate)
        scale = config.schedule.scale(self.global_step, per_epoch, config.max_epochs)
        set_lr(optimizer.optimizer, config.lr * scale)

    def validation_step(self, given: Batch | Batches) -> None:
        """Evaluate a batch, or all of them."""
        for batch in self._list_batches(given):
            self.evaluate(batch)

    def test_step(self, given: Batch | Batches) -> None:
        """Evaluate a batch, or all of them."""
        for batch in self._list_batches(given):
            self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        """Add a batch to the metrics."""
        images, labels = batch
        logits = self(images)
        self.eval_outcomes.add(nn.functional.cross_entropy(logits, labels, reduction="none"), logits, labels)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock and metrics."""
        self._epoch_began = perf_counter()
        self._batch = 0
        self.train_outcomes = self.train_outcomes.start_anew()
        self._step_losses.clear()

    def on_validation_start(self) -> None:
        """Put averaged weights in the place of those that train; what is evaluated after the training is loaded."""
        if self._average is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._average.swap()

    def on_validation_end(self) -> None:
        """Put the weights that train back: the best ones are kept by now."""
        self.on_validation_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the averaged weights."""
        if self._average is not None:
            checkpoint[_AVERAGE] = self._average.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the averaged weights."""
        if self._average is not None:
            self._average.load(checkpoint[_AVERAGE])

    def on_validation_epoch_start(self) -> None:
        """Start the metrics; those of before stay with whoever has them."""
        self.eval_outcomes = self.eval_outcomes.start_anew()

    def on_test_epoch_start(self) -> None:
        """Start the metrics."""
        self.eval_outcomes = self.eval_outcomes.start_anew()

    def on_validation_epoch_end(self) -> None:
        """Hand checkpoint and early stopping what they watch, unless it is lost.

        Raises:
            RunError: A loss of the epoch is not finite.
        """
        val_loss = self.eval_outcomes.mean_loss()
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._require_finite(train=self.train_outcomes.mean_loss(), validation=val_loss)
        self._scores = score(self.eval_outcomes.confusion())
        every = {VAL_LOSS: val_loss, VAL_ACC: self.eval_outcomes.accuracy(), **self._scores}
        self.log(self._trainer_config.monitor, every[self._trainer_config.monitor], logger=False)

    def _require_finite(self, **losses: float) -> None:
        for what, loss in losses.items():
            if not math.isfinite(loss):
                raise RunError(
                    f"the {what} loss is {loss} in epoch {self.current_epoch + 1}",
                    hint=f"lower trainer.lr ({self._trainer_config.lr}), or check the images",
                    cause="diverged",
                )

    def on_train_epoch_end(self) -> None:
        """Report the epoch."""
        self._on_epoch(
            EpochMetrics(
                epoch=self.current_epoch,
                train_loss=self.train_outcomes.mean_loss(),
                train_acc=self.train_outcomes.accuracy(),
                val_loss=self.eval_outcomes.mean_loss(),
                val_acc=self.eval_outcomes.accuracy(),
                measured=self._scores,
                monitor=self._trainer_config.monitor,
                lr=float(self.trainer.optimizers[0].param_groups[0]["lr"]),
                duration_s=perf_counter() - self._epoch_began,
                step_losses=tuple(StepLoss(step=step, loss=float(loss)) for step, loss in self._step_losses),
                notes=() if self._graphed is None else self._graphed.take_notes(),
            )
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer over the trainable parameters only."""
        return build_optimizer(self.network, self._blocks, self._trainer_config)


def _describe(spec: RunSpec, class_names: Sequence[str]) -> dict[str, object]:
    """Describe a network in a checkpoint, in plain types only: it must load with weights_only=True."""
    data, model = spec.data, spec.model
    return {
        "backbone": model.backbone,
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "frozen": spec.frozen.key,
        "image_size": data.image_size,
        "mean": list(data.mean),
        "std": list(data.std),
        "fingerprint": spec.fingerprint,
    }
