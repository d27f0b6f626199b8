"""Effects of blocks: by hand, by brute force over random designs, and against scipy."""

import math
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.effects import Cell, estimate_effects, find_supported_effects
from orchestrator.stats.timing import Timing

BLOCKS = ("a", "b", "c")


def make_cell(frozen: str, right, *, setting="same", seeds=None, **fields) -> Cell:
    """A cell whose blocks have one letter each; `right` is [runs, images]."""
    right = np.asarray(right, dtype=bool)
    by_seed = dict(zip(seeds or range(len(right)), right, strict=True))
    values = {
        "accuracies": {seed: float(each.mean()) for seed, each in by_seed.items()},
        "correct": by_seed,
        "gflops_train": 10.0 - 2 * len(frozen),
        "trainable_params": 100 - 10 * len(frozen),
        "timings": {0: Timing(seconds=60.0 - len(frozen), at_once=1.0)},
    }
    return Cell(frozen=frozenset(frozen), setting=setting, **(values | fields))


def take(seconds: float) -> dict[int, Timing]:
    return {0: Timing(seconds=seconds, at_once=1.0)}


def all_frozen(blocks=BLOCKS) -> list[str]:
    return ["".join(chosen) for size in range(len(blocks) + 1) for chosen in combinations(blocks, size)]


def draw_cells(keys, *, runs=3, images=40, seed=0, share=0.8, **fields) -> list[Cell]:
    rng = np.random.default_rng(seed)
    return [make_cell(key, rng.random((runs, images)) < share, **fields) for key in keys]


def by_block(effects):
    return {effect.block: effect for effect in effects}


def test_two_blocks_by_hand():
    design = [
        make_cell("", [[1, 1, 1, 1]], gflops_train=12.0, trainable_params=100, timings=take(30.0)),
        make_cell("a", [[1, 1, 1, 0]], gflops_train=9.0, trainable_params=90, timings=take(26.0)),
        make_cell("b", [[1, 1, 0, 0]], gflops_train=7.0, trainable_params=60, timings=take(28.0)),
        make_cell("ab", [[0, 0, 0, 0]], gflops_train=3.0, trainable_params=50, timings=take(20.0)),
    ]
    a, b = estimate_effects(("a", "b"), design)
    assert (a.n_pairs, a.next_block, a.n_squares) == (2, "b", 1)
    assert a.accuracy.mean == pytest.approx(((0.75 - 1) + (0 - 0.5)) / 2)
    assert b.accuracy.mean == pytest.approx(((0.5 - 1) + (0 - 0.75)) / 2)
    assert a.interaction.mean == pytest.approx(0 - 0.75 - 0.5 + 1)
    assert (a.gflops_train, b.gflops_train) == (((9 - 12) + (3 - 7)) / 2, ((7 - 12) + (3 - 9)) / 2)
    assert (a.trainable_params, b.trainable_params) == (-10, -40)
    # pairs -4 and -8: the error of their mean is 2, and t with one degree of freedom 12.706
    assert (a.duration_s.mean, a.duration_s.low) == (-6, pytest.approx(-6 - 12.706 * 2, abs=1e-2))
    assert (b.next_block, b.n_squares, b.interaction) == (None, 0, None)
    assert (a.besides, b.besides) == (None, None)


def test_an_effect_is_the_mean_over_all_pairs():
    cells = draw_cells(all_frozen(), seed=1)
    for effect in estimate_effects(BLOCKS, cells):
        differences = [
            one.correct[seed].mean() - other.correct[seed].mean()
            for one in cells
            for other in cells
            for seed in range(3)
            if one.frozen - other.frozen == {effect.block} and other.frozen <= one.frozen
        ]
        assert len(differences) == 4 * 3
        assert effect.n_pairs == 4
        assert effect.accuracy.mean == pytest.approx(np.mean(differences))


