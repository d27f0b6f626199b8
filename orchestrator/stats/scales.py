"""Scales on which the noise of a mean does not depend on the mean, with the way back, and intervals that hold there."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Interval = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How means of one kind are brought to a scale of constant noise.

    Attributes:
        low: The lowest mean there can be.
        high: The highest.
        shrink: Draws means, [trials], off the ends, where the scale has no slope; of so many images.
        forward: Brings means to the scale.
        slope_square: Square of its slope at means.
        back: Brings values of the scale back to means.
        interval: Ends around a mean, from its variance, a quantile in standard errors, and the number of images.
    """

    low: float
    high: float
    shrink: Callable[[Values, int], Values]
    forward: Callable[[Values], Values]
    slope_square: Callable[[Values], Values]
    back: Callable[[Values], Values]
    interval: Callable[[float, float, float, int], Interval]

    @property
    def width(self) -> float:
        """The largest difference there can be, which may be infinite."""
        return self.high - self.low


def score_interval(share: float, total: float, quantile: float) -> Interval:
    """Solve for the shares from which `share` of `total` is `quantile` standard errors away."""
    widening = quantile**2 / total
    centre = (share + widening / 2) / (1 + widening)
    half = quantile * math.sqrt(share * (1 - share) / total + widening / (4 * total)) / (1 + widening)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def _share_interval(share: float, variance: float, quantile: float, images: int) -> Interval:
    """Return the score interval of as many images as would have that variance: it holds near 0 and 1."""
    # without any variance the runs are right of all images, or wrong
    effective = share * (1 - share) / variance if variance > 0 and 0 < share < 1 else float(images)
    return score_interval(share, effective, quantile)


def _log_interval(mean: float, variance: float, quantile: float, images: int) -> Interval:
    """Return the interval that is symmetric on the logarithmic scale. `mean` is below 0, as are the ends."""
    del images
    least = float(_off_zero(np.array([mean]), 0)[0])
    factor = math.exp(min(quantile * math.sqrt(variance) / -least, _MOST))
    return least * factor, least / factor


def _off_zero(means: Values, images: int) -> Values:
    del images
    return np.minimum(means, -_LEAST)


_LEAST = 1e-12
"""A loss below this counts as this: it has a logarithm."""
_MOST = 500.0
"""Exponent at the most."""

ARCSINE: Final = Scale(
    low=0.0,
    high=1.0,
    shrink=lambda shares, images: (shares * images + 3 / 8) / (images + 3 / 4),
    forward=lambda shares: np.arcsin(np.sqrt(shares)),
    slope_square=lambda shares: 1 / (4 * shares * (1 - shares)),
    back=lambda values: np.sin(np.clip(values, 0.0, math.pi / 2)) ** 2,
    interval=_share_interval,
)
"""Of shares.

Source: F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35 (1948).
"""
LOGARITHM: Final = Scale(
    low=-math.inf,
    high=0.0,
    shrink=_off_zero,
    forward=lambda means: np.log(-means),
    slope_square=lambda means: 1 / means**2,
    back=lambda values: -np.exp(np.minimum(values, _MOST)),
    interval=_log_interval,
)
"""Of losses with their sign changed, so that higher is better: what varies a loss varies it by a share of itself."""
