"""Arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import names
from orchestrator.cli.output import Format
from orchestrator.objectives import CostKey, GainKey
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from orchestrator.results import Sweep

FRONT_COLUMNS = (
    names.TRIAL,
    names.FROZEN,
    names.TRAINABLE_PARAMS,
    names.VAL_ACC,
    names.PARETO,
    names.SUPPORTED,
    names.VAL_ACC_LOW,
    names.VAL_ACC_HIGH,
    names.P_FRONT,
    names.VAL_ACC_CORRECTED,
    names.TRAINABLE_PCT,
    names.TEST_ACC,
    names.TEST_DROP,
)
"""What a front shows for people; a narrow terminal leaves out the last ones."""


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """List the sweeps under the root that begin with `incomplete`, for the shell; none where that fails."""
    try:
        from orchestrator.search import study_names

        root = Root.at(context.params.get("root") or DEFAULT_ROOT)
        return [name for name in study_names(root) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a traceback in the middle of someone's command line helps nobody
        return []


NameArgument = Annotated[str, typer.Argument(help="Name of the experiment.", autocompletion=complete_name)]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(help="Name of the experiment; none: all.", autocompletion=complete_name)
]
RootOption = Annotated[
    Path,
    typer.Option("--root", envvar="ORCHESTRATOR_ROOT", help="Folder that holds everything a sweep writes."),
]
GainOption = Annotated[
    GainKey | None,
    typer.Option("--gain", help="What the front seeks; else what search.objective says. val_loss is minimised."),
]
CostOption = Annotated[
    CostKey | None,
    typer.Option("--cost", help="What the front saves; else what search.objective says."),
]
FormatOption = Annotated[Format, typer.Option("-f", "--format", help="How the data on stdout are written.")]
ROOT = Path(DEFAULT_ROOT)


def load(name: str, root: Path, gain: GainKey | None = None, cost: CostKey | None = None) -> "Sweep":
    """Load a sweep, judged by a gain and a cost, and what that takes of libraries."""
    from orchestrator.results import load_sweep

    return load_sweep(name, root).judged_by(gain, cost)


def front_columns(sweep: "Sweep") -> list[str]:
    """List what the front of a sweep shows for people: its gain and its cost, and what varies, in the first places."""
    gain, cost = sweep.objective.config.gain, sweep.objective.config.cost
    own: dict[str, str] = {names.TRAINABLE_PARAMS: cost, names.VAL_ACC: gain}
    own |= {f"{names.VAL_ACC}_{end}": f"{gain}_{end}" for end in names.GAIN_ENDS}
    columns = dict.fromkeys([*(own.get(key, key) for key in FRONT_COLUMNS), names.VAL_ACC, names.TRAINABLE_PARAMS])
    return with_varied([*columns], sweep)


def with_varied(columns: Sequence[str], sweep: "Sweep") -> list[str]:
    """Put what varies in a sweep beside the frozen set."""
    place = columns.index(names.FROZEN) + 1
    return [*columns[:place], *sweep.varied, *columns[place:]]