def test_an_interaction_is_the_mean_over_all_squares():
    accuracy = {cell.frozen: fmean(cell.accuracies.values()) for cell in draw_cells(all_frozen(), seed=2)}
    effects = by_block(estimate_effects(BLOCKS, draw_cells(all_frozen(), seed=2)))
    for one, two, rest in (("a", "b", "c"), ("b", "c", "a")):
        parts = [
            accuracy[frozenset({one, two, *more})]
            - accuracy[frozenset({one, *more})]
            - accuracy[frozenset({two, *more})]
            + accuracy[frozenset(more)]
            for more in ((), (rest,))
        ]
        assert effects[one].n_squares == 2
        assert effects[one].interaction.mean == pytest.approx(np.mean(parts))


def contrast(cells, block):
    """[runs, images]: frozen minus training, over half the design."""
    half = len(cells) / 2
    return sum((1 if block in cell.frozen else -1) * np.stack(list(cell.correct.values())) / half for cell in cells)


def test_the_interval_of_one_seed_is_scipys_t_interval_over_images():
    cells = draw_cells(all_frozen(), runs=1, seed=3)
    for effect in estimate_effects(BLOCKS, cells):
        # weights of 1/4 eight times: two images of sqrt(8 / 16 / 2) are added
        values = [*contrast(cells, effect.block)[0], 0.5, -0.5]
        expected = stats.ttest_1samp(values, 0)
        interval = expected.confidence_interval(0.95)
        assert (effect.accuracy.low, effect.accuracy.high) == pytest.approx((interval.low, interval.high))
        assert effect.accuracy.p_value == pytest.approx(expected.pvalue)
        assert effect.accuracy.n_seeds == 1


def test_a_pair_with_one_seed_has_the_interval_of_bonett_and_price():
    training = np.arange(100) < 90  # 90 right
    frozen = (np.arange(100) < 83) | (np.arange(100) >= 97)  # loses 7, gains 3
    (effect,) = estimate_effects(("a",), [make_cell("", [training]), make_cell("a", [frozen])])
    assert effect.accuracy.mean == pytest.approx((3 - 7) / 100)
    gained, lost = (3 + 1) / 102, (7 + 1) / 102
    # a t quantile and n - 1 where the paper has a normal quantile and n: 1.3 % wider
    spread = math.sqrt((gained + lost - (gained - lost) ** 2) / 101)
    half = stats.t.ppf(0.975, 101) * spread
    assert effect.accuracy.low == pytest.approx(gained - lost - half)
    assert effect.accuracy.high == pytest.approx(gained - lost + half)


def test_the_interval_of_several_seeds_by_sums_written_out():
    cells = draw_cells(all_frozen(), runs=3, images=20, seed=9)
    added = math.sqrt(8 / 16 / (2 * 3))  # as above, of the mean of three seeds
    values = np.column_stack([contrast(cells, "a"), np.full(3, added), np.full(3, -added)])
    mean, of_runs, of_images = values.mean(), values.mean(axis=1), values.mean(axis=0)
    ms_runs = 22 * sum((each - mean) ** 2 for each in of_runs) / 2
    ms_images = 3 * sum((each - mean) ** 2 for each in of_images) / 21
    rest = [(values[r, i] - of_runs[r] - of_images[i] + mean) ** 2 for r in range(3) for i in range(22)]
    ms_rest = sum(rest) / 42
    assert ms_runs > ms_rest  # so that seeds count
    total = ms_runs - ms_rest + ms_images
    freedom = total**2 / (ms_runs**2 / 2 + ms_rest**2 / 42 + ms_images**2 / 21)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(total / 66)
    estimate = estimate_effects(BLOCKS, cells)[0].accuracy
    assert (estimate.low, estimate.high) == pytest.approx((mean - half, mean + half))
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(abs(mean) / math.sqrt(total / 66), freedom))


def flatten(estimate):
    return [estimate.mean, estimate.low, estimate.high, estimate.p_value]


def test_the_order_of_trials_images_and_seeds_does_not_matter():
    cells = draw_cells(all_frozen(), seed=4)
    rng = np.random.default_rng(5)
    images = rng.permutation(40)
    shuffled = [
        make_cell("".join(cell.frozen), [cell.correct[seed][images] for seed in (2, 0, 1)], seeds=(7, 3, 5))
        for cell in rng.permutation(np.array(cells, dtype=object))
    ]
    for one, other in zip(estimate_effects(BLOCKS, cells), estimate_effects(BLOCKS, shuffled), strict=True):
        assert flatten(one.accuracy) == pytest.approx(flatten(other.accuracy))
        assert one.duration_s == other.duration_s
        if one.interaction:
            assert flatten(one.interaction) == pytest.approx(flatten(other.interaction))


