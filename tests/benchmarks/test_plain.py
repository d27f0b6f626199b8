"""The plain script trains what it says: A and B make the same steps, and frozen blocks stay."""

import argparse

import torch
from torch import nn

from benchmarks.plain import Classifier

FROZEN = "stem+layer2"


def step(*, full_backward: bool) -> tuple[Classifier, dict[str, torch.Tensor], float]:
    """Make one step, and give the module, its network as it was, and the loss."""
    arguments = argparse.Namespace(lr=1e-3, batch_size=4, weights=None, full_backward=full_backward)
    torch.manual_seed(0)
    module = Classifier(FROZEN, 3, arguments)
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    module.train()
    optimizer = module.configure_optimizers()
    loss = nn.functional.cross_entropy(module.network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimizer.step()
    return module, before, float(loss.detach())


def test_both_make_the_same_step_and_only_one_computes_all_gradients():
    one, before, loss = step(full_backward=False)
    other, _, same = step(full_backward=True)
    assert loss == same
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name
        frozen = name.startswith(("conv1", "bn1", "layer2"))
        if frozen:
            assert torch.equal(value, before[name]), name
    assert one.network.conv1.weight.grad is None
    assert other.network.conv1.weight.grad is not None
    other.optimizer_zero_grad()
    assert other.network.conv1.weight.grad is None


def test_the_optimizer_knows_what_trains_only():
    module, _, _ = step(full_backward=True)
    # all but the stem (9,536) and layer2 (525,568) of 11,178,051
    assert module.trainable_params == 11_178_051 - 9_536 - 525_568
