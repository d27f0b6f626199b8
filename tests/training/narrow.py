"""ResNet18 with a quarter of its channels, for tests of runs: 0.7 million parameters, and the same kinds of layers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from orchestrator.backbones import BACKBONES, find_backbone
from orchestrator.training.reuse import plan as prefix_plan

CHANNELS = 16


class NarrowResNet18(ResNet):
    """Built as `ResNet` builds itself, which knows of no other width."""

    def __init__(self, num_classes: int) -> None:
        nn.Module.__init__(self)
        self._norm_layer, self.groups, self.base_width, self.dilation = nn.BatchNorm2d, 1, 64, 1
        self.inplanes = CHANNELS
        self.conv1 = nn.Conv2d(3, CHANNELS, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(BasicBlock, CHANNELS, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * CHANNELS, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * CHANNELS, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * CHANNELS, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * CHANNELS, num_classes)


_get_real = torchvision.models.get_model
_RESNET18 = find_backbone("resnet18")


def _get_narrow(name: str, *, weights: None = None, num_classes: int = 1000) -> nn.Module:
    assert name == "resnet18"
    return NarrowResNet18(num_classes)


def narrow_networks() -> AbstractContextManager[None]:
    """Put the narrow network in the place of the real one."""
    return _use(_get_narrow)


def real_networks() -> AbstractContextManager[None]:
    """Put the real one back."""
    return _use(_get_real)


@contextmanager
def _use(get_model: Callable[..., nn.Module]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torchvision.models, "get_model", get_model)
        # what is known of files before torch is loaded
        known = _RESNET18 if get_model is _get_real else replace(_RESNET18, tensors=None)
        monkeypatch.setitem(BACKBONES._shipped, "resnet18", known)
        prefix_plan._count.cache_clear()  # it knows a network by its name
        yield
    prefix_plan._count.cache_clear()