def test_names_of_blocks_do_not_matter():
    cells = draw_cells(all_frozen(), seed=6)
    renamed = [
        make_cell("".join("xyz"[BLOCKS.index(block)] for block in cell.frozen), [*cell.correct.values()])
        for cell in cells
    ]
    for one, other in zip(estimate_effects(BLOCKS, cells), estimate_effects("xyz", renamed), strict=True):
        assert flatten(one.accuracy) == pytest.approx(flatten(other.accuracy))


def test_a_missing_trial_takes_its_pairs_with_it():
    cells = [cell for cell in draw_cells(all_frozen(), seed=7) if cell.frozen != {"a"}]
    effects = by_block(estimate_effects(BLOCKS, cells))
    assert [effects[block].n_pairs for block in BLOCKS] == [3, 3, 3]  # a - none, ab - a, ac - a are gone
    assert [effects[block].n_squares for block in BLOCKS] == [1, 1, 0]  # ab - a - b + none, abc - ab - ac + a
    accuracy = {"".join(sorted(cell.frozen)): fmean(cell.accuracies.values()) for cell in cells}
    pairs = [("ab", "b"), ("ac", "c"), ("abc", "bc")]
    expected = fmean(accuracy[frozen] - accuracy[training] for frozen, training in pairs)
    assert effects["a"].accuracy.mean == pytest.approx(expected)


def test_steps_from_prefix_to_prefix_have_one_pair_each_and_no_interaction():
    effects = by_block(estimate_effects(BLOCKS, draw_cells(["", "a", "ab", "abc"])))
    assert [effect.n_pairs for effect in effects.values()] == [1, 1, 1]
    assert [effect.besides for effect in effects.values()] == [set(), {"a"}, {"a", "b"}]
    assert [effect.interaction for effect in effects.values()] == [None, None, None]


def test_a_block_without_a_pair_is_listed_without_values():
    (a, b, c) = estimate_effects(BLOCKS, draw_cells(["", "ab", "c"]))
    assert [(a.n_pairs, b.n_pairs, c.n_pairs)] == [(0, 0, 1)]
    assert (a.accuracy, a.gflops_train, a.trainable_params, a.duration_s, a.besides) == (None,) * 5
    assert [effect.n_pairs for effect in estimate_effects(BLOCKS, [])] == [0, 0, 0]


def test_only_trials_with_equal_hyperparameters_are_paired():
    slow, fast = draw_cells(["", "a"], seed=1, setting="slow"), draw_cells(["", "a"], seed=2, setting="fast")
    (both,) = estimate_effects(("a",), [*slow, *fast])
    (alone,) = estimate_effects(("a",), slow)
    (other,) = estimate_effects(("a",), fast)
    assert (both.n_pairs, alone.n_pairs) == (2, 1)
    assert both.accuracy.mean == pytest.approx((alone.accuracy.mean + other.accuracy.mean) / 2)
    assert both.besides == set()
    assert estimate_effects(("a",), [slow[0], fast[1]])[0].n_pairs == 0


def test_seeds_that_not_all_trials_have_are_left_out():
    rng = np.random.default_rng(8)
    three, two = rng.random((3, 40)) < 0.9, rng.random((2, 40)) < 0.7
    (effect,) = estimate_effects(("a",), [make_cell("", three), make_cell("a", two, seeds=(2, 0))])
    (expected,) = estimate_effects(("a",), [make_cell("", three[[2, 0]]), make_cell("a", two)])
    assert effect.accuracy.n_seeds == 2
    assert flatten(effect.accuracy) == pytest.approx(flatten(expected.accuracy))
    (strangers,) = estimate_effects(("a",), [make_cell("", three), make_cell("a", two, seeds=(8, 9))])
    assert (strangers.n_pairs, strangers.accuracy, strangers.gflops_train) == (1, None, -2.0)


