"""The best network of another sweep under the same root, as what this one starts from."""

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from orchestrator.config.models import SWEEP_WEIGHTS, Experiment
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.results import Sweep, load_sweep
from orchestrator.storage.files import digest_path, is_whole
from orchestrator.storage.layout import Root

SWEEP_COMMAND = "orchestrator sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A network that another sweep trained.

    Attributes:
        file: The checkpoint.
        description: Which run of which trial left it, in words.
    """

    file: Path
    description: str


def find_pretrained(root: Root, experiment: Experiment, command: str = SWEEP_COMMAND) -> Pretrained | None:
    """Find the network that `model.weights: sweep:<experiment>` means; None where the weights come from elsewhere.

    It is the best checkpoint of the trial that `Sweep.best` names; of several seeds, that of the run with the highest
    `val_acc`, the first of equals.

    Args:
        root: Where the other sweep lies.
        experiment: What is to start from it.
        command: Begins the commands that hints name.

    Raises:
        ConfigError: There is no such sweep, it has no finished trial or another backbone, or its checkpoint is gone.
        SetupError: The studies under the root cannot be read.
    """
    name = experiment.model.source_sweep
    if name is None:
        return None
    said = f"model.weights: {experiment.model.weights}"
    make = _command(root, command, name)
    sweep = _load(root, experiment, name, command)
    _require_backbone(sweep, experiment, root, command)
    try:
        best = sweep.best()
    except NotFoundError as error:
        raise ConfigError(
            f"{said}: that sweep has no finished trial yet ({_count_states(sweep)})",
            hint=f"this goes on with it: {make}",
        ) from error
    trial = next(trial for trial in sweep.trials if trial.number == best.number)
    run = _best_run(trial)
    file = root.path / (run.checkpoint or "")
    if not file.is_file() or (digest_path(file).exists() and not is_whole(file)):
        what = "is damaged" if file.is_file() else "is gone"
        raise ConfigError(
            f"{said}: the checkpoint of its best run, {run.name}, {what}: {file}",
            hint=f"put it back, or train that sweep again: {make} --fresh",
        )
    done = sum(each.state == "complete" for each in sweep.trials)
    accuracy = f"val_acc {run.result.val_acc:.4f}, " if run.result else ""
    text = f"{run.name} of the sweep {name} ({accuracy}the best of {done} finished trials)"
    return Pretrained(file=file, description=text)


def describe_missing(root: Root, experiment: Experiment, command: str = SWEEP_COMMAND) -> str | None:
    """Explain why an experiment cannot start yet from the sweep that it names; None where it can or names none."""
    try:
        find_pretrained(root, experiment, command)
    except ConfigError as error:
        return f"{error.message}; {' '.join((error.hint or '').split())}"
    return None


def _load(root: Root, experiment: Experiment, name: str, command: str) -> Sweep:
    try:
        return load_sweep(name, root.path)
    except NotFoundError as error:
        from orchestrator.search import study_names  # it loads the library that reads the studies

        others = [each for each in study_names(root) if each != experiment.name]
        close = get_close_matches(name, others, n=1)
        meant = f"did you mean {SWEEP_WEIGHTS}{close[0]}? else " if close else ""
        raise ConfigError(
            f"model.weights: {experiment.model.weights}: {root.path} has no sweep called {name!r}; "
            f"it has {', '.join(others) or 'none'}",
            hint=f"{meant}this makes it: {_command(root, command, name)}\n"
            f"      or this, and goes on: {_command(root, command, experiment.name)} --with-source",
        ) from error


def _require_backbone(sweep: Sweep, experiment: Experiment, root: Root, command: str) -> None:
    trained, wanted = sweep.experiment.model.backbone, experiment.model.backbone
    if trained != wanted:
        name = sweep.experiment.name
        said = f"model.weights: {experiment.model.weights}"
        raise ConfigError(
            f"{said}: that sweep trained a {trained}, and model.backbone is {wanted}",
            hint=f"set model.backbone to {trained}, or train that sweep with this one: "
            f"{_command(root, command, name)} --fresh -s model.backbone={wanted}",
        )


def _best_run(trial: TrialRecord) -> RunRecord:
    kept = [run for run in trial.runs if run.result is not None and run.checkpoint is not None]
    return max(kept or trial.runs, key=lambda run: run.result.val_acc if run.result else -1.0)


def _count_states(sweep: Sweep) -> str:
    counts = Counter(trial.state for trial in sweep.trials)
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()) or "it has none at all"


def _command(root: Root, command: str, name: str) -> str:
    return f"{command} {name}{root.option}"
