"""How a file of YAML is read. What PyYAML itself makes of the same text is the reference where it is no mistake."""

import os
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.config import check_file
from orchestrator.config.document import parse_value, read_document
from orchestrator.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^e\.yaml: no such file$"),
        (b"", r"^e\.yaml: the file is empty$"),
        (b"# only words\n\n", r"^e\.yaml: the file is empty$"),
        (b"- a\n- b\n", r"^e\.yaml:1:1: the file must be a mapping with the key experiments$"),
        (b"\n\n  word\n", r"^e\.yaml:3:3: the file must be a mapping with the key experiments$"),
        (b"a: caf\xe9\n", r"^e\.yaml:1: not valid UTF-8 at byte 6$"),
        (b"a: b: c\n", r"^e\.yaml:1:5: YAML syntax: mapping values are not allowed here$"),
        (
            b"a:\n\t- b\n",
            r"^e\.yaml:2:1: YAML syntax: .*, found character '\\t' that cannot start any token$",
        ),
        (
            b"a: [1, 2\n",
            r"^e\.yaml:2:1: YAML syntax: while parsing a flow sequence, expected ',' or '\]', but got '<stream end>'$",
        ),
        (
            b"a: 1\n---\nb: 2\n",
            r"^e\.yaml:2:1: YAML syntax: expected a single document in the stream, but found another document$",
        ),
        (b"a: *nowhere\n", r"^e\.yaml:1:4: YAML syntax: found undefined alias 'nowhere'$"),
        (b"a: \x00\n", r"^e\.yaml:1:4: the character U\+0000 may not stand in a configuration$"),
        (b"a: &a [*a]\n", r"^e\.yaml:1:4: a\.0: an alias that contains itself$"),
        (b"a: &a {b: {<<: *a}}\n", r"^e\.yaml:1:4: a\.b: an alias that contains itself$"),
        (b"a: &a\n  <<: *a\nb:\n  <<: *a\n", r"^e\.yaml:1:4: a: an alias that contains itself$"),
        (b"&a\n<<: *a\nb: 1\n", r"^e\.yaml:1:1: top level: an alias that contains itself$"),
        (b"a: " + b"[" * 1000 + b"]" * 1000, r"^e\.yaml:1:\d+: nested more than 50 deep$"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_clear_line(folder, content, message):
    if content is not None:
        (folder / "e.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_document(Path("e.yaml"))


def test_a_directory_gets_one_clear_line(folder):
    (folder / "experiments.yaml").touch()
    with pytest.raises(ConfigError, match=r"^\.: is a directory, not a file$") as caught:
        read_document(Path())
    assert caught.value.hint == "did you mean experiments.yaml?"


@pytest.mark.parametrize("value", ["[*a, *a, *a, *a, *a, *a, *a, *a]", "{<<: [*a, *a, *a, *a, *a, *a, *a, *a]}"])
def test_a_bomb_of_aliases_does_not_go_off(write, value):
    lines = [
        "a: &a0 {x: 1}",
        *(f"b{i}: &a{i + 1} {value.replace('*a', f'*a{i}')}" for i in range(9)),
    ]  # 8^9 = 134 million values
    with pytest.raises(ConfigError, match=r"more than 100,000 values$"):
        read_document(Path(write("\n".join(lines))))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1, y: 2}\nb: *a\nc: [*a, *a]\n",
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n",
        "a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\n",  # wherever the merge stands
        "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\nd: {<<: [*b, *a]}\n",
        "a: &a {x: {p: 1, q: 2}}\nb: {<<: *a, x: {p: 3}}\n",  # a merge is shallow
        "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}\n",
        "a: [1e-3, 1.0e-3, 0x10, 1_000, off, ~, 2024-01-01, .inf]\nb: !!str 5\nc: |\n  text\n",
        "\ufeffa: 1\n",  # the mark that some Windows editors begin a file with
        "a: 'ä ß 日本'\n",
    ],
)
def test_a_file_is_read_as_pyyaml_reads_it(write, text):
    document = read_document(Path(write(text)))
    assert document.values == yaml.safe_load(text)
    assert document.mistakes == []


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a: 1\nb: 2\na: 3\n", ["e.yaml:3:1: a: duplicate key, first on line 1"]),
        ("a:\n  b: 1\n  'b': 2\n  b: 3\n", [f"e.yaml:{n}:3: a.b: duplicate key, first on line 2" for n in (3, 4)]),
        ("a: [{b: 1, b: 2}]\n", ["e.yaml:1:12: a.0.b: duplicate key, first on line 1"]),
        ("a: &a {x: 1, x: 2}\nb: *a\n", ["e.yaml:1:14: a.x: duplicate key, first on line 1"]),  # once
        ("a: &a {}\nb:\n  <<: *a\n  <<: *a\n", ["e.yaml:4:3: b.<<: duplicate key, first on line 3"]),
        ("a: {<<: 5}\n", ["e.yaml:1:9: a.<<: a merge needs a mapping"]),
        ("a: {<<: [{x: 1}, y]}\n", ["e.yaml:1:18: a.<<: a merge needs a mapping"]),
        ("1: a\non: b\n", [f"e.yaml:{n}:1: top level: keys must be strings, in quotes if need be ({key})"
                           for n, key in ((1, "1"), (2, "on"))]),
        ("a: {[1]: b}\n", ["e.yaml:1:5: a: keys must be strings, in quotes if need be (a collection)"]),
        ("a: 2024-13-45\n", ["e.yaml:1:4: a: month must be in 1..12 (2024-13-45)"]),
        ("a: !!python/object/apply:os.getcwd []\n",
         ["e.yaml:1:4: a: the tag tag:yaml.org,2002:python/object/apply:os.getcwd is not allowed here"]),
        ("a: !!set {b, c}\n", ["e.yaml:1:4: a: the tag tag:yaml.org,2002:set is not allowed here"]),
        ("a: !secret x\n", ["e.yaml:1:4: a: could not determine a constructor for the tag '!secret' (x)"]),
    ],
)  # fmt: skip
def test_what_pyyaml_would_let_pass_is_a_mistake(write, text, mistakes):
    assert read_document(Path(write(text))).mistakes == mistakes


