"""The simulation behind docs/statistics.md: it runs, and prints what it measured."""

import json

import pytest

from benchmarks.calibrate import list_cases, main
from benchmarks.worlds import WORLDS


def test_each_world_is_simulated_and_two_of_them_with_other_numbers_of_images():
    cases = list_cases([1, 3], 0.1, 5)
    assert {(each.world, each.seeds) for each in cases if each.images == 133} == {
        (w, s) for w in WORLDS for s in (1, 3)
    }
    assert sorted(each.images for each in cases if each.images != 133) == [50, 50, 1000, 1000]


def test_it_prints_tables_and_keeps_numbers(tmp_path, capsys):
    path = tmp_path / "calibration.json"
    main(["--sweeps", "2", "--seeds", "1", "--json", str(path)])
    kept = json.loads(path.read_text())
    assert [each["case"]["world"] for each in kept if each["case"]["images"] == 133] == list(WORLDS)
    out = capsys.readouterr().out
    assert all(out.count(f"| {world} | 133 | 1 |") == 3 for world in WORLDS)
    equal = next(each["mean"] for each in kept if each["case"]["world"] == "all equal")
    assert (equal["best_loss"], equal["oracle_loss"]) == pytest.approx((0, 0), abs=1e-9)
    assert (equal["within"], equal["oracle_within"], equal["oracle_bias"]) == pytest.approx((1, 1, 0), abs=1e-9)
