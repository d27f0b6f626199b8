"""The random numbers of the libraries. Order of data and weights have generators of their own."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_libraries(seed: int) -> None:
    """Seed what a library might draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Take down where the generators of the CPU stand, in plain types and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators where they stood."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
