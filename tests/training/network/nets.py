"""Networks of the tests' own, which the configuration names by their path."""

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer


def build_plain(num_classes: int) -> nn.Module:
    """Three convolutions in a row, the second half as large as the first, and a head."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


def build_hidden(num_classes: int) -> nn.Module:
    """Maps of three sizes, then a small linear layer before the head."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.Conv2d(64, 64, 3, stride=2),
        nn.Conv2d(64, 8, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
        nn.Linear(4, num_classes),
    )


class Bridged(nn.Module):
    """The image goes past the second convolution: its input alone does not decide the logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(4, 1, 1))
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.third = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        value = self.second(self.first(images) + self.offset) + images.mean()
        out: Tensor = self.head(self.third(value).mean(dim=(2, 3)))
        return out


def build_bridged(num_classes: int) -> nn.Module:
    return Bridged(num_classes)


def build_transformer(num_classes: int) -> nn.Module:
    """Eight layers between tokens of 16 pixels and a head; a token of no module leads to it."""
    return VisionTransformer(
        image_size=64, patch_size=16, num_layers=8, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=num_classes
    )


def build_wrong(num_classes: int) -> nn.Module:
    """It has one class too many."""
    return build_plain(num_classes + 1)


def build_nothing(num_classes: int) -> str:
    return str(num_classes)
