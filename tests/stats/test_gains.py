"""Gains against scikit-learn, and what they vary by against a bootstrap."""

import numpy as np
import pytest
from sklearn import metrics

from orchestrator.stats.gains import GAINS

NAIVE = {
    "val_acc": lambda logits, labels: metrics.accuracy_score(labels, logits.argmax(axis=1)),
    "balanced_accuracy": lambda logits, labels: metrics.balanced_accuracy_score(labels, logits.argmax(axis=1)),
    "macro_f1": lambda logits, labels: metrics.f1_score(labels, logits.argmax(axis=1), average="macro"),
    "val_loss": lambda logits, labels: metrics.log_loss(
        labels,
        np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True),
        labels=range(logits.shape[1]),
    ),
}


def draw(images: int, *, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of classes of unequal size, of which some are harder than others."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = rng.choice(classes, size=images, p=shares)
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels] * (1 + labels[:, None] / 2)
    return logits.astype(np.float32), labels


def test_there_is_a_naive_definition_of_each():
    assert set(NAIVE) == set(GAINS)


@pytest.mark.parametrize("key", GAINS)
@pytest.mark.parametrize("seed", range(3))
def test_the_mean_of_the_scores_is_the_gain(key, seed):
    gain, (logits, labels) = GAINS[key], draw(90, seed=seed)
    scores = gain.score(logits, labels)
    assert scores.shape == (90,)
    assert gain.orient(float(scores.mean())) == pytest.approx(NAIVE[key](logits, labels), abs=1e-6)


@pytest.mark.parametrize("key", ["balanced_accuracy", "macro_f1"])
def test_classes_without_images_count_as_in_scikit_learn(key):
    logits, labels = draw(60)
    logits[labels == 1, 1] = 9.0
    logits[:, 3] = -9.0  # never predicted, and there are images of it: recall and F1 of 0
    logits[0, 2] = 20.0
    found = GAINS[key].score(logits, labels).mean()
    assert found == pytest.approx(NAIVE[key](logits, labels))
    absent = labels[labels != 2]  # predicted once, without an image
    assert (logits[labels != 2].argmax(axis=1) == 2).any()
    with np.errstate(all="raise"):
        found = GAINS[key].score(logits[labels != 2], absent).mean()
    if key == "macro_f1":
        assert found == pytest.approx(NAIVE[key](logits[labels != 2], absent))
    else:
        recalls = [np.mean(logits[labels == each].argmax(axis=1) == each) for each in (0, 1, 3)]
        assert found == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("key", GAINS)
def test_scores_vary_as_a_bootstrap_says(key):
    logits, labels = draw(400, seed=5)
    rng = np.random.default_rng(0)
    picked = rng.integers(400, size=(300, 400))
    drawn = [NAIVE[key](logits[each], labels[each]) for each in picked]
    # the standard deviation of 300 draws is known to 4 %: three times that, and the second order of a ratio
    error = GAINS[key].score(logits, labels).std() / np.sqrt(400)
    assert error == pytest.approx(np.std(drawn), rel=0.15)


def test_a_sure_and_right_network_has_no_loss():
    scores = GAINS["val_loss"].score(np.array([[800.0, 0.0], [0.0, 800.0]], dtype=np.float32), np.array([0, 1]))
    assert scores.tolist() == [0.0, 0.0]
    wrong = GAINS["val_loss"].score(np.array([[800.0, 0.0]], dtype=np.float32), np.array([1]))
    assert wrong.tolist() == [-800.0]  # no overflow: log(exp(0) / (exp(0) + exp(800)))
