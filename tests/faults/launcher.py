"""Starts `orchestrator` with a fault in place, as a process of its own.

    python -m tests.faults.launcher sweep small ...     the command line, as it is typed
    python -m tests.faults.launcher --serve             reads requests (JSON, a line each) and forks a process for each:
                                                        the libraries are loaded once, which takes most of a short sweep

The environment says which fault: FAULT_FUNCTION names another training, FAULT_POINT a call at which the process dies,
FAULT_CLOCK a file that holds the seconds by which the clock is wrong as soon as it is there, FAULT_POWER a folder that
notes what has reached the disk. FAULT_QUICK is no fault:
it leaves out what takes long.
"""

import json
import os
import sys
import time
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.faults import points, power


def install() -> None:
    """Put the faults in place that the environment names."""
    if "FAULT_CLOCK" in os.environ:
        _step_clock(Path(os.environ["FAULT_CLOCK"]))
    if "FAULT_FUNCTION" in os.environ:
        from orchestrator.app import parts

        parts.RUN_FUNCTION = os.environ["FAULT_FUNCTION"]
    if "FAULT_QUICK" in os.environ:
        _leave_out_what_takes_long()
    power.watch("FAULT_POWER")
    points.lay("FAULT_POINT")


def _leave_out_what_takes_long() -> None:
    """Draw no pictures, count no costs, and prepare in this process: the quick sweeps are about records."""
    from orchestrator.app import parts, sweep, workers
    from orchestrator.execution.calls import calling_here
    from orchestrator.execution.processes import loading_ahead
    from orchestrator.report import plots
    from orchestrator.training.preparation import prepare as preparation
    from tests.racing import COSTS

    sweep.calling = workers.calling = lambda _, function, *args: calling_here(function, *args)  # type: ignore[attr-defined]
    sweep.workers_loading = lambda _: loading_ahead(parts.RUN_FUNCTION)  # type: ignore[attr-defined]
    preparation.count_costs = lambda *_: COSTS
    plots.write_report = lambda *_: []


def _step_clock(file: Path) -> None:
    """Make the wall clock wrong as soon as `file` is there, for whoever asks `time` or `datetime`.

    Of `datetime` only what is loaded already and keeps time for a sweep: compiled modules want the real class.
    """
    right, right_ns = time.time, time.time_ns

    def wrong_by() -> float:
        try:
            return float(file.read_text())
        except (OSError, ValueError):
            return 0.0

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Stepped(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=wrong_by())

    time.time = lambda: right() + wrong_by()
    time.time_ns = lambda: right_ns() + int(wrong_by() * 1e9)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"orchestrator", "optuna", "mlflow"} and vars(module).get("datetime") is datetime:
            module.datetime = Stepped  # type: ignore[attr-defined]


def serve() -> None:
    """Fork a process for each request, until the requests end."""
    _load()
    print("ready", flush=True)  # noqa: T201 - whoever asks reads it
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
                return
        print(answer, flush=True)  # noqa: T201


def _load() -> None:
    """Load whatever a sweep loads on its way."""
    for name in _LOADED:
        import_module(name)


_LOADED = (
    "orchestrator.app.sweep",
    "orchestrator.cli.commands",
    "orchestrator.cli.live",
    "orchestrator.execution.calls",
    "orchestrator.execution.processes",
    "orchestrator.training.preparation.prepare",
    "orchestrator.report.note",
    "orchestrator.report.plots",
    "orchestrator.search",
    "orchestrator.tracking.fanout",
    "orchestrator.tracking.mlflow.tracker",
    "orchestrator.tracking.mlflow.spooling",
    "orchestrator.tracking.tensorboard",
    "scipy.stats",
    "torch.utils.flop_counter",
    "matplotlib.backends.backend_agg",
)


def _become(request: dict[str, Any]) -> None:
    """Be the command that a request asks for."""
    os.setsid()
    streams = (os.open(os.devnull, os.O_RDONLY), *(os.open(request[key], _NEW) for key in ("out", "err")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    sys.argv = ["orchestrator", *request["words"]]
    _run()


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _run() -> None:
    install()
    from orchestrator.cli import main

    main()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.argv[0] = "orchestrator"
        _run()
