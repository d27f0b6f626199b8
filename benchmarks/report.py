"""Results as tables for people and as JSON."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.competitors import NAMES
from benchmarks.results import Score, TrialScore, WorkloadResult
from orchestrator.app.git import find_git_commit
from orchestrator.machine.limits import count_cores

_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "optuna", "mlflow", "tensorboard")
_NOTHING = "-"


def describe_machine() -> dict[str, Any]:
    """Describe what the benchmark ran on, and with what."""
    return {
        "cpu": _cpu_name(),
        "cores": count_cores(),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
        "load_1_min": os.getloadavg()[0],
        "system": platform.platform(),
        "commit": find_git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    }


def write_json(path: Path, machine: dict[str, Any], results: Sequence[WorkloadResult]) -> None:
    """Write everything that was measured, with the ratios."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "workloads": [as_plain(result) for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def as_plain(result: WorkloadResult) -> dict[str, Any]:
    """Write a result as plain values: seconds, MiB, and ratios that say how many times as long A and B took."""
    plain = asdict(result)
    plain["bound"]["seconds"] = result.bound.seconds
    for frozen, bound in result.bounds.items():
        plain["bounds"][frozen]["seconds"] = bound.seconds
    for name, score in result.scores.items():
        plain["scores"][name] |= _ratios(result, score)
    for step, row in zip(result.waterfall, plain["waterfall"], strict=True):
        if step.score is not None:
            row["score"] |= _ratios(result, step.score)
    for points, rows in zip(result.scale.values(), plain["scale"].values(), strict=True):
        for point, row in zip(points, rows, strict=True):
            row["is_linear"] = point.is_linear
    for comparison, row in zip(result.equality, plain["equality"], strict=True):
        row["equal"] = comparison.equal
    return plain


def print_result(result: WorkloadResult) -> None:
    """Print the tables of one workload to stdout."""
    workload, sizes = result.workload, result.sizes
    print(
        f"\n{workload.name}: frozen sets: {len(workload.frozen)}, epochs: {workload.epochs}, {workload.image_size} px, "
        f"batches of {workload.batch_size}; {sizes.train}/{sizes.validation}/{sizes.test} images; "
        f"bound {result.bound.seconds:.1f} s"
    )
    for table in (_competitors(result), _trials(result), _waterfall(result), _scale(result), _equality(result)):
        if len(table) > 1:
            print()
            for line in _align(table):
                print(line)


def _ratios(result: WorkloadResult, score: Score) -> dict[str, float | None]:
    return {"ratio_to_a": result.ratio(score, "A"), "ratio_to_b": result.ratio(score, "B")}


_SCORE_HEADINGS = ("seconds", "images/s", "peak MiB", "A takes", "B takes", "attainment")


def _score_cells(result: WorkloadResult, score: Score) -> tuple[str, ...]:
    return (
        f"{score.seconds:.1f}",
        f"{score.images_per_s:.1f}",
        f"{score.peak_memory_mb:.0f}",
        *(_NOTHING if ratio is None else f"{ratio:.2f} x" for ratio in _ratios(result, score).values()),
        f"{score.attainment:.3f}",
    )


def _competitors(result: WorkloadResult) -> list[tuple[str, ...]]:
    rows = [(f"{name}  {NAMES[name]}", *_score_cells(result, score)) for name, score in result.scores.items()]
    return [("competitor", *_SCORE_HEADINGS), *rows]


def _trials(result: WorkloadResult) -> list[tuple[str, ...]]:
    names = list(result.scores)
    heading = (
        "frozen set",
        "bound s",
        *(f"{name} {what}" for name in names for what in ("s", "attains", "run s", "run attains", "val_acc")),
    )
    rows = []
    for frozen, bound in result.bounds.items():
        trials = [score.trials[frozen] for score in result.scores.values()]
        rows.append((frozen, f"{bound.seconds:.1f}", *(cell for trial in trials for cell in _trial_cells(trial))))
    return [heading, *rows] if names else []


def _trial_cells(trial: TrialScore) -> tuple[str, ...]:
    return (
        f"{trial.seconds:.1f}",
        f"{trial.attainment:.3f}",
        f"{trial.run_seconds:.1f}",
        f"{trial.run_attainment:.3f}",
        f"{trial.val_acc:.3f}",
    )


def _waterfall(result: WorkloadResult) -> list[tuple[str, ...]]:
    rows = [
        (step.name, f"skipped: {step.skipped}")
        if step.score is None
        else (step.name, *_score_cells(result, step.score))
        for step in result.waterfall
    ]
    return [("waterfall", *_SCORE_HEADINGS), *rows]


def _scale(result: WorkloadResult) -> list[tuple[str, ...]]:
    rows = [
        (
            f"{what} x{point.factor}",
            f"{point.seconds:.1f}",
            f"{point.peak_memory_mb:.0f}",
            f"{point.growth:.2f}",
            _NOTHING if point.trend is None else f"{point.trend:.2f}",
            "yes" if point.is_linear else "NO",
        )
        for what, points in result.scale.items()
        for point in points
    ]
    return [("scale", "seconds", "peak MiB", "over linear", "over trend", "linear or better"), *rows]


def _equality(result: WorkloadResult) -> list[tuple[str, ...]]:
    rows = [
        (
            each.frozen,
            "equal" if each.metrics else f"differ by up to {each.largest_difference:.3g}",
            "equal" if each.weights else "DIFFER",
            " ".join(dict.fromkeys(sha256[:16] for sha256 in each.sha256)),
        )
        for each in result.equality
    ]
    return [("C against no cache", "metrics", "weights", "sha256"), *rows]


def _align(table: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Pad the columns; a row that is shorter than the heading ends with a sentence, which takes what it needs."""
    whole = [row for row in table if len(row) == len(table[0])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(table[0]))]
    widths[0] = max(len(row[0]) for row in table)
    for row in table:
        cells = zip(row[1:], widths[1:], strict=False)
        padded = [cell if row not in whole else cell.rjust(width) for cell, width in cells]
        yield "  ".join([row[0].ljust(widths[0]), *padded])


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
