"""The three competitors as commands, and what is read from what they leave."""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml

import orchestrator
from benchmarks.images import Images
from benchmarks.processes import Usage, program_environment, run_program
from benchmarks.workloads import Workload

NAMES = {
    "A": "full backward, frozen weights not stepped",
    "B": "plain script",
    "C": "this project",
}
EXPERIMENT = "bench"
"""Name of the study in all stores."""
_REPOSITORY = Path(orchestrator.__file__).parents[1]
_PLAIN_SCRIPT = Path(__file__).with_name("plain.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTime:
    """One trial of a sweep.

    Attributes:
        frozen: Key of the frozen set.
        seconds: From the moment that Optuna was asked for the trial to the one at which it was told the result.
        run_seconds: Of the run alone, as the program itself measures it: loading, training, evaluation.
        val_acc: Accuracy of the best checkpoint, a fraction.
        test_acc: Likewise.
    """

    frozen: str
    seconds: float
    run_seconds: float
    val_acc: float
    test_acc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training of this project gave, to the last bit.

    Attributes:
        metrics: All its losses and accuracies by name, those of each epoch too.
        weights_sha256: Over names, types and values of the network in its checkpoint, BatchNorm statistics included.
    """

    metrics: dict[str, float]
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One run of a competitor. `trainings` by frozen set: of this project only, and only where asked for."""

    usage: Usage
    trials: tuple[TrialTime, ...]
    trainings: dict[str, Training]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where the competitors run.

    Attributes:
        folder: Receives a fresh folder for each run, removed once it was read.
        images: The data set.
        weights: State dict of the backbone; None: random weights.
        keep: Leave the folders of the runs.
    """

    folder: Path
    images: Images
    weights: Path | None
    keep: bool = False

    def run_plain(self, workload: Workload, *, full_backward: bool) -> Sweep:
        """Run competitor A (`full_backward`) or B."""
        place = self._fresh("A" if full_backward else "B")
        command = [sys.executable, str(_PLAIN_SCRIPT), *workload.frozen, *self._options(workload, place)]
        command += ["--full-backward"] if full_backward else []
        usage = run_program(command, place, program_environment(place, _REPOSITORY, workload.threads))
        study = optuna.load_study(study_name=EXPERIMENT, storage=f"sqlite:///{place}/optuna.db")
        trials = [
            TrialTime(
                frozen=trial.params["frozen"],
                seconds=_seconds(trial),
                run_seconds=trial.user_attrs["run_s"],
                val_acc=trial.user_attrs["val_acc"],
                test_acc=trial.user_attrs["test_acc"],
            )
            for trial in study.get_trials(deepcopy=False)
            if trial.state == optuna.trial.TrialState.COMPLETE
        ]
        self._clear(place)
        return Sweep(usage=usage, trials=tuple(trials), trainings={})

    def run_project(self, workload: Workload, overrides: Sequence[str] = (), *, digest: bool = False) -> Sweep:
        """Run competitor C: `orchestrator sweep` in a fresh root, with `overrides` of its configuration.

        Args:
            workload: What to train.
            overrides: `key.path=value` each, as after `--set`.
            digest: Read metrics and weights of each training too.
        """
        place = self._fresh("C")
        root = place / "root"
        config = self.write_config(workload, place / "experiments.yaml")
        settings = [word for override in overrides for word in ("--set", override)]
        command = [*_command(), "sweep", EXPERIMENT, "--config", str(config), "--root", str(root), "--quiet", *settings]
        usage = run_program(command, place, program_environment(place, _REPOSITORY, workload.threads))
        sweep = orchestrator.load_sweep(EXPERIMENT, root=root)
        study = optuna.load_study(study_name=EXPERIMENT, storage=f"sqlite:///{root}/optuna.db")
        seconds = {trial.number: _seconds(trial) for trial in study.get_trials(deepcopy=False)}
        trials = [
            TrialTime(
                frozen=str(row["frozen"]),
                seconds=seconds[int(str(row["trial"]))],
                run_seconds=float(str(row["duration_s"])),
                val_acc=float(str(row["val_acc"])),
                test_acc=float(str(row["test_acc"])),
            )
            for row in sweep.trial_rows()
        ]
        trainings = read_trainings(sweep) if digest else {}
        self._clear(place)
        return Sweep(usage=usage, trials=tuple(trials), trainings=trainings)

    def write_config(self, workload: Workload, path: Path) -> Path:
        """Write the workload as an experiment of this project."""
        experiment = {
            "data": {
                "source": str(self.images.folder),
                "image_size": workload.image_size,
                "batch_size": workload.batch_size,
                "loader_workers": workload.loader_workers,
            },
            "model": {"weights": "none" if self.weights is None else str(self.weights)},
            "trainer": {
                "max_epochs": workload.epochs,
                "patience": workload.epochs,
                "lr": workload.lr,
                "optimizer": "adam",
                "accelerator": workload.accelerator,
                "precision": workload.precision,
            },
            "search": {"mode": "list", "frozen": list(workload.frozen), "seeds": [workload.seed]},
        }
        path.write_text(yaml.safe_dump({"experiments": {EXPERIMENT: experiment}}, sort_keys=False))
        return path

    def warm_up(self) -> None:
        """Import the libraries once, so that the first competitor does not pay for reading them from disk."""
        place = self._fresh("warm")
        libraries = "datasets, mlflow, optuna, pytorch_lightning, tensorboard, torchvision, matplotlib, plotly"
        environment = program_environment(place, _REPOSITORY, None)
        run_program([sys.executable, "-c", f"import {libraries}"], place, environment)
        self._clear(place)

    def _options(self, workload: Workload, place: Path) -> list[str]:
        options: dict[str, object] = {
            "data": self.images.folder,
            "out": place,
            "image-size": workload.image_size,
            "epochs": workload.epochs,
            "batch-size": workload.batch_size,
            "lr": workload.lr,
            "seed": workload.seed,
            "workers": workload.loader_workers,
            "accelerator": workload.accelerator,
            "precision": workload.precision,
        }
        options |= {} if self.weights is None else {"weights": self.weights}
        return [word for key, value in options.items() for word in (f"--{key}", str(value))]

    def _fresh(self, name: str) -> Path:
        number = len(list(self.folder.glob("run-*"))) if self.keep else 0
        place = self.folder / f"run-{number:03d}-{name}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def _clear(self, place: Path) -> None:
        if not self.keep:
            shutil.rmtree(place)


def read_trainings(sweep: orchestrator.Sweep) -> dict[str, Training]:
    """Read metrics and weights of each trial's first run, by frozen set."""
    trainings = {}
    for trial in sweep.trials:
        run = trial.runs[0]
        if run.result is None or run.checkpoint is None:
            continue
        result = run.result
        metrics: dict[str, float] = {
            name: getattr(result, name)
            for name in ("val_acc", "val_loss", "train_acc", "train_loss", "test_acc", "test_loss", "best_epoch")
        }
        for epoch in result.history:
            for name in ("train_loss", "train_acc", "val_loss", "val_acc"):
                metrics[f"epoch {epoch.epoch} {name}"] = getattr(epoch, name)
        trainings[trial.frozen.key] = Training(
            metrics=metrics, weights_sha256=_hash_weights(sweep.root.path / run.checkpoint)
        )
    return trainings


def _hash_weights(checkpoint: Path) -> str:
    from orchestrator.training.network.saved import network_state, read_checkpoint

    digest = hashlib.sha256()
    for name, tensor in sorted(network_state(read_checkpoint(checkpoint)).items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _command() -> list[str]:
    """Name the project's own command; where it is not installed, what it calls."""
    script = Path(sys.executable).with_name("orchestrator")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from orchestrator.cli import main; main()"]


def _seconds(trial: optuna.trial.FrozenTrial) -> float:
    return float("nan") if trial.duration is None else trial.duration.total_seconds()
