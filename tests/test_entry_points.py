"""An installed package adds a backbone and a data source: the example of the documentation, installed and swept."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Backbone, ConfigError, load_experiment, load_sweep, plan_sweep
from orchestrator.backbones import BACKBONES, find_backbone
from orchestrator.config import check_file, json_schema
from orchestrator.config.sources import SOURCES
from orchestrator.registry import find_entry_points

DOCUMENT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
# weights and biases: a 3x3 convolution from 3 to 4 channels and its BatchNorm, one from 4 to 8, a head of 2 classes
ENTRY, BODY, HEAD = 4 * 3 * 9 + 4 + 2 * 4, 8 * 4 * 9 + 8, 8 * 2 + 2
PARAMS = {"none": ENTRY + BODY + HEAD, "entry": BODY + HEAD, "body": ENTRY + HEAD, "entry+body": HEAD}


def install(folder: Path, code: str, entries: str) -> None:
    """Put into `folder` what pip leaves of a package."""
    (folder / "tiny_package.py").write_text(code)
    info = folder / "tiny_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path, whose packages nobody has looked up yet."""

    def forget() -> None:
        find_entry_points.cache_clear()
        sys.modules.pop("tiny_package", None)

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(BACKBONES, "_loaded", {})
    monkeypatch.setattr(SOURCES, "_loaded", {})
    forget()
    yield folder
    forget()


@pytest.fixture
def example(site, tmp_path):
    """The package of the documentation; returns its experiments."""
    project, code, experiments = re.findall(r"```\w+\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    groups = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(\w+) = "(.*?)"', project)
    install(site, code, "".join(f"[{group}]\n{name} = {value}\n" for group, name, value in groups))
    file = tmp_path / "experiments.yaml"
    file.write_text(experiments)
    return file


def test_it_is_planned_with_its_own_blocks_classes_and_parameters(example):
    plan = plan_sweep(load_experiment("tiny", example))
    assert {key: cost.trainable_params for key, cost in plan.costs.items()} == PARAMS
    assert sorted(choice.frozen.key for choice in plan.choices) == sorted(PARAMS)


@pytest.mark.slow
def test_it_is_swept_in_worker_processes(example, site, tmp_path):
    path = os.pathsep.join([str(site), str(Path(__file__).parents[1])])
    code = "from orchestrator.cli import script; script()"
    words = [sys.executable, "-c", code, "sweep", "tiny", "--config", str(example), "--root", str(tmp_path / "root")]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sweep = load_sweep("tiny", tmp_path / "root")
    assert {trial.frozen: trial.trainable_params for trial in sweep.trials} == PARAMS
    network = sweep.best().load_model()
    assert [name for name, _ in network.named_children()] == ["entry", "norm", "body", "average", "flat", "classify"]
    row = sweep.runs_dataframe().iloc[0]
    assert row["val_acc"] in {number / 8 for number in range(9)}  # of 8 images


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.backbone",
            "tinynat",
            "package.module:function; did you mean 'tinynet'? ('tinynat')",
        ),
        ("model.num_classes", "3", "model.num_classes: stripes has 2 (3)"),
        ("search", "{mode: list, frozen: [entry, stem]}", "unknown block 'stem'; valid blocks: entry, body of tinynet"),
        (
            "search",
            "{mode: list, frozen: [nowhere]}",
            "unknown block 'nowhere'; valid blocks: entry, body of tinynet",
        ),
    ],
)
def test_mistakes_name_what_the_package_adds(example, key, value, message):
    with pytest.raises(ConfigError) as caught:
        load_experiment("tiny", example, [f"{key}={value}"])
    assert message in caught.value.message


def test_the_schema_lists_what_ships(example):
    names = json_schema()["$defs"]["ModelConfig"]["properties"]["backbone"]["anyOf"][0]["enum"]
    assert set(BACKBONES.shipped) < set(names)
    assert check_file(example) == ["tiny"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_that_name", r"cannot be loaded \(tiny_package:THING\): ModuleNotFoundError: No module"),
        ("raise KeyError('x')", r"cannot be loaded \(tiny_package:THING\): KeyError: 'x'"),
        ("THING = 3", r"leads to no Backbone of that name \(tiny_package:THING\)"),
        (
            "from orchestrator import Backbone\nTHING = Backbone(name='other', modules={})",
            r"leads to no Backbone of that name \(tiny_package:THING\)",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_named(site, code, message):
    install(site, code, "[freeze_orchestrator.backbones]\nthing = tiny_package:THING\n")
    with pytest.raises(ConfigError, match=rf"^'thing' of the installed package tiny-package {message}"):
        find_backbone("thing")
    assert find_backbone("resnet18").blocks[0] == "stem"


def test_what_ships_cannot_be_replaced(site):
    code = "from orchestrator import Backbone\nTHING = Backbone(name='resnet18', modules={})"
    install(site, code, "[freeze_orchestrator.backbones]\nresnet18 = tiny_package:THING\n")
    assert find_backbone("resnet18").blocks == ("stem", "layer1", "layer2", "layer3", "layer4")
    assert BACKBONES.names == ("resnet18", "resnet34", "resnet50")
    assert isinstance(find_backbone("resnet50"), Backbone)


@pytest.mark.parametrize(
    ("opened", "message"),
    [
        ("3", "stripes opens as int, not as a Collection"),
        ("Collection.of_arrays({'train': draw(2), 'test': draw(2)}, 'ab')", "stripes has no validation images"),
        (
            "Collection.of_arrays(dict.fromkeys(['train', 'validation', 'test'], draw(3)), 'ab')",
            "stripes has train labels beyond its 2 classes",
        ),
    ],
)
def test_a_source_that_opens_as_something_else_is_refused(site, opened, message):
    code = f"""
import numpy as np
from orchestrator import ArrayImages, Collection, NamedSource
THING = NamedSource(name="stripes", opener="tiny_package:open_it", classes=2)
def draw(count):
    return ArrayImages(np.zeros((count, 8, 8), dtype=np.uint8), range(count))
def open_it(data):
    return {opened}
"""
    install(site, code, "[freeze_orchestrator.sources]\nstripes = tiny_package:THING\n")
    from orchestrator.config.models import DataConfig
    from orchestrator.training.data.loading import describe_data

    with pytest.raises(ConfigError, match=rf"^data\.source: {message}$"):
        describe_data(DataConfig(source="stripes"))


def test_the_fingerprint_of_arrays_sees_pixels_labels_names_splits_and_shape():
    import numpy as np

    from orchestrator import ArrayImages, Collection

    def digest(pixels, labels=(0, 1), names=("a", "b"), split="train"):
        return Collection.of_arrays({split: ArrayImages(pixels, labels)}, names).fingerprint

    pixels = np.arange(2 * 2 * 8, dtype=np.uint8).reshape(2, 2, 8)
    others = [
        digest(pixels + 1),
        digest(pixels, labels=(1, 0)),
        digest(pixels, names=("a", "c")),
        digest(pixels, split="test"),
        digest(pixels.reshape(2, 8, 2)),
        digest(pixels.reshape(2, 4, 4)),
    ]
    assert len({digest(pixels), *others}) == 7
    assert digest(pixels) == digest(pixels.copy())
    colour = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert ArrayImages(colour, [0]).read(0, 2).tolist() == colour[0].transpose(2, 0, 1).tolist()