def test_a_value_stands_where_it_was_written(write):
    document = read_document(
        Path(
            write(
                """
                base: &base {lr: 1, epochs: 2}
                other: &other {epochs: 3, size: 4}
                a:
                  lr: 5
                  <<: [*base, *other]
                  names: [x,
                    y]
                """
            )
        )
    )
    assert document.values["a"] == {"lr": 5, "epochs": 2, "size": 4, "names": ["x", "y"]}
    places = {path[1:]: (at.line, at.column) for path, at in document.places.items() if path[:1] == ("a",)}
    assert places == {
        (): (4, 3),  # a mapping begins with its first key
        ("lr",): (4, 7),  # not in `base`, although the merge comes after it
        ("epochs",): (1, 29),  # of the mapping that is merged first
        ("size",): (2, 33),
        ("names",): (6, 10),
        ("names", 0): (6, 11),
        ("names", 1): (7, 5),
    }
    assert (document.keys["a", "lr"].line, document.keys["a", "lr"].column) == (4, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("[a, 1.5, null]", ["a", 1.5, None]), ("", None), (" x ", "x"), ("{a: {b: 1}}", {"a": {"b": 1}})],
)
def test_a_value_of_the_command_line_is_read_as_yaml(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "&a [*a]", "[" * 1000, "!!python/name:os.getcwd ''", "a: b: c"])
def test_a_value_of_the_command_line_is_read_as_strictly(text):
    with pytest.raises(ValueError, match="not a YAML value: "):
        parse_value(text)


HOSTILE = {
    "pipe": (lambda p: os.mkfifo(p), r"^e\.yaml: is a pipe, not a regular file$"),
    "device": (lambda p: p.symlink_to("/dev/zero"), r"^e\.yaml: is a device, not a regular file$"),
    "loop": (lambda p: p.symlink_to(p.name), r"^e\.yaml: cannot be read: Too many levels of symbolic links$"),
    "long": (
        lambda p: p.write_text("a: [" + "1, " * 3_500_000 + "]"),
        r"^e\.yaml: has 10,500,005 bytes; .* 1,048,576$",
    ),
    "many": (lambda p: p.write_text("a: [" + "1, " * 300_000 + "]"), r"^e\.yaml:1:\d+: more than 20,000 values$"),
    "deep": (lambda p: p.write_text("a: " + "[" * 10_000 + "]" * 10_000), r"^e\.yaml:1:\d+: nested more than 50 deep$"),
    "braces": (lambda p: p.write_text("a: " + "{a: " * 9_000), r"^e\.yaml:1:\d+: nested more than 50 deep$"),
    "utf-16": (lambda p: p.write_text("a: b\n", encoding="utf-16"), r"^e\.yaml: not valid UTF-8 but UTF-16$"),
    "utf-16-le": (lambda p: p.write_text("a: b\n", encoding="utf-16-le"), r"^e\.yaml: not valid UTF-8 but UTF-16$"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_seconds(folder, case):
    make, message = HOSTILE[case]
    make(folder / "e.yaml")
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        read_document(Path("e.yaml"))
    assert caught.value.hint
    assert time.monotonic() - began < 10  # about 1.5 s on an idle machine for the slowest


def test_a_byte_order_mark_is_passed_over(folder):
    (folder / "e.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    document = read_document(Path("e.yaml"))
    assert document.values == {"a": 1}
    assert str(document.keys["a",]) == "e.yaml:1:1"


def test_a_long_chain_of_bases_is_one_mistake_in_seconds(write):
    entries = "".join(f"  e{i}: {{extends: e{i - 1}}}\n" for i in range(1, 1000))
    path = write("experiments:\n  e0: {data: {source: synthetic}}\n" + entries)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^e\.yaml:302:19: experiments\.e300\.extends: more than 300 .* each other$"):
        check_file(path)
    assert time.monotonic() - began < 20  # about 3 s on an idle machine


def test_the_mistakes_of_a_huge_file_are_counted(write):
    path = write("experiments:\n" + "".join(f"  e{i}: 1\n" for i in range(500)))
    with pytest.raises(ConfigError, match=r"(?s)^500 mistakes\n.*\nand 400 more$"):
        check_file(path)
