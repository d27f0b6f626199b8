"""Frozen sets and their keys, against sets written by hand and plain set arithmetic."""

import pickle
import re
from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from orchestrator.backbones import BACKBONES, find_backbone
from orchestrator.blocks import FrozenSet, Tuning, all_sets, prefix_sets
from orchestrator.errors import ConfigError

RESNET18 = ("stem", "layer1", "layer2", "layer3", "layer4")
VALID = "valid tunings: frozen, full, norm, bias, lora-R (R is the rank)"
NO_LORA = ("lora", "lora-0", "lora-04", "lora-x", "lora-4.5", "lora--1", "lora- 4", "lora-1234567")
RANK = "a rank is a whole number from 1 and follows a dash, as in lora-4"


def test_every_backbone_has_its_blocks_in_network_order():
    assert {name: find_backbone(name).blocks for name in BACKBONES.shipped} == {
        "resnet18": RESNET18,
        "resnet34": RESNET18,
        "resnet50": RESNET18,
    }


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ((), "none"),
        (("stem",), "stem"),
        (("layer1", "stem"), "stem+layer1"),
        (("layer4", "stem", "layer2", "stem", "layer4"), "stem+layer2+layer4"),
        (reversed(RESNET18), "stem+layer1+layer2+layer3+layer4"),
    ],
)
def test_a_set_has_one_key_whatever_the_order_and_repetition(names, key):
    assert FrozenSet.of(names, order=RESNET18).key == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("none", "none"),
        (" none ", "none"),
        ("layer1+stem", "stem+layer1"),
        (" layer1 +  stem + layer1", "stem+layer1"),
        ("stem+layer1+layer2+layer3+layer4", "stem+layer1+layer2+layer3+layer4"),
        ("layer1:frozen+stem+layer2:full", "stem+layer1"),
        ("stem:full", "none"),
        ("layer1+layer1:frozen", "layer1"),
    ],
)
def test_a_key_is_read_in_any_order(text, key):
    assert FrozenSet.parse(text, order=RESNET18).key == key


@pytest.mark.parametrize(
    ("text", "unknown", "hint"),
    [
        ("layr1", "'layr1'", "did you mean 'layer1'?"),
        ("stem+head", "'head'", None),
        ("zzz+stem+aaa", "'aaa', 'zzz'", None),
        ("", "''", None),
        ("stem+", "''", None),
        ("none+stem", "'none'", None),
        ("Stem", "'Stem'", "did you mean 'stem'?"),
    ],
)
def test_an_unknown_block_is_an_error_that_lists_the_valid_ones(text, unknown, hint):
    message = rf"^unknown block {unknown}; valid blocks: stem, layer1, layer2, layer3, layer4$"
    with pytest.raises(ConfigError, match=message) as caught:
        FrozenSet.parse(text, order=RESNET18)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "layer1:ful",
            f"block 'layer1': unknown tuning 'ful'; {VALID}",
            "did you mean 'full'?",
        ),
        ("stem:", f"block 'stem': unknown tuning ''; {VALID}", None),
        ("stem:full+stem", "the block 'stem' has two tunings: full and frozen", None),
        ("stem:lora-4+stem:lora-8", "the block 'stem' has two tunings: lora-4 and lora-8", None),
        *((f"stem:{key}", f"block 'stem': unknown tuning '{key}'; {VALID}", RANK) for key in NO_LORA),
    ],
)
def test_a_tuning_that_is_none_or_of_which_there_are_two_is_refused(text, message, hint):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$") as caught:
        FrozenSet.parse(text, order=RESNET18)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "key", "parts"),
    [
        ("layer2:norm + stem", "stem+layer2:norm", ("stem", "layer2:norm")),
        ("layer4:lora-12+layer3:bias", "layer3:bias+layer4:lora-12", ("layer3:bias", "layer4:lora-12")),
        ("layer1:full+layer2:norm", "layer2:norm", ("layer2:norm",)),
    ],
)
def test_a_block_may_train_in_part(text, key, parts):
    frozen = FrozenSet.parse(text, order=RESNET18)
    assert (frozen.key, frozen.parts) == (key, parts)
    assert frozen.tuned == tuple(part for part in parts if ":" in part)
    assert frozen.blocks == tuple(part for part in parts if ":" not in part)
    assert FrozenSet.parse(frozen.key) == frozen


@pytest.mark.parametrize("key", ["frozen", "full", "norm", "bias", "lora-1", "lora-16"])
def test_a_tuning_is_a_value_that_is_its_key(key):
    tuning = Tuning.parse(key)
    assert (str(tuning), tuning.is_fixed) == (key, key == "frozen")
    assert pickle.loads(pickle.dumps(tuning)) == tuning == Tuning(tuning.kind, tuning.rank)
    assert len({tuning, Tuning.parse(key), Tuning.FROZEN, Tuning.FULL}) == (2 if key in {"frozen", "full"} else 3)


