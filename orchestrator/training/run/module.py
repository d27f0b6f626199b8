"""The LightningModule of a run: a network of which some blocks are frozen."""

import math
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from orchestrator.blocks import BLOCKS, FrozenSet
from orchestrator.errors import RunError
from orchestrator.interfaces import EpochSink
from orchestrator.names import VAL_LOSS
from orchestrator.records.runs import EpochMetrics, StepLoss
from orchestrator.records.spec import RunSpec
from orchestrator.training.images.batches import Batch
from orchestrator.training.kernels.graphs import GraphedParts
from orchestrator.training.network.backbones import frozen_modules, network_stages
from orchestrator.training.network.freezing import hold
from orchestrator.training.run.outcomes import Outcomes

_SGD_MOMENTUM = 0.9


class FreezingModule(pl.LightningModule):
    """Trains what is not frozen with cross-entropy, and reports each epoch to a sink.

    What Lightning takes for a batch is an epoch of them (`WholeEpochs`), so that its loop does not go round with each
    step; and it leaves the optimizer to the module.

    Args:
        network: With its frozen blocks frozen; takes normalised images [n, 3, h, w], gives logits [n, classes].
        computed: Parts of the network (`network_stages`) that batches have been through: they are activations then,
            not images.
        spec: What the run is.
        class_names: Names of the classes, by label.
        on_epoch: Called after each epoch, in this thread.

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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        data, model = spec.data, spec.model
        # plain types only: the checkpoint must load with weights_only=True
        self.save_hyperparameters(
            {
                "backbone": model.backbone,
                "num_classes": len(class_names),
                "class_names": list(class_names),
                "frozen": spec.frozen,
                "image_size": data.image_size,
                "mean": list(data.mean),
                "std": list(data.std),
                "fingerprint": spec.fingerprint,
            }
        )
        self.network = network
        self._trainer_config = spec.trainer
        self._frozen_modules = frozen_modules(
            network, model, FrozenSet.parse(spec.frozen, order=BLOCKS[model.backbone])
        )
        self._frozen_batchnorm = model.frozen_batchnorm
        self._computed = computed
        # a tuple, so that no part is registered under a second name
        self._left = tuple(network_stages(network, model.backbone).values())[computed:]
        self._graphed = GraphedParts(self._left, spec.trainer.precision) if spec.trainer.accelerator == "gpu" else None
        self._on_epoch = on_epoch
        self._epoch_began = 0.0
        self._mean: Tensor
        self._std: Tensor
        # batches travel as bytes and are normalised on the device
        self.register_buffer("_mean", 255 * torch.tensor(data.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(data.std).view(1, 3, 1, 1), persistent=False)
        self.train_outcomes = Outcomes(len(class_names))
        self.eval_outcomes = Outcomes(len(class_names), logits=True)
        self._step_losses: list[tuple[int, Tensor]] = []

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switch to training mode, but for frozen blocks whose BatchNorm statistics are held."""
        super().train(mode)
        hold(self._frozen_modules, self._frozen_batchnorm)
        return self

    def forward(self, batch: Tensor) -> Tensor:
        """Give the logits [n, classes] of uint8 images [n, 3, h, w], or of the activations that they gave."""
        value = self.prepare(batch)
        if self.training and self._graphed is not None:
            return self._graphed(value)
        for part in self._left:
            value = part(value)
        return value

    def prepare(self, batch: Tensor) -> Tensor:
        """Normalise images; activations are as the next part takes them."""
        return batch if self._computed else (batch.float() - self._mean) / self._std

    def training_step(self, epoch: Iterable[Batch]) -> None:
        """Train on all batches of an epoch."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 - there is one
        for batch in self._on_device(epoch):
            loss = self.train_on(batch)
            optimizer.zero_grad()
            with torch.autocast(self.device.type, enabled=False):  # Lightning's is for the forward pass only
                self.manual_backward(loss)
                optimizer.step()

    def _on_device(self, epoch: Iterable[Batch]) -> Iterator[Batch]:
        return map(self.trainer.strategy.batch_to_device, epoch)

    def train_on(self, batch: Batch) -> Tensor:
        """Give a batch's mean cross-entropy, and add the batch to the metrics."""
        images, labels = batch
        logits = self(images)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        loss = losses.mean()
        self.train_outcomes.add(losses, logits, labels)
        step = self.global_step
        if (step + 1) % self._trainer_config.log_every_n_steps == 0:
            self._step_losses.append((step, loss.detach()))
        return loss

    def validation_step(self, epoch: Iterable[Batch]) -> None:
        """Evaluate all batches."""
        for batch in self._on_device(epoch):
            self.evaluate(batch)

    def test_step(self, epoch: Iterable[Batch]) -> None:
        """Evaluate all batches."""
        for batch in self._on_device(epoch):
            self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        """Add a batch to the metrics."""
        images, labels = batch
        logits = self(images)
        self.eval_outcomes.add(nn.functional.cross_entropy(logits, labels, reduction="none"), logits, labels)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock and metrics."""
        self._epoch_began = perf_counter()
        self.train_outcomes = self.train_outcomes.start_anew()
        self._step_losses.clear()

    def on_validation_epoch_start(self) -> None:
        """Start the metrics; those of before stay with whoever has them."""
        self.eval_outcomes = self.eval_outcomes.start_anew()

    def on_test_epoch_start(self) -> None:
        """Start the metrics."""
        self.eval_outcomes = self.eval_outcomes.start_anew()

    def on_validation_epoch_end(self) -> None:
        """Give checkpoint and early stopping what they watch, unless it is lost.

        Raises:
            RunError: A loss of the epoch is not finite.
        """
        val_loss = self.eval_outcomes.mean_loss()
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._require_finite(train=self.train_outcomes.mean_loss(), validation=val_loss)
        self.log(VAL_LOSS, val_loss, logger=False)

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
                lr=float(self.trainer.optimizers[0].param_groups[0]["lr"]),
                duration_s=perf_counter() - self._epoch_began,
                step_losses=tuple(StepLoss(step=step, loss=float(loss)) for step, loss in self._step_losses),
                notes=() if self._graphed is None else self._graphed.take_notes(),
            )
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer over the trainable parameters only; it steps all of them in one pass over the memory."""
        config = self._trainer_config
        options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(trainable, momentum=_SGD_MOMENTUM, **options)
            if config.precision == "16-mixed":
                # torch would only allocate the momenta in the first step, which the scaler of the loss skips where it
                # overflows; the second one then reads what the memory happened to hold
                for parameter in trainable:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return optimizer
        if config.optimizer == "adamw":
            return torch.optim.AdamW(trainable, **options)
        return torch.optim.Adam(trainable, **options)
