"""What is known when a sweep or a run starts, and what a sweep leaves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.config.models import Experiment
from orchestrator.records.facts import Cost, DatasetInfo
from orchestrator.records.scores import BlockScores, FrozenScores
from orchestrator.records.spec import RunSpec
from orchestrator.records.trials import TrialRecord

SweepStatus = Literal["finished", "failed", "killed", "put_off"]
"""`put_off`: stopped on request before its end; the same command goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStart:
    """What is known when a sweep starts."""

    experiment: Experiment
    data: DatasetInfo
    config_yaml: str
    """The resolved configuration."""
    config_hash: str
    git_commit: str | None
    generation: int = 0
    """Times that the study was started afresh before: each has a parent run of its own."""
    scores: BlockScores | None = None
    """What the pretrained network says of the training images."""
    gpu_uuids: tuple[str, ...] = ()
    """UUIDs of the GPUs that runs use, as CUDA writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """What is known when a run starts."""

    name: str
    trial: int
    spec: RunSpec
    cost: Cost
    blocks: tuple[str, ...]
    """Block names of the backbone, in network order."""
    scores: FrozenScores | None = None
    """What is known of its frozen set before it trains."""
    reused_from: str | None = None
    resumes_from: int = 0
    """Epochs that the run's last whole checkpoint holds; 0: it starts over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """What a sweep leaves at its end, or so far."""

    trials: tuple[TrialRecord, ...]
    front: tuple[int, ...]
    """Numbers of the trials on the front."""
    table: tuple[dict[str, object], ...]
    """The trial table: a row a trial, keys as in `names.py`."""
    metrics: dict[str, float]
    """Summary metrics of the sweep."""
    note: str
    """Markdown."""
    files: tuple[Path, ...] = field(default=())
    """Pictures and pages to keep as artifacts."""