def test_a_tuning_of_two_minds_is_refused():
    for kind, rank in (("lora", None), ("lora", 0), ("norm", 4)):
        with pytest.raises(ConfigError, match="lora has a rank"):
            Tuning(kind, rank)


def test_what_the_key_does_not_name_trains_in_full_and_so_does_the_head():
    frozen = FrozenSet.parse("stem+layer2", order=RESNET18)
    does = {block: frozen.tuning(block) for block in (*RESNET18, "head")}
    assert [block for block, tuning in does.items() if tuning == Tuning.FROZEN] == ["stem", "layer2"]
    assert [block for block, tuning in does.items() if tuning == Tuning.FULL] == ["layer1", "layer3", "layer4", "head"]


@pytest.mark.parametrize(
    ("key", "length"),
    [
        ("none", 0),
        ("layer1", 0),
        ("stem", 1),
        ("stem+layer1+layer3", 2),
        ("+".join(RESNET18), 5),
        ("stem:bias", 0),
        ("stem+layer1:lora-4+layer2", 1),
    ],
)
def test_the_prefix_ends_before_the_first_block_that_trains(key, length):
    assert FrozenSet.parse(key).prefix_length(RESNET18) == length


@given(st.sampled_from(all_sets(RESNET18)), st.sampled_from(all_sets(RESNET18)))
def test_a_set_is_found_by_its_key_and_by_no_other(one, other):
    assert (one == other.key) == (other.key == one) == ({one: 1}.get(other.key) == 1) == (one.key == other.key)
    assert one not in {f" {one}", one.blocks, None}


class Place(BaseModel, frozen=True):
    frozen: FrozenSet


@given(st.sampled_from(all_sets(RESNET18)))
def test_a_set_travels_as_its_key(frozen):
    place = Place(frozen=frozen.key)
    assert place.frozen == frozen
    assert place == Place(frozen=frozen) == Place.model_validate_json(place.model_dump_json())
    assert place.model_dump() == place.model_dump(mode="json") == {"frozen": frozen.key}
    assert pickle.loads(pickle.dumps(place)) == place


def test_a_set_is_written_down_as_a_string_and_nothing_else():
    assert Place.model_json_schema()["properties"]["frozen"] == {"title": "Frozen", "type": "string"}
    with pytest.raises(ValidationError, match="valid string"):
        Place(frozen=["stem"])
    with pytest.raises(ValidationError, match=r"block 'stem': unknown tuning 'ful'.*did you mean 'full'"):
        Place(frozen="stem:ful")


@given(st.lists(st.sampled_from(RESNET18)))
def test_a_key_is_read_back_as_the_set_it_names(names):
    frozen = FrozenSet.of(names, order=RESNET18)
    assert FrozenSet.parse(frozen.key, order=RESNET18) == frozen
    assert set(frozen.blocks) == set(names)
    assert len(frozen) == len(set(names))
    assert [block for block in RESNET18 if block in frozen] == list(frozen.blocks)
    assert str(frozen) == frozen.key
    assert hash(frozen) == hash(FrozenSet.of(reversed(names), order=RESNET18))


def test_the_prefixes_are_six():
    assert [frozen.key for frozen in prefix_sets(RESNET18)] == [
        *("none", "stem", "stem+layer1", "stem+layer1+layer2", "stem+layer1+layer2+layer3"),
        "stem+layer1+layer2+layer3+layer4",
    ]


def test_the_subsets_are_thirty_two_by_size():
    powerset = chain.from_iterable(combinations(RESNET18, size) for size in range(6))
    assert [frozen.blocks for frozen in all_sets(RESNET18)] == list(powerset)
    assert len({frozen.key for frozen in all_sets(RESNET18)}) == 32  # 2^5


def test_prefixes_with_tunings_are_five_times_each_and_the_head_alone():
    keys = [frozen.key for frozen in prefix_sets(RESNET18, [Tuning.FULL, Tuning.parse("norm")])]
    rest = "layer1:norm+layer2:norm+layer3:norm+layer4:norm"
    assert len(keys) == len(set(keys)) == 5 * 2 + 1
    assert keys[:4] == ["none", f"stem:norm+{rest}", "stem", f"stem+{rest}"]
    assert keys[-1] == "+".join(RESNET18)


def test_the_sets_of_three_states_are_all_words_of_three_letters():
    order = ("a", "b", "c")
    found = all_sets(order, [Tuning.FULL, Tuning.parse("lora-2")])
    words = product((Tuning.FROZEN, Tuning.FULL, Tuning.parse("lora-2")), repeat=3)
    assert {tuple(map(frozen.tuning, order)) for frozen in found} == set(words)
    assert len(found) == 27
    assert [len(frozen) for frozen in found] == sorted(len(frozen) for frozen in found)


def test_a_backbone_without_blocks_has_one_set():
    assert [frozen.key for frozen in prefix_sets(())] == [frozen.key for frozen in all_sets(())] == ["none"]
