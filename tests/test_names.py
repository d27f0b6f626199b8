"""The table of quantities: it contradicts itself nowhere, and its documentation is what it says."""

from pathlib import Path

from typer.testing import CliRunner

from orchestrator import catalogue, names
from orchestrator.cli.commands import app
from orchestrator.quantities import Quantity

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
EVERY = [(group.of, each) for group in catalogue.GROUPS for each in group.quantities]


def test_each_quantity_stands_once():
    places = [(of, each.key) for of, each in EVERY]
    assert len(set(places)) == len(places)
    curves = [each.curve for _, each in EVERY if each.curve is not None]
    assert len(set(curves)) == len(curves)


def test_a_key_is_written_in_one_way_wherever_it_stands():
    ways: dict[str, list[tuple[int | None, bool]]] = {}
    for _, each in EVERY:
        ways.setdefault(each.key, []).append((each.kind.digits, each.kind.grouped))
    several = {key: found for key, found in ways.items() if len(found) > 1}
    assert set(several) == {
        *("val_acc", "val_loss", "train_acc", "train_loss", "balanced_accuracy", "macro_f1", "duration_s", "n_seeds")
    }
    assert [key for key, found in several.items() if len(set(found)) > 1] == []


def test_every_group_that_is_shown_is_among_them():
    listed = {id(each) for _, each in EVERY}
    groups = [value for module in (names, catalogue) for value in vars(module).values() if isinstance(value, tuple)]
    quantities = [each for value in groups for each in value if isinstance(each, Quantity)]
    assert len(quantities) > len(EVERY)  # `OF_RUN` joins others
    assert [each.key for each in quantities if id(each) not in listed] == []


def test_directions_are_those_of_the_objectives():
    objectives = [(each.key, each.kind.better) for each in names.OBJECTIVES]
    assert objectives == [("val_acc", "higher"), ("trainable_params", "lower")]
    better = {each.key: each.kind.better for each in names.MEANS}
    assert [key for key, found in better.items() if found == "higher"] == ["train_acc", "test_acc", "images_per_s"]
    assert [key for key, found in better.items() if found is None] == ["best_epoch", "epochs_run"]


def test_the_documentation_is_what_the_command_prints():
    done = CliRunner().invoke(app, ["metrics", "-f", "md"])
    assert done.exit_code == 0
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written[written.index("| key |") :] == done.stdout, "replace its table by: orchestrator metrics -f md"
    assert "| gap_train_val | run | fraction | lower | `train_acc` minus `val_acc`" in written
