import pytest
import torch

from benchmarks import throughput
from benchmarks.bound import HEAD, StageSeconds, bound_sweep, bound_trial
from benchmarks.throughput import measure_stages
from benchmarks.workloads import BEANS, FROZEN_SETS, SplitSizes, Workload, frozen_keys, parse
from orchestrator.backbones import find_backbone
from orchestrator.training.kernels.convolutions import QuickConv2d

NAMES = (*find_backbone("resnet18").blocks, HEAD)
# forward 1 to 6 s an image by stage; training 10 to 60 with weights only, 100 to 600 with both, 1000 to 6000 with input
STAGES = {
    name: StageSeconds(forward=i, weights=10 * i, weights_and_input=100 * i, input=1000 * i)
    for i, name in enumerate(NAMES, start=1)
}
SIZES = SplitSizes(train=7, validation=5, test=3)
EPOCHS = 2


def test_nothing_frozen_trains_all_stages_and_has_no_prefix():
    bound = bound_trial(parse("none"), STAGES, SIZES, EPOCHS)
    forward = 1 + 2 + 3 + 4 + 5 + 6
    assert bound.prefix == 0
    assert bound.training == 2 * 7 * (10 + 200 + 300 + 400 + 500 + 600)  # the stem has no gradient of its input
    assert bound.validation == 2 * 5 * forward
    assert bound.test == 3 * forward
    assert bound.seconds == bound.training + bound.validation + bound.test


def test_a_prefix_is_passed_once_by_all_images():
    bound = bound_trial(parse("stem+layer1"), STAGES, SIZES, EPOCHS)
    assert bound.prefix == (7 + 5 + 3) * (1 + 2)
    assert bound.training == 2 * 7 * (30 + 400 + 500 + 600)
    assert bound.validation == 2 * 5 * (3 + 4 + 5 + 6)
    assert bound.test == 3 * (3 + 4 + 5 + 6)


def test_a_block_frozen_in_the_middle_lets_gradients_through_and_is_computed_each_epoch():
    bound = bound_trial(parse("stem+layer2"), STAGES, SIZES, EPOCHS)
    assert bound.prefix == 15 * 1
    assert bound.training == 2 * 7 * (20 + 3000 + 400 + 500 + 600)
    assert bound.validation == 2 * 5 * (2 + 3 + 4 + 5 + 6)


def test_a_head_alone_is_all_prefix():
    bound = bound_trial(parse("+".join(find_backbone("resnet18").blocks)), STAGES, SIZES, EPOCHS)
    assert bound.prefix == 15 * (1 + 2 + 3 + 4 + 5)
    assert bound.training == 2 * 7 * 60
    assert (bound.validation, bound.test) == (2 * 5 * 6, 3 * 6)


def test_a_sweep_passes_the_deepest_prefix_once():
    frozen = [parse(key) for key in ("none", "stem", "stem+layer1")]
    trials = [bound_trial(each, STAGES, SIZES, EPOCHS) for each in frozen]
    sweep = bound_sweep(frozen, STAGES, SIZES, EPOCHS)
    assert sweep.prefix == 15 * (1 + 2)
    assert sweep.seconds == 15 * 3 + sum(trial.seconds - trial.prefix for trial in trials)


def test_the_workloads_are_six_prefixes_all_sets_and_the_head():
    assert {name: len(sets) for name, sets in FROZEN_SETS.items()} == {"prefixes": 6, "subsets": 32, "head": 1}
    assert frozen_keys("own", ["layer1+stem", "stem+layer1", "none"]) == ("stem+layer1", "none")
    assert BEANS.total == 1034 + 133 + 128
    assert BEANS.times(2) == SplitSizes(2068, 266, 256)


def test_of_two_measurements_the_faster_one_counts_pass_by_pass():
    one = StageSeconds(forward=1, weights=5, weights_and_input=3, input=9)
    other = StageSeconds(forward=2, weights=4, weights_and_input=6, input=8)
    assert one.faster(other) == StageSeconds(forward=1, weights=4, weights_and_input=3, input=8)


@pytest.mark.parametrize(("accelerator", "quick"), [("cpu", {"layer2", "layer3", "layer4"}), ("gpu", set())])
def test_a_stage_counts_as_this_project_computes_it_where_that_is_faster(monkeypatch, accelerator, quick):
    def seconds(call, *_rest):
        return 4 * (1.0 if any(isinstance(module, QuickConv2d) for module in call.args[0].modules()) else 2.0)

    monkeypatch.setattr(throughput, "_median_seconds", seconds)
    monkeypatch.setattr(torch, "device", lambda _: "cpu")  # the rule is that of the accelerator
    workload = Workload(name="x", frozen=("none",), image_size=64, batch_size=4, accelerator=accelerator, threads=1)
    stages = measure_stages(workload, 3, repeats=1)
    assert {name: stage.weights for name, stage in stages.items()} == {
        name: 1.0 if name in quick else 2.0 for name in NAMES
    }


def test_what_processes_compute_at_the_same_time_adds_up():
    one = StageSeconds(forward=2, weights=4, weights_and_input=6, input=8)
    other = StageSeconds(forward=2, weights=4, weights_and_input=3, input=8)
    assert StageSeconds.at_the_same_time([one, other]) == StageSeconds(
        forward=1, weights=2, weights_and_input=2, input=4
    )


def test_several_processes_of_one_thread_count_where_they_are_faster(monkeypatch):
    """They really run, and load for a while; only what they measured is replaced."""
    workload = Workload(name="x", frozen=("none",), image_size=32, batch_size=4, threads=2)
    apart = throughput._measure_apart(workload, 3, 1, processes=2)
    assert tuple(apart) == NAMES
    fast = StageSeconds(forward=1e-9, weights=1e-9, weights_and_input=1e-9, input=1e-9)
    slow = StageSeconds(forward=1e9, weights=1e9, weights_and_input=1e9, input=1e9)
    monkeypatch.setattr(throughput, "_measure_apart", lambda *_, **__: apart | {"stem": fast, "head": slow})
    stages = measure_stages(workload, 3, repeats=1)
    assert stages["stem"] == fast
    assert 0 < stages["head"].forward < 1e9


def test_each_stage_is_measured_in_network_order():
    threads = torch.get_num_threads()
    stages = measure_stages(Workload(name="x", frozen=("none",), image_size=32, batch_size=4, threads=1), 3, repeats=1)
    assert tuple(stages) == NAMES
    assert all(seconds > 0 for stage in stages.values() for seconds in (stage.forward, stage.weights, stage.input))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("trains", "needs_input", "expected"), [(False, False, 1), (True, False, 10), (False, True, 1000)]
)
def test_a_stage_computes_only_the_gradients_that_are_needed(trains, needs_input, expected):
    assert STAGES["stem"].training(trains=trains, needs_input=needs_input) == expected
