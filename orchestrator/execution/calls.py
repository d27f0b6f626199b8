"""One call of a function in a process that is forked as workers are: what it loads and takes goes with that process."""

import errno
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.execution.child import (
    STARTING,
    hidden_main,
    leave_signals_to_the_main_thread,
    name_death,
    start_method,
)
from orchestrator.execution.server import start_fork_server
from orchestrator.execution.target import as_run_error, load_function, module_of
from orchestrator.execution.worker import settle

_INLINE = "with -s execution.mode=inline all happens in one process"
_HINT = f"too little memory? see the system's log; {_INLINE}"
_EXHAUSTED = {errno.ENOMEM, errno.EAGAIN}
"""Errors of a system that has no memory, or no process more for this user."""
_ENDING_S = 0.5
"""Longest time that a process which has answered is given to end by itself, before its error is raised."""

Say = Callable[[str], None]


class Call(Protocol):
    """A call that goes on, or will."""

    def result(self, say: Say) -> Any:
        """Wait for what the function gives; `say` hears in this thread what it says meanwhile.

        Raises:
            Exception: What the function raised.
            SetupError: Its process died, or could not be started.
        """


@dataclass(frozen=True, slots=True)
class _Said:
    text: str


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Any = None
    error: Exception | None = None


@contextmanager
def calling_here(function: str, *args: object) -> Iterator[Call]:
    """Call `function` in this process, once its result is asked for.

    Args:
        function: `package.module:function`; it takes `args`, and then what hears its messages.
        args: What it is called with.
    """
    yield _CallHere(function, args)


@contextmanager
def calling_apart(target: str, function: str, *args: object) -> Iterator[Call]:
    """Call `function` in a forked process while the context does other things; the process ends with the context.

    Args:
        target: What workers run: says what the fork server loads, where it is not there yet.
        function: `package.module:function`; it takes `args`, and then what hears its messages.
        args: What it is called with; they travel.
    """
    call = _CallApart(target, function, args)
    try:
        yield call
    finally:
        call.close()


class _CallHere:
    def __init__(self, function: str, args: tuple[object, ...]) -> None:
        self._function = function
        self._args = args

    def result(self, say: Say) -> Any:
        return load_function(self._function)(*self._args, say)


class _CallApart:
    """A thread starts the process, which waits for what the fork server loads, and looks after it until its end."""

    def __init__(self, target: str, function: str, args: tuple[object, ...]) -> None:
        context = start_method(module_of(target))
        self._context = context
        self._function = function
        self._receiver, sender = context.Pipe(duplex=False)
        alive_receiver, self._alive = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_answer, args=(function, args, sender, alive_receiver), daemon=True
        )
        self._failure: Exception | None = None
        self._code: int | None = None
        self._answered = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._look_after, args=(sender, alive_receiver), daemon=True)
        self._thread.start()

    def result(self, say: Say) -> Any:
        while isinstance(message := self._receive(), _Said):
            say(message.text)
        self._answered = True
        if message.error is not None:
            self._thread.join(_ENDING_S)  # the fork server may end next, and all its children with it
            raise message.error
        return message.value

    def close(self) -> None:
        """End the process, however far it is; one that has answered gives back what it holds, and ends by itself."""
        if not self._answered:
            self._let_go()
        self._receiver.close()

    def _let_go(self) -> None:
        """Close what keeps the process alive, once: the process may end just when it is to be ended."""
        with self._closing:
            self._alive.close()

    def _look_after(self, sender: Connection, alive: Connection) -> None:
        leave_signals_to_the_main_thread()
        try:
            with sender, alive, STARTING, hidden_main():
                start_fork_server(self._context)
                self._process.start()
        except Exception as error:  # noqa: BLE001 - of the fork server: it died, or has no memory left
            self._failure = error
            return
        wait([self._process.sentinel])
        with STARTING:
            self._process.join(0)
            self._code = self._process.exitcode
        self._let_go()

    def _receive(self) -> "_Said | _Answer":
        try:
            message: _Said | _Answer = self._receiver.recv()
        except (EOFError, OSError):
            return _Answer(error=self._explain_death())
        return message

    def _explain_death(self) -> SetupError:
        self._thread.join()
        if self._failure is not None:
            exhausted = isinstance(self._failure, (EOFError, MemoryError)) or (
                isinstance(self._failure, OSError) and self._failure.errno in _EXHAUSTED
            )
            return SetupError(
                f"no process could be started for {self._function}: {self._failure!r}",
                hint=_HINT if exhausted else _INLINE,
            )
        return SetupError(f"{self._function} died from {name_death(self._code)}", hint=_HINT)


def _answer(function: str, args: tuple[object, ...], messages: Connection, alive: Connection) -> None:
    """Call the function in this process, which is a fork, and send what it says and gives."""
    settle(alive)
    try:
        answer = _Answer(value=load_function(function)(*args, lambda text: messages.send(_Said(text))))
    except Exception as error:  # noqa: BLE001 - whatever it raises, the parent must hear of it
        answer = _Answer(error=_pack(error))
    with suppress(OSError):  # nobody listens any more
        messages.send(answer)


def _pack(error: Exception) -> Exception:
    """Make an error travel: it loses its traceback on the way, and some of libraries cannot be made again."""
    if not isinstance(error, OrchestratorError):
        error.add_note("".join(traceback.format_exception(error)).strip())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever its class does
        return as_run_error(error)
    return error
