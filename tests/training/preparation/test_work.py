"""What a run computes, against multiply-adds that are counted by hand as in `test_costs.py`."""

import pytest

from orchestrator.backbones import find_backbone
from orchestrator.config.models import CacheConfig, DataConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.preparation.work import estimate_work, list_boundaries
from orchestrator.training.reuse.plan import plan_prefixes
from tests.training.counted import CONV1, FORWARD, HEAD, LAYER1

SIZES = {"train": 10, "validation": 4, "test": 3}
ALL = "+".join(find_backbone("resnet18").blocks)
INTO_LAYER1 = LAYER1 // 4
"""The convolution that the activations of the stem feed: they need no gradient."""
INTO_LAYER2 = 28 * 28 * 128 * 64 * (9 + 1)
"""Two of them, one of 3 x 3 and one of 1 x 1 values."""


def work(frozen: tuple[str, ...], **cache: bool) -> dict[str, float]:
    """Two epochs of two seeds each, in 10^6 multiply-adds."""
    experiment = Experiment(
        name="small",
        data=DataConfig(source="synthetic", image_size=224),
        model=ModelConfig(weights="none", num_classes=3),
        trainer=TrainerConfig(max_epochs=2, accelerator="cpu", precision="32-true"),
        search=SearchConfig(mode="list", frozen=frozen, seeds=(0, 1)),
        cache=CacheConfig(**cache),
    )
    costs = measure_costs(experiment.model, 3, 224, experiment.frozen_sets)
    plans = plan_prefixes(experiment, 17)
    return {key: 1e3 * each / 2 for key, each in estimate_work(experiment, costs, plans, SIZES).items()}


def million(training: int, evaluation: int, once: float = 0.0) -> object:
    """20 images are trained on, 2 * 4 + 3 evaluated, and 17 go through what is computed once."""
    return pytest.approx((20 * training + 11 * evaluation + 17 * once) / 1e6, rel=1e-9)


def test_without_a_prefix_a_run_trains_and_evaluates_the_whole_network():
    assert work(("none", "layer4"))["none"] == million(3 * FORWARD - CONV1, FORWARD)


def test_what_is_kept_is_computed_once_for_its_seeds_on_from_the_boundary_before():
    behind_stem, behind_layer1 = FORWARD - CONV1, FORWARD - CONV1 - LAYER1
    assert work(("stem", "stem+layer1", ALL)) == {
        "stem": million(3 * behind_stem - INTO_LAYER1, behind_stem, CONV1 / 2),
        "stem+layer1": million(3 * behind_layer1 - INTO_LAYER2, behind_layer1, LAYER1 / 2),
        ALL: million(2 * HEAD, HEAD, (behind_layer1 - HEAD) / 2),
    }


def test_sets_that_begin_behind_the_same_boundary_share_what_it_takes():
    behind = FORWARD - CONV1 - LAYER1
    found = work(("stem+layer1", "stem+layer1+layer3"))
    assert found["stem+layer1"] == million(3 * behind - INTO_LAYER2, behind, (CONV1 + LAYER1) / 4)


def test_without_a_cache_each_run_computes_all_blocks():
    found = work(("stem", ALL), activations=False)
    behind_stem = FORWARD - CONV1
    assert found["stem"] == million(CONV1 + 3 * behind_stem - INTO_LAYER1, FORWARD)
    assert found[ALL] == million(FORWARD + HEAD, FORWARD)


def test_boundaries_lie_behind_each_prefix_that_is_kept():
    experiment = Experiment(
        name="small",
        data=DataConfig(source="synthetic", image_size=224),
        model=ModelConfig(weights="none", num_classes=3),
        trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
        search=SearchConfig(mode="list", frozen=(ALL, "layer1", "stem", "stem+layer1+layer3", "stem+layer2")),
    )
    assert list_boundaries(plan_prefixes(experiment, 17).values()) == (1, 2, 6)  # the pool follows the fifth block
    kept = {"cache": CacheConfig(activations=False)}
    assert list_boundaries(plan_prefixes(experiment.model_copy(update=kept), 17).values()) == ()