@pytest.mark.parametrize("correct", [{}, {0: np.ones(39, dtype=bool)}], ids=["none", "other images"])
def test_without_predictions_of_the_same_images_an_effect_has_no_interval(correct):
    training, whole = draw_cells(["", "a"], runs=1)
    frozen = make_cell("a", [*whole.correct.values()], correct=correct)
    (effect,) = estimate_effects(("a",), [training, frozen])
    assert effect.accuracy.mean == pytest.approx(frozen.accuracies[0] - training.accuracies[0])
    assert (effect.accuracy.low, effect.accuracy.high, effect.accuracy.p_value) == (None, None, None)
    assert not effect.accuracy.is_told_from_zero
    assert find_supported_effects([effect]) == []


@pytest.mark.parametrize("runs", [1, 3])
def test_trials_that_predict_alike_are_not_known_to_be_equal(runs):
    right = np.tile(np.arange(133) < 120, (runs, 1))
    (effect,) = estimate_effects(("a",), [make_cell("", right), make_cell("a", right)])
    assert effect.accuracy.mean == 0
    assert effect.accuracy.low == pytest.approx(-effect.accuracy.high)
    # as if one of 135 images were lost and one gained, each of size sqrt(1 / runs)
    error = math.sqrt(2 / runs / 134 / 135)
    assert effect.accuracy.high == pytest.approx(stats.t.ppf(0.975, 134) * error)
    assert effect.accuracy.p_value == pytest.approx(1)


def test_ends_stay_where_differences_can_be():
    (effect,) = estimate_effects(("a",), [make_cell("", np.ones((1, 3))), make_cell("a", np.zeros((1, 3)))])
    assert (effect.accuracy.mean, effect.accuracy.low) == (-1, -1)
    assert effect.accuracy.high > -1


def test_two_cells_of_the_same_trial_are_refused():
    with pytest.raises(ValueError, match=r"two trials freeze \['a'\] with same"):
        estimate_effects(BLOCKS, draw_cells(["", "a", "a"]))


def test_an_effect_holds_where_its_p_value_times_their_number_is_small():
    rng = np.random.default_rng(0)
    image = rng.random(200)
    cells = [make_cell(key, [image < 0.9 - 0.1 * ("b" in key)]) for key in all_frozen()]
    effects = estimate_effects(BLOCKS, cells)
    assert [effect.block for effect in find_supported_effects(effects)] == ["b"]
    p_value = by_block(effects)["b"].accuracy.p_value
    assert find_supported_effects(effects, level=p_value * 2.9) == []
    assert [effect.block for effect in find_supported_effects(effects, level=p_value * 3.1)] == ["b"]


@pytest.mark.parametrize(("runs", "blocks", "of_seeds"), [(1, "abc", 0.0), (3, "a", 0.1), (3, "abc", 0.1)])
def test_it_holds_the_effect_about_as_often_as_it_says(runs, blocks, of_seeds):
    """Images differ in how hard they are, for all trials and for each; so do runs in how good they are."""
    rng = np.random.default_rng(runs)
    keys = all_frozen(tuple(blocks))
    limit = {key: stats.norm.ppf(0.9 - 0.05 * ("a" in key)) * math.sqrt(1 + of_seeds**2) for key in keys}
    held = 0
    for _ in range(300):
        image = rng.normal(scale=math.sqrt(0.6), size=(1, 133))
        cells = []
        for key in keys:
            drawn = image + rng.normal(scale=math.sqrt(0.15), size=(1, 133))
            drawn = drawn + rng.normal(scale=math.sqrt(0.25), size=(runs, 133))
            cells.append(make_cell(key, drawn + rng.normal(scale=of_seeds, size=(runs, 1)) < limit[key]))
        estimate = estimate_effects(tuple(blocks), cells)[0].accuracy
        held += estimate.low <= -0.05 <= estimate.high
    # 300 sweeps: two standard errors are 0.025
    assert 0.92 <= held / 300 <= 0.995
