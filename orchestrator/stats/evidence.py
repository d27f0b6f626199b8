"""What the predictions of several trials on the same images say together: accuracies and how they vary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Accuracies of trials and the variance of each difference between them, split by where it comes from.

    All trials predict the same images, so what images vary is shared: it is a matrix, and most of it cancels in a
    difference. What seeds add is each trial's own.

    Attributes:
        correct: For each trial, whether each image is predicted rightly: [runs, images]. Runs may differ in number.
        accuracy: Means over runs and images, [trials].
        images: Covariance of the accuracies over draws of images: [trials, trials].
        seeds: What seeds add to the variance of each accuracy, at least 0: [trials]. 0 where there is one run: then
            nothing is known of other seeds.
        seeds_square: Sum of the squared parts of `seeds`, each over its degrees of freedom: [trials].
    """

    correct: tuple[NDArray[np.bool_], ...]
    accuracy: Floats
    images: Floats
    seeds: Floats
    seeds_square: Floats

    @classmethod
    def of(cls, correct: Sequence[NDArray[np.bool_]]) -> Self:
        """Gather it.

        Args:
            correct: For each trial [runs, images]; the images are the same and in the same order.

        Raises:
            ValueError: There is no trial, no run, fewer than two images, or they differ in their images.
        """
        shapes = [each.shape for each in correct]
        if not shapes or any(len(shape) != 2 or 0 in shape or shape[1] != shapes[0][1] for shape in shapes):
            raise ValueError(f"needs [runs, images] of the same images for each trial, not {shapes}")
        n_images = shapes[0][1]
        if n_images < 2:
            raise ValueError("needs at least two images")
        of_images = np.array([each.mean(axis=0) for each in correct])
        seeds, seeds_square = seed_variances(correct)
        return cls(
            correct=tuple(correct),
            accuracy=of_images.mean(axis=1),
            images=np.atleast_2d(np.cov(of_images)) / n_images,
            seeds=seeds,
            seeds_square=seeds_square,
        )

    @property
    def n_images(self) -> int:
        """Images that all trials predict."""
        return int(self.correct[0].shape[1])

    @property
    def one_seed(self) -> bool:
        """Whether some trial has one run: what seeds vary is not known then."""
        return any(len(each) == 1 for each in self.correct)

    @property
    def least_variance(self) -> float:
        """Variance of an accuracy, or of a difference, at the least: as if one more image in either way were wrong.

        Without it, trials that predict all images alike would be known to be equal.
        """
        return 2 / (self.n_images + 2) ** 2

    @property
    def differences(self) -> Floats:
        """Accuracy of each trial minus that of each other, [trials, trials]."""
        return self.accuracy[:, None] - self.accuracy[None, :]

    def standard_errors(self) -> tuple[Floats, Floats]:
        """Return the standard errors of all differences and their degrees of freedom (Satterthwaite), at least 1.

        Both are [trials, trials].
        """
        own = np.diag(self.images)
        of_images = np.maximum(own[:, None] + own[None, :] - 2 * self.images, self.least_variance)
        variance = of_images + self.seeds[:, None] + self.seeds[None, :]
        squares = of_images**2 / (self.n_images - 1) + self.seeds_square[:, None] + self.seeds_square[None, :]
        return np.sqrt(variance), np.maximum(1.0, variance**2 / squares)


def seed_variances(correct: Sequence[NDArray[np.bool_]], factors: Floats | None = None) -> tuple[Floats, Floats]:
    """Return `Evidence.seeds` and `Evidence.seeds_square`.

    The variance of a few runs is known badly. All trials' variances together say how variances spread, and each is
    drawn towards their middle by as much: moderated variances.

    Args:
        correct: For each trial [runs, images].
        factors: By what the variances of each trial are multiplied first, [trials]: on another scale, others are alike.
    """
    seeds, squares = np.zeros(len(correct)), np.zeros(len(correct))
    several = [index for index, each in enumerate(correct) if len(each) > 1]
    if not several:
        return seeds, squares
    by = np.ones(len(correct)) if factors is None else factors
    parts = [by[index] * np.array(mean_squares(correct[index].astype(np.float64))) for index in several]
    freedom = np.array([len(correct[index]) - 1.0 for index in several])
    between, freedom_between = moderate_variances(np.array([part[0] for part in parts]), freedom)
    rest = np.array([part[1] for part in parts])
    freedom_rest = np.array([(len(correct[index]) - 1) * (correct[index].shape[1] - 1.0) for index in several])
    added = np.maximum(0.0, between - rest)
    sizes = np.array([correct[index].size for index in several], dtype=np.float64)
    seeds[several] = added / sizes
    squared = (between / sizes) ** 2 / freedom_between + (rest / sizes) ** 2 / freedom_rest
    squares[several] = np.where(added > 0, squared, 0.0)
    return seeds, squares


def mean_squares(values: Floats) -> tuple[float, float]:
    """Return the mean squares of runs and of the rest: equal in expectation if seeds add nothing.

    Args:
        values: [runs, images], at least two of each.
    """
    runs, images = values.shape
    mean, of_runs, of_images = values.mean(), values.mean(axis=1), values.mean(axis=0)
    between = images * float(((of_runs - mean) ** 2).sum()) / (runs - 1)
    rest = values - of_runs[:, None] - of_images[None, :] + mean
    return between, float((rest**2).sum()) / ((runs - 1) * (images - 1))


def moderate_variances(variances: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Draw sample variances towards their common middle, by as much as all of them together say that they are alike.

    Args:
        variances: Sample variances, at least 0: [n].
        freedom: Degrees of freedom of each, greater than 0: [n].

    Returns:
        The moderated variances and their degrees of freedom, both [n]; infinite where the variances differ by no more
        than chance makes them. Fewer than three variances, or those that are all 0, stay as they are.

    Source: G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments", Statistical Applications in Genetics and Molecular Biology 3 (2004), section 6.2.
    """
    from scipy.special import digamma, polygamma

    middle = float(np.median(variances))
    if len(variances) < 3 or middle == 0:
        return variances, freedom
    logs = np.log(np.maximum(variances, 1e-5 * middle)) - digamma(freedom / 2) + np.log(freedom / 2)
    spread = float(logs.var(ddof=1)) - float(polygamma(1, freedom / 2).mean())
    if spread <= 0:
        return np.full_like(variances, float(np.average(variances, weights=freedom))), np.full_like(freedom, np.inf)
    prior_freedom = 2 * _inverse_trigamma(spread)
    prior = math.exp(float(logs.mean()) + float(digamma(prior_freedom / 2)) - math.log(prior_freedom / 2))
    return (prior_freedom * prior + freedom * variances) / (prior_freedom + freedom), prior_freedom + freedom


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value, greater than 0."""
    from scipy.optimize import brentq
    from scipy.special import polygamma

    return float(brentq(lambda x: float(polygamma(1, x)) - value, 1e-8, 2 + 2 / value))
