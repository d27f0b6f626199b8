"""`orchestrator model`: networks by name without torch, and what one is made of."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from orchestrator.cli.commands import app
from orchestrator.discovery import TORCHVISION
from orchestrator.errors import ConfigError
from tests.factories import BLOCK_PARAMS

RUNNER = CliRunner()


def test_the_list_has_every_network_of_torchvision_and_needs_no_torch():
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom orchestrator.cli.commands import app\n"
        "app(['model', 'list', '-f', 'json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {row["name"] for row in json.loads(done.stdout)} == set(TORCHVISION)
    assert "timm/<name>" in done.stderr


def test_part_of_a_name_is_enough():
    done = RUNNER.invoke(app, ["model", "list", "squeezenet", "-f", "json"])
    assert [row["name"] for row in json.loads(done.stdout)] == ["squeezenet1_0", "squeezenet1_1"]


def test_the_blocks_of_a_resnet_are_counted():
    done = RUNNER.invoke(app, ["model", "blocks", "resnet18", "-f", "json"])
    rows = json.loads(done.stdout)
    assert {row["block"]: row["parameters"] for row in rows} == BLOCK_PARAMS
    assert [row["activations_kib"] for row in rows[:2]] == [64 * 56 * 56 * 4 / 1024] * 2
    assert all(row["kept"] for row in rows)
    assert "11,689,512 parameters" in done.stderr  # as torchvision states of a ResNet18
    assert "5 blocks: 6 prefixes, 32 subsets" in done.stderr


def test_so_are_those_that_are_found():
    done = RUNNER.invoke(app, ["model", "blocks", "squeezenet1_1", "--size", "64"])
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [
        "stem",
        "features.3-5",
        "features.6-8",
        "features.9-12",
    ]
    assert "1,235,496 parameters" in done.stderr  # as torchvision states


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alexnet", "--size", "32"], "cannot take images of 32 px"),
        (["resnet9"], "must be a network of torchvision"),
    ],
)
def test_what_cannot_be_is_refused(words, said):
    done = RUNNER.invoke(app, ["model", "blocks", *words])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
