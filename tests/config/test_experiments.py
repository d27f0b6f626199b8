"""The experiments that ship, the hash of a configuration, and its JSON Schema."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from orchestrator.backbones import BACKBONES
from orchestrator.config import (
    check_file,
    config_hash,
    experiment_names,
    json_schema,
    load_experiment,
    resolve_experiment,
    to_yaml,
)

HERE = Path(__file__).parents[2]
SHIPPED = HERE / "experiments.yaml"

STUDY = {
    "data.source": "AI-Lab-Makerere/beans",
    "data.image_size": 224,
    "data.mean": [0.485, 0.456, 0.406],
    "data.std": [0.229, 0.224, 0.225],
    "data.batch_size": 16,
    "data.loader_workers": 4,
    "model.backbone": "resnet18",
    "model.weights": "IMAGENET1K_V1",
    "model.num_classes": 3,
    "model.frozen_batchnorm": "eval",
    "trainer.max_epochs": 30,
    "trainer.patience": 10,
    "trainer.lr": 1e-4,
    "trainer.weight_decay": 0.0,
    "trainer.optimizer": "adam",
    "trainer.precision": "auto",  # mixed where the GPU can
    "trainer.deterministic": True,
    "trainer.log_every_n_steps": 10,
    "search.mode": "prefix",
    "search.encoding": "categorical",
    "search.sampler": "auto",
    "search.n_trials": None,
    "search.seeds": [0],
    "search.max_trainable_params": None,
    "execution.mode": "processes",
    "execution.workers": "auto",
    "cache.max_gb": 20.0,
    "cache.images": True,
    "tracking.mlflow_uri": None,
    "tracking.tensorboard": True,
}
SOURCE = {
    "data.source": "sklearn/digits",
    "data.classes": ["0", "1", "2", "3", "4", "5", "6"],
    "data.max_train_images": None,
    "data.image_size": 32,
    "model.weights": "none",
    "model.num_classes": 7,
    "search.mode": "list",
    "search.frozen": ["none"],
    "search.seeds": [0],
}
DEMO = {
    "data.source": "sklearn/digits",
    "data.classes": ["7", "8", "9"],
    "data.max_train_images": 60,
    "data.image_size": 32,
    "model.weights": "sweep:demo-source",
    "model.num_classes": 3,
    "search.mode": "prefix",
    "search.seeds": [0, 1, 2],
}


def values_of(name: str) -> dict[str, object]:
    """Read an experiment's values by dotted key, from what `config show` prints."""

    def flat(tree: dict[str, object], path: str) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in tree.items():
            found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
        return found

    return flat(yaml.safe_load(to_yaml(load_experiment(name, SHIPPED))), "")


def test_the_experiments_that_ship():
    assert check_file(SHIPPED) == experiment_names(SHIPPED) == ["beans", "beans-all", "demo-source", "demo"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("beans", STUDY), ("beans-all", STUDY | {"search.mode": "subset"}), ("demo-source", SOURCE), ("demo", DEMO)],
)
def test_an_experiment_that_ships_has_the_values_of_the_study(name, expected):
    values = values_of(name)
    assert {key: values[key] for key in expected} == expected
    for key, value in expected.items():
        assert type(values[key]) is type(value), key


def test_the_frozen_sets_of_the_experiments_that_ship():
    sets = {
        name: [frozen.key for frozen in load_experiment(name, SHIPPED).frozen_sets] for name in ("beans", "beans-all")
    }
    assert sets["beans"] == [
        *("none", "stem", "stem+layer1", "stem+layer1+layer2", "stem+layer1+layer2+layer3"),
        "stem+layer1+layer2+layer3+layer4",
    ]
    assert len(set(sets["beans-all"])) == len(sets["beans-all"]) == 32  # 2^5
    assert set(sets["beans"]) < set(sets["beans-all"])


def test_beans_all_differs_from_beans_in_what_is_searched_only():
    beans, everything = values_of("beans"), values_of("beans-all")
    assert {key for key in beans if beans[key] != everything[key]} == {"name", "description", "search.mode"}


