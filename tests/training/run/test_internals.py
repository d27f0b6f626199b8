"""What we use of Lightning's inside does what we use it for, in the release that is installed."""

import signal

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from orchestrator.training.run.internals import dump_checkpoint, leave_signals_alone, set_seen_batches


class Model(pl.LightningModule):
    """A weight; it notes who handles SIGTERM while it trains."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.handlers = []

    def training_step(self, batch, _):
        self.handlers.append(signal.getsignal(signal.SIGTERM))
        return (self.weight * batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(tmp_path, *, ours: bool) -> tuple[pl.Trainer, Model]:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    if ours:
        leave_signals_alone(trainer)
    model = Model()
    trainer.fit(model, DataLoader(torch.ones(2, 1)))
    return trainer, model


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning_handles_signals_unless_it_is_kept_from_it(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert fit(tmp_path, ours=True)[1].handlers == [before] * 2
    assert before not in fit(tmp_path, ours=False)[1].handlers


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_checkpoint_in_memory_is_what_would_be_written(tmp_path):
    trainer, _ = fit(tmp_path, ours=True)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    written = torch.load(tmp_path / "a.ckpt", weights_only=False)
    held = dump_checkpoint(trainer)
    assert held.keys() == written.keys()
    assert held["state_dict"]["weight"].item() == written["state_dict"]["weight"].item() == pytest.approx(0.8)
    assert (held["epoch"], held["global_step"]) == (written["epoch"], written["global_step"]) == (1, 2)


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_the_batches_that_lightning_saw_are_those_that_a_checkpoint_says(tmp_path):
    held = dump_checkpoint(fit(tmp_path, ours=True)[0])
    seen = held["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert seen == dict.fromkeys(("ready", "started", "processed", "completed"), 2)
    set_seen_batches(held, 5)
    assert held["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"] == dict.fromkeys(seen, 5)
