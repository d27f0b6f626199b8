"""The sweeps that an experiment starts from: `model.weights: sweep:<experiment>`, and what that one starts from."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from orchestrator.config.models import Experiment

_FILE = Path("experiments.yaml")
_SHARED = ("execution", "cache", "tracking", "trainer.accelerator")
"""Keys that say where a sweep runs, not what it trains: their overrides hold for its sources too."""


def sweep_command(config: Path) -> str:
    """Begin the command that sweeps an experiment of this file."""
    return "orchestrator sweep" if config == _FILE else f"orchestrator sweep -c {shlex.quote(str(config))}"


def list_sources(experiment: "Experiment", config: Path, overrides: Sequence[str], root: Path) -> "list[Experiment]":
    """List the experiments that have to be swept before this one, in that order; those that are done are left out.

    Overrides of where a sweep runs (`execution`, `cache`, `tracking`, `trainer.accelerator`) hold for them too, the
    others for the experiment alone.

    Raises:
        ConfigError: One is neither in the file nor swept, is not valid, or they start from each other in a circle.
        SetupError: The studies under the root cannot be read.
    """
    from orchestrator.config import experiment_names, load_experiment

    shared = [each for each in overrides if _is_shared(each)]
    known = experiment_names(config)
    chain, found = [experiment.name], []
    name = experiment.model.source_sweep
    while name is not None:
        if name in chain:
            raise ConfigError(
                f"model.weights: {' starts from '.join([*chain, name])}: a circle has no beginning",
                hint="let one of them start from other weights",
            )
        if name not in known:
            _require_swept(name, root, config, known)
            break
        source = load_experiment(name, config, shared)
        chain.append(name)
        if not _is_done(source, root):
            found.append(source)
        name = source.model.source_sweep
    return found[::-1]


def _is_shared(override: str) -> bool:
    key = override.partition("=")[0].strip()
    return any(key == each or key.startswith(f"{each}.") for each in _SHARED)


def _is_done(experiment: "Experiment", root: Path) -> bool:
    """Whether nothing of an experiment is left to sweep, as far as that is known without its data."""
    from orchestrator.results import load_sweep

    try:
        sweep = load_sweep(experiment.name, root)
    except NotFoundError:
        return False
    search = experiment.search
    same = all(getattr(sweep.experiment, part) == getattr(experiment, part) for part in ("data", "model", "trainer"))
    if not same or search != sweep.experiment.search or search.dimensions or search.n_trials is not None:
        return False
    wanted = set(experiment.frozen_sets)
    answered = {
        trial.frozen
        for trial in sweep.trials
        if trial.is_settled and {run.replicate for run in trial.runs} >= set(experiment.replicates)
    }
    return wanted <= answered


def _require_swept(name: str, root: Path, config: Path, known: Sequence[str]) -> None:
    from orchestrator.config.mistakes import did_you_mean
    from orchestrator.results import load_sweep

    try:
        load_sweep(name, root)
    except NotFoundError as error:
        raise ConfigError(
            f"model.weights: sweep:{name}: {root} has no sweep called {name!r}, and {config} no such experiment"
            f"{did_you_mean(name, known)}",
            hint="name one that is there",
        ) from error
