"""`orchestrator model list|blocks`: which networks there are, and what they are made of."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import FormatOption
from orchestrator.cli.output import Format, print_json, print_note, print_rows
from orchestrator.discovery import Granularity

if TYPE_CHECKING:
    from orchestrator.training.preparation.description import ModelFacts

app = typer.Typer(help="Look at networks.", no_args_is_help=True)

_COLUMNS = ("block", "parameters", "share_pct", "gflops_saved", "activations_kib", "kept", "modules")
_SHOWN = 3
"""Modules of a block that a table names."""


@app.command("list")
def list_models(
    text: Annotated[str, typer.Argument(help="Part of the name.")] = "", form: FormatOption = Format.table
) -> None:
    """List the networks that model.backbone may name; torch is not loaded."""
    from orchestrator.backbones import BACKBONES
    from orchestrator.discovery import TORCHVISION

    names = dict.fromkeys([*TORCHVISION, *BACKBONES.names])
    rows = [
        {"name": name, "from": "torchvision" if name in TORCHVISION else "an installed package"}
        for name in names
        if text in name
    ]
    print_rows(rows, ("name", "from"), form)
    print_note("besides: timm/<name> (pip install 'freeze-orchestrator[timm]'), and package.module:function of yours")


@app.command()
def blocks(
    name: Annotated[str, typer.Argument(help="Network, as model.backbone takes it.")],
    granularity: Annotated[
        Granularity, typer.Option("-g", "--granularity", help="How much a block holds; see model.granularity.")
    ] = "stage",
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Pixels square of the images; by default those it was made for.")
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Print the blocks of a network: parameters, what freezing saves, and what is computed once for all runs.

    `gflops_saved`: operations (10^9) of an image's training step that are saved where the block and all before it are
    frozen. `kept`: whether what frozen blocks give up to here can be kept. Nothing is downloaded.

    Exit codes: 0, 2 there is no such network or it takes no images of that size, 5 a library is missing.
    """
    from orchestrator.backbones import require_backbone_name
    from orchestrator.config.models import ModelConfig
    from orchestrator.training.preparation.description import describe_model

    require_backbone_name(name)
    facts = describe_model(ModelConfig(backbone=name, granularity=granularity, weights="none"), size)
    rows = _list_rows(facts)
    if form is Format.json:
        print_json(rows)
    else:
        print_rows([{**row, "modules": _join(row["modules"])} for row in rows], _COLUMNS, form)
    _print_facts(facts)


def _list_rows(facts: "ModelFacts") -> list[dict[str, object]]:
    return [
        {
            "block": each.block,
            "parameters": each.parameters,
            "share_pct": round(100 * each.parameters / facts.total_params, 2),
            "gflops_saved": round(each.gflops_saved, 4),
            "activations_kib": each.activations_kib and round(each.activations_kib, 1),
            "kept": each.kept,
            "modules": list(each.modules),
        }
        for each in facts.blocks
    ]


def _join(paths: object) -> str:
    assert isinstance(paths, list)  # noqa: S101 - it was made above
    return ", ".join([*paths[:_SHOWN], *([f"and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else [])])


def _print_facts(facts: "ModelFacts") -> None:
    count = len(facts.blocks)
    smallest = "unknown" if facts.smallest is None else f"{facts.smallest} px"
    print_note(
        f"{facts.name}: {facts.total_params:,} parameters with the head {facts.head} of 1000 classes; at "
        f"{facts.image_size} px {facts.gflops_forward:.3g} GFLOPs a forward pass, {facts.gflops_train:.3g} a training "
        f"step; smallest images: {smallest}"
    )
    print_note(f"{count} blocks: {count + 1} prefixes, {2**count:,} subsets")
    if facts.weights is not None:
        print_note(f"published weights: {facts.weights}")
