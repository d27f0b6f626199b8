"""The simulation behind docs/statistics.md: its truths are true, and it runs."""

import json

import numpy as np
import pytest

from benchmarks.calibrate import PARAMS, SETS, WORLDS, draw_sweep, main, true_accuracies
from tests.factories import count_trainable


def test_parameters_are_those_of_the_network():
    assert [count_trainable(each.key) for each in SETS] == PARAMS


@pytest.mark.parametrize("of_seeds", [0.0, 0.3])
def test_drawn_accuracies_are_the_true_ones(of_seeds):
    truth = true_accuracies("smooth trade-off")
    correct, of_runs = draw_sweep(truth, 40, 20_000 // 40, of_seeds, np.random.default_rng(0))
    assert correct.mean() == pytest.approx(truth.mean(), abs=0.02)
    assert of_runs.mean(axis=1) == pytest.approx(truth, abs=4 * (0.01 + 0.25 * of_seeds) / 40**0.5)
    assert (of_runs.std() > 0) == (of_seeds > 0 or truth.std() > 0)


def test_it_prints_tables_and_keeps_numbers(tmp_path, capsys):
    path = tmp_path / "calibration.json"
    main(["--sweeps", "2", "--seeds", "1", "--json", str(path)])
    assert [each["case"]["world"] for each in json.loads(path.read_text())] == list(WORLDS)
    out = capsys.readouterr().out
    assert all(out.count(f"| {world} | 1 |") == 4 for world in WORLDS)
