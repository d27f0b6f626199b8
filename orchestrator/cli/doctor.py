"""`orchestrator doctor`: is everything there that a sweep needs?"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import exits
from orchestrator.cli.options import FormatOption, RootOption
from orchestrator.cli.output import Format, print_note, print_rows
from orchestrator.storage.layout import DEFAULT_ROOT

if TYPE_CHECKING:
    from orchestrator.doctor import Finding

_COLUMNS = ("status", "check", "message", "hint")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(rich_help_panel="Ask")(doctor)


def doctor(
    root: RootOption = Path(DEFAULT_ROOT),
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; else experiments.yaml, if it is there.")
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Check packages, device, disk, stores, caches and configuration; nothing is changed.

    Exit codes: 0 a sweep can run, 5 something keeps it from running.
    """
    from orchestrator.doctor import examine

    findings = examine(root, config)
    if form is Format.table:
        _print_lines(findings)
    else:
        print_rows([finding.model_dump() for finding in findings], _COLUMNS, form)
    counts = Counter(finding.status for finding in findings)
    print_note(f"{counts['fail']} failed, {counts['warn']} warnings, {counts['ok']} in order")
    if counts["fail"]:
        raise typer.Exit(exits.SETUP)


def _print_lines(findings: "Sequence[Finding]") -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        hint = f" -> {finding.hint}" if finding.hint else ""
        print(f"{finding.status:<4}  {finding.check:<{width}}  {finding.message}{hint}")
