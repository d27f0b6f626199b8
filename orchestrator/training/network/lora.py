"""LoRA: a change of low rank of the weights of frozen convolutions and linear layers, merged into them in the end.

The weight W of a layer, as a matrix of outputs by inputs, becomes W + (ALPHA / R) B A, where A has R rows. A linear
layer and a convolution without groups get a thin layer beside them that computes B (A x): no gradient of W is computed.
Of other layers the sum of the weights is computed, and then what they compute with it.

Source: E. J. Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022. As in Hugging Face's PEFT, A
is drawn as torch draws the weight of a layer (Kaiming's rule for uniform numbers, a = sqrt(5)), and B is zero.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from orchestrator.errors import ConfigError

ALPHA = 8.0
"""The change is scaled by ALPHA / R, so that one learning rate suits several ranks R. PEFT has the same default."""
_BASE = "base."
_LAYERS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


class Lora(nn.Module):
    """A layer and the change of its weights. In its state dict the layer's tensors have the names that they had.

    Args:
        base: The layer, frozen. Another one that computes the same may take its place.
        rank: Rank of the change.
    """

    def __init__(self, base: nn.Module, rank: int) -> None:
        super().__init__()
        self.base = base
        self.scale = ALPHA / rank
        self.merged = False
        self.register_state_dict_post_hook(_name_as_layer)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_name_as_base)  # type: ignore[no-untyped-call]

    @property
    def factors(self) -> list[nn.Parameter]:
        """The parameters that train; none once they are merged."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith(_BASE)]

    def compute_changes(self) -> dict[str, Tensor]:
        """Return the change of each weight of the layer, by its name."""
        raise NotImplementedError

    def compute_weights(self) -> dict[str, Tensor]:
        """Return the weights of the layer with their change, by their names."""
        state = self.base.state_dict()
        return {name: state[name] + change.view_as(state[name]) for name, change in self.compute_changes().items()}

    @property
    def weight(self) -> Tensor:
        """The weight with its change: some networks take the weight of a layer and compute themselves."""
        return self.base.state_dict()["weight"] if self.merged else self.compute_weights()["weight"]

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias."""
        bias = self.base.bias
        return bias if isinstance(bias, Tensor) else None

    def merge(self) -> None:
        """Add the change to the weights: the layer alone gives what both gave, but for rounding."""
        if self.merged:
            return
        with torch.no_grad():
            self.base.load_state_dict({**self.base.state_dict(), **self.compute_weights()})
        for name in [name for name, _ in self.named_children() if f"{name}." != _BASE]:
            delattr(self, name)
        self.merged = True


class ThinLora(Lora):
    """A linear layer, or a convolution without groups, with a thin one of the same kind beside it."""

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__(base, rank)
        like: dict[str, Any] = {"bias": False, "device": base.weight.device, "dtype": base.weight.dtype}
        self.down: nn.Linear | nn.Conv2d
        self.up: nn.Linear | nn.Conv2d
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rank, **like)
            self.up = nn.Linear(rank, base.out_features, **like)
        else:
            places = {"stride": base.stride, "padding": base.padding, "dilation": base.dilation}
            mode = base.padding_mode
            self.down = _ThinConv2d(base.in_channels, rank, base.kernel_size, **places, padding_mode=mode, **like)  # type: ignore[arg-type]
            self.up = _ThinConv2d(rank, base.out_channels, 1, **like)
        nn.init.zeros_(self.up.weight)

    def forward(self, value: Tensor) -> Tensor:
        """Return what the layer gives with the change of its weight."""
        given: Tensor = self.base(value)
        return given if self.merged else given + self.up(self.down(value)) * self.scale

    def compute_changes(self) -> dict[str, Tensor]:
        """Return the change of the weight, [outputs, inputs]: see `Lora`."""
        return {"weight": self.up.weight.flatten(1) @ self.down.weight.flatten(1) * self.scale}


class _ThinConv2d(nn.Conv2d):
    """A convolution of few channels: kernels that need many of them to pay leave it as it is."""


class SummedLora(Lora):
    """A layer that computes with the sum of its weights and their change.

    Args:
        base: The layer.
        rank: Rank of the change.
        names: Names of the weights that change.
    """

    def __init__(self, base: nn.Module, rank: int, names: Iterable[str]) -> None:
        super().__init__(base, rank)
        weights = dict(base.named_parameters())
        self.names = tuple(names)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for weight in map(weights.__getitem__, self.names):
            down = weight.new_empty(rank, weight[0].numel())
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            self.down.append(nn.Parameter(down))
            self.up.append(nn.Parameter(weight.new_zeros(len(weight), rank)))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the layer gives with the change of its weights."""
        if self.merged:
            return self.base(*args, **kwargs)
        return functional_call(self.base, self.compute_weights(), args, kwargs)

    def compute_changes(self) -> dict[str, Tensor]:
        """Return the change of each weight, [outputs, inputs]: see `Lora`."""
        pairs = zip(self.names, self.up, self.down, strict=True)
        return {name: up @ down * self.scale for name, up, down in pairs}


