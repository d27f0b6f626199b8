"""The gains: what of predictions is maximised or minimised, each as scores of single images whose mean is the gain.

So whatever is known of a mean holds for each of them: its interval over images and seeds, paired comparisons, and the
posterior. An accuracy and a loss are means of images. Of a ratio, the score of an image is the gain plus the image's
influence on it (the delta method): their mean is exactly the gain, and their variance over images, divided by the
number of images, is the gain's to the first order.

Source: F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator import names
from orchestrator.objectives import GainKey
from orchestrator.stats.evidence import Scores
from orchestrator.stats.scales import ARCSINE, LOGARITHM, Scale

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the front of a sweep maximises or minimises.

    Attributes:
        key: Its name, and its column.
        words: Its name in a sentence.
        axis: Title of its axis, without the unit.
        sign: 1 where higher is better, -1 where lower is: scores are the gain's own values times this.
        scale: Of the means of scores, which are higher where better.
        score: Scores of the images of one run from logits, [n, classes], and labels, [n]: [n]. Their mean is the gain
            times `sign`.
        in_result: Whether the result of each run states it: then no predictions are needed to know it.
    """

    key: GainKey
    words: str
    axis: str
    sign: Literal[1, -1] = 1
    scale: Scale = ARCSINE
    score: Callable[[Logits, Labels], Scores]
    in_result: bool = False

    @property
    def head(self) -> str:
        """Head of its column in a text."""
        return self.axis[0].lower() + self.axis[1:]

    @property
    def best(self) -> str:
        """How the best value stands among the others: `highest`."""
        return "highest" if self.sign == 1 else "lowest"

    @property
    def more(self) -> str:
        """What a better gain is, in a sentence: `more accuracy`."""
        return f"{'more' if self.sign == 1 else 'less'} {self.words}"

    @property
    def is_share(self) -> bool:
        """Whether it is a share, which people read in percent and whose differences they read in points."""
        return self.scale is ARCSINE

    def write(self, value: float, digits: int = 2) -> str:
        """Write a value for people: `96.00%`, or `0.1234` nats with two digits more."""
        return f"{value:.{digits}%}" if self.is_share else f"{value:.{digits + 2}f}"

    def orient(self, value: float) -> float:
        """Turn a value so that higher is better, or back."""
        return value if self.sign == 1 else -value


def _score_accuracy(logits: Logits, labels: Labels) -> Scores:
    right: NDArray[np.bool_] = logits.argmax(axis=1) == labels
    return right


def _score_loss(logits: Logits, labels: Labels) -> Scores:
    """Return the log-likelihood of each image's class: minus its cross-entropy in nats."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    scores: Scores = wide[np.arange(len(labels)), labels] - np.log(np.exp(wide).sum(axis=1))
    return scores


def _score_balanced_accuracy(logits: Logits, labels: Labels) -> Scores:
    """Score the mean recall of the classes that have images."""
    right = (logits.argmax(axis=1) == labels).astype(np.float64)
    counts = np.bincount(labels, minlength=logits.shape[1])
    recalls = np.bincount(labels, weights=right, minlength=logits.shape[1]) / np.maximum(counts, 1)
    present = counts > 0
    influence = (right - recalls[labels]) * len(labels) / (counts[labels] * present.sum())
    scores: Scores = recalls[present].mean() + influence
    return scores


def _score_macro_f1(logits: Logits, labels: Labels) -> Scores:
    """Score the mean F1 of the classes that have images or are predicted for one."""
    predicted, classes = logits.argmax(axis=1), logits.shape[1]
    right = predicted == labels
    both = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    f1 = 2 * np.bincount(labels[right], minlength=classes) / np.maximum(both, 1)
    present = both > 0
    weight = len(labels) / (np.maximum(both, 1) * present.sum())
    influence = 2 * right * weight[labels] - (f1 * weight)[labels] - (f1 * weight)[predicted]
    scores: Scores = f1[present].mean() + influence
    return scores


GAINS: Final[Mapping[str, Gain]] = MappingProxyType(
    {
        gain.key: gain
        for gain in (
            Gain(
                key=names.VAL_ACC, words="accuracy", axis="Validation accuracy", score=_score_accuracy, in_result=True
            ),
            Gain(
                key=names.BALANCED_ACCURACY,
                words="balanced accuracy",
                axis="Balanced validation accuracy",
                score=_score_balanced_accuracy,
            ),
            Gain(key=names.MACRO_F1, words="macro F1", axis="Macro F1 of validation", score=_score_macro_f1),
            Gain(
                key=names.VAL_LOSS,
                words="loss",
                axis="Validation loss",
                sign=-1,
                scale=LOGARITHM,
                score=_score_loss,
                in_result=True,
            ),
        )
    }
)
"""By key. To add one: its key in `GainKey`, its quantity in `names.GAINED`, and its scores here."""
ACCURACY: Final = GAINS[names.VAL_ACC]
