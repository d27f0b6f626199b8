"""A run that keeps which validation images it predicts rightly after each epoch."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.record import RECORD_FILE
from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunOutcome, RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.outcomes import Outcomes
from orchestrator.training.run.run import run_training


def run_recorded(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunOutcome:
    """Train as `run_training` does, and write the answers of each epoch beside the result: bool, [epochs, images]."""
    epochs: list[list[torch.Tensor]] = []
    add, start = Outcomes.add, FreezingModule.on_train_epoch_start

    def start_epoch(module: FreezingModule) -> None:
        epochs.append([])
        start(module)

    def keep(outcomes: Outcomes, losses: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, *mixed: Any) -> None:
        if epochs and not logits.requires_grad:  # validation; after the last epoch that of the best weights too
            epochs[-1].append(logits.argmax(dim=1) == labels)
        add(outcomes, losses, logits, labels, *mixed)

    with ExitStack() as stack:
        stack.enter_context(patch.object(FreezingModule, "on_train_epoch_start", start_epoch))
        stack.enter_context(patch.object(Outcomes, "add", keep))
        result = run_training(spec, workplace, on_epoch)
    if isinstance(result, RunResult):  # it has reached its end
        right = np.array([torch.cat(epoch)[: result.n_val].numpy() for epoch in epochs])
        np.save(Path(workplace.directory) / RECORD_FILE, right)
    return result
