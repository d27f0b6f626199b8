"""Where a network's tensors stand in a file: in which of its parts, behind which prefix, and by whose names."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from orchestrator.backbones import COUNTER, Shape, find_backbone
from orchestrator.errors import ConfigError
from orchestrator.training.network.weight_schemes import SCHEMES, TORCHVISION, Scheme


class Shaped(Protocol):
    """A tensor, or what is known of one."""

    @property
    def shape(self) -> Shape:
        """Its dimensions."""


T = TypeVar("T", bound=Shaped)
Place = tuple[str, ...]
"""Keys that lead to a state dict in a file; none: the file is one."""

_DEPTH = 3
"""Mappings within mappings that are looked into."""
_SHOWN = 6
# where checkpoints keep the network that is to be used, as their authors load it: DINO takes the teacher, timm the
# moving average of the weights
_PLACES = (
    "teacher", "state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model", "net",
    "network", "module", "weights", "params",
)  # fmt: skip
# of two networks in one state dict, the ones that follow the other and are not used: MoCo, MoCo v3, lightly, BYOL, DINO
_FOLLOWERS = ("encoder_k", "momentum_encoder", "backbone_momentum", "target_encoder", "target_network", "student")
_HEADS = (
    "fc", "head", "heads", "classifier", "last_linear", "projector", "projection_head", "prototypes", "predictor",
    "contrastive_head",
)  # fmt: skip
"""Names of modules that stand in the place of the network's own head."""
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Classifiers of GoogLeNet and Inception that help to train from nothing: no run has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Where a network's tensors, without its head, stand in a file.

    Attributes:
        place: Keys that lead to the state dict; none: the file is one.
        prefix: What stands before each name there.
        scheme: By whose names they are called.
        sources: Names there by those of the network; several are the parts of one tensor, joined along its rows.
        problems: What keeps them from being the network's.
        others: Tensors there that are no part of the network.
    """

    place: Place
    prefix: str
    scheme: Scheme
    sources: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...]
    others: int

    @property
    def is_plain(self) -> bool:
        """True where the file is a state dict with torchvision's own names."""
        return not (self.place or self.prefix or self.scheme.publisher)

    @property
    def how(self) -> str:
        """The rule in words; empty where it is plain."""
        ways = [
            *([f"by stripping `{self.prefix}`"] if self.prefix else []),
            *([f"by the names of {self.scheme.publisher}"] if self.scheme.publisher else []),
            *([f"in `{'.'.join(self.place)}`"] if self.place else []),
        ]
        return ", ".join(ways)

    def describe(self, total: int) -> str:
        """Return the rule as a sentence.

        Args:
            total: Tensors of the network, with its head.
        """
        are = "other in it is" if self.others == 1 else "others in it are"
        others = f"; {self.others} {are} not used" if self.others else ""
        return f"{len(self.sources)} of {total} tensors matched {self.how}{others}; the head is new"

    def take(self, state: Mapping[str, T]) -> dict[str, T]:
        """Return the tensors of its state dict that belong to the network, by their names there."""
        return {name: state[name] for names in self.sources.values() for name in names}


def list_states(value: object, kind: type[T]) -> dict[Place, dict[str, T]]:
    """List the state dicts in an object: mappings that hold nothing but tensors of the type `kind`, by their place."""
    return dict(_find_states(value, kind, ()))


def _find_states(value: object, kind: type[T], place: Place) -> Iterator[tuple[Place, dict[str, T]]]:
    if not isinstance(value, Mapping) or not value:
        return
    if all(isinstance(item, kind) for item in value.values()):
        yield place, {str(name): item for name, item in value.items()}
    elif len(place) < _DEPTH:
        for key, item in value.items():
            yield from _find_states(item, kind, (*place, str(key)))


