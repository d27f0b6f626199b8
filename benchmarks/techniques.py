"""What makes this project fast, by the configuration keys that switch it. A new technique is a new line here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.competitors import EXPERIMENT
from orchestrator import ConfigError, load_experiment


@dataclass(frozen=True, slots=True)
class Technique:
    """One technique. Overrides are `key.path=value`, as after `--set`.

    Attributes:
        name: What the table calls it.
        on: Overrides that switch it on.
        off: Overrides that switch it off.
        exact: Whether a run gives the same with and without it, to the last bit.
    """

    name: str
    on: tuple[str, ...]
    off: tuple[str, ...]
    exact: bool = True


TECHNIQUES = (
    Technique("images decoded once a run", on=("data.memory_mb=4096",), off=("data.memory_mb=0",)),
    Technique(
        "checkpoints in 1 % of the time",
        on=("execution.checkpoint_share=0.01",),
        off=("execution.checkpoint_share=1",),
    ),
    Technique("decoded images kept on disk", on=("cache.images=true",), off=("cache.images=false",)),
    Technique("frozen prefix computed once", on=("cache.activations=true",), off=("cache.activations=false",)),
    Technique(
        "several runs at a time",
        on=("execution.workers=auto",),
        off=("execution.workers=1",),
        exact=False,  # each has fewer threads
    ),
)
"""In the order in which the waterfall switches them on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the waterfall: a configuration of this project.

    Attributes:
        name: What is switched on in it, besides what was before.
        overrides: All that it sets.
    """

    name: str
    overrides: tuple[str, ...]


def plan_steps(techniques: Sequence[Technique]) -> list[Step]:
    """Plan the waterfall: all techniques off, then one after the other switched on, in their order."""
    steps = []
    for count in range(len(techniques) + 1):
        on = [override for technique in techniques[:count] for override in technique.on]
        off = [override for technique in techniques[count:] for override in technique.off]
        name = f"+ {techniques[count - 1].name}" if count else "this project, all of them off"
        steps.append(Step(name=name, overrides=(*on, *off)))
    return steps


def all_off(techniques: Sequence[Technique]) -> tuple[str, ...]:
    """List the overrides that switch every technique off that changes no result."""
    return plan_steps([technique for technique in techniques if technique.exact])[0].overrides


def sift(techniques: Sequence[Technique], config: Path) -> tuple[list[Technique], dict[str, str]]:
    """Tell the techniques that the configuration knows from the others.

    Returns:
        Those that it knows, and why it refuses each of the others, by name.
    """
    known, refused = [], {}
    for technique in techniques:
        try:
            for overrides in (technique.on, technique.off):
                load_experiment(EXPERIMENT, config, overrides)
        except ConfigError as error:
            refused[technique.name] = _first_mistake(error)
        else:
            known.append(technique)
    return known, refused


def _first_mistake(error: ConfigError) -> str:
    lines = error.message.splitlines()
    return next((line for line in lines if "--set" in line), lines[-1]).partition("; known:")[0]
