"""Learning-rate schedules: those of torch, and how a file names them."""

import pytest
import torch
from torch.optim import lr_scheduler

from orchestrator.config import load_experiment
from orchestrator.config.models import TrainerConfig
from orchestrator.config.optimizers import OPTIMIZERS
from orchestrator.config.schedules import ConstantSchedule, CosineSchedule, StepSchedule

FILE = """
defaults:
  trainer: {schedule: {name: cosine, warmup_epochs: 3}}
experiments:
  a: {data: {source: synthetic}}
  b: {extends: a, trainer: {schedule: step}}
  c: {extends: a, trainer: {schedule: {warmup_epochs: 4}}}
"""
PER_EPOCH, EPOCHS = 5, 6


def follow(build) -> list[float]:
    """Return the learning rates of torch's schedule, from 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = build(optimizer), []
    for _ in range(PER_EPOCH * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def warm_up(optimizer):
    """Two epochs from a tenth to 1, and then a cosine over four."""
    rising = lr_scheduler.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=9)
    falling = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    return lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[10])


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")  # SequentialLR's own call
@pytest.mark.parametrize(
    ("schedule", "build"),
    [
        (ConstantSchedule(), lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0)),
        (CosineSchedule(), lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)),
        (CosineSchedule(warmup_epochs=2), warm_up),
        (StepSchedule(every_epochs=2, factor=0.5), lambda optimizer: lr_scheduler.StepLR(optimizer, 10, gamma=0.5)),
    ],
)
def test_a_schedule_is_torchs(schedule, build):
    scales = [schedule.scale(step, PER_EPOCH, EPOCHS) for step in range(PER_EPOCH * EPOCHS)]
    assert scales == pytest.approx(follow(build), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("a", [], CosineSchedule(warmup_epochs=3)),
        ("b", [], StepSchedule()),  # another one takes nothing over
        ("c", [], CosineSchedule(warmup_epochs=4)),
        ("b", ["trainer.schedule=cosine", "trainer.schedule.warmup_epochs=1"], CosineSchedule(warmup_epochs=1)),
        ("a", ["trainer.schedule=constant"], ConstantSchedule()),
    ],
)
def test_a_schedule_is_a_name_or_a_mapping_and_layers_merge(write, name, overrides, expected):
    assert load_experiment(name, write(FILE), overrides).trainer.schedule == expected


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("cosin", "trainer.schedule: must be one of constant, cosine, step; did you mean 'cosine'? ('cosin')"),
        ("{warmup_epochs: 2}", "trainer.schedule: needs a name: constant, cosine, step"),
        ("{name: cosine, warmup: 2}", "trainer.schedule.warmup: unknown key; did you mean 'warmup_epochs'?"),
        (
            "{name: step, rate: 2}",
            "trainer.schedule.rate: unknown key; known: name, every_epochs, factor",
        ),
        (
            "{name: cosine, warmup_epochs: -2}",
            "trainer.schedule.warmup_epochs: must be greater than or equal to 0 (-2)",
        ),
    ],
)
def test_a_wrong_schedule_is_a_mistake_at_its_place(mistakes, value, line):
    text = f"experiments:\n  a:\n    data: {{source: synthetic}}\n    trainer:\n      schedule: {value}\n"
    (found,) = mistakes(text)
    assert line in found
    assert found.startswith("e.yaml:5:")


RISES = "the learning rate would rise to the end and never fall; lower it, or raise trainer.max_epochs"
STAYS = "the learning rate would never fall; lower it, raise trainer.max_epochs, or set trainer.schedule to constant"


@pytest.mark.parametrize(
    ("schedule", "epochs", "field", "why"),
    [
        ("{name: cosine, warmup_epochs: 6}", 6, "warmup_epochs", f"{RISES} (6)"),
        ("{name: cosine, warmup_epochs: 9}", 6, "warmup_epochs", f"{RISES} (9)"),
        ("{name: step, every_epochs: 4}", 4, "every_epochs", f"{STAYS} (4)"),
        ("step", 9, "every_epochs", f"{STAYS} (10)"),  # by default
    ],
)
def test_a_schedule_that_its_run_ends_too_early_for_is_a_mistake(mistakes, schedule, epochs, field, why):
    text = "experiments:\n  a:\n    data: {source: synthetic}\n    trainer:\n"
    (found,) = mistakes(f"{text}      max_epochs: {epochs}\n      schedule: {schedule}\n")
    assert f"trainer.schedule.{field}: must be less than trainer.max_epochs, which is {epochs}: {why}" in found


@pytest.mark.parametrize("schedule", ["{name: cosine, warmup_epochs: 5}", "{name: step, every_epochs: 5}", "cosine"])
def test_a_schedule_that_changes_in_the_last_epoch_is_none(write, schedule):
    text = "experiments:\n  a:\n    data: {source: synthetic}\n    trainer: {max_epochs: 6, schedule: "
    trainer = load_experiment("a", write(f"{text}{schedule}}}\n")).trainer
    rates = {trainer.schedule.scale(step, 5, 6) for step in range(24, 30)}
    assert len(rates) > 1


def test_it_is_written_and_read_again_as_it_is():
    trainer = TrainerConfig(schedule={"name": "step", "factor": 0.5})
    assert TrainerConfig.model_validate_json(trainer.model_dump_json()) == trainer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_is_one_of_torch_with_its_arguments(name):
    kind = OPTIMIZERS[name]
    optimizer = getattr(torch.optim, kind.torch_name)([torch.zeros(2, requires_grad=True)], lr=0.1, **kind.arguments)
    assert kind.arguments.items() <= optimizer.param_groups[0].items()
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    (state,) = optimizer.state.values()
    assert state.keys() >= set(kind.late_state)
