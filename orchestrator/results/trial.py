"""A complete trial, as the answer to a question."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import names
from orchestrator.errors import NotFoundError
from orchestrator.objectives import CostKey, GainKey
from orchestrator.records.spec import Hyperparameters
from orchestrator.results import tables
from orchestrator.results.choosing import Chosen
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.sweep_tables import SweepTables
from orchestrator.storage.predictions import Predictions, predictions_path, read_predictions

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A complete trial: means over its seeds, and its networks. Units are those of the tables.

    Example:
        >>> from orchestrator import load_sweep
        >>> trial = load_sweep("demo").best(max_trainable_params=11_100_000)
        >>> trial.frozen, trial.trainable_params, sorted(trial.checkpoints)  # a checkpoint a seed
        ('stem+layer1', 11020547, [0])
        >>> trial.load_model().training
        False
    """

    number: int
    frozen: str
    """Key of the frozen set."""
    hyperparameters: Hyperparameters
    label: str
    """Its name in tables and pictures: the frozen set, and the values of whatever else varies in the sweep."""
    rule: str
    """The rule that chose it: `expected`, `supported`, `measured`, `min_val_acc`, `knee` or `recommended`."""
    basis: str
    """The same in words."""
    pareto: bool
    """It is on the front."""
    val_acc: float
    val_acc_low: float | None
    """Lower end of the 95 % interval of `val_acc`: over images, and with several seeds over seeds; None: not known."""
    val_acc_high: float | None
    """Its upper end."""
    val_acc_corrected: float | None
    """Expected accuracy, which having been chosen does not inflate; None: some candidate has no predictions, or the
    trial was judged by another gain."""
    p_front: float | None
    """Probability that it is on the true front; None: some candidate has no predictions."""
    supported: bool | None
    """It is on the supported front; None likewise."""
    gain: GainKey
    """The gain that it was judged by."""
    cost: CostKey
    """The cost."""
    believed: Mapping[str, float | None]
    """The gain by column: its mean, and how far that can be believed (`macro_f1`, `macro_f1_low`, `macro_f1_high`,
    `macro_f1_corrected`)."""
    val_loss: float
    train_acc: float
    train_loss: float
    test_acc: float
    test_loss: float
    gap_train_val: float
    best_epoch: float
    """Epoch with the lowest `val_loss`, from 1."""
    epochs_run: float
    trainable_params: int
    trainable_pct: float
    total_params: int
    gflops_forward_per_image: float
    gflops_train_per_image: float
    duration_s: float
    s_per_epoch: float
    images_per_s: float
    peak_memory_mb: float
    checkpoints: Mapping[int, Path]
    """Best checkpoint by seed, with `data.folds` that of its first fold; absolute paths."""
    mlflow_run_id: str | None
    """MLflow run of the first seed."""
    fold_checkpoints: Mapping[tuple[int, int], Path] = field(default_factory=dict)
    """Best checkpoint by seed and fold; empty without `data.folds`."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that have a checkpoint."""
        return tuple(self.checkpoints)

    @property
    def checkpoint(self) -> Path:
        """Best checkpoint of the first seed.

        Raises:
            NotFoundError: No run of the trial kept one.
        """
        return self.find_checkpoint()

    def find_checkpoint(self, seed: int | None = None, fold: int | None = None) -> Path:
        """Name the best checkpoint of the run with `seed` and, with `data.folds`, `fold`; None: of the first.

        Raises:
            NotFoundError: There is no such run.
        """
        if not self.checkpoints:
            raise NotFoundError(f"no run of trial {self.number} ({self.label}) kept a checkpoint")
        chosen = self.seeds[0] if seed is None else seed
        if chosen not in self.checkpoints:
            raise NotFoundError(
                f"trial {self.number} ({self.label}) has no run with seed {chosen}",
                hint=f"its seeds are {', '.join(map(str, self.seeds))}",
            )
        if fold is None:
            return self.checkpoints[chosen]
        if (chosen, fold) not in self.fold_checkpoints:
            folds = ", ".join(str(known) for seed, known in self.fold_checkpoints if seed == chosen)
            raise NotFoundError(
                f"trial {self.number} ({self.label}) has no run with seed {chosen} and fold {fold}",
                hint=f"its folds are {folds}" if folds else "its sweep has no folds (data.folds)",
            )
        return self.fold_checkpoints[chosen, fold]

    def predictions(self, split: str = "validation", seed: int | None = None, fold: int | None = None) -> Predictions:
        """Read what the best checkpoint says of each image, without computing anything.

        Args:
            split: `validation` or `test`.
            seed: Seed of the run; None: the first.
            fold: Its fold, of which it says the validation images; None: the first.

        Raises:
            NotFoundError: There is no such run or split, or an older version kept no predictions.
            RunError: The file is damaged.
        """
        by_split = read_predictions(predictions_path(self.find_checkpoint(seed, fold)))
        if split not in by_split:
            raise NotFoundError(f"no predictions of a split {split!r}; there are {', '.join(by_split)}")
        return by_split[split]

    def load_model(self, seed: int | None = None, fold: int | None = None) -> "nn.Module":
        """Load the network of the best checkpoint, in eval mode on the CPU. It takes normalised images.

        Args:
            seed: Seed of the run; None: the first.
            fold: Its fold; None: the first.

        Raises:
            NotFoundError: There is no such run, or its file is gone.
            RunError: The file is damaged.
        """
        path = self.find_checkpoint(seed, fold)
        from orchestrator.training.network.saved import load_checkpoint_network

        return load_checkpoint_network(path)


def build_trial(chosen: Chosen, snapshot: Snapshot, of: SweepTables) -> Trial:
    """Build the answer that names a chosen trial, from its row."""
    trial, row = chosen.trial, of.build_row(chosen.trial)
    gain, accuracy = snapshot.objective.config.gain, of.accuracy_interval(trial)
    accuracies: dict[str, Any] = {f"{names.VAL_ACC}_{end}": accuracy.get(end) for end in names.GAIN_ENDS}
    values = accuracies | {field.name: row[field.name] for field in fields(Trial) if field.name in row}
    found = {run.replicate: tables.checkpoint_path(run, snapshot.root) for run in trial.runs}
    paths = {replicate: path for replicate, path in found.items() if path is not None}
    return Trial(
        number=trial.number,
        hyperparameters=trial.hyperparameters,
        label=str(snapshot.label(trial)),
        rule=chosen.rule,
        basis=chosen.basis,
        gain=gain,
        cost=snapshot.objective.config.cost,
        believed={key: row[key] for key in (gain, *(f"{gain}_{end}" for end in names.GAIN_ENDS))},  # type: ignore[misc]
        checkpoints={seed: path for (seed, fold), path in paths.items() if not fold},
        fold_checkpoints={(seed, fold): path for (seed, fold), path in paths.items() if fold is not None},
        **values,
    )
