"""How numbers stand in a sentence."""

import pytest

from orchestrator.report.pictures.canvas import duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0412, "0.04 s"), (0.096, "0.1 s"), (0.35, "0.3 s"), (9.94, "9.9 s"), (42.4, "42 s"), (720, "12 min")],
)
def test_a_duration_has_a_digit_that_tells_something(seconds, expected):
    assert duration(seconds) == expected
