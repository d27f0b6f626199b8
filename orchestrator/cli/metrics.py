"""`orchestrator metrics`: what each number is."""

from orchestrator import catalogue, names
from orchestrator.cli.options import FormatOption
from orchestrator.cli.output import Format, print_rows
from orchestrator.quantities import Group, Quantity

COLUMNS = ("key", "of", "unit", "better", "meaning", "shown")


def metrics(form: FormatOption = Format.table) -> None:
    """Print every number that tables and trackers show: its unit, which direction is better, and what it is."""
    rows = [_describe(each, group) for group in catalogue.GROUPS for each in group.quantities]
    print_rows(rows, COLUMNS, form)


def _list_places(quantity: Quantity, group: Group) -> list[str]:
    places = [group.shown] if group.shown else []
    if group.of == "run" and quantity.key in names.FIRST_IN_TENSORBOARD:
        places.append("tensorboard")
    return [*places, f"mlflow and tensorboard as {quantity.curve}"] if quantity.curve else places


def _describe(quantity: Quantity, group: Group) -> dict[str, object]:
    return {
        "key": quantity.key,
        "of": group.of,
        "unit": quantity.kind.unit,
        "better": quantity.kind.better,
        "shown": ", ".join(_list_places(quantity, group)),
        "meaning": quantity.meaning,
    }
