"""Command line of the benchmark."""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.images import (
    DRAWN_PIXELS,
    Images,
    draw_images,
    images_of_environment,
    open_images,
    weights_of_environment,
)
from benchmarks.processes import ProgramError, compile_libraries
from benchmarks.report import describe_machine, print_result, write_json
from benchmarks.session import Plan, measure
from benchmarks.workloads import BEANS, FROZEN_SETS, SplitSizes, Workload, frozen_keys
from orchestrator import OrchestratorError

_EXIT_FAILED = 1
_EXIT_UNEQUAL = 4
_BUSY = 0.5
"""Load a core, from which times are not to be trusted."""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this project against a plain script: seconds, memory, attainment, equality.",
        epilog="ORCHESTRATOR_BEANS names a data folder, ORCHESTRATOR_WEIGHTS a ResNet18 state dict; without them JPEG "
        "files are drawn and the weights are random. Exit code 4: C differs from the same loop without any cache.",
    )
    add = parser.add_argument
    add("--workload", nargs="+", choices=list(FROZEN_SETS), default=["prefixes"], help="frozen sets (prefixes)")
    add("--frozen", nargs="+", default=[], metavar="SET", help="frozen sets of your own, such as none stem+layer1")
    add("--image-size", nargs="+", type=int, default=[64], metavar="PIXELS", help="pixels square (64)")
    add("--epochs", type=int, default=3, help="epochs of each trial (3)")
    add("--batch-size", type=int, default=16, help="images a step (16)")
    add("--lr", type=float, default=1e-4, help="learning rate of Adam (1e-4)")
    add("--seed", type=int, default=0, help="seed of each trial (0)")
    add("--loader-workers", type=int, default=2, help="processes or threads that decode (2)")
    add("--threads", type=int, help="CPU cores that the benchmark may use, and threads (all)")
    add("--accelerator", choices=["cpu", "gpu"], default="cpu", help="what trains (cpu)")
    add("--precision", default="32-true", help="32-true, bf16-mixed or 16-mixed (32-true)")
    add("--competitors", default="A,B,C", help="some of A,B,C (A,B,C); an empty word: none")
    add("--repeats", type=int, default=1, help="runs of each, of which medians are reported (1)")
    add("--waterfall", action="store_true", help="switch this project's techniques on in turn")
    add("--scale", action="store_true", help="images x1, x2, x4 and trials x1, x2, x4")
    add("--equality", action=argparse.BooleanOptionalAction, help="compare C with no cache (where C runs)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override the configuration of C")
    add("--drawn", action="store_true", help="draw images, whatever ORCHESTRATOR_BEANS says")
    add("--drawn-sizes", type=_read_sizes, default=BEANS, metavar="N,N,N", help="images drawn (1034,133,128)")
    add("--drawn-pixels", type=int, default=DRAWN_PIXELS, help=f"pixels square of what is drawn ({DRAWN_PIXELS})")
    add("--workspace", type=Path, help="folder that keeps images and runs (a temporary one that goes)")
    add("--json", type=Path, default=Path("build/benchmark.json"), help="where results go (build/benchmark.json)")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run the benchmark; gives the exit code."""
    arguments = build_parser().parse_args(words)
    if arguments.threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    with ExitStack() as stack:
        if arguments.workspace is None:
            workspace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        else:
            workspace = arguments.workspace.resolve()
            workspace.mkdir(parents=True, exist_ok=True)
        try:
            return _run(arguments, workspace)
        except (ProgramError, OrchestratorError) as error:
            _say(str(error))
            return _EXIT_FAILED


def _run(arguments: argparse.Namespace, workspace: Path) -> int:
    from benchmarks.competitors import Arena

    os.environ["HF_DATASETS_CACHE"] = str(workspace / "datasets-cache")  # read at import

    def draw(factor: int) -> Images:
        sizes = arguments.drawn_sizes.times(factor)
        _say(f"drawing {sizes.total} images")
        return draw_images(workspace / f"images-{arguments.drawn_pixels}-x{factor}", sizes, arguments.drawn_pixels)

    folder = None if arguments.drawn else images_of_environment()
    arena = Arena(
        folder=workspace,
        images=draw(1) if folder is None else open_images(folder),
        weights=weights_of_environment(),
        keep=arguments.workspace is not None,
    )
    plan = _build_plan(arguments)
    if plan.competitors or plan.scale or plan.waterfall:
        _say("compiling the installed packages")
        compile_libraries()
    machine = describe_machine()
    if machine["load_1_min"] > _BUSY * machine["cores"]:
        _say(f"this machine is busy (load {machine['load_1_min']:.1f}): times are longer than they would be alone")
    results = []
    for workload in _list_workloads(arguments):
        results.append(measure(workload, arena, plan, draw, _say))
        print_result(results[-1])
        write_json(arguments.json, machine, results)
    _say(f"\neverything measured lies in {arguments.json}")
    unequal = [each for result in results for each in result.equality if not each.equal]
    return _EXIT_UNEQUAL if unequal else 0


def _build_plan(arguments: argparse.Namespace) -> Plan:
    competitors = tuple(name for name in "ABC" if name in arguments.competitors.upper())
    return Plan(
        competitors=competitors,
        repeats=arguments.repeats,
        overrides=tuple(arguments.set),
        waterfall=arguments.waterfall,
        scale=arguments.scale,
        equality="C" in competitors if arguments.equality is None else arguments.equality,
    )


def _list_workloads(arguments: argparse.Namespace) -> list[Workload]:
    names = ["own sets"] if arguments.frozen else arguments.workload
    return [
        Workload(
            name=name,
            frozen=frozen_keys(name, arguments.frozen),
            image_size=image_size,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            lr=arguments.lr,
            seed=arguments.seed,
            loader_workers=arguments.loader_workers,
            threads=arguments.threads,
            accelerator=arguments.accelerator,
            precision=arguments.precision,
        )
        for name in names
        for image_size in arguments.image_size
    ]


def _read_sizes(text: str) -> SplitSizes:
    return SplitSizes(*(int(word) for word in text.split(",")))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends what runs, and clears up
    sys.exit(main())
