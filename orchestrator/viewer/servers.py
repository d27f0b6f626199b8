"""The MLflow UI and TensorBoard on the stores of a root: started together, stopped together."""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import psutil

from orchestrator.errors import NotFoundError, SetupError
from orchestrator.machine.addresses import LOOPBACK, MLFLOW_PORT, TENSORBOARD_PORT
from orchestrator.machine.hosts import WILDCARDS, explain_reach, list_hosts, list_origins, name_host
from orchestrator.masking import mask_credentials, open_address, remember_address
from orchestrator.storage.layout import Root
from orchestrator.viewer.views import WebPage

_START_TIMEOUT_S = 180.0  # a cold start of the MLflow server took 42 s on a busy machine
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.2
_PORTS_TO_TRY = 20
_TAIL_LINES = 15
_GUARD = """
import os, signal, subprocess, sys, threading
def end_with_parent():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=end_with_parent, daemon=True).start()
code = child.wait()
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""
"""Runs a command and ends as it does. Once its standard input ends, which it does with the process that holds the other
end however that died, it kills its group: the command and all that the command has started."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes less
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    name: str
    host: str
    port: int
    health: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    @property
    def page(self) -> WebPage:
        return WebPage(name=self.name, url=f"http://{name_host(self.host)}:{self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """The servers that run.

    Attributes:
        pages: What a browser can open, in order.
        reach: How a browser elsewhere gets there, a sentence each.
    """

    pages: tuple[WebPage, ...]
    reach: tuple[str, ...] = ()
    _servers: tuple[_Server, ...]

    def wait(self) -> None:
        """Wait until a server ends by itself, which is an error.

        Raises:
            SetupError: A server ended; the message carries the end of its log.
        """
        while True:
            for server in self._servers:
                _require_alive(server)
            time.sleep(_POLL_S)


@contextmanager
def open_viewer(
    root: Root,
    *,
    host: str = LOOPBACK,
    mlflow_port: int = MLFLOW_PORT,
    tensorboard_port: int = TENSORBOARD_PORT,
    mlflow_uri: str | None = None,
    allowed_hosts: Sequence[str] = (),
    say: Callable[[str], None] = lambda _text: None,
) -> Iterator[Viewer]:
    """Start the MLflow UI and TensorBoard; the context begins when both answer and stops both at its end.

    Args:
        root: The root whose stores are shown.
        host: Address to listen on. Neither server asks for a password.
        mlflow_port: Port of the MLflow UI; the next free one where it is busy.
        tensorboard_port: Port of TensorBoard, likewise.
        mlflow_uri: Another tracking store than the root's. A server's address (`http...`) is only passed on.
        allowed_hosts: Names by which both servers may be asked for besides those of this machine; `*` is any.
        say: Hears what a person should know, a sentence.

    Raises:
        NotFoundError: Nothing has been written under the root yet.
        SetupError: No free port, a server that dies, or one that does not answer.
    """
    remember_address(mlflow_uri)
    _require_stores(root, mlflow_uri)
    store = mlflow_uri or root.mlflow_uri
    remote = store.startswith(("http://", "https://"))
    hosts = list_hosts(host, allowed_hosts)
    with ExitStack() as stack:
        servers: list[_Server] = []
        if not remote:
            port = find_free_port(host, mlflow_port)
            _say_port(say, "MLflow UI", mlflow_port, port)
            command = mlflow_command(root, host, port, hosts)
            # not on the command line: every user of the machine can read that
            variables = {"MLFLOW_BACKEND_STORE_URI": store}
            servers.append(stack.enter_context(_serve("MLflow UI", command, host, port, "/health", variables)))
        taken = {server.port for server in servers}
        port = find_free_port(host, tensorboard_port, taken)
        _say_port(say, "TensorBoard", tensorboard_port, port)
        command = tensorboard_command(root, host, port, hosts)
        servers.append(stack.enter_context(_serve("TensorBoard", command, host, port, "/")))
        _wait_until_healthy(servers)
        pages = [WebPage(name="MLflow UI", url=open_address(store))] if remote else []
        reach = tuple(explain_reach(host, [server.port for server in servers]))
        yield Viewer(pages=(*pages, *(server.page for server in servers)), reach=reach, _servers=tuple(servers))


def mlflow_command(root: Root, host: str, port: int, hosts: Sequence[str]) -> list[str]:
    """Build the command line of the MLflow server. One worker: it serves one person.

    The store is named by `MLFLOW_BACKEND_STORE_URI`.
    """
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(list_origins(hosts))),
        *("--artifacts-destination", root.artifacts.as_uri()),
    ]


def tensorboard_command(root: Root, host: str, port: int, hosts: Sequence[str]) -> list[str]:
    """Build the command line of TensorBoard, over all experiments of the root."""
    return [
        *(sys.executable, "-m", "orchestrator.tracking.tensorboard_server", ",".join(hosts)),
        *("--logdir", str(root.tensorboard()), "--host", host, "--port", str(port)),
    ]


def find_free_port(host: str, port: int, taken: Sequence[int] | set[int] = ()) -> int:
    """Find the first port from `port` on that nobody listens on.

    Raises:
        SetupError: None of the next ports is free, or `host` is no address of this machine.
    """
    last = min(port + _PORTS_TO_TRY, 65_536)
    for candidate in range(port, last):
        if candidate not in taken and _is_free(host, candidate):
            return candidate
    raise SetupError(
        f"the ports {port} to {last - 1} of {host} are all busy",
        hint="name another one with --mlflow-port or --tensorboard-port",
    )


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as error:
        raise SetupError(f"port {port} may not be used: {error}", hint="name a port of 1024 or higher") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise SetupError(f"{host!r} is no address of this machine: {error}", hint=f"use --host {LOOPBACK}") from error
    return True


def _require_stores(root: Root, mlflow_uri: str | None) -> None:
    if mlflow_uri is not None or root.mlflow_db.is_file():
        return
    if root.tensorboard().is_dir():
        raise NotFoundError(
            f"there is no MLflow store at {root.mlflow_db}",
            hint="if the sweeps track elsewhere, name that store with --mlflow-uri",
        )
    raise NotFoundError(
        f"there is nothing to show under {root.path}: no sweep has run there",
        hint=f"run one first (orchestrator sweep NAME{root.option}), or name another --root",
    )


def _say_port(say: Callable[[str], None], name: str, wanted: int, port: int) -> None:
    if port != wanted:
        say(f"port {wanted} is busy: {name} takes {port}")


@contextmanager
def _serve(
    name: str, command: list[str], host: str, port: int, health: str, variables: Mapping[str, str] = _ENVIRONMENT
) -> Iterator[_Server]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-I", "-S", "-c", _GUARD, *command],
            stdin=subprocess.PIPE,  # nothing is written: it ends with this process
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, **variables},
            start_new_session=True,  # a group of its own: it ends when we end it, with all its workers
        )
        try:
            yield _Server(name=name, host=host, port=port, health=health, process=process, log=log)
        finally:
            _stop_group(process)
            if process.stdin is not None:
                process.stdin.close()


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group: politely, then by force."""
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    _signal_group(process.pid, signal.SIGTERM)
    while time.monotonic() < deadline and _group_lives(process.pid):
        time.sleep(_POLL_S / 4)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in it; macOS calls it a permission
        os.killpg(group, number)


def _group_lives(group: int) -> bool:
    """True while a process of the group runs; one that has ended and waits for its parent does not count."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _wait_until_healthy(servers: Sequence[_Server]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    waiting = list(servers)
    while waiting:
        for server in servers:
            _require_alive(server)
        waiting = [server for server in waiting if not _answers(server)]
        if waiting and time.monotonic() > deadline:
            raise SetupError(
                f"{waiting[0].name} does not answer at {waiting[0].page.url} after {_START_TIMEOUT_S:.0f} s",
                hint=_tail(waiting[0].log) or None,
            )
        time.sleep(_POLL_S)


def _answers(server: _Server) -> bool:
    host = LOOPBACK if server.host in WILDCARDS else server.host
    connection = http.client.HTTPConnection(host, server.port, timeout=5)
    try:
        connection.request("GET", server.health)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _require_alive(server: _Server) -> None:
    code = server.process.poll()
    if code is not None:
        raise SetupError(f"{server.name} ended by itself with exit code {code}", hint=_tail(server.log) or None)


def _tail(log: IO[bytes]) -> str:
    """Read the last lines of a server's log."""
    log.seek(0)
    lines = mask_credentials(log.read().decode(errors="replace")).splitlines()
    return "\n".join(["the end of its log:", *lines[-_TAIL_LINES:]]) if lines else ""