def test_what_is_shown_can_be_read_again(folder):
    for name in experiment_names(SHIPPED):
        experiment = load_experiment(name, SHIPPED)
        entry = yaml.safe_load(to_yaml(experiment))
        (folder / "e.yaml").write_text(yaml.safe_dump({"experiments": {entry.pop("name"): entry}}))
        assert load_experiment(name, "e.yaml") == experiment


# The hash


def test_the_hash_is_of_the_canonical_json():
    experiment = load_experiment("demo", SHIPPED)
    plain = yaml.safe_load(to_yaml(experiment))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    assert config_hash(experiment) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_the_hash_does_not_depend_on_how_it_is_written(write):
    one = write("""
        experiments:
          a:
            data: {source: synthetic}
            trainer: {lr: 1e-3, weight_decay: 0}
            execution: inline
            search: {mode: list, frozen: [layer1+stem, none]}
    """)
    first = config_hash(load_experiment("a", one))
    other = write("""
        defaults:
          search: {frozen: [stem+layer1+stem, none], mode: list}
          execution: {mode: inline, workers: auto}
        experiments:
          b: {trainer: {weight_decay: 0.0, lr: 0.001}}
          a: {extends: b, data: {source: "synthetic", image_size: 224}}
    """)
    assert config_hash(load_experiment("a", other)) == first


def test_each_value_changes_the_hash():
    overrides = ["trainer.lr=2e-3", "search.seeds=[1]", "data.source=x", "execution.workers=2", "search.mode=subset"]
    hashes = [config_hash(load_experiment("demo", SHIPPED, [each])) for each in overrides]
    assert len({config_hash(load_experiment("demo", SHIPPED)), *hashes}) == 1 + len(overrides)


# The schema


def accepts(schema: dict, value: object, root: dict) -> bool:
    """Validate as JSON Schema says it, for the words that ours uses. Any other word is an error."""
    numbers = {
        "minimum": lambda bound: value >= bound,
        "maximum": lambda bound: value <= bound,
        "exclusiveMinimum": lambda bound: value > bound,
        "exclusiveMaximum": lambda bound: value < bound,
    }
    types = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
    words = {
        "$ref": lambda ref: accepts(root["$defs"][ref.removeprefix("#/$defs/")], value, root),
        "anyOf": lambda options: any(accepts(option, value, root) for option in options),
        "enum": lambda choices: value in choices,
        "const": lambda only: value == only,
        "type": lambda name: (
            isinstance(value, types[name])
            if name in types
            else isinstance(value, int if name == "integer" else int | float) and not isinstance(value, bool)
        ),
        "required": lambda keys: not isinstance(value, dict) or set(keys) <= set(value),
        "properties": lambda known: (
            not isinstance(value, dict)
            or all(accepts(known[key], item, root) for key, item in value.items() if key in known)
        ),
        "additionalProperties": lambda rule: (
            not isinstance(value, dict)
            or all(
                rule is not False and accepts(rule, item, root)
                for key, item in value.items()
                if key not in schema.get("properties", {})
            )
        ),
        "propertyNames": lambda rule: not isinstance(value, dict) or all(re.search(rule["pattern"], k) for k in value),
        "items": lambda rule: not isinstance(value, list) or all(accepts(rule, item, root) for item in value),
        "prefixItems": lambda rules: (
            not isinstance(value, list) or all(accepts(*pair, root) for pair in zip(rules, value, strict=False))
        ),
        "minItems": lambda least: not isinstance(value, list) or len(value) >= least,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "pattern": lambda pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
        "minLength": lambda least: not isinstance(value, str) or len(value) >= least,
        **{
            word: lambda bound, check=check: not isinstance(value, int | float) or check(bound)
            for word, check in numbers.items()
        },
        **dict.fromkeys(("title", "description", "default", "$schema", "$defs"), lambda _: True),
    }
    return all(words[word](rule) for word, rule in schema.items())


