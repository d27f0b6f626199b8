"""`orchestrator config show|check|schema`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import print_note
from orchestrator.masking import mask_credentials

app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("-s", "--set", help="Override, as key.path=value. May be given several times.")
]
_FILE = Path("experiments.yaml")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Experiment in the configuration file.")],
    config: ConfigOption = _FILE,
    overrides: SetOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
) -> None:
    """Print an experiment with all its values; credentials in addresses show as ***."""
    from orchestrator.config import resolve_experiment, to_yaml, without_credentials

    resolved = resolve_experiment(name, config, overrides or [])
    if not origin:
        typer.echo(mask_credentials(to_yaml(without_credentials(resolved.experiment))), nl=False)
        return
    rows = [
        (key, mask_credentials(json.dumps(value, ensure_ascii=False)))
        for key, value in _leaves(without_credentials(resolved.experiment).model_dump(mode="json"))
    ]
    width = max(len(f"{key}: {value}") for key, value in rows)
    for key, value in rows:
        typer.echo(f"{f'{key}: {value}':<{width}}  # {resolved.origins.get(key, 'the entry')}")


@app.command()
def check(config: ConfigOption = _FILE, overrides: SetOption = None) -> None:
    """Validate every experiment of the file; all mistakes are named at once.

    Weights and data that are not on this machine are named too. They are no mistakes of the file: exit code 0.
    """
    from orchestrator.config import check_file, load_experiment
    from orchestrator.training.preparation.precheck import check_inputs

    names = check_file(config, overrides or [])
    for name in names:
        for mistake in check_inputs(load_experiment(name, config, overrides or [])).mistakes:
            print_note(f"{name}, on this machine: {mistake.message}")
            if mistake.hint:
                print_note(f"hint: {mistake.hint}")
    count = "1 experiment is" if len(names) == 1 else f"{len(names)} experiments are"
    print_note(f"{config}: {count} valid: {', '.join(names)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from orchestrator.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _leaves(value: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else str(key))]
    return [(path, value)]
