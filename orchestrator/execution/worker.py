"""What happens inside a worker process."""

import gc
import io
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from orchestrator.errors import RunStoppedError
from orchestrator.execution.forkserver import let_fork_server_go
from orchestrator.execution.mortal import hear_of_parents_death
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.target import as_run_error, load_function
from orchestrator.interfaces import EpochSink
from orchestrator.machine.streams import protect_streams
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunOutcome
from orchestrator.records.spec import RunSpec

WORKER_LOG = "worker.log"
STOP_AT_ONCE = signal.SIGUSR1
"""Asks a worker to end its epoch within `LAST_S`, or else without it; what it has kept in memory is written."""
LAST_S = 0.4
"""Seconds."""

Message = EpochMetrics | RunOutcome | Exception
"""What a worker sends: epochs, then a result or an error."""


def work(target: str, spec: RunSpec, workplace: Workplace, messages: Connection, alive: Connection) -> None:
    """Run `spec` and send what it gives; the last message is the result or a `RunError`.

    SIGTERM asks the run to stop at the end of its epoch, `STOP_AT_ONCE` almost at once.

    Args:
        target: `package.module:function` that trains.
        spec: What to run.
        workplace: Where to run it.
        messages: Receives the messages.
        alive: Reaches its end when the parent is gone, however it died; then so is this process, with its children.
    """
    settle(alive)
    stop = StopRequest()
    _stop_on_sigterm(stop)
    try:
        _redirect_output(Path(workplace.directory))
        result = load_function(target)(spec, workplace, _in_time(stop.ending(messages.send)))
    except BaseException as error:  # noqa: BLE001 - whatever a run raises, the parent must hear of it
        messages.send(as_run_error(error))
    else:
        messages.send(result)
    messages.close()


def settle(alive: Connection) -> None:
    """Make this fork a process that lives as long as its parent, and leaves Ctrl-C to it.

    Args:
        alive: Reaches its end when the parent is gone, or has no use for this process any more.
    """
    os.setsid()  # a group of its own, so that it can be ended with all its children
    protect_streams()
    gc.freeze()  # what came with the fork stays: no collection looks at it, or copies its pages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    _die_with_fork_server()
    threading.Thread(target=_die_with_parent, args=(alive,), daemon=True).start()


def _stop_on_sigterm(stop: StopRequest) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop.ask())
    signal.signal(STOP_AT_ONCE, lambda *_: _stop_at_once(stop))
    signal.signal(signal.SIGALRM, _end_the_epoch)
    # a loader's process has no epoch to end
    os.register_at_fork(after_in_child=_leave_signals_to_the_parent)
    # it was blocked from the fork server on, so that none is missed; one that waited is heard now
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop_at_once(stop: StopRequest) -> None:
    stop.ask()
    signal.setitimer(signal.ITIMER_REAL, LAST_S)


def _end_the_epoch(*_: object) -> None:
    raise RunStoppedError("ended at once, in the middle of an epoch")


def _in_time(sink: EpochSink) -> EpochSink:
    """Wrap a sink: once it has stopped the run at the end of an epoch, nothing interrupts what is written then."""

    def deliver(metrics: EpochMetrics) -> None:
        try:
            sink(metrics)
        except RunStoppedError:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    return deliver


def _leave_signals_to_the_parent() -> None:
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(STOP_AT_ONCE, signal.SIG_IGN)


def _die_with_fork_server() -> None:
    """Have Linux kill this process when the fork server goes, which goes with the parent.

    A run that hangs in foreign code, or that was halted, would not let the thread of `_die_with_parent` work.
    """
    if sys.platform != "linux":
        return
    hear_of_parents_death(signal.SIGKILL)
    let_fork_server_go()


def _die_with_parent(alive: Connection) -> None:
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _redirect_output(folder: Path) -> None:
    """Send what libraries print to a file, so that it does not break the live table."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / WORKER_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else the last lines of a killed worker are lost
