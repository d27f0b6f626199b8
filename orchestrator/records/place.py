"""Where and with what runs happen."""

from orchestrator.config.models import CacheConfig
from orchestrator.records.facts import Cost
from orchestrator.records.record import Record


class CachePlace(CacheConfig):
    """What runs keep for each other, and where."""

    folder: str
    """Absolute path of the folder."""
    boundaries: tuple[int, ...] = ()
    """Numbers of first parts of the network after which runs of the sweep begin: who computes on from such a boundary
    keeps what it finds there for them."""


class Workplace(Record):
    """Where and with what a run happens. None of it changes the result, but for the number of CPU threads."""

    directory: str
    """Absolute path of the folder that receives checkpoint and result."""
    threads: int | None = None
    """CPU threads of the run; None: torch's own choice."""
    gpu: int | None = None
    """Index of the GPU that the run is pinned to; None: as the machine decides."""
    alone: bool = False
    """No other run of the sweep may use its GPU at the same time (without a GPU: no other run at all)."""
    cache: CachePlace | None = None
    """What it shares with other runs; None: nothing."""
    weights_file: str | None = None
    """Where the weights lie, if `model.weights` names a sweep (absolute path); their hash is in the specification."""
    cost: Cost | None = None
    """What its frozen set costs, where that was counted already; None: the run counts it."""
    checkpoint_share: float = 1.0
    """Share of its time that it may take to write checkpoints to continue from; 1: one after each epoch."""
    until_epoch: int | None = None
    """Epochs after which it pauses, to be continued later; None: it trains to its end."""
