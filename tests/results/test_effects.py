"""What freezing each block changes, read from trials and from the predictions that their runs kept."""

import re

import numpy as np
import pytest

from orchestrator.blocks import all_sets
from orchestrator.config.models import SearchConfig
from orchestrator.results import Sweep, predicted
from orchestrator.results.block_sentences import build_table, say_effects
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import read_predictions
from tests.factories import (
    BLOCK_PARAMS,
    PREFIXES,
    RESNET18,
    make_cost,
    make_experiment,
    make_hyperparameters,
    make_trial,
    make_trials,
)
from tests.lattices import draw_right, make_lattice_sweep
from tests.predicted import make_predicted_trial

EVERY = [frozen.key for frozen in all_sets(RESNET18)]
NO_SEEDS = "one seed: the intervals cover other images, another seed may well show something else"
NESTED = "each effect is of also freezing the block when all before it are frozen: no others were tried"
NESTED_TUNED = "each effect is of a block when all before it are frozen: no others were tried"
NO_SECONDS = (
    "seconds are stated where at least two pairs of trials or two seeds have runs that trained in one piece, beside "
    "about as many others: else a difference may be the machine's"
)
KNOWN_OF_ANY = {"block", "tuning", "instead_of", "n_pairs", "next_block", "n_squares"}
NO_INTERVAL = "without the predictions of each run an effect on accuracy has no interval"


def find_row(sweep: Sweep, block: str):
    return next(row for row in sweep.effects.rows() if row["block"] == block)


def test_two_blocks_by_hand(tmp_path):
    right = {
        "none": np.array([[1, 1, 1, 1], [1, 1, 1, 0]], dtype=bool),
        "layer3": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool),
        "layer4": np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool),
        "layer3+layer4": np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool),
    }
    sweep = make_lattice_sweep(tmp_path, right)
    # means: 7/8, 5/8, 3/8, 1/8
    row = find_row(sweep, "layer3")
    assert row["val_acc_effect"] == pytest.approx(-0.25)
    assert row["val_acc_effect_low"] < -0.25 < row["val_acc_effect_high"]
    assert (row["n_pairs"], row["n_seeds"], row["next_block"], row["n_squares"]) == (2, 2, "layer4", 1)
    assert row["interaction"] == pytest.approx(1 / 8 - 5 / 8 - 3 / 8 + 7 / 8)
    assert row["trainable_params_effect"] == -BLOCK_PARAMS["layer3"]
    assert row["duration_s_effect"] == -5.0  # by the factory
    saved = make_cost("none").gflops_train_per_image - make_cost("layer3").gflops_train_per_image
    assert row["gflops_train_per_image_effect"] == pytest.approx(-saved)
    assert find_row(sweep, "layer4")["val_acc_effect"] == pytest.approx(-0.5)
    nothing = find_row(sweep, "stem")
    assert (nothing["n_pairs"], nothing["n_squares"]) == (0, 0)
    assert {value for key, value in nothing.items() if key not in KNOWN_OF_ANY} == {None}
    assert (nothing["tuning"], nothing["instead_of"]) == ("frozen", "full")


def test_a_tuned_block_is_a_level_of_its_own(tmp_path):
    """Prefixes of two blocks that are frozen, and the rest of each in full and with its normalisation alone."""
    rest = "layer1:norm+layer2:norm+layer3:norm+layer4:norm"
    right = {
        "none": np.array([[1, 1, 1, 1]], dtype=bool),
        "stem": np.array([[1, 1, 1, 0]], dtype=bool),
        f"stem:norm+{rest}": np.array([[1, 1, 0, 0]], dtype=bool),
        f"stem+{rest}": np.array([[1, 0, 0, 0]], dtype=bool),
        "stem+layer1+layer2+layer3+layer4": np.array([[1, 0, 0, 0]], dtype=bool),
        "stem+layer1+layer2+layer3+layer4:norm": np.array([[1, 1, 1, 0]], dtype=bool),
        "stem+layer1+layer2+layer3": np.array([[1, 1, 1, 1]], dtype=bool),
    }
    effects = make_lattice_sweep(tmp_path, right).effects
    rows = [row for row in effects.rows() if row["n_pairs"]]
    found = [(row["block"], row["tuning"], row["instead_of"], row["val_acc_effect"]) for row in rows]
    assert found == [
        ("stem", "frozen", "full", 0.75 - 1),
        ("stem", "frozen", "norm", 0.25 - 0.5),
        ("layer4", "frozen", "full", 0.25 - 1),
        ("layer4", "frozen", "norm", 0.25 - 0.75),
        ("layer4", "norm", "full", 0.75 - 1),
    ]
    assert [row["besides"] for row in rows] == ["none", rest, *["stem+layer1+layer2+layer3"] * 3]
    assert effects.nested
    assert NESTED_TUNED in effects.notes()
    assert [effects.label(effect) for effect in effects.compared][-1] == "layer4 norm instead of full"
    said = say_effects(effects)
    assert said.startswith("These data show no effect of freezing or tuning any one block on accuracy; ")
    assert [row[0] for row in build_table(effects)] == ["block", *map(effects.label, effects.blocks)]


