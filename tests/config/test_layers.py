"""Defaults, bases, entry and command line laid over each other, filled from the environment; and who said what."""

import pytest

from orchestrator.config import check_file, load_experiment, resolve_experiment
from orchestrator.errors import ConfigError

LAYERS = """
defaults:
  data: {source: synthetic, image_size: 64, batch_size: 8}
  trainer:
    lr: 1.0e-2
    optimizer: sgd
  execution: {mode: processes, workers: 3}
experiments:
  base:
    trainer: {lr: 1.0e-3, patience: 2}
    search: {seeds: [1, 2, 3]}
  middle:
    extends: base
    description: in the middle
    data: {mean: [0.1, 0.2, 0.3]}
    execution: inline
  last:
    extends: middle
    trainer:
      patience: 4
    search: {seeds: [7]}
"""
KEYS = "description, data, model, trainer, search, execution, cache, tracking, extends"
UNSET = "the environment variable NOBODY is not set; a default can be given as ${env:NOBODY:-value}"
CIRCLE = "the experiments extend each other in a circle"
MINIMAL = "experiments:\n  a:\n    data: {source: synthetic}\n    trainer: {lr: 0.5}\n"


def test_a_later_layer_wins_key_by_key_and_a_list_is_replaced_whole(write):
    experiment = load_experiment("last", write(LAYERS), ["data.batch_size=4", "search.mode=subset"])
    assert experiment.name == "last"
    assert experiment.description == "in the middle"
    data = experiment.data
    assert (data.source, data.image_size, data.batch_size, data.mean) == ("synthetic", 64, 4, (0.1, 0.2, 0.3))
    trainer = experiment.trainer
    assert (trainer.lr, trainer.optimizer, trainer.patience, trainer.max_epochs) == (0.001, "sgd", 4, 30)
    assert (experiment.search.seeds, experiment.search.mode) == ((7,), "subset")
    assert (experiment.execution.mode, experiment.execution.workers) == ("inline", 3)


def test_each_value_says_where_it_comes_from(write):
    overrides = ["data.batch_size=4", "search.lr.choices=[1e-3]", "execution=processes"]
    origins = resolve_experiment("last", write(LAYERS), overrides).origins
    said = {key: origin for key, origin in origins.items() if origin != "default"}
    assert said == {
        "description": "e.yaml:13",
        "data.source": "e.yaml:2",
        "data.image_size": "e.yaml:2",
        "data.batch_size": "--set",
        "data.mean": "e.yaml:14",
        "trainer.lr": "e.yaml:9",
        "trainer.optimizer": "e.yaml:5",
        "trainer.patience": "e.yaml:19",
        "search.seeds": "e.yaml:20",
        "search.lr.choices": "--set",
        "execution.mode": "--set",
        "execution.workers": "e.yaml:6",
    }
    assert {origins[key] for key in ("trainer.max_epochs", "search.lr.range", "data.synthetic.seed")} == {"default"}


def test_the_short_form_of_execution_has_an_origin(write):
    assert resolve_experiment("middle", write(LAYERS)).origins["execution.mode"] == "e.yaml:15"


def test_what_a_base_says_is_said_by_the_base(mistakes):
    text = LAYERS.replace("patience: 2", "patience: 0").replace("lr: 1.0e-2", "lrr: 1")
    # both reach all three experiments; `last` puts a patience of its own in place of the wrong one
    assert mistakes(text) == [
        "e.yaml:9:37: experiments.base.trainer.patience: must be greater than or equal to 1 (0)",
        "e.yaml:4:5: defaults.trainer.lrr: unknown key; did you mean 'lr'?",
    ]


def test_a_merged_mapping_is_read_like_one_that_is_written_out(write, mistakes):
    text = """
        experiments:
          a: &a
            data: &data {source: synthetic, image_size: 64}
            trainer: {lr: 0.5}
          b:
            <<: *a
            data: {image_size: 32, <<: *data}
          c:
            extends: b
            data: *data
    """
    sizes = {name: load_experiment(name, write(text)).data.image_size for name in "abc"}
    assert sizes == {"a": 64, "b": 32, "c": 64}
    assert load_experiment("b", write(text)).trainer.lr == 0.5
    origins = resolve_experiment("b", write(text)).origins
    assert (origins["data.image_size"], origins["data.source"]) == ("e.yaml:7", "e.yaml:3")
    wrong = mistakes(text.replace("size: 32", "size: 1"))
    assert wrong == ["e.yaml:7:24: experiments.b.data.image_size: must be greater than or equal to 8 (1)"]


