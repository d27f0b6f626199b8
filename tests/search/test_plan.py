"""The plan of a finite space, against lists written by hand and parameter counts of the table of blocks."""

from itertools import product

import pytest

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.errors import ConfigError
from orchestrator.search import plan_choices
from orchestrator.training.network.costs import measure_costs
from tests.factories import PREFIXES, RESNET18, count_trainable, make_cost, make_experiment
from tests.scored import SCORES
from tests.search.studies import COSTS

ALL_FROZEN = "+".join(RESNET18)
ALIKE = ("layer2", "layer3", "layer4")


def plan(**search):
    choices, left_out = plan_choices(make_experiment(search=SearchConfig(**search)), COSTS)
    return choices, left_out


def keys(**search):
    choices, _ = plan(**search)
    assert choices is not None
    return [choice.frozen.key for choice in choices]


def test_prefixes_are_visited_from_the_costliest_on():
    assert keys(mode="prefix") == [
        *("none", "stem", "stem+layer1", "stem+layer1+layer2", "stem+layer1+layer2+layer3", ALL_FROZEN)
    ]


def test_subsets_are_visited_each_once_those_with_a_common_frozen_prefix_together():
    every = {
        "+".join(block for block, frozen in zip(RESNET18, bits, strict=True) if frozen) or "none"
        for bits in product([False, True], repeat=5)
    }
    planned = keys(mode="subset")
    assert len(planned) == 32
    assert set(planned) == every
    # half of all sets leave the stem to train, half of the others layer1, and so on; everything frozen is the last
    for first_trainable, group in zip(RESNET18, (planned[:16], planned[16:24], planned[24:28]), strict=False):
        frozen_before = set(RESNET18[: RESNET18.index(first_trainable)])
        assert all(frozen_before <= set(key.split("+")) and first_trainable not in key.split("+") for key in group)
        costs = [COSTS[key].gflops_train_per_image for key in group]
        assert costs == sorted(costs, reverse=True)
    assert planned[-1] == ALL_FROZEN


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [
        # trainable: layer1 11_030_083, layer4 2_784_323; neither freezes the stem
        (("stem", "layer4", "layer1"), ["layer1", "layer4", "stem"]),
        (("layer1+stem", "stem+layer1", "layer4"), ["layer4", "stem+layer1"]),
        (("layer2",), ["layer2"]),
        (("layer4", "none"), ["none", "layer4"]),
    ],
)
def test_a_list_is_visited_by_prefix_and_cost(frozen, expected):
    assert keys(mode="list", frozen=frozen) == expected


def test_the_order_goes_by_cost_and_not_by_the_number_of_blocks():
    costs = {"layer4": make_cost("none"), "layer1+layer2": make_cost("layer4"), "layer1": make_cost("layer2")}
    experiment = make_experiment(search=SearchConfig(mode="list", frozen=tuple(costs)))
    choices, _ = plan_choices(experiment, costs)
    assert choices is not None
    assert [choice.frozen for choice in choices] == ["layer4", "layer1", "layer1+layer2"]


def test_of_equal_cost_what_freezes_less_of_the_gradient_comes_first():
    # a share of 9, 16 and 0 of 30; all three leave the stem to train, and here they cost the same
    costs = {"layer2": make_cost("none"), "layer3": make_cost("none"), "layer4": make_cost("none")}
    costs |= {"stem": make_cost("none"), "layer1": make_cost("stem")}  # another prefix; cheaper
    experiment = make_experiment(search=SearchConfig(mode="list", frozen=tuple(costs)))
    orders = [plan_choices(experiment, costs, scores)[0] for scores in (None, SCORES)]
    assert [[choice.frozen for choice in order or ()] for order in orders] == [
        ["layer2", "layer3", "layer4", "layer1", "stem"],
        ["layer4", "layer2", "layer3", "layer1", "stem"],
    ]


def test_blocks_of_a_resnet18_do_cost_the_same_so_the_scores_have_a_say():
    costs = measure_costs(ModelConfig(weights="none"), 3, 64, [FrozenSet.parse(key, order=RESNET18) for key in ALIKE])
    assert len({cost.gflops_train_per_image for cost in costs.values()}) == 1


def test_the_grid_of_further_dimensions_is_visited_whole():
    choices, _ = plan(
        mode="list",
        frozen=("none", "stem"),
        lr={"choices": (1e-3, 1e-2)},
        weight_decay={"choices": (0.0,)},
        batch_size={"choices": (8, 4)},
        optimizer={"choices": ("sgd", "adam")},
    )
    assert choices is not None
    points = [
        (c.frozen, c.hyperparameters.lr, c.hyperparameters.weight_decay, c.hyperparameters.batch_size,
         c.hyperparameters.optimizer)
        for c in choices
    ]  # fmt: skip
    assert points == list(product(("none", "stem"), (1e-3, 1e-2), (0.0,), (8, 4), ("sgd", "adam")))
    assert len(points) == 16  # 2 * 2 * 1 * 2 * 2


def test_what_is_not_searched_is_as_configured():
    experiment = make_experiment(
        data=DataConfig(source="synthetic", batch_size=7),
        trainer=TrainerConfig(lr=0.3, weight_decay=0.2, optimizer="sgd"),
        search=SearchConfig(lr={"choices": (0.1,)}),
    )
    choices, _ = plan_choices(experiment, COSTS)
    assert choices is not None
    assert choices[0].hyperparameters.model_dump() == {
        "lr": 0.1,
        "weight_decay": 0.2,
        "batch_size": 7,
        "optimizer": "sgd",
    }


@pytest.mark.parametrize(
    ("search", "points"),
    [
        ({"mode": "subset", "n_trials": 32}, 32),
        ({"mode": "subset", "n_trials": 31}, None),
        ({"mode": "subset", "n_trials": 1000}, 32),
        ({"mode": "subset", "n_trials": 63, "optimizer": {"choices": ("adam", "sgd")}}, None),
        ({"mode": "subset", "n_trials": 64, "optimizer": {"choices": ("adam", "sgd")}}, 64),
        ({"mode": "subset", "n_trials": 16, "max_trainable_params": 3_000_000}, 16),  # the half that freezes layer4
        ({"lr": {"range": {"low": 0.1, "high": 1.0}}, "n_trials": 1000}, None),
        ({"batch_size": {"range": {"low": 1, "high": 2}}, "n_trials": 1000}, None),
        ({"sampler": "tpe", "n_trials": 1000}, None),
        ({"sampler": "random", "n_trials": 6}, None),
    ],
)
def test_a_space_that_is_infinite_or_too_large_is_left_to_a_sampler(search, points):
    choices, _ = plan(**search)
    assert (None if choices is None else len(choices)) == points


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (11_178_051, 6),  # exactly what `none` trains
        (11_178_050, 5),
        (8_395_267, 2),  # exactly what is left without stem to layer3
        (8_395_266, 1),
        (1_539, 1),  # the head alone
    ],
)
def test_a_budget_leaves_out_what_trains_more(budget, left):
    choices, left_out = plan(max_trainable_params=budget)
    assert choices is not None
    assert {choice.frozen for choice in choices} == set(PREFIXES[6 - left :])
    assert left_out == PREFIXES[: 6 - left]
    assert all(count_trainable(key) > budget for key in left_out)


def test_a_budget_that_leaves_nothing_is_a_mistake():
    message = r"search\.max_trainable_params=1538 leaves no frozen set: the smallest trains 1,539 parameters"
    with pytest.raises(ConfigError, match=message) as caught:
        plan(max_trainable_params=1_538)
    assert caught.value.hint is not None
    assert "1539 at least" in caught.value.hint