def test_a_sentence_says_what_a_block_does_instead(tmp_path):
    keys = [*PREFIXES, "stem+layer1+layer2+layer3+layer4:norm"]
    sweep = make_lattice_sweep(tmp_path, draw_right(keys, {"layer4": 0.2}))
    said = say_effects(sweep.effects)
    costs = r"costs \S+ points \(.+\)"
    frozen = f"layer4 frozen instead of full {costs} and layer4 frozen instead of norm {costs}"
    assert re.match(f"With all blocks before frozen, {frozen};", said)
    assert said.endswith("; for the other comparisons these data show no difference")


def test_all_sets_of_blocks_show_what_each_costs(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(EVERY, {"layer4": 0.08}, images=60))
    rows = sweep.effects.rows()
    assert [row["block"] for row in rows] == list(RESNET18)
    assert [row["n_pairs"] for row in rows] == [16] * 5
    assert [row["n_squares"] for row in rows] == [8, 8, 8, 8, 0]
    told = [row["block"] for row in rows if not row["val_acc_effect_low"] < 0 < row["val_acc_effect_high"]]
    assert "layer4" in told
    assert max(rows, key=lambda row: row["ped_anova"])["block"] == "layer4"
    assert sum(row["ped_anova"] for row in rows) == pytest.approx(1)
    assert sweep.effects.notes() == []
    assert not sweep.effects.nested


def test_the_data_frame_has_typed_columns_with_and_without_rows(tmp_path):
    full = make_lattice_sweep(tmp_path, draw_right(EVERY[:8], {}, images=30)).block_effects()
    empty = Sweep(Root.at(tmp_path), make_experiment(), ()).block_effects()
    assert list(full.dtypes) == list(empty.dtypes)
    assert list(empty["n_pairs"]) == [0] * 5
    assert str(full["trainable_params_effect"].dtype) == "Int64"
    assert full["ped_anova"].isna().all()  # 8 trials are too few


def test_steps_between_prefixes_say_what_is_frozen_besides(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {}, seeds=1, images=30))
    assert [row["besides"] for row in sweep.effects.rows()] == list(PREFIXES[:5])
    assert [row["interaction"] for row in sweep.effects.rows()] == [None] * 5
    assert sweep.effects.nested
    assert sweep.effects.notes() == [
        NESTED,
        NO_SEEDS,
        NO_SECONDS,
        "PED-ANOVA needs at least 17 complete trials, and there are 6",
    ]
    assert [row["duration_s_effect"] for row in sweep.effects.rows()] == [None] * 5  # one pair, one seed: no spread


@pytest.mark.parametrize("lack", [{"at_once": None}, {"reused_from": "other/trial_000_stem_seed0"}])
def test_runs_whose_times_do_not_compare_state_no_seconds(tmp_path, lack):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {}, seeds=3, images=30))
    assert [row["duration_s_effect"] for row in sweep.effects.rows()] == [-5.0] * 5
    trials = [
        trial.model_copy(update={"runs": tuple(run.model_copy(update=lack) for run in trial.runs)})
        for trial in sweep.trials
    ]
    lacking = Sweep(sweep.root, sweep.experiment, trials)
    assert [row["duration_s_effect"] for row in lacking.effects.rows()] == [None] * 5
    assert NO_SECONDS in lacking.effects.notes()
    assert NO_SECONDS not in sweep.effects.notes()


