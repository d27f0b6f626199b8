"""Scores of each epoch, and the epoch that is chosen by them."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from orchestrator.storage.predictions import read_predictions
from orchestrator.training.run.scores import balanced_accuracy, macro_f1, score
from tests.training.run.resumed import train
from tests.training.tiny import make_spec, without_times

MONITORED = make_spec("stem+layer1+layer2+layer3", 2, max_epochs=6, patience=2, lr=0.02, monitor="macro_f1")


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (30,), generator=draw)  # of six classes two have no image, and one is never predicted
    predicted = torch.randint(0, 5, (30,), generator=draw)
    confusion = torch.from_numpy(confusion_matrix(labels, predicted, labels=range(6)))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(confusion) == pytest.approx(expected)
    assert macro_f1(confusion) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_scores_by_hand():
    """Of four images of class 0 three are right, of one of class 1 none: (3/4 + 0) / 2; F1 are 6/(4+4) and 0/(1+1)."""
    assert score(torch.tensor([[3, 1], [1, 0]])) == {"balanced_accuracy": 0.375, "macro_f1": 0.375}


@pytest.mark.usefixtures("narrow")
def test_a_run_keeps_and_waits_for_the_epoch_with_the_highest_score(tmp_path):
    result, seen = train(tmp_path / "alone", spec=MONITORED)
    scores = [epoch.measured["macro_f1"] for epoch in seen]
    best = scores.index(max(scores))
    losses = [epoch.val_loss for epoch in seen]
    assert best != losses.index(min(losses))  # else this shows nothing
    assert result.best_epoch == best
    assert result.epochs_run == min(best + 3, 6)  # patience
    assert result.measured == seen[best].measured
    found = read_predictions(tmp_path / "alone" / "predictions.npz")["validation"]
    predicted = found.logits.argmax(1)
    assert result.measured["macro_f1"] == pytest.approx(f1_score(found.labels, predicted, average="macro"))
    assert result.measured["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(found.labels, predicted))
    for until in range(2):
        assert train(tmp_path / "two", until=until, spec=MONITORED)[0] is None
    again, _ = train(tmp_path / "two", spec=MONITORED)
    assert without_times(again) == without_times(result)
