"""What a training step asks of a GPU, seen on torch's `meta` device: nothing crosses over, nothing raises."""

import inspect
import re

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orchestrator.training.data.loading import load_data
from orchestrator.training.network.backbones import build_network
from orchestrator.training.run.module import FreezingModule
from tests.training.tiny import make_data, make_spec, parse

META = torch.device("meta")


class Watching(TorchDispatchMode):
    """Keeps the names of all operations, and of those that read from one device and write to another, or mix them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.crossing: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::").partition(".")[0]
        self.seen.add(name)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if len({tensor.device for tensor in tensors}) > 1 or name == "_local_scalar_dense":
            self.crossing.append(name)
        return result


@pytest.fixture
def epoch(narrow):
    """A network, its data and its optimizer on the device, ready to train an epoch of three batches."""

    def prepare(frozen="none"):
        spec = make_spec(frozen, accelerator="gpu", optimizer="sgd")
        module = FreezingModule(build_network(spec.model, 3, 0, parse(frozen)), spec, ("a", "b", "c"), print).to(META)
        module._graphed = None
        module.train()
        data = load_data(make_data()).to(META)
        trained = [parameter for parameter in module.network.parameters() if parameter.requires_grad]
        # its fused kernels know no device without memory; those of a GPU take the same tensors
        return module, data.batches("train", seed=0), torch.optim.SGD(trained, lr=0.1, momentum=0.9)

    return prepare


def train(module, batches, optimizer) -> Watching:
    watching = Watching()
    with watching:
        for batch in batches:
            loss = module.train_on(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return watching


def test_no_tensor_crosses_over_within_an_epoch(epoch):
    """The order of the epoch goes to the device once; labels and images lie there."""
    module, batches, optimizer = epoch()
    assert len(batches) == 3
    assert train(module, batches, optimizer).crossing == ["_to_copy"]


def test_crossing_is_seen():
    """The watch itself: an index on the CPU into images on the device, and a number that is fetched."""
    images, index = torch.zeros(4, 2, device=META), torch.tensor([1, 2])
    with Watching() as watching:
        images[index.to(META)]
        torch.ones(1).item()
    assert watching.crossing == ["_to_copy", "_local_scalar_dense"]


def test_what_lies_on_the_device_is_counted():
    data = load_data(make_data())
    assert data.resident_bytes == 0
    # 24 + 12 + 9 images of 3 x 32 x 32 bytes, and a label of 8 bytes each
    assert data.to(META).resident_bytes == 45 * (3 * 32 * 32 + 8)
    assert data.to(torch.device("cpu")) is data


def test_batches_on_the_device_are_those_of_the_cpu():
    data = load_data(make_data())
    images, labels = zip(*data.batches("train", seed=3), strict=True)
    order = data.batches("train", seed=3).batch_sampler
    assert [len(each) for each in labels] == [len(rows) for rows in order]
    for batch, label, rows in zip(images, labels, order, strict=True):
        assert torch.equal(batch, data.pixels["train"][torch.tensor(rows)])
        assert label.tolist() == data.images["train"].labels[rows].tolist()


# What torch names as raising in deterministic mode, on CUDA, and the operation that does it; none: not on CUDA, or not
# in the form that is used.
RAISES = {
    "torch.nn.AvgPool3d": {"avg_pool3d_backward"},
    "torch.nn.AdaptiveAvgPool2d": {"_adaptive_avg_pool2d_backward"},
    "torch.nn.AdaptiveAvgPool3d": {"_adaptive_avg_pool3d_backward"},
    "torch.nn.AdaptiveMaxPool2d": {"adaptive_max_pool2d_backward"},
    "torch.nn.FractionalMaxPool2d": {"fractional_max_pool2d_backward"},
    "torch.nn.FractionalMaxPool3d": {"fractional_max_pool3d_backward"},
    "torch.nn.MaxUnpool1d": {"max_unpool2d"},
    "torch.nn.MaxUnpool2d": {"max_unpool2d"},
    "torch.nn.MaxUnpool3d": {"max_unpool3d"},
    "torch.nn.functional.interpolate": {
        "upsample_linear1d_backward",
        "upsample_bilinear2d_backward",
        "upsample_bicubic2d_backward",
        "upsample_trilinear3d_backward",
    },
    "torch.nn.ReflectionPad1d": {"reflection_pad1d_backward"},
    "torch.nn.ReflectionPad2d": {"reflection_pad2d_backward"},
    "torch.nn.ReflectionPad3d": {"reflection_pad3d_backward"},
    "torch.nn.NLLLoss": {"nll_loss2d_forward", "nll_loss2d_backward"},  # Source: ATen/native/cuda/NLLLoss2d.cu
    "torch.nn.CTCLoss": {"_ctc_loss_backward"},
    "torch.nn.Embedding": set(),  # MPS
    "torch.nn.EmbeddingBag": {"_embedding_bag_dense_backward"},
    "torch.nn.MaxPool2d": set(),  # MPS
    "torch.nn.MaxPool3d": set(),  # MPS
    "torch.Tensor.put_": {"put_", "put"},
    "torch.Tensor.scatter_reduce": {"scatter_reduce", "scatter_reduce_"},
    "torch.Tensor.index_put": set(),  # MPS
    "torch.Tensor.index_reduce": set(),  # MPS
    "torch.Tensor.resize_": set(),  # quantized
    "torch.histc": {"histc"},
    "torch.bincount": {"bincount"},
    "torch.median": {"median"},
    "torch.kthvalue": set(),  # MPS
    "torch.nn.functional.grid_sample": {"grid_sampler_2d_backward", "grid_sampler_3d_backward"},
}


def test_the_list_of_what_raises_in_deterministic_mode_is_torchs():
    text = inspect.getdoc(torch.use_deterministic_algorithms)
    _, _, listed = text.partition("will throw a\n:class:`RuntimeError` when ``mode=True``:")
    listed, _, _ = listed.partition("In addition, several operations fill")
    named = set(re.findall(r":(?:class|func):`(torch\.[\w.]+)`", listed))
    assert named, "torch words its documentation otherwise"
    assert named == RAISES.keys()


@pytest.mark.parametrize("frozen", ["none", "stem+layer2", "stem+layer1+layer2+layer3+layer4"])
def test_no_operation_of_a_training_step_raises_in_deterministic_mode(epoch, frozen):
    seen = train(*epoch(frozen)).seen
    assert {"convolution", "convolution_backward", "max_pool2d_with_indices", "addmm", "nll_loss_forward"} - seen <= (
        {"convolution_backward"} if "layer4" in frozen else set()
    )
    assert not seen & set().union(*RAISES.values())


def test_the_pooling_of_another_size_would_raise():
    """The watch itself: pooled to one pixel, as in a ResNet, the mean is taken; to two it would raise on a GPU."""
    with Watching() as one, torch.device(META):
        nn.AdaptiveAvgPool2d(1)(torch.zeros(1, 2, 4, 4, requires_grad=True)).sum().backward()
    with Watching() as two, torch.device(META):
        nn.AdaptiveAvgPool2d(2)(torch.zeros(1, 2, 4, 4, requires_grad=True)).sum().backward()
    assert not one.seen & RAISES["torch.nn.AdaptiveAvgPool2d"]
    assert two.seen & RAISES["torch.nn.AdaptiveAvgPool2d"]