@pytest.mark.parametrize(
    ("bases", "lines"),
    [
        ({"a": "nothing"}, ["2:16: experiments.a.extends: there is no such experiment; known: a, b, c ('nothing')"]),
        ({"a": "bb"}, ["2:16: experiments.a.extends: there is no such experiment; did you mean 'b'? ('bb')"]),
        ({"a": "[b]"}, ['2:16: experiments.a.extends: must be the name of an experiment (["b"])']),
        ({"a": "a"}, [f"2:16: experiments.a.extends: {CIRCLE}, a -> a ('a')"]),
        (
            {"a": "b", "b": "c", "c": "b"},
            [
                f"4:16: experiments.c.extends: {CIRCLE}, b -> c -> b ('b')",  # of a and b, once
                f"3:16: experiments.b.extends: {CIRCLE}, c -> b -> c ('c')",
            ],
        ),
    ],
)
def test_a_base_that_is_not_there_or_a_circle(mistakes, bases, lines):
    entries = "".join(f"  {name}: {{extends: {bases.get(name, '~')}, data: {{}}}}\n" for name in "abc")
    found = mistakes(f"experiments:\n{entries}")
    # without its base an entry is not blamed for what it lacks
    assert [line for line in found if "the key is missing" not in line] == [f"e.yaml:{line}" for line in lines]
    blamed = {line.split(": ")[1].split(".")[1] for line in found if "the key is missing" in line}
    assert blamed == set("abc") - set(bases)


def test_a_long_chain_of_bases_is_followed(write):
    entries = "".join(f"  e{i}: {{extends: e{i - 1}}}\n" for i in range(1, 300))
    path = write(f"experiments:\n  e0: {{data: {{source: synthetic}}, trainer: {{lr: 0.25}}}}\n{entries}")
    assert load_experiment("e299", path).trainer.lr == 0.25


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("trainer.lr=1e-3", "trainer.lr", 0.001),
        ("trainer.max_epochs=3", "trainer.max_epochs", 3),
        ("trainer.deterministic=no", "trainer.deterministic", False),
        ("model.num_classes=null", "model.num_classes", None),
        ("model.num_classes=", "model.num_classes", None),
        ("model.weights=none", "model.weights", "none"),
        ("search.seeds=[0, 1]", "search.seeds", [0, 1]),
        ("search.optimizer={choices: [adam, sgd]}", "search.optimizer.choices", ["adam", "sgd"]),
        ("data={image_size: 32}", "data.image_size", 32),
        ("data={image_size: 32}", "data.source", "synthetic"),  # a mapping is laid over, as in the file
        ("execution=inline", "execution.mode", "inline"),
        ("execution.workers=2", "execution.workers", 2),
        (" trainer.lr = 2 ", "trainer.lr", 2.0),
        ("description=a=b", "description", "a=b"),
        ("description='5'", "description", "5"),
    ],
)
def test_an_override_is_typed_as_yaml(write, override, key, value):
    found = resolve_experiment("a", write(MINIMAL), [override]).experiment.model_dump(mode="json")
    for part in key.split("."):
        found = found[part]
    assert (found, type(found)) == (value, type(value))


