"""The typed values of a network: what is trained, in which blocks, and what it starts from."""

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from orchestrator.backbones import HEAD, POOL, Backbone, find_backbone
from orchestrator.config.fields import BackboneName, Section
from orchestrator.discovery import Granularity

SWEEP_WEIGHTS: Final = "sweep:"
"""Begins a value of `model.weights` that names a sweep."""
SWEEP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
"""Name of a sweep: that of its experiment, or of an archived one."""
_BLOCK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NO_BLOCKS = frozenset({"none", POOL, HEAD})


class ModelConfig(Section):
    """The network and what it starts from."""

    backbone: BackboneName = "resnet18"
    """Architecture: a classification network of torchvision, `timm/<name>` (needs the extra `timm`), a function of
    yours as `package.module:function`, which is called with `num_classes`, or what an installed package adds."""
    granularity: Granularity = "stage"
    """What a block is: all units that give maps of one size (`stage`), or each of them (`unit`): residual blocks,
    encoder layers."""
    blocks: dict[str, tuple[str, ...]] | None = Field(default=None, min_length=1)
    """Blocks of your own, as paths of the modules and parameters of each; they must cover each parameter but the
    head's once. null: they are found."""
    weights: str = "IMAGENET1K_V1"
    """A torchvision weight name, `none`, the path of a state dict (`.pth`, `.pt`, `.safetensors`) or of a checkpoint
    that holds one (of a run, Lightning, MoCo, DINO and others), or `sweep:<experiment>`: the best network of that sweep
    under the same root. Prefixes, and the names that timm and transformers give, are recognised."""
    num_classes: int | None = Field(default=None, ge=2, le=100_000)
    """Outputs of the head; null: as many as the data set has classes."""
    frozen_batchnorm: Literal["eval", "track"] = "eval"
    """Blocks that do not train in full hold their BatchNorm statistics (`eval`), or these follow the data (`track`)."""

    @field_validator("weights")
    @classmethod
    def _sweep_has_a_name(cls, value: str) -> str:
        if value.startswith(SWEEP_WEIGHTS) and not SWEEP_NAME.fullmatch(value.removeprefix(SWEEP_WEIGHTS)):
            raise ValueError("must name an experiment after `sweep:`, such as sweep:demo-source")
        return value

    @field_validator("blocks")
    @classmethod
    def _blocks_have_names(cls, value: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        for name in value or ():
            if not _BLOCK_NAME.fullmatch(name) or name in _NO_BLOCKS:
                raise ValueError(f"{name!r} cannot name a block: take letters, digits, `.`, `_` and `-`")
        return value

    @property
    def network(self) -> Backbone:
        """What is known of the network. The first time that its blocks are asked for they may have to be found."""
        return find_backbone(self.backbone, self.granularity, self.blocks)

    @property
    def source_sweep(self) -> str | None:
        """The sweep whose best network the weights are; None where they come from elsewhere."""
        return self.weights.removeprefix(SWEEP_WEIGHTS) if self.weights.startswith(SWEEP_WEIGHTS) else None
