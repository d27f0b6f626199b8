"""What became of the images of an epoch, gathered on the device and fetched at its end."""

from typing import Self

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix


class Outcomes:
    """Losses and predicted classes of the images of an epoch.

    Batches are added without waiting for the device; whoever asks for a number waits.

    Args:
        classes: Number of classes.
        logits: Keep the logits too.
    """

    def __init__(self, classes: int, *, logits: bool = False) -> None:
        self._classes = classes
        self._logits: list[Tensor] | None = [] if logits else None
        self._losses: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._right: list[Tensor] = []

    def start_anew(self) -> Self:
        """Return empty ones of the same kind."""
        return type(self)(self._classes, logits=self._logits is not None)

    def add(
        self, losses: Tensor, logits: Tensor, labels: Tensor, others: Tensor | None = None, share: float = 1.0
    ) -> None:
        """Add a batch.

        Args:
            losses: [n].
            logits: [n, classes].
            labels: int64, [n].
            others: Labels that each image has besides, likewise, where images are mixed.
            share: How much of each image is `labels`; the rest is `others`.
        """
        self._losses.append(losses.detach())
        self._predicted.append(logits.detach().argmax(1))
        self._labels.append(labels)
        if others is not None:
            predicted = self._predicted[-1]
            self._right.append(share * (predicted == labels) + (1 - share) * (predicted == others))
        if self._logits is not None:
            self._logits.append(logits.detach())

    def logits(self) -> Tensor:
        """Return the logits, where they are kept: fp32, [n, classes], on the CPU, in the order in which they came."""
        return torch.cat(self._logits or []).float().cpu()

    def mean_loss(self) -> float:
        """Return the mean loss of all images, rounded to fp32: Lightning compares epochs in it. NaN where one is."""
        return float(torch.cat(self._losses).double().mean().float())

    def confusion(self) -> Tensor:
        """Count images by true class (row) and predicted class (column): int64, [classes, classes], on the CPU."""
        predicted, labels = torch.cat(self._predicted).cpu(), torch.cat(self._labels).cpu()
        return multiclass_confusion_matrix(predicted, labels, self._classes, validate_args=False)

    def accuracy(self) -> float:
        """Return the share of images whose class was predicted: 9 of 10 is 0.9, as a person would write it.

        Of a mixed image the share counts that the predicted class has in it.
        """
        if self._right:
            return float(torch.cat(self._right).double().mean())
        confusion = self.confusion()
        return int(confusion.trace()) / int(confusion.sum())
