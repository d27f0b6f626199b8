"""A run that times its own arithmetic.

That is the steps of training, validation and test with their losses, the backward pass, the optimizer's `step` and
`zero_grad`, and the forward pass of a frozen prefix that the run computes for all: what a loop in plain torch calls.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.overhead import ARITHMETIC_FILE
from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunOutcome
from orchestrator.records.spec import RunSpec
from orchestrator.training.reuse.prefix import Computing
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training


def run_timed(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunOutcome:
    """Train as `run_training` does, and write the seconds of the arithmetic beside the result."""
    spent: list[float] = []
    with ExitStack() as stack:
        for owner, name in (
            (FreezingModule, "train_on"),
            (FreezingModule, "evaluate"),
            (torch.autograd, "backward"),
            (torch.optim.Adam, "step"),
            (torch.optim.Optimizer, "zero_grad"),
        ):
            stack.enter_context(patch.object(owner, name, _timing(getattr(owner, name), spent)))
        stack.enter_context(patch.object(Computing, "computing", _timing_context(Computing.computing, spent)))
        result = run_training(spec, workplace, on_epoch)
    (Path(workplace.directory) / ARITHMETIC_FILE).write_text(str(sum(spent)))
    return result


def _timing(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @wraps(function)  # Lightning reads what a step takes
    def timed(*args: Any, **options: Any) -> Any:
        began = perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent.append(perf_counter() - began)

    return timed


def _timing_context(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @contextmanager
    def timed(*args: Any) -> Iterator[None]:
        with function(*args):
            began = perf_counter()
            yield
            spent.append(perf_counter() - began)

    return timed
