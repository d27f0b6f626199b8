"""CUDA graphs of a training step, without a GPU: what is captured, when it is used, and what becomes of a failure."""

import pytest
import torch
from torch import nn

from orchestrator.training.kernels.graphs import GraphedParts


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())


@pytest.fixture
def captures(monkeypatch):
    """Capture as torch does: some passes to warm up, then a callable for one shape that says when it is used."""
    made = []

    def capture(chain, sample, capture_error_mode):
        for _ in range(3):
            chain(*sample)
        made.append([])

        def replay(value):
            assert value.shape == sample[0].shape
            made[-1].append(len(value))
            return chain(value)

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    return made


def batches(*sizes):
    torch.manual_seed(1)
    return [torch.randn(size, 3, 8, 8) for size in sizes]


def run(parts, call, *sizes):
    """Give the outputs of training passes, and the BatchNorm statistics after them."""
    outputs = [call(batch).detach().clone() for batch in batches(*sizes)]
    return outputs, parts[1].running_mean.clone(), int(parts[1].num_batches_tracked)


def test_the_graph_serves_full_batches_and_the_smaller_one_goes_without(parts, captures):
    run(parts, GraphedParts(parts, "32-true"), 4, 4, 3, 4)
    assert captures == [[4, 4, 4]]


def test_outputs_and_statistics_are_those_of_the_parts(parts, captures):
    def plain(value):
        for part in parts:
            value = part(value)
        return value

    before = {name: tensor.clone() for name, tensor in parts[1].state_dict().items()}
    expected = run(parts, plain, 4, 4, 3)
    parts[1].load_state_dict(before)
    found = run(parts, GraphedParts(parts, "32-true"), 4, 4, 3)
    assert all(torch.equal(one, two) for one, two in zip(expected[0], found[0], strict=True))
    assert torch.equal(expected[1], found[1])
    assert expected[2] == found[2] == 3


def test_a_capture_that_fails_is_said_once_and_the_parts_go_on(parts, captures, monkeypatch, caplog):
    def fail(chain, sample, capture_error_mode):
        chain(*sample)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fail)
    _, _, passes = run(parts, GraphedParts(parts, "32-true"), 4, 4)
    assert passes == 2
    (record,) = caplog.records
    assert "without CUDA graphs, more slowly: operation not permitted" in record.message


def test_gradients_reach_the_weights_through_it(parts, captures):
    (batch,) = batches(4)
    GraphedParts(parts, "32-true")(batch).sum().backward()
    assert parts[0].weight.grad is not None