def test_failed_and_superseded_trials_are_in_no_pair(tmp_path):
    right = draw_right(["none", "layer4"], {}, seeds=3, images=30)
    trials = [
        make_predicted_trial(tmp_path, 0, "none", right["none"][:1]),
        make_predicted_trial(tmp_path, 1, "none", right["none"]),  # the same, with more seeds
        make_predicted_trial(tmp_path, 2, "layer4", right["layer4"]),
        make_trial(3, "layer3", error="out of memory"),
        make_trial(4, "layer3+layer4", state="running", runs=()).model_copy(update={"val_acc": None}),
    ]
    sweep = Sweep(Root.at(tmp_path), make_experiment(), trials)
    row = find_row(sweep, "layer4")
    assert (row["n_pairs"], row["n_seeds"]) == (1, 3)
    assert row["val_acc_effect"] == pytest.approx(right["layer4"].mean() - right["none"].mean())
    assert find_row(sweep, "layer3")["n_pairs"] == 0


def test_of_trials_that_are_the_same_the_last_counts(tmp_path):
    right = draw_right(["none", "layer4"], {}, seeds=4, images=30)
    trials = [
        make_predicted_trial(tmp_path, 0, "none", right["none"][:2], seeds=(0, 1)),
        make_predicted_trial(tmp_path, 1, "none", right["none"][2:], seeds=(2, 3)),
        make_predicted_trial(tmp_path, 2, "layer4", right["layer4"][2:], seeds=(2, 3)),
    ]
    row = find_row(Sweep(Root.at(tmp_path), make_experiment(), trials), "layer4")
    assert (row["n_pairs"], row["n_seeds"]) == (1, 2)
    assert row["val_acc_effect"] == pytest.approx(right["layer4"][2:].mean() - right["none"][2:].mean())


def test_pairs_have_equal_hyperparameters(tmp_path):
    right = draw_right(["none", "layer4"], {}, seeds=1, images=30)
    search = SearchConfig.model_validate({"lr": {"choices": [1e-3, 1e-4]}})
    trials = [
        make_predicted_trial(tmp_path, 0, "none", right["none"], hyperparameters=make_hyperparameters(lr=1e-3)),
        make_predicted_trial(tmp_path, 1, "layer4", right["layer4"], hyperparameters=make_hyperparameters(lr=1e-4)),
    ]
    sweep = Sweep(Root.at(tmp_path), make_experiment(search=search), trials)
    assert sweep.effects.compared == ()
    assert sweep.effects.notes() == ["no two complete trials differ in one block alone"]


@pytest.mark.parametrize("damage", ["gone", "damaged", "other images"])
def test_without_the_predictions_of_a_run_its_blocks_have_no_interval(tmp_path, damage):
    right = draw_right(PREFIXES[:3], {}, seeds=2, images=30)
    sweep = make_lattice_sweep(tmp_path, right)
    checkpoint = sweep.trials[2].runs[1].checkpoint
    assert checkpoint
    path = (tmp_path / checkpoint).with_name("predictions.npz")
    if damage == "gone":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(b"damaged")
    else:
        kept = dict(np.load(path))
        np.savez_compressed(path, **kept | {"validation_image_ids": kept["validation_image_ids"][::-1]})
    stem, layer1 = sweep.effects.rows()[:2]
    assert stem["val_acc_effect_low"] is not None
    assert layer1["val_acc_effect"] == pytest.approx(right["stem+layer1"].mean() - right["stem"].mean())
    assert (layer1["val_acc_effect_low"], layer1["val_acc_effect_high"]) == (None, None)
    assert NO_INTERVAL in sweep.effects.notes()


def test_results_of_older_versions_have_effects_without_intervals(tmp_path):
    sweep = Sweep(Root.at(tmp_path), make_experiment(), make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)))
    assert [row["val_acc_effect"] for row in sweep.effects.rows()] == pytest.approx([-0.01, 0.02, -0.06, -0.05, -0.25])
    assert {row["val_acc_effect_low"] for row in sweep.effects.rows()} == {None}


def test_files_are_read_once_a_sweep(tmp_path, monkeypatch):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {}, seeds=2, images=30))
    read, paths = read_predictions, []
    monkeypatch.setattr(predicted, "read_predictions", lambda path: paths.append(path) or read(path))
    rows = sweep.effects.rows()
    assert [row["val_acc_low"] is not None for row in sweep.trial_rows()] == [True] * 6
    assert sweep.effects.rows() == rows
    assert len(paths) == len(set(paths)) == 12
