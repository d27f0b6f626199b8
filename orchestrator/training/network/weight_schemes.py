"""What publishers of weights call the tensors of networks that torchvision has, too.

To add a publisher or a family, add a `Scheme` to `SCHEMES`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Rule = tuple[str, str]
"""Pattern of the beginning of a name that torchvision gives, and what the publisher writes in its place.

`{n}` in the replacement is the number of group n, `{n-1}` one less, `{n//2}` its half.
"""

_NUMBER = re.compile(r"\{(\d)(-1|//2)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """The names of one publisher for one family of networks.

    Attributes:
        publisher: Who gives the names, for messages; empty: they are torchvision's own.
        rules: Tried in order; a name that none fits is unknown to the publisher.
        thirds: End of the names of tensors that the publisher keeps in three parts, and the names of these parts.
    """

    publisher: str = ""
    rules: Sequence[Rule] = ()
    thirds: tuple[str, tuple[str, str, str]] | None = None

    def sources(self, name: str) -> tuple[str, ...]:
        """Return what the publisher calls a tensor; several names are its parts, none: it is unknown there."""
        if not self.publisher:
            return (name,)
        for pattern, replacement in self.rules:
            if match := re.match(pattern, name):
                written = _NUMBER.sub(lambda number, match=match: _count(number, match), replacement)  # type: ignore[misc]
                whole = written + name[match.end() :]
                if self.thirds is not None and self.thirds[0] in whole:
                    return tuple(whole.replace(self.thirds[0], part) for part in self.thirds[1])
                return (whole,)
        return ()


def _count(number: re.Match[str], found: re.Match[str]) -> str:
    n = int(found[int(number[1])])
    return str({"-1": n - 1, "//2": n // 2}.get(number[2] or "", n))


_VIT_LAYER = r"encoder\.layers\.encoder_layer_(\d+)\."

TORCHVISION: Final = Scheme()
SCHEMES: Final = (
    TORCHVISION,
    Scheme(
        publisher="Hugging Face transformers (ResNet)",
        rules=(
            (r"conv1\.", "embedder.embedder.convolution."),
            (r"bn1\.", "embedder.embedder.normalization."),
            (r"layer(\d)\.(\d+)\.conv(\d)\.", "encoder.stages.{1-1}.layers.{2}.layer.{3-1}.convolution."),
            (r"layer(\d)\.(\d+)\.bn(\d)\.", "encoder.stages.{1-1}.layers.{2}.layer.{3-1}.normalization."),
            (r"layer(\d)\.(\d+)\.downsample\.0\.", "encoder.stages.{1-1}.layers.{2}.shortcut.convolution."),
            (r"layer(\d)\.(\d+)\.downsample\.1\.", "encoder.stages.{1-1}.layers.{2}.shortcut.normalization."),
        ),
    ),
    Scheme(
        publisher="timm (ViT)",
        rules=(
            (r"class_token$", "cls_token"),
            (r"encoder\.pos_embedding$", "pos_embed"),
            (r"conv_proj\.", "patch_embed.proj."),
            (_VIT_LAYER + r"ln_([12])\.", "blocks.{1}.norm{2}."),
            (_VIT_LAYER + r"self_attention\.in_proj_", "blocks.{1}.attn.qkv."),
            (_VIT_LAYER + r"self_attention\.out_proj\.", "blocks.{1}.attn.proj."),
            (_VIT_LAYER + r"mlp\.(?:0|linear_1)\.", "blocks.{1}.mlp.fc1."),
            (_VIT_LAYER + r"mlp\.(?:3|linear_2)\.", "blocks.{1}.mlp.fc2."),
            (r"encoder\.ln\.", "norm."),
        ),
    ),
    Scheme(
        publisher="Hugging Face transformers (ViT)",
        rules=(
            (r"class_token$", "embeddings.cls_token"),
            (r"encoder\.pos_embedding$", "embeddings.position_embeddings"),
            (r"conv_proj\.", "embeddings.patch_embeddings.projection."),
            (_VIT_LAYER + r"ln_1\.", "encoder.layer.{1}.layernorm_before."),
            (_VIT_LAYER + r"ln_2\.", "encoder.layer.{1}.layernorm_after."),
            (_VIT_LAYER + r"self_attention\.in_proj_", "encoder.layer.{1}.attention.attention.qkv."),
            (_VIT_LAYER + r"self_attention\.out_proj\.", "encoder.layer.{1}.attention.output.dense."),
            (_VIT_LAYER + r"mlp\.(?:0|linear_1)\.", "encoder.layer.{1}.intermediate.dense."),
            (_VIT_LAYER + r"mlp\.(?:3|linear_2)\.", "encoder.layer.{1}.output.dense."),
            (r"encoder\.ln\.", "layernorm."),
        ),
        thirds=("attention.qkv", ("attention.query", "attention.key", "attention.value")),
    ),
    Scheme(
        publisher="timm (ConvNeXt)",
        rules=(
            (r"features\.0\.([01])\.", "stem.{1}."),
            (r"features\.([246])\.([01])\.", "stages.{1//2}.downsample.{2}."),
            (r"features\.([1357])\.(\d+)\.block\.0\.", "stages.{1//2}.blocks.{2}.conv_dw."),
            (r"features\.([1357])\.(\d+)\.block\.2\.", "stages.{1//2}.blocks.{2}.norm."),
            (r"features\.([1357])\.(\d+)\.block\.3\.", "stages.{1//2}.blocks.{2}.mlp.fc1."),
            (r"features\.([1357])\.(\d+)\.block\.5\.", "stages.{1//2}.blocks.{2}.mlp.fc2."),
            (r"features\.([1357])\.(\d+)\.layer_scale$", "stages.{1//2}.blocks.{2}.gamma"),
            (r"classifier\.0\.", "head.norm."),
        ),
    ),
    Scheme(
        publisher="Hugging Face transformers (ConvNeXt)",
        rules=(
            (r"features\.0\.0\.", "embeddings.patch_embeddings."),
            (r"features\.0\.1\.", "embeddings.layernorm."),
            (r"features\.([246])\.([01])\.", "encoder.stages.{1//2}.downsampling_layer.{2}."),
            (r"features\.([1357])\.(\d+)\.block\.0\.", "encoder.stages.{1//2}.layers.{2}.dwconv."),
            (r"features\.([1357])\.(\d+)\.block\.2\.", "encoder.stages.{1//2}.layers.{2}.layernorm."),
            (r"features\.([1357])\.(\d+)\.block\.3\.", "encoder.stages.{1//2}.layers.{2}.pwconv1."),
            (r"features\.([1357])\.(\d+)\.block\.5\.", "encoder.stages.{1//2}.layers.{2}.pwconv2."),
            (r"features\.([1357])\.(\d+)\.layer_scale$", "encoder.stages.{1//2}.layers.{2}.layer_scale_parameter"),
            (r"classifier\.0\.", "layernorm."),
        ),
    ),
)
"""The names that are known, torchvision's first."""