def test_the_examples_of_a_search_in_the_comments_are_taken(tmp_path):
    """Each block of examples is written under `search` of an experiment, without its comment signs."""
    lines = [line.strip() for line in SHIPPED.read_text().splitlines()]
    examples = [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
    assert len(examples) == 7
    for block in (examples[:3], examples[3:5], examples[5:]):
        path = tmp_path / "examples.yaml"
        text = "experiments:\n  a:\n    data: {source: synthetic}\n    search:\n"
        path.write_text(text + "".join(f"      {line}\n" for line in block))
        found = load_experiment("a", path).search
        assert list(found.dimensions) == [
            line.partition(":")[0] for line in block if line[:2] != "n_" and "sampler" not in line
        ]


def test_the_schema_in_the_repository_is_current():
    assert json.loads((HERE / "experiments.schema.json").read_text()) == json_schema()
    assert SHIPPED.read_text().startswith("# yaml-language-server: $schema=experiments.schema.json\n")


def test_the_schema_accepts_the_experiments_that_ship():
    assert accepts(json_schema(), yaml.safe_load(SHIPPED.read_text()), json_schema())


@pytest.mark.parametrize(
    "entry",
    [
        "{extends: b}",
        "{execution: inline}",
        "{execution: {workers: 2}, search: {seeds: [1, 2], lr: {choices: [0.1]}}}",
        "{search: {lr: {range: {low: 0.1, high: 1, log: true}}, n_trials: 3}}",
        "{data: {revision: null, mean: [0, 0.5, 1]}, model: {num_classes: null}}",
    ],
)
def test_the_schema_accepts_what_may_be_written(entry):
    text = f"defaults: {{data: {{source: x}}}}\nexperiments: {{a: {entry}, b: {{}}}}\n"
    assert accepts(json_schema(), yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {}",
        "experiments: []",
        "experiments: {}\nexperiment: {}",
        "experiments: {-a: {}}",
        "experiments: {a: 5}",
        *(
            f"experiments: {{a: {entry}}}"
            for entry in (
                "{trainr: {}}",
                "{trainer: {lrr: 1}}",
                "{trainer: {lr: 0}}",
                "{trainer: {lr: true}}",
                "{trainer: {optimizer: rms}}",
                "{trainer: {max_epochs: 1.5}}",
                "{data: {mean: [1, 2]}}",
                "{data: {mean: [1, 2, 3, 4]}}",
                "{data: {source: ''}}",
                "{search: {seeds: []}}",
                "{search: {seeds: [-1]}}",
                "{search: {mode: lists}}",
                "{search: {lr: {choice: [1]}}}",
                "{execution: inlin}",
                "{name: a}",
            )
        ),
        "defaults: {extends: a}\nexperiments: {}",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(text):
    assert not accepts(json_schema(), yaml.safe_load(text), json_schema())


def test_every_key_of_the_schema_says_what_it_is_for():
    schema = json_schema()
    silent = [
        f"{name}.{key}"
        for name, definition in schema["$defs"].items()
        for key, value in definition["properties"].items()
        if not value.get("description")
        and not any(schema["$defs"][o["$ref"].rsplit("/")[-1]].get("description") for o in value.get("anyOf", [value])
                    if "$ref" in o)
    ]  # fmt: skip
    assert silent == []


def test_the_resolved_configuration_says_where_it_comes_from():
    origins = resolve_experiment("beans-all", SHIPPED).origins
    lines = SHIPPED.read_text().splitlines()
    for key, origin in origins.items():
        if origin != "default":
            line = lines[int(origin.rsplit(":", 1)[1]) - 1]
            assert f"{key.rsplit('.', 1)[-1]}: " in line
    named = {key for key, origin in origins.items() if origin != "default"}
    assert {"data.source", "trainer.lr", "trainer.precision", "search.mode", "search.seeds"} <= named
    assert BACKBONES.shipped == ("resnet18", "resnet34", "resnet50")


@pytest.mark.parametrize(
    ("end", "rungs"), [(30, (3, 9, 30)), (31, (3, 9, 30, 31)), (9, (3, 9)), (8, (3, 8)), (3, (3,)), (2, (2,))]
)
def test_the_last_rung_of_a_race_is_the_last_epoch(write, end, rungs):
    path = write(f"experiments: {{a: {{data: {{source: x}}, trainer: {{max_epochs: {end}}}}}}}")
    assert load_experiment("a", path).rungs == rungs
