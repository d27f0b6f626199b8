"""How far an accuracy may be from the one that other images and other seeds would show."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.evidence import mean_squares
from orchestrator.stats.scales import ARCSINE, Interval, Scale, score_interval


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share, both ends in [0, 1].

    Raises:
        ValueError: `total` is 0, or `successes` is not in [0, total].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    from scipy.special import ndtri  # scipy.stats, which has the interval, takes a second to load

    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"needs 0 <= successes <= total and total >= 1, not {successes} of {total}")
    return score_interval(successes / total, total, float(ndtri(0.5 + confidence / 2)))


def accuracy_interval(correct: NDArray[np.bool_], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of the accuracy that runs of other seeds would have on other images, both ends in [0, 1].

    Seeds and images are two crossed random factors: every run predicts the same images. The variance of the mean comes
    from their mean squares, its degrees of freedom from Satterthwaite's rule, and the ends are those of a score
    interval of as many images as would have that variance: so it holds near 1, where accuracies are. A single run says
    nothing of other seeds: its interval is Wilson's, and covers other images only.

    Args:
        correct: Whether each image is predicted rightly: [runs, images].
        confidence: Share of such intervals that hold the accuracy.

    Raises:
        ValueError: There is no run or no image.

    Source: the analysis of many readers and many cases; S. L. Hillis, "A comparison of denominator degrees of freedom
    methods for multiple observer ROC analysis", Statistics in Medicine 26 (2007).
    """
    if correct.ndim != 2 or 0 in correct.shape:
        raise ValueError(f"needs at least one run and one image, not an array of {correct.shape}")
    runs, images = correct.shape
    if min(runs, images) == 1:
        return wilson_interval(round(float(correct.mean()) * images), images, confidence)
    from scipy.special import stdtrit

    variance, freedom = variance_of_mean(correct.astype(np.float64))
    return ARCSINE.interval(float(correct.mean()), variance, float(stdtrit(freedom, 0.5 + confidence / 2)), images)


def mean_interval(scores: NDArray[np.float64], scale: Scale, confidence: float = 0.95) -> Interval:
    """Return an interval of the mean that runs of other seeds would have on other images.

    As `accuracy_interval`, for scores that are no mere right or wrong; the ends lie within the bounds of the scale.

    Args:
        scores: [runs, images], at least two images.
        scale: Of their mean.
        confidence: Share of such intervals that hold the mean.
    """
    from scipy.special import stdtrit

    variance, freedom = variance_of_mean(scores)
    return scale.interval(
        float(scores.mean()), variance, float(stdtrit(freedom, 0.5 + confidence / 2)), scores.shape[1]
    )


def variance_of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of the mean of [runs, images] and its degrees of freedom, at least 1.

    Over draws of both, runs and images; of a single run over draws of images.

    Args:
        values: At least two images.
    """
    runs, images = values.shape
    between_images = runs * float(values.mean(axis=0).var(ddof=1))
    if runs == 1:
        return between_images / images, images - 1.0
    between_runs, rest = mean_squares(values)
    added = max(0.0, between_runs - rest)  # what seeds add to what images vary
    total = added + between_images
    if total == 0:
        return 0.0, images - 1.0
    squares = between_images**2 / (images - 1)
    if added > 0:
        squares += between_runs**2 / (runs - 1) + rest**2 / ((runs - 1) * (images - 1))
    return total / (runs * images), max(1.0, total**2 / squares)
