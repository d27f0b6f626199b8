"""What the picture, the page and the note say of the blocks; sentences are checked against made-up effects."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from orchestrator.blocks import all_sets
from orchestrator.report.html import write_page
from orchestrator.report.note import write_note
from orchestrator.report.pictures.canvas import PALE
from orchestrator.report.pictures.effects import draw_effects
from orchestrator.report.pictures.series import build_series, describe_trials
from orchestrator.results import BlockEffects
from orchestrator.results.block_sentences import build_table, say_effects
from orchestrator.stats.effects import BlockEffect, Estimate
from orchestrator.stats.timing import TimeEffect
from tests.factories import PREFIXES, RESNET18, make_trial
from tests.lattices import draw_right, make_lattice_sweep
from tests.report.sweeps import list_bars, make_sweep

EVERY = [frozen.key for frozen in all_sets(RESNET18)]


def make_effects(*means: float, error: float | None = 0.01, **fields) -> BlockEffects:
    """Effects of as many blocks, with intervals of two errors; NaN: the block has no pair."""
    blocks = []
    for block, mean in zip(RESNET18, means, strict=False):
        if np.isnan(mean):
            blocks.append(BlockEffect(block=block))
            continue
        interval = {}
        if error is not None:
            # the p-value falls tenfold with each error: 0.1 at one error, 0.05 at 1.3
            p_value = 10 ** -abs(mean / error)
            interval = {"low": mean - 2 * error, "high": mean + 2 * error, "p_value": p_value}
        blocks.append(
            BlockEffect(
                block=block,
                n_pairs=16,
                accuracy=Estimate(mean=mean, n_seeds=3, **interval),
                gflops_train=-1.5,
                trainable_params=-147_968,
                duration_s=TimeEffect(mean=-4.0, low=-9.0, high=1.0, n_pairs=16),
                **fields,
            )
        )
    return BlockEffects(blocks=tuple(blocks), importance={})


@pytest.mark.parametrize(
    ("means", "said"),
    [
        (
            (0.001, 0.0, -0.002, -0.004, -0.031),
            "Freezing layer4 costs 3.1 points (1.1 to 5.1); for the other blocks these data show no difference",
        ),
        ((0.001, -0.05), "Freezing layer1 costs 5.0 points (3.0 to 7.0); for stem these data show no difference"),
        (
            (0.04, 0.0, 0.0, -0.04, -0.031),
            (
                "Freezing stem gains 4.0 points (2.0 to 6.0), layer3 costs 4.0 points (2.0 to 6.0) and layer4 costs "
                "3.1 points (1.1 to 5.1); for the other blocks these data show no difference"
            ),
        ),
        ((-0.05, float("nan"), float("nan")), "Freezing stem costs 5.0 points (3.0 to 7.0)"),
        (
            (0.0, -0.01, 0.01),
            (
                "These data show no effect of freezing any one block on accuracy; "
                "losses of up to 3.0 points are possible all the same"
            ),
        ),
    ],
)
def test_the_title_says_what_the_intervals_support(means, said):
    assert say_effects(make_effects(*means)) == said


def test_the_title_is_careful_where_one_of_many_intervals_leaves_zero_out():
    # 10^-1.9 = 0.013 alone, 0.063 among five; the interval would end at 0.001
    doubtful = make_effects(0.0, 0.0, 0.0, 0.0, -0.019)
    kept = [effect for effect in doubtful.blocks if effect.block != "layer4"]
    estimate = Estimate(mean=-0.019, n_seeds=3, low=-0.037, high=-0.001, p_value=0.013)
    layer4 = BlockEffect(block="layer4", n_pairs=16, accuracy=estimate)
    effects = BlockEffects(blocks=(*kept, layer4), importance={})
    assert say_effects(effects) == "No effect of freezing a block on accuracy holds once all 5 blocks are looked at"
    strong = BlockEffects(blocks=(*make_effects(0.0, 0.0, 0.0, -0.05).blocks, layer4), importance={})
    assert say_effects(strong).endswith("these data show no difference that holds once all blocks are looked at")


def test_the_title_without_intervals_says_that_they_are_missing():
    said = say_effects(make_effects(0.01, -0.02, error=None))
    assert said == "Freezing layer1 costs 2.0 points; how sure that is, is not known: predictions are missing"
    apart = BlockEffects(blocks=(BlockEffect(block="stem", n_pairs=1),), importance={})
    assert say_effects(apart).startswith("No two of these trials share a seed")


def test_steps_between_prefixes_read_as_such(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {"layer4": 0.2}))
    assert say_effects(sweep.effects).startswith("Also freezing layer4 costs ")
    page = draw_effects(sweep.effects, "caption")
    assert "a pair of trials that differ in the block alone, all blocks before it being frozen" in say_caption(page)
    labels = [label.get_text() for label in page.panels[0].get_yticklabels()]
    assert labels == ["stem", "+ layer1", "+ layer2", "+ layer3", "+ layer4"]


def say_caption(page) -> str:
    return page.figure.texts[1].get_text().replace("\n", " ")


def test_the_picture_draws_each_effect_with_its_interval_and_each_interaction(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(EVERY, {"layer4": 0.1}, images=60))
    page = draw_effects(sweep.effects, describe_trials(sweep))
    accuracy, gflops, seconds = page.panels
    rows = sweep.effects.rows()
    bars = list_bars(accuracy)
    effects = [(row["val_acc_effect_low"], row["val_acc_effect_high"], i) for i, row in enumerate(rows)]
    interactions = [(row["interaction_low"], row["interaction_high"], i + 0.5) for i, row in enumerate(rows[:4])]
    expected = {((100 * low, y), (100 * high, y)) for low, high, y in [*effects, *interactions]}
    assert bars == expected
    points = {
        (line.get_xdata()[0], line.get_ydata()[0]) for line in accuracy.get_lines() if line.get_marker() != "None"
    }
    assert points >= {(100 * row["val_acc_effect"], i) for i, row in enumerate(rows)}
    widths = [bar.get_width() for bar in gflops.patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx([-row["gflops_train_per_image_effect"] for row in rows])
    assert [bar.get_width() for bar in seconds.patches if isinstance(bar, Rectangle)] == pytest.approx([5.0] * 5)
    assert all(0.0 in line.get_xdata() for axes in page.panels for line in axes.get_lines()[-1:])
    assert "bars: 95 % intervals over validation images and seeds, each by itself" in say_caption(page)
    assert all(axes.get_xlabel() for axes in page.panels)


def test_the_caption_says_that_one_seed_is_no_seeds(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {}, seeds=1))
    assert "over validation images, not over seeds" in say_caption(draw_effects(sweep.effects, "x"))


def test_seconds_that_no_spread_supports_are_not_drawn(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(PREFIXES, {}, seeds=1))
    page = draw_effects(sweep.effects, "x")
    assert [axes.get_xlabel() for axes in page.panels] == [
        "Change of validation accuracy (points)",
        "GFLOPs saved a training image",
    ]
    assert "no seconds: too few runs had the machine alike" in say_caption(page)
    assert "seconds a run" not in build_table(sweep.effects)[0]


def test_seconds_that_are_not_told_from_zero_are_pale_and_have_their_interval():
    effects = make_effects(-0.031, -0.05)
    sure = BlockEffect(
        block="layer4", n_pairs=1, gflops_train=-1.0, duration_s=TimeEffect(mean=-4, low=-5, high=-3, n_pairs=1)
    )
    left_out = BlockEffect(block="head", n_pairs=1, gflops_train=-1.0)
    page = draw_effects(BlockEffects(blocks=(*effects.blocks, sure, left_out), importance={}), "x")
    seconds = page.panels[2]
    assert [bar.get_width() for bar in seconds.patches if isinstance(bar, Rectangle)] == [4.0] * 3
    assert [to_hex(bar.get_facecolor()) for bar in seconds.patches] == [PALE, PALE, "#3f8fd2"]
    whiskers = [tuple(line.get_xdata()) for line in seconds.get_lines() if line.get_marker() == "|"]
    assert whiskers == [(-1.0, 9.0), (-1.0, 9.0), (3.0, 5.0)]
    assert [text.get_text() for text in seconds.texts] == ["4", "4", "4", "not stated"]


def test_a_block_without_a_pair_has_a_row_that_says_so():
    page = draw_effects(make_effects(float("nan"), -0.05), "x")
    assert [text.get_text() for text in page.panels[1].texts] == ["no pair", "1.5"]


def test_the_table_leaves_empty_columns_out():
    head, *rows = build_table(make_effects(-0.031, float("nan")))
    assert head == [
        "block",
        "change of accuracy, points",
        "GFLOPs a training image",
        "parameters",
        "seconds a run",
        "pairs",
    ]
    assert rows == [
        ["stem", "-3.1 (-5.1 to -1.1)", "-1.5", "-147,968", "-4.0 (-9.0 to +1.0)", "16"],
        ["layer1", *[""] * 4, "0"],
    ]


def test_page_and_note_have_the_table_of_blocks(tmp_path):
    sweep = make_lattice_sweep(tmp_path, draw_right(EVERY, {"layer4": 0.1}, images=60, seeds=1))
    page = write_page(sweep, build_series(sweep), tmp_path / "pareto.html").read_text(encoding="utf-8")
    note = write_note(sweep)
    for cells in build_table(sweep.effects):
        assert all(f">{cell}</t" in page for cell in cells)
    said = (
        f"{say_effects(sweep.effects)}. One seed: the intervals cover other images, another seed may well show "
        "something else."
    )
    assert f"## What freezing a block changes\n\n{said}\n\n| block |" in note
    assert said in page
    layer4 = build_table(sweep.effects)[-1]
    assert f"| `layer4` | {' | '.join(layer4[1:])} |" in note


def test_where_no_two_trials_differ_in_one_block_there_is_no_table(tmp_path):
    sweep = make_sweep(["none", "stem+layer1"], tmp_path, extra=[make_trial(7, "stem", error="boom")])
    page = write_page(sweep, build_series(sweep), tmp_path / "pareto.html").read_text(encoding="utf-8")
    assert "What freezing a block changes" not in write_note(sweep)
    assert "What freezing a block changes" not in page
