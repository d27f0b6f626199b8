"""PED-ANOVA's shares against Optuna asked directly."""

import optuna
import pytest

from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.errors import NotFoundError
from orchestrator.search import measure_importance
from tests.factories import PREFIXES, RESNET18, make_trial

EVERY = [frozen.key for frozen in all_sets(RESNET18)]


def make_trials(keys, accuracy):
    return [make_trial(number, key, accuracy(FrozenSet.parse(key, order=RESNET18))) for number, key in enumerate(keys)]


def say_accuracy(frozen):
    return 0.9 - 0.2 * ("layer4" in frozen) - 0.05 * ("layer2" in frozen) - 0.001 * len(frozen)


def test_shares_are_optunas():
    space = {block: optuna.distributions.CategoricalDistribution([False, True]) for block in RESNET18}
    study = optuna.create_study(direction="minimize")
    for frozen in all_sets(RESNET18):
        params = {block: block in frozen for block in RESNET18}
        study.add_trial(optuna.create_trial(value=-say_accuracy(frozen), params=params, distributions=space))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    found = measure_importance(make_trials(EVERY, say_accuracy), RESNET18)
    assert found == pytest.approx(expected)
    assert list(found) == list(RESNET18)
    assert sum(found.values()) == pytest.approx(1)
    assert sorted(found, key=found.__getitem__)[-2:] == ["layer2", "layer4"]


def test_the_order_of_trials_does_not_matter():
    trials = make_trials(EVERY, say_accuracy)
    assert measure_importance(trials[::-1], RESNET18) == pytest.approx(measure_importance(trials, RESNET18))


def test_a_block_that_no_trial_freezes_has_no_share():
    found = measure_importance(make_trials([key for key in EVERY if "stem" not in key] * 2, say_accuracy), RESNET18)
    assert list(found) == ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("keys", "accuracy", "reason"),
    [
        (PREFIXES, say_accuracy, "needs at least 17 complete trials, and there are 6"),
        (EVERY[:16], say_accuracy, "needs at least 17 complete trials, and there are 16"),
        (EVERY, lambda _: 0.9, "too many have the lowest accuracy"),
        # one of 32 is better: the best quarter would be all
        (EVERY, lambda frozen: 0.9 if len(frozen) == 0 else 0.8, "too many have the lowest accuracy"),
        (["stem"] * 20, None, "a block that not all trials freeze or tune alike"),
    ],
)
def test_without_an_answer_there_is_a_reason(keys, accuracy, reason):
    values = iter(range(100))
    trials = make_trials(keys, accuracy or (lambda _: next(values) / 100))
    with pytest.raises(NotFoundError, match=reason):
        measure_importance(trials, RESNET18)


def test_seventeen_trials_are_enough():
    assert set(measure_importance(make_trials(EVERY[:17], say_accuracy), RESNET18)) == set(RESNET18)
