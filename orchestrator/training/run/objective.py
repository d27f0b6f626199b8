"""What training minimises: cross-entropy, with smoothed labels and weighted classes where that is asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from orchestrator.config.class_weights import CLASS_WEIGHTS
from orchestrator.config.models import TrainerConfig


class TrainingObjective(nn.Module):
    """The loss of training batches.

    Args:
        label_smoothing: Share of each label that is spread evenly over all classes.
        class_weights: What an image of each class counts for; None: all count alike.
    """

    _weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self._smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("_weights", weights, persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, others: Tensor | None = None, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and of each of its images [n].

        With weights the loss of an image is multiplied by its class's, and that of a batch is the sum over its images
        divided by the sum of their weights, as `torch.nn.CrossEntropyLoss` has it.

        Args:
            logits: [n, classes].
            labels: int64, [n].
            others: Labels that each image has besides, likewise, where images are mixed.
            share: How much of each image is `labels`; the rest is `others`.
        """
        losses = self._compute(logits, labels)
        if others is not None:
            losses = share * losses + (1 - share) * self._compute(logits, others)
        if self._weights is None:
            return losses.mean(), losses
        weights = self._weights[labels]
        if others is not None:
            weights = share * weights + (1 - share) * self._weights[others]
        return losses.sum() / weights.sum(), losses

    def _compute(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="none"
        )


def build_objective(config: TrainerConfig, labels: Sequence[int], classes: int) -> TrainingObjective:
    """Build the objective of a run.

    Args:
        config: Says which.
        labels: Of the training images.
        classes: Number of classes.
    """
    weigh = CLASS_WEIGHTS.get(config.class_weights)
    counts = torch.bincount(torch.as_tensor(labels), minlength=classes).tolist()
    return TrainingObjective(config.label_smoothing, None if weigh is None else weigh(counts))
