"""Studies of blocks that train in part, read back through plain Optuna."""

import pytest
from optuna.distributions import CategoricalDistribution

from orchestrator.blocks import FrozenSet, Tuning, all_sets, prefix_sets
from orchestrator.config.models import SearchConfig
from orchestrator.errors import ConfigError
from orchestrator.records.facts import Cost
from orchestrator.search import OptunaSearch
from orchestrator.search.plan import plan_choices
from orchestrator.search.space import Space, declare_sets
from tests.factories import PREFIXES, RESNET18, make_cost, make_experiment, make_result, make_run
from tests.search.studies import read_back

TUNINGS = ("full", "norm", "lora-4")
VALUES = tuple(map(Tuning.parse, TUNINGS))
REST = "layer1:norm+layer2:norm+layer3:norm+layer4:norm"
COSTS = {frozen: make_cost("none") if frozen.tuned else make_cost(frozen.key) for frozen in all_sets(RESNET18, VALUES)}


def make(name="demo", **search):
    return make_experiment(name, search=SearchConfig(**search))


def finish(search, proposal):
    result = make_result(proposal.choice.frozen.key, 0.5, 0, trainable_params=10)
    search.tell(proposal.number, [make_run(proposal.number, proposal.choice.frozen.key, 0, result=result)])


def test_a_plan_has_each_prefix_with_each_tuning_and_the_head_once(root):
    experiment = make(tunings=TUNINGS)
    choices, left_out = plan_choices(experiment, COSTS)
    assert left_out == ()
    assert sorted(choice.frozen.key for choice in choices) == sorted(
        [
            *PREFIXES,
            *(frozen.key for tuning in VALUES[1:] for frozen in prefix_sets(RESNET18, [tuning])[:5]),
        ]
    )
    assert len(choices) == 5 * 3 + 1
    depths = [choice.frozen.prefix_length(RESNET18) for choice in choices]
    assert depths == sorted(depths)  # those that share what is kept follow each other


def test_the_points_of_a_study_are_the_keys(root):
    search = OptunaSearch(root, make(tunings=TUNINGS), COSTS)
    keys = []
    while (proposal := search.propose()) is not None:
        keys.append(proposal.choice.frozen.key)
        finish(search, proposal)
    trials = read_back(root).get_trials()
    assert [trial.params for trial in trials] == [{"frozen": key} for key in keys]
    assert f"stem+{REST}" in keys
    assert [trial.frozen for trial in search.trials()] == keys
    # begun again it is finished, and what all of its points are called is the same
    assert OptunaSearch(root, make(tunings=TUNINGS[::-1]), COSTS).planned() == []


def test_without_tunings_a_study_declares_what_it_did():
    declared = declare_sets(make(), None)
    assert declared == all_sets(RESNET18)
    experiment = make(mode="subset", encoding="per_block")
    space = Space(experiment).distributions(declared)
    assert space == {f"freeze_{block}": CategoricalDistribution([False, True]) for block in RESNET18}


def test_more_tunings_are_another_study(root):
    search = OptunaSearch(root, make(tunings=TUNINGS), COSTS)
    finish(search, search.propose())
    with pytest.raises(ConfigError, match="cannot change") as caught:
        OptunaSearch(root, make(tunings=(*TUNINGS, "bias")), {**COSTS, **bias_costs()})
    assert "name the experiment otherwise" in caught.value.hint


def bias_costs() -> dict[FrozenSet, Cost]:
    return {frozen: make_cost("none") for frozen in prefix_sets(RESNET18, [Tuning.parse("bias")])}


@pytest.mark.parametrize("encoding", ["categorical", "per_block"])
def test_a_sampler_chooses_among_all_sets_of_three_states(root, encoding):
    # 1024 sets in all are more than a sampler has to choose from a few blocks for
    experiment = make(mode="subset", encoding=encoding, tunings=TUNINGS, sampler="random", n_trials=12)
    search = OptunaSearch(root, experiment, COSTS)
    found = set()
    while (proposal := search.propose()) is not None:
        found.add(proposal.choice.frozen)
        if proposal.repeats is None:
            finish(search, proposal)
    assert len({str(frozen.tuning(block)) for frozen in found for block in RESNET18}) == 4
    for trial in read_back(root).get_trials():
        frozen = FrozenSet.parse(trial.user_attrs["choice"]["frozen"])
        does = {f"tune_{block}": str(frozen.tuning(block)) for block in RESNET18}
        assert trial.params == (does if encoding == "per_block" else {"frozen": frozen.key})
