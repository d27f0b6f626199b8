"""What a set may add to a front, against areas that are computed set by set."""

import numpy as np
import pytest

from orchestrator.stats.acquisition import hypervolume_gains, improvements
from orchestrator.stats.pareto import hypervolume


@pytest.mark.parametrize("known", [1, 3, 6])
def test_gains_are_the_area_with_a_set_less_the_area_without(known):
    rng = np.random.default_rng(known)
    drawn, costs = rng.normal(size=(4, 12)), 10 ** rng.uniform(0, 3, size=12)
    costs[known] = costs[0]  # as cheap as a known one
    highest = 800.0  # some sets cost more
    expected = np.zeros(12 - known)
    for values in drawn:
        points = list(zip(values.tolist(), costs.tolist(), strict=True))
        reference = (float(values.min()), highest)
        before = hypervolume(points[:known], reference=reference)
        for place, point in enumerate(points[known:]):
            expected[place] += (hypervolume([*points[:known], point], reference=reference) - before) / len(drawn)
    assert hypervolume_gains(drawn, np.log10(costs), known, np.log10(highest)) == pytest.approx(expected, abs=1e-12)
    assert expected.any()


def test_improvements_are_over_the_best_known_set_of_each_draw():
    drawn = np.array([[1.0, 2.0, 5.0, 0.0], [4.0, 3.0, 5.0, 6.0]])
    # over 2 and over 4: (3 + 1) / 2 and (0 + 2) / 2
    assert improvements(drawn, 2).tolist() == [2.0, 1.0]
