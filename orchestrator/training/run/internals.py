"""What Lightning keeps to itself: all that we use of it."""

from typing import Any

import pytorch_lightning as pl


def dump_checkpoint(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what `trainer.save_checkpoint` writes; the next step changes its tensors."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001
    return checkpoint


def leave_signals_alone(trainer: pl.Trainer) -> None:
    """Keep a trainer from handling signals: SIGTERM would end the training in the middle of an epoch, as SystemExit."""
    connector: Any = trainer._signal_connector  # noqa: SLF001
    connector.register_signal_handlers = lambda: None


def set_seen_batches(checkpoint: dict[str, Any], count: int) -> None:
    """Let a checkpoint of the end of an epoch say that the epoch had `count` batches, in place.

    A trainer that continues from it would otherwise train on the rest of an epoch that has more.
    """
    seen = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    seen.update(dict.fromkeys(seen, count))
