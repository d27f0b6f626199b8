"""Mixup and CutMix, against torchvision's."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot
from torchvision.transforms import v2

from orchestrator.config.models import DataConfig
from orchestrator.training.run.mixing import Mixing, blend, paste
from orchestrator.training.run.objective import TrainingObjective
from orchestrator.training.run.outcomes import Outcomes

IMAGES = torch.randn(5, 3, 10, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1, 0])


class Fixed:
    """Draws what it is told to."""

    def __init__(self, *values) -> None:
        self.values = list(values)

    def sample(self, *_):
        return torch.tensor([[self.values[0]]])

    def integers(self, _):
        return self.values.pop(0)


def mix_by_torchvision(kind, share, monkeypatch, *box):
    mix = kind(num_classes=3)
    mix._dist = Fixed(share)
    places = list(box)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([places.pop(0)]))
    return mix(IMAGES.clone(), LABELS)


def soft(share):
    return share * one_hot(LABELS, 3) + (1 - share) * one_hot(LABELS.roll(1), 3)


def test_images_and_labels_are_blended_as_torchvision_does(monkeypatch):
    expected, labels = mix_by_torchvision(v2.MixUp, 0.3, monkeypatch)
    mixed, share = blend(IMAGES, IMAGES.roll(1, 0), 0.3, None)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(soft(share), labels)


@pytest.mark.parametrize(("row", "column"), [(4, 4), (0, 7), (9, 0)])
def test_boxes_are_pasted_as_torchvision_does(monkeypatch, row, column):
    expected, labels = mix_by_torchvision(v2.CutMix, 0.6, monkeypatch, column, row)
    mixed, share = paste(IMAGES, IMAGES.roll(1, 0), 0.6, Fixed(row, column))
    assert torch.equal(mixed, expected)
    torch.testing.assert_close(soft(share), labels)
    assert not torch.equal(mixed, IMAGES)


def test_what_is_drawn_follows_from_seed_epoch_and_batch():
    mixing = Mixing(DataConfig(source="x", mixup=0.4, cutmix=1.0), 3)
    drawn = {(epoch, batch): mixing(IMAGES, epoch, batch) for epoch in range(4) for batch in range(8)}
    again = Mixing(DataConfig(source="x", mixup=0.4, cutmix=1.0), 3)(IMAGES, 2, 5)
    assert torch.equal(again[0], drawn[2, 5][0])
    shares = [share for _, share in drawn.values()]
    assert len(set(shares)) > 25
    pasted = sum(bool(torch.isin(images, IMAGES).all()) for images, _ in drawn.values())
    assert 6 <= pasted <= 26  # each kind in half of the 32 batches
    assert not Mixing(DataConfig(source="x"), 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_mixed_labels_is_that_of_soft_targets(smoothing):
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    loss, losses = TrainingObjective(smoothing)(logits, LABELS, LABELS.roll(1), 0.7)
    expected = cross_entropy(logits, soft(0.7), label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(losses.mean(), expected)


def test_weights_are_mixed_with_their_labels():
    """Of two images, classes 0 and 1 with weights 1 and 3, each keeps 0.75: 0.75*1 + 0.25*3 = 1.5, and 2.5."""
    logits, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    loss, _ = TrainingObjective(class_weights=[1.0, 3.0])(logits, labels, labels.roll(1), 0.75)
    right, wrong = -torch.tensor([1.0, 0.0]).log_softmax(0)
    by_hand = (0.75 * right + 0.25 * 3 * wrong) + (0.75 * 3 * wrong + 0.25 * right)
    assert loss.item() == pytest.approx(by_hand.item() / (1.5 + 2.5))


def test_a_mixed_image_is_right_by_the_share_of_the_class_that_was_predicted():
    """Predicted 0, 1 and 2 of images that are 0 (and 2), 0 (and 1), 1 (and 0): 0.7, 0.3 and 0, in the mean 1/3."""
    outcomes = Outcomes(3)
    labels = torch.tensor([0, 0, 1])
    outcomes.add(torch.zeros(3), torch.eye(3), labels, torch.tensor([2, 1, 0]), 0.7)
    assert outcomes.accuracy() == pytest.approx((0.7 + 0.3 + 0.0) / 3)