def test_the_last_override_wins(write):
    assert load_experiment("a", write(MINIMAL), ["trainer.lr=1", "trainer.lr=2"]).trainer.lr == 2


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trainer.lr", "must look like key.path=value"),
        ("=5", "must look like key.path=value"),
        ("trainer..lr=5", "must look like key.path=value"),
        ("", "must look like key.path=value"),
        ("foo.bar=1", f"foo: unknown key; known: {KEYS}"),
        ("trainer.lrr=1", "trainer.lrr: unknown key; did you mean 'lr'?"),
        ("trainer.lr.x=1", 'trainer.lr: must be a valid number ({"x": 1})'),
        ("search.seeds.0=1", 'search.seeds: must be a list ({"0": 1})'),
        ("trainer=5", "trainer: must be a mapping (5)"),
        ("trainer.lr=0", "trainer.lr: must be greater than 0 (0)"),
        ("trainer.max_epochs=true", "trainer.max_epochs: must not be a boolean (true)"),
        ("search.seeds=[0", "search.seeds: not a YAML value: '[0'"),
        ("data={a: 1, a: 2}", "data: not a YAML value: '{a: 1, a: 2}': a: duplicate key, first on line 1"),
        ("search.seeds=[0, true]", "search.seeds.1: must not be a boolean (true)"),
        ("extends=b", "extends: cannot be overridden"),
        ("name=b", "name: cannot be overridden"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_named_as_it_was_given(mistakes, override, line):
    assert mistakes(MINIMAL, override) == [f"--set {override}: {line}"]


def test_all_wrong_overrides_are_named_at_once_beside_the_file(mistakes):
    lines = mistakes(MINIMAL.replace("0.5", "-1"), "trainer.patience=0", "data", "model.backbone=resnet")
    assert sorted(line.split(": ")[0] for line in lines) == [
        *("--set data", "--set model.backbone=resnet", "--set trainer.patience=0"),
        "e.yaml:4:19",
    ]


def test_a_variable_of_the_environment_is_put_in(write, monkeypatch):
    text = """
        experiments:
          a:
            description: "${env:WHO} and ${env:NOBODY:-none} of ${env:EMPTY}"
            data:
              source: ${env:SOURCE}
              revision: ${env:NOBODY:-}
              mean: ["${env:MEAN}", "${env:NOBODY:-0.5}", 0.25]
            trainer: {lr: "${env:LR}", max_epochs: "${env:NOBODY:-7}"}
            execution: ${env:MODE}
    """
    for name, value in {"WHO": "Änne", "EMPTY": "", "SOURCE": "synthetic", "MEAN": "0.75", "LR": "1e-3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODE", "inline")
    monkeypatch.delenv("NOBODY", raising=False)
    resolved = resolve_experiment(
        "a", write(text), ["search.seeds=['${env:NOBODY:-3}']", "model.weights=${env:WHO}.pth"]
    )
    experiment = resolved.experiment
    assert experiment.description == "Änne and none of "
    assert (experiment.data.source, experiment.data.revision) == ("synthetic", None)
    assert experiment.data.mean == (0.75, 0.5, 0.25)
    assert (experiment.trainer.lr, experiment.trainer.max_epochs) == (0.001, 7)
    assert (experiment.execution.mode, experiment.search.seeds) == ("inline", (3,))
    assert experiment.model.weights == "Änne.pth"
    assert resolved.origins["trainer.lr"] == "e.yaml:8"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("${env:NOBODY}", f"{UNSET} ('${{env:NOBODY}}')"),
        ("a${env:NOBODY}b${env:NOBODY}", f"{UNSET} ('a${{env:NOBODY}}b${{env:NOBODY}}')"),
        ("x/${env:NOBODY", "must look like ${env:NAME} or ${env:NAME:-default} ('x/${env:NOBODY')"),
        ("${env:}", "must look like ${env:NAME} or ${env:NAME:-default} ('${env:}')"),
        ("${env:NO BODY}", "must look like ${env:NAME} or ${env:NAME:-default} ('${env:NO BODY}')"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_there_or_misspelt_is_a_mistake(mistakes, monkeypatch, value, line):
    monkeypatch.delenv("NOBODY", raising=False)
    text = f"experiments:\n  a:\n    data: {{source: synthetic}}\n    model: {{weights: '{value}'}}\n"
    assert mistakes(text) == [f"e.yaml:4:22: experiments.a.model.weights: {line}"]


def test_a_variable_that_is_not_there_is_the_only_mistake_of_its_value(mistakes, monkeypatch):
    monkeypatch.delenv("NOBODY", raising=False)
    lines = mistakes(MINIMAL.replace("0.5", "'${env:NOBODY}'"), "search.seeds=[1, '${env:NOBODY}']")
    assert lines == [
        f"e.yaml:4:19: experiments.a.trainer.lr: {UNSET} ('${{env:NOBODY}}')",
        f"--set search.seeds=[1, '${{env:NOBODY}}']: search.seeds.1: {UNSET} ('${{env:NOBODY}}')",
    ]


def test_a_value_from_the_environment_is_blamed_at_its_place(mistakes, monkeypatch):
    monkeypatch.delenv("NOBODY", raising=False)
    lines = mistakes(
        MINIMAL + "    search:\n      mode: list\n      frozen:\n      - stem\n      - ${env:NOBODY:-head}\n"
    )
    assert [line[: line.index(";")] for line in lines] == [
        "e.yaml:9:9: experiments.a.search.frozen.1: unknown block 'head'"
    ]


def test_what_the_environment_holds_is_not_put_in_again(write, monkeypatch):
    monkeypatch.setenv("OUTER", "${env:INNER}")
    monkeypatch.delenv("INNER", raising=False)
    path = write(MINIMAL)
    assert load_experiment("a", path, ["model.weights=${env:OUTER}"]).model.weights == "${env:INNER}"


def test_the_file_of_a_mistake_is_named_as_it_was_given(folder):
    (folder / "a b").mkdir()
    (folder / "a b" / "ä.yaml").write_text("experiments:\n  a: 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^a b/ä\.yaml:2:3: experiments\.a: must be a mapping \(5\)$"):
        check_file("a b/ä.yaml")
