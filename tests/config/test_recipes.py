"""Values of a training that stand in a table: optimizers, class weights, samplers."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from orchestrator.config.class_weights import balance_classes
from orchestrator.config.optimizers import OPTIMIZERS, UNFIT
from orchestrator.config.samplers import draw_balanced

LABELS = np.repeat([0, 1, 3], [90, 9, 1])  # no image of class 2
FILE = "experiments:\n  a:\n    data: {{source: synthetic, {}}}\n    trainer: {{{}}}\n"


def test_every_optimizer_of_torch_is_one_of_ours_or_refused_with_a_reason():
    of_torch = {
        name.lower()
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    assert {kind.torch_name.lower() for kind in OPTIMIZERS.values()} == set(OPTIMIZERS)
    assert set(OPTIMIZERS) | set(UNFIT) == of_torch | {"muon"}  # which torch 2.11 may lack
    assert not set(OPTIMIZERS) & set(UNFIT)


@pytest.mark.parametrize("name", UNFIT)
def test_an_optimizer_that_cannot_train_here_is_refused_with_the_reason(mistakes, name):
    (found,) = mistakes(FILE.format("", f"optimizer: {name}"))
    assert f"trainer.optimizer: cannot be used: {UNFIT[name]}; choose one of adam, adamw, sgd, " in found
    assert f"('{name}')" in found


def test_classes_are_weighed_as_scikit_learn_does():
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=LABELS)
    weights = balance_classes([90, 9, 0, 1])
    assert weights[2] == 0
    assert [weights[label] for label in (0, 1, 3)] == pytest.approx(list(expected))
    assert sum(weights[label] for label in LABELS) == pytest.approx(100)


def test_a_balanced_epoch_has_each_class_as_often_and_repeats_images():
    """Of 10 000 draws each class has 3 333, with a standard deviation of 47."""
    rows = np.concatenate([draw_balanced(np.random.default_rng([0, epoch]), LABELS) for epoch in range(100)])
    assert len(rows) == 10_000
    counts = np.bincount(LABELS[rows], minlength=4)
    assert counts[2] == 0
    assert all(abs(counts[label] - 10_000 / 3) < 5 * 47 for label in (0, 1, 3))
    within = np.bincount(rows[LABELS[rows] == 1])[90:]  # 370 of each image of class 1, with a deviation of 18
    assert all(abs(count - counts[1] / 9) < 5 * 18 for count in within)
    assert (draw_balanced(np.random.default_rng([0, 3]), LABELS) == rows[300:400]).all()


def test_classes_are_balanced_once(mistakes):
    (found,) = mistakes(FILE.format("sampler: balanced", "class_weights: balanced"))
    assert found.startswith("e.yaml:4:")
    assert (
        "trainer.class_weights: does what data.sampler does, which is balanced: rare classes would count twice" in found
    )


@pytest.mark.parametrize(
    ("data", "trainer", "line"),
    [
        ("", "label_smoothing: 1", "trainer.label_smoothing: must be less than 1 (1)"),
        ("", "class_weights: even", "trainer.class_weights: must be one of none, balanced ('even')"),
        ("", "lr_decay: 0", "trainer.lr_decay: must be greater than 0 (0)"),
        ("", "lr_decay: 1.1", "trainer.lr_decay: must be less than or equal to 1 (1.1)"),
        ("", "ema: 1", "trainer.ema: must be less than 1 (1)"),
        ("sampler: even", "", "data.sampler: must be one of random, balanced ('even')"),
    ],
)
def test_a_wrong_value_is_a_mistake_at_its_place(mistakes, data, trainer, line):
    (found,) = mistakes(FILE.format(data, trainer))
    assert line in found
