"""Checkpoints as their publishers write them: the tensors must arrive as they were, by a rule that is said."""

import argparse
import re
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

from orchestrator.backbones import BACKBONES, Backbone
from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.training.network.weight_files import check_weight_file
from orchestrator.training.network.weights import load_weights


@pytest.fixture(scope="module")
def state():
    """The 120 tensors of a ResNet18 without its head, which has 2."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None, num_classes=2)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():  # BatchNorm begins with the same values everywhere
            tensor.copy_(torch.rand_like(tensor))
        assert tensor.ndim or name.endswith(".num_batches_tracked")
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}


def under(prefix: str, state: dict, more: dict | None = None) -> dict:
    return {**{f"{prefix}{name}": tensor for name, tensor in state.items()}, **(more or {})}


def other(state: dict) -> dict:
    """The same network with other values, such as one that follows it."""
    return {name: tensor + 1 for name, tensor in state.items()}


def linear(rows: int = 128, columns: int = 512) -> torch.Tensor:
    return torch.zeros(rows, columns)


def transformers_resnet(state: dict) -> dict:
    """Written down from the modules of `transformers.ResNetForImageClassification`."""
    named = {}
    for name, tensor in state.items():
        module, _, value = name.rpartition(".")
        part, number = re.fullmatch(r"(?:.*\.)?(conv|bn|downsample\.)(\d)", module).groups()
        if (layer := re.match(r"layer(\d)\.(\d)", module)) is None:
            place = "resnet.embedder.embedder"
        else:
            place = f"resnet.encoder.stages.{int(layer[1]) - 1}.layers.{layer[2]}"
            place += ".shortcut" if part == "downsample." else f".layer.{int(number) - 1}"
        kind = "normalization" if part == "bn" or (part, number) == ("downsample.", "1") else "convolution"
        named[f"{place}.{kind}.{value}"] = tensor
    return {**named, "classifier.1.weight": linear(1000), "classifier.1.bias": torch.zeros(1000)}


def no_counters(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


MOCO_HEADS = {"module.encoder_q.fc.0.weight": linear(512), "module.encoder_q.fc.2.weight": linear()}
MOCO = "120 of 122 tensors matched by stripping `module.encoder_q.`, in `state_dict`; 122 others in it are not used"
TRANSFORMERS = (
    "120 of 122 tensors matched by stripping `resnet.`, by the names of Hugging Face transformers (ResNet); "
    "2 others in it are not used"
)
CHECKPOINTS = {
    "DataParallel": (lambda s: under("module.", s), "120 of 122 tensors matched by stripping `module.`"),
    "compiled": (lambda s: under("_orig_mod.", s), "120 of 122 tensors matched by stripping `_orig_mod.`"),
    "nested": (lambda s: {"epoch": 3, "model": s}, "120 of 122 tensors matched in `model`"),
    "nested by a name of one's own": (lambda s: {"mine": s, "step": 1}, "120 of 122 tensors matched in `mine`"),
    "without counters": (lambda s: under("model.", no_counters(s)), "100 of 122 tensors matched by stripping `model.`"),
    "MoCo": (
        lambda s: {
            "epoch": 200,
            "arch": "resnet18",
            "state_dict": under("module.encoder_q.", s, MOCO_HEADS)
            | under("module.encoder_k.", other(s), {"module.queue": linear(), "module.queue_ptr": torch.tensor([3])}),
            "optimizer": {"state": {0: {"momentum_buffer": linear()}}, "param_groups": [{"lr": 0.1}]},
        },
        MOCO,
    ),
    "MoCo v3": (
        lambda s: {
            "state_dict": under("module.momentum_encoder.", other(s))
            | under("module.base_encoder.", s, {"module.base_encoder.fc.0.weight": linear()})
        },
        MOCO.replace("encoder_q", "base_encoder").replace("122 others", "120 others"),
    ),
    "DINO": (
        lambda s: {
            "student": under("module.backbone.", other(s), {"module.head.mlp.0.weight": linear()}),
            "teacher": under("backbone.", s, {"head.mlp.0.weight": linear(), "head.last_layer.weight_v": linear()}),
            "epoch": 100,
            "args": argparse.Namespace(arch="resnet18"),
            "dino_loss": {"center": torch.zeros(1, 8)},
        },
        "120 of 122 tensors matched by stripping `backbone.`, in `teacher`; 2 others in it are not used",
    ),
    "Barlow Twins": (
        lambda s: {"epoch": 3, "model": under("module.backbone.", s, {"module.projector.0.weight": linear(8192)})},
        "120 of 122 tensors matched by stripping `module.backbone.`, in `model`; 1 other in it is not used",
    ),
    "SwAV": (
        lambda s: under("module.", {**s, "projection_head.0.weight": linear(), "prototypes.weight": linear()}),
        "120 of 122 tensors matched by stripping `module.`",
    ),
    "moving average": (
        lambda s: {"state_dict": other(s), "state_dict_ema": s, "arch": "resnet18"},
        "120 of 122 tensors matched in `state_dict_ema`",
    ),
    "transformers": (transformers_resnet, TRANSFORMERS),
}  # fmt: skip


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_publishers_checkpoint_gives_its_tensors_and_says_by_which_rule(case, state, tmp_path):
    build, rule = CHECKPOINTS[case]
    path = tmp_path / "w.pth"
    torch.save(build(state), path)
    check_weight_file(path, "resnet18")
    weights = load_weights(ModelConfig(weights=str(path)))
    assert weights.notes == (f"{path}: {rule}; the head is new",)
    assert weights.state.keys() == state.keys()
    for name, tensor in weights.state.items():
        lost = case == "without counters" and name.endswith("num_batches_tracked")
        assert torch.equal(tensor, torch.zeros_like(tensor) if lost else state[name]), name


def test_safetensors_with_a_prefix_are_read_alike(state, tmp_path):
    save_file(transformers_resnet(state), tmp_path / "model.safetensors")
    loaded = load_weights(ModelConfig(weights=str(tmp_path / "model.safetensors"))).state
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


class Lit(pl.LightningModule):
    def __init__(self, folder: Path, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = torchvision.models.resnet18(weights=None, num_classes=2)
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(2))


def test_what_lightning_writes_is_read_and_its_objects_are_not_loaded(state, tmp_path):
    module = Lit(Path("here"))  # a path is an object, which torch.load(weights_only=True) refuses
    module.model.load_state_dict(state, strict=False)
    trainer = pl.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "last.ckpt", weights_only=True)
    weights = load_weights(ModelConfig(weights=str(tmp_path / "last.ckpt")))
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in state.items())
    rule = "120 of 122 tensors matched by stripping `model.`, in `state_dict`; 1 other in it is not used"
    assert weights.notes == (f"{tmp_path}/last.ckpt: {rule}; the head is new",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_beside_an_object_every_type_is_read_as_torch_would(dtype, state, tmp_path):
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save({"teacher": cast, "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    loaded = load_weights(ModelConfig(weights=str(tmp_path / "w.pth"))).state
    assert all(torch.equal(loaded[name], tensor.to(state[name].dtype)) for name, tensor in cast.items())


# What is refused


def refuse(value: object, path: Path) -> ConfigError:
    torch.save(value, path)
    with pytest.raises(ConfigError) as caught:
        check_weight_file(path, "resnet18")
    with pytest.raises(ConfigError) as loading:
        load_weights(ModelConfig(weights=str(path)))
    assert loading.value.message == caught.value.message
    return caught.value


def test_more_than_the_head_may_not_be_missing(state, tmp_path):
    part = {name: tensor for name, tensor in state.items() if not name.startswith(("conv1.", "layer4.1.bn2.bias"))}
    error = refuse({"state_dict": under("module.encoder_q.", part)}, tmp_path / "w.pth")
    assert "w.pth does not fit resnet18 (by stripping `module.encoder_q.`, in `state_dict`): 2 missing keys" in str(
        error
    )
    assert "conv1.weight, layer4.1.bn2.bias" in error.message


def test_a_deeper_network_that_holds_all_tensors_is_another(tmp_path):
    deeper = torchvision.models.resnet34(weights=None).state_dict()
    error = refuse(under("module.", deeper), tmp_path / "w.pth")
    assert "unexpected keys: layer1.2.conv1.weight" in error.message
    mixed = {"module": deeper}
    assert "(in `module`): " in refuse(mixed, tmp_path / "w.pth").message


def test_a_hint_does_not_name_the_network_that_is_configured(state, tmp_path):
    error = refuse(dict(state) | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "w.pth")
    assert "conv1.weight is (64, 1, 7, 7) instead of (64, 3, 7, 7)" in error.message
    assert "set model.backbone" not in error.hint


def test_two_networks_are_not_chosen_from(state, tmp_path):
    error = refuse(under("left.", state) | under("right.", other(state)), tmp_path / "w.pth")
    assert "w.pth holds 2 networks that are a resnet18: by stripping `left.`; by stripping `right.`" in error.message
    assert error.hint.startswith("save the state dict of the one that is meant")


def test_wrong_values_are_looked_for_where_the_network_is(state, tmp_path):
    broken = dict(state) | {"bn1.bias": torch.full((64,), torch.nan)}
    refused = refuse({"teacher": broken, "dino_loss": {"center": torch.zeros(2)}}, tmp_path / "w.pth")
    assert "1 tensors with values that are NaN or infinite: bn1.bias (64)" in refused.message
    beside = under("encoder.", state, {"queue_ptr": torch.tensor([2]), "loss.scale": torch.tensor([torch.inf])})
    torch.save(beside, tmp_path / "fine.pth")
    check_weight_file(tmp_path / "fine.pth", "resnet18")
    assert load_weights(ModelConfig(weights=str(tmp_path / "fine.pth")))


# Networks of other families, small; each publisher's names are written down from its own modules


def build_vit(classes: int) -> nn.Module:
    return VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=classes)


def build_convnext(classes: int) -> nn.Module:
    setting = [CNBlockConfig(4, 6, 1), CNBlockConfig(6, None, 2)]
    return ConvNeXt(setting, num_classes=classes)


VIT_NAMES = {
    "timm": {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj": "patch_embed.proj",
        "encoder.ln": "norm",
        "encoder.layers.encoder_layer_{}.ln_1": "blocks.{}.norm1",
        "encoder.layers.encoder_layer_{}.ln_2": "blocks.{}.norm2",
        "encoder.layers.encoder_layer_{}.self_attention.in_proj_": "blocks.{}.attn.qkv.",
        "encoder.layers.encoder_layer_{}.self_attention.out_proj": "blocks.{}.attn.proj",
        "encoder.layers.encoder_layer_{}.mlp.0": "blocks.{}.mlp.fc1",
        "encoder.layers.encoder_layer_{}.mlp.3": "blocks.{}.mlp.fc2",
    },
    "transformers": {
        "class_token": "vit.embeddings.cls_token",
        "encoder.pos_embedding": "vit.embeddings.position_embeddings",
        "conv_proj": "vit.embeddings.patch_embeddings.projection",
        "encoder.ln": "vit.layernorm",
        "encoder.layers.encoder_layer_{}.ln_1": "vit.encoder.layer.{}.layernorm_before",
        "encoder.layers.encoder_layer_{}.ln_2": "vit.encoder.layer.{}.layernorm_after",
        "encoder.layers.encoder_layer_{}.self_attention.in_proj_": "vit.encoder.layer.{}.attention.attention.?.",
        "encoder.layers.encoder_layer_{}.self_attention.out_proj": "vit.encoder.layer.{}.attention.output.dense",
        "encoder.layers.encoder_layer_{}.mlp.0": "vit.encoder.layer.{}.intermediate.dense",
        "encoder.layers.encoder_layer_{}.mlp.3": "vit.encoder.layer.{}.output.dense",
    },
}
CONVNEXT_NAMES = {
    "timm": {
        "features.0.0": "stem.0", "features.0.1": "stem.1",
        "features.2.0": "stages.1.downsample.0", "features.2.1": "stages.1.downsample.1",
        **{
            f"features.{2 * stage + 1}.{block}.{here}": f"stages.{stage}.blocks.{block}.{there}"
            for stage, blocks in enumerate((1, 2)) for block in range(blocks)
            for here, there in (("block.0", "conv_dw"), ("block.2", "norm"), ("block.3", "mlp.fc1"),
                                ("block.5", "mlp.fc2"), ("layer_scale", "gamma"))
        },
        "classifier.0": "head.norm",
    },
    "transformers": {
        "features.0.0": "convnext.embeddings.patch_embeddings", "features.0.1": "convnext.embeddings.layernorm",
        "features.2.0": "convnext.encoder.stages.1.downsampling_layer.0",
        "features.2.1": "convnext.encoder.stages.1.downsampling_layer.1",
        **{
            f"features.{2 * stage + 1}.{block}.{here}": f"convnext.encoder.stages.{stage}.layers.{block}.{there}"
            for stage, blocks in enumerate((1, 2)) for block in range(blocks)
            for here, there in (("block.0", "dwconv"), ("block.2", "layernorm"), ("block.3", "pwconv1"),
                                ("block.5", "pwconv2"), ("layer_scale", "layer_scale_parameter"))
        },
        "classifier.0": "convnext.layernorm",
    },
}  # fmt: skip
FAMILIES = {
    "vit": (build_vit, "heads", {"stem": ("conv_proj",)}, VIT_NAMES, "ViT"),
    "convnext": (build_convnext, "classifier.2", {"stem": ("features.0",)}, CONVNEXT_NAMES, "ConvNeXt"),
}


def rename(state: dict, names: dict[str, str]) -> dict:
    """Call tensors as a publisher does; it keeps query, key and value apart (`?`), and factors as [n]."""
    table = {key.format(n): value.format(n) for n in range(2) for key, value in names.items()}
    renamed = {}
    for name, tensor in state.items():
        key = max((key for key in table if name.startswith(key)), key=len)
        value = table[key] + name.removeprefix(key)
        if "?" in value:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[value.replace("?", part)] = third.clone()
        else:
            renamed[value] = tensor.flatten() if name.endswith("layer_scale") else tensor
    return renamed


@pytest.mark.parametrize("publisher", ["timm", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_read_by_the_names_of_each_publisher(family, publisher, tmp_path, monkeypatch):
    build, head, modules, names, called = FAMILIES[family]
    known = Backbone(name="tiny", modules=modules, builder=build, head=head, pool=())
    monkeypatch.setitem(BACKBONES._shipped, "tiny", known)
    network = build(3)
    for tensor in network.parameters():
        nn.init.normal_(tensor)
    state = {name: tensor for name, tensor in network.state_dict().items() if not known.is_of_head(name)}
    path = tmp_path / "w.pth"
    torch.save(rename(state, names[publisher]) | {"head.fc.weight": linear(3, 8)}, path)
    weights = load_weights(ModelConfig.model_construct(backbone="tiny", weights=str(path)))
    assert {name: tuple(tensor.shape) for name, tensor in weights.state.items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in state.items())
    assert f"{len(state)} of {len(state) + 2} tensors matched" in weights.notes[0]
    assert f"({called})" in weights.notes[0]
    loaded = partial(network.load_state_dict, strict=False)(weights.state)
    assert all(known.is_of_head(name) for name in loaded.missing_keys)