def add_factors(network: nn.Module, parts: Iterable[nn.Module], rank: int) -> None:
    """Put factors beside all convolutions and linear layers in parts of a network, in place. A is drawn at random.

    Args:
        network: The network.
        parts: Modules of it.
        rank: Rank of the change of each weight.

    Raises:
        ConfigError: A weight has fewer rows or columns.
    """
    inside = {module for part in parts for module in part.modules()}
    tuned: dict[nn.Module, Lora] = {}
    within: set[nn.Module] = set()
    for path, module in list(network.named_modules(remove_duplicate=False)):
        names = _list_weights(module) if module in inside and module not in within else ()
        if not names:
            continue
        within.update(set(module.modules()) - {module})
        if module not in tuned:
            for name in names:
                _require_rank(rank, f"{path}.{name}", dict(module.named_parameters())[name])
            tuned[module] = _tune(module, rank, names)
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, tuned[module])


def merge_factors(network: nn.Module) -> bool:
    """Merge all factors of a network into its weights, in place; return whether there were any."""
    found = [module for module in network.modules() if isinstance(module, Lora)]
    for module in found:
        module.merge()
    return bool(found)


def list_factors(network: nn.Module) -> list[nn.Parameter]:
    """List the factors of a network that are not merged."""
    return [factor for module in network.modules() if isinstance(module, Lora) for factor in module.factors]


def _list_weights(module: nn.Module) -> tuple[str, ...]:
    """Name the weights of a layer; none of other modules. Attention does not call its layers: it is one itself."""
    if isinstance(module, nn.MultiheadAttention):
        return tuple(name for name, parameter in module.named_parameters() if parameter.ndim == 2)
    return ("weight",) if isinstance(module, _LAYERS) else ()


def _tune(module: nn.Module, rank: int, names: tuple[str, ...]) -> Lora:
    # a subclass may compute something else with its weight
    if type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1):
        return ThinLora(module, rank)
    return SummedLora(module, rank, names)


def _require_rank(rank: int, name: str, weight: Tensor) -> None:
    rows, columns = len(weight), weight[0].numel()
    if rank > min(rows, columns):
        raise ConfigError(
            f"lora-{rank} is more than {name} can have, a matrix of {rows} by {columns}",
            hint=f"lora-{min(rows, columns)} is the most for this block",
        )


def _name_as_layer(_: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    for name in [name for name in state if name.startswith(prefix + _BASE)]:
        state[prefix + name.removeprefix(prefix + _BASE)] = state.pop(name)


def _name_as_base(module: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    factors = tuple(f"{prefix}{name}." for name, _ in module.named_children() if f"{name}." != _BASE)
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(factors)]:
        state[prefix + _BASE + name.removeprefix(prefix)] = state.pop(name)
