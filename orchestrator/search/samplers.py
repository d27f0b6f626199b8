"""Optuna's samplers by name."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without a warning: the tests hold it to what we need of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def build_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Build the sampler that `search.sampler` names; `auto` is TPE."""
    with experimental():
        match name:
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case _:
                return optuna.samplers.TPESampler(seed=seed)
