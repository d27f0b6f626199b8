"""What became of the images of an epoch, against sums by hand."""

import math

import torch

from orchestrator.training.run.outcomes import Outcomes


def gather(*batches):
    outcomes = Outcomes(3)
    for losses, predicted, labels in batches:
        logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
        outcomes.add(torch.tensor(losses), logits, torch.tensor(labels))
    return outcomes


def test_a_mean_is_over_images_not_over_batches():
    outcomes = gather(([1.0, 2.0, 3.0], [0, 1, 2], [0, 1, 1]), ([10.0], [2], [2]))
    assert outcomes.mean_loss() == 4.0  # 16 / 4, and not (2 + 10) / 2
    assert outcomes.accuracy() == 0.75


def test_images_are_counted_by_true_and_predicted_class():
    outcomes = gather(([0.0] * 3, [0, 1, 2], [0, 1, 1]), ([0.0] * 2, [2, 2], [2, 0]))
    assert outcomes.confusion().tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 1]]


def test_an_accuracy_is_what_a_person_would_write():
    assert gather(([0.0] * 10, [0] * 10, [0] * 9 + [1])).accuracy() == 0.9


def test_a_loss_that_is_no_number_shows():
    assert math.isnan(gather(([1.0, math.nan], [0, 0], [0, 0])).mean_loss())


def test_logits_are_kept_in_the_order_in_which_they_came():
    outcomes = Outcomes(2, logits=True)
    for rows in ([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]):
        outcomes.add(torch.zeros(len(rows)), torch.tensor(rows, dtype=torch.bfloat16), torch.zeros(len(rows)))
    assert outcomes.logits().tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert outcomes.logits().dtype == torch.float32


def test_what_starts_anew_is_empty_and_leaves_what_was_there():
    first = Outcomes(2, logits=True)
    first.add(torch.tensor([8.0]), torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    second = first.start_anew()
    second.add(torch.tensor([2.0]), torch.tensor([[7.0, 8.0]]), torch.tensor([1]))
    assert (second.mean_loss(), second.accuracy(), second.logits().tolist()) == (2.0, 1.0, [[7.0, 8.0]])
    assert (first.mean_loss(), first.accuracy(), first.logits().tolist()) == (8.0, 0.0, [[1.0, 2.0]])


def test_no_gradient_is_held():
    losses, logits = torch.ones(2, requires_grad=True) * 2, torch.ones(2, 3, requires_grad=True) * 2
    outcomes = Outcomes(3)
    outcomes.add(losses, logits, torch.zeros(2, dtype=torch.int64))
    assert not any(tensor.requires_grad for tensor in (*outcomes._losses, *outcomes._predicted))
