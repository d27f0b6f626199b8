"""What training minimises, against torch's own loss."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.config.models import TrainerConfig
from orchestrator.training.run.objective import TrainingObjective, build_objective

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
WEIGHTS = [7 / (3 * 4), 7 / (3 * 2), 7 / (3 * 1)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_loss_of_a_batch_is_torchs(smoothing, weights):
    config = TrainerConfig(label_smoothing=smoothing, class_weights="none" if weights is None else "balanced")
    loss, losses = build_objective(config, LABELS.tolist(), 3)(LOGITS, LABELS)
    given = None if weights is None else torch.tensor(weights)
    expected = cross_entropy(LOGITS, LABELS, weight=given, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    # the weights of all images add up to their number: over an epoch both means are the same
    torch.testing.assert_close(losses.mean(), expected)


def test_a_label_is_smoothed_by_hand():
    """Of a smoothing of 0.3 over three classes the label keeps 0.8, and the others have 0.1 each."""
    _, losses = TrainingObjective(label_smoothing=0.3)(LOGITS[:1], LABELS[:1])
    logs = LOGITS[0].log_softmax(0)
    assert losses.item() == pytest.approx(-(0.8 * logs[0] + 0.1 * logs[1] + 0.1 * logs[2]).item())


def test_it_adds_nothing_to_a_checkpoint():
    assert build_objective(TrainerConfig(class_weights="balanced"), [0, 1], 2).state_dict() == {}