def match_states(
    states: Mapping[Place, Mapping[str, Shaped]], expected: Mapping[str, Shape], backbone: str, where: str
) -> Match:
    """Find a network in the state dicts of a file; where it is in none, the match with the fewest problems says so.

    Args:
        states: State dicts by their place, as `list_states` gives them.
        expected: Shapes of the network's tensors, by name.
        backbone: Which network it is.
        where: The file, for messages.

    Raises:
        ConfigError: It is there several times, and nothing says which is meant.
    """
    found = [match for place, state in states.items() for match in _match(state, place, expected, backbone)]
    whole = sorted((match for match in found if not match.problems), key=_rank)
    if not whole:
        return min(found, key=lambda match: (-len(match.sources), len(match.problems), _rank(match)))
    if len(whole) > 1 and _rank(whole[0]) == _rank(whole[1]):
        rivals = [match.how or "as it is" for match in whole if _rank(match) == _rank(whole[0])]
        raise ConfigError(
            f"model.weights: {where} holds {len(rivals)} networks that are a {backbone}: {'; '.join(rivals)}",
            hint="save the state dict of the one that is meant: torch.save(network.state_dict(), 'weights.pth')",
        )
    return whole[0]


def _rank(match: Match) -> tuple[int, int]:
    """Return how far down a match is among those of one file."""
    places = [_PLACES.index(key) for key in match.place if key in _PLACES]
    place = 0 if not match.place else min(places, default=len(_PLACES)) + 1
    words = match.prefix.split(".")
    return place, int(any(word in _FOLLOWERS for word in (*words, *match.place)))


def _match(state: Mapping[str, Shaped], place: Place, expected: Mapping[str, Shape], backbone: str) -> Iterator[Match]:
    is_of_head = find_backbone(backbone).is_of_head
    wanted = {name: shape for name, shape in expected.items() if not is_of_head(name)}
    yield _try(state, place, "", TORCHVISION, wanted, backbone)
    for scheme in SCHEMES:
        names = [name for name in wanted if len(scheme.sources(name)) == 1]
        if not names:
            continue
        (anchor,) = scheme.sources(max(names, key=lambda name: (name.count("."), name)))
        for prefix in sorted({name.removesuffix(anchor) for name in state if name.endswith(anchor)}):
            if (not prefix or prefix.endswith(".")) and (prefix or scheme.publisher):
                yield _try(state, place, prefix, scheme, wanted, backbone)


def _try(
    state: Mapping[str, Shaped],
    place: Place,
    prefix: str,
    scheme: Scheme,
    wanted: Mapping[str, Shape],
    backbone: str,
) -> Match:
    """Match a state dict by one rule."""
    sources: dict[str, tuple[str, ...]] = {}
    missing, other = [], []
    for name, shape in wanted.items():
        names = tuple(prefix + source for source in scheme.sources(name))
        if not names or any(each not in state for each in names):
            if not name.endswith(COUNTER):
                missing.append(name)
            continue
        sources[name] = names
        joined = _join([state[each].shape for each in names])
        if not _agree(joined, tuple(shape), strict=not scheme.publisher):
            other.append(f"{name} is {joined} instead of {tuple(shape)}")
    used = {name for names in sources.values() for name in names}
    inside = [name.removeprefix(prefix) for name in state if name.startswith(prefix) and name not in used]
    unexpected = [name for name in inside if not _is_head(name, backbone, wanted)]
    found = (("missing keys", missing), ("unexpected keys", unexpected), ("tensors of another shape", other))
    return Match(
        place=place,
        prefix=prefix,
        scheme=scheme,
        sources=sources,
        problems=tuple(f"{len(names)} {what}: {shorten(names)}" for what, names in found if names),
        others=sum(not name.startswith(prefix) for name in state),
    )


def _is_head(name: str, backbone: str, wanted: Mapping[str, Shape]) -> bool:
    """Return whether a tensor that is no part of the network belongs to a head: its own, or another in its place."""
    if name.startswith(_AUXILIARY):
        return True
    first = name.partition(".")[0]
    own = any(each.startswith(f"{first}.") for each in wanted)
    return find_backbone(backbone).is_of_head(name) or (first in _HEADS and not own)


def _join(shapes: list[Shape]) -> Shape:
    """Return the shape of tensors joined along their rows."""
    if len(shapes) == 1:
        return tuple(shapes[0])
    return (sum(shape[0] if shape else 0 for shape in shapes), *shapes[0][1:])


def _agree(shape: Shape, wanted: Shape, *, strict: bool) -> bool:
    """Compare two shapes; publishers write a factor for each channel as [n] or [n, 1, 1], with the same values."""
    if strict or shape == wanted:
        return shape == wanted
    return math.prod(shape) == math.prod(wanted) and _trim(shape) == _trim(wanted)


def _trim(shape: Shape) -> Shape:
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def shorten(names: list[str], most: int = _SHOWN) -> str:
    """Join the first names, and count the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
