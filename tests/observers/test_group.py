"""Observers of a sweep, several as one."""

from orchestrator.observers.group import ObserverGroup
from tests.doubles.words import Words
from tests.factories import make_history, make_run_start


def test_what_the_user_should_hear_of_an_epoch_is_said_once_a_sweep():
    one, two = Words(), Words()
    group = ObserverGroup([one, two])
    noted = make_history()[0].model_copy(update={"notes": ("training steps run without CUDA graphs",)})
    for number in (3, 4):
        for epoch in (noted, make_history()[1]):
            group.on_epoch(make_run_start(number, "stem"), epoch)
    assert one.said == two.said == ["trial_003_stem_seed0: training steps run without CUDA graphs"]
