"""By which names a server on this machine may be asked for, and what a person does to reach it."""

import getpass
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from orchestrator.machine.addresses import LOOPBACK

LOOPBACKS = (LOOPBACK, "localhost", "::1")
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_ELSEWHERE = ("192.0.2.1", 9)
"""An address that no machine has (RFC 5737): nothing is sent there."""
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_VARIABLES = ("KUBERNETES_SERVICE_HOST", "container")
_COLAB_VARIABLES = ("COLAB_RELEASE_TAG", "COLAB_JUPYTER_IP")


def list_hosts(host: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """List the patterns of `Host` headers that a server answers, so that no page of another site reaches it.

    They are those of `mlflow server --allowed-hosts`: whole, unless there is a `*` in them.

    Args:
        host: The address that is listened on. One that others reach adds the names and addresses of this machine.
        more: Names that a user allows; `*` allows all.
    """
    names = [*LOOPBACKS]
    if host not in LOOPBACKS:
        names += _list_own_names() if host in WILDCARDS else [host]
    found: list[str] = []
    for name in (*names, *more):
        written = _bracket(name.strip().lower())
        found += [written] if written == "*" or _has_port(written) else [written, f"{_escape(written)}:*"]
    return tuple(dict.fromkeys(found))


def list_origins(hosts: Sequence[str]) -> tuple[str, ...]:
    """List the patterns of `Origin` headers that belong to patterns of hosts: pages of the server itself."""
    if "*" in hosts:
        return ("*",)
    return tuple(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))


def is_allowed(header: str, hosts: Sequence[str]) -> bool:
    """True where a `Host` header is one of the patterns."""
    return any(fnmatchcase(header.lower(), host) if "*" in host else header.lower() == host for host in hosts)


def name_host(host: str) -> str:
    """Return what stands in the address that a person opens, for an address that is listened on."""
    if host not in WILDCARDS:
        return _bracket(host)
    return LOOPBACK if _is_container() else _bracket(_find_outward_address() or socket.gethostname())


def explain_reach(
    host: str, ports: Sequence[int], environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Iterator[str]:
    """Describe how a browser on another machine reaches the servers, a sentence each; none where it may run here.

    Args:
        host: The address that is listened on.
        ports: Of the servers.
        environment: The variables of this process.
        platform: As `sys.platform`.
    """
    publish = " ".join(f"-p {port}:{port}" for port in ports)
    if any(name in environment for name in _COLAB_VARIABLES):
        for port in ports:
            yield (
                "in Colab, in a cell of its own (start this command with `&`): "
                f"from google.colab import output; output.serve_kernel_port_as_window({port})"
            )
        yield "if Colab's window shows 403: --allowed-hosts '*.googleusercontent.com'"
    elif _is_container(environment):
        if host in LOOPBACKS:
            yield (
                f"this is a container, and {host} is only its own: start it with its ports published "
                f"(docker run {publish} ...) and the servers with --host 0.0.0.0"
            )
        else:
            yield (
                f"this is a container: its ports have to be published (docker run {publish} ...); under another name "
                "than localhost, add --allowed-hosts NAME"
            )
    elif host in LOOPBACKS and _is_headless(environment, platform):
        forward = " ".join(f"-L {port}:localhost:{port}" for port in ports)
        yield f"from another machine: ssh {forward} {_name_login(environment)}, then open the addresses there"
    elif host not in LOOPBACKS:
        yield "under another name than those of this machine: --allowed-hosts NAME"


def _is_container(environment: Mapping[str, str] = os.environ) -> bool:
    return any(map(os.path.exists, _CONTAINER_FILES)) or any(name in environment for name in _CONTAINER_VARIABLES)


def _is_headless(environment: Mapping[str, str], platform: str) -> bool:
    """True where this is another machine's shell, or nobody can see a window."""
    shown = platform in {"darwin", "win32"} or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return "SSH_CONNECTION" in environment or not shown


def _name_login(environment: Mapping[str, str]) -> str:
    """Return user and machine for `ssh`: as this session was reached, if it was."""
    parts = environment.get("SSH_CONNECTION", "").split()
    machine = parts[2] if len(parts) == 4 else socket.gethostname()  # address and port of the client, and of this end
    try:
        return shlex.quote(f"{getpass.getuser()}@{machine}")
    except (KeyError, OSError):  # a container's number without a name
        return shlex.quote(machine)


def _list_own_names() -> list[str]:
    """List what this machine is called, as far as it knows itself, and its addresses."""
    import psutil

    full = socket.gethostname().lower()
    addresses = [
        each.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in {socket.AF_INET, socket.AF_INET6}
    ]
    return [full, full.partition(".")[0], f"{full.partition('.')[0]}.local", *addresses]


def _find_outward_address() -> str | None:
    """Return the address by which this machine talks to others; None without a network."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ELSEWHERE)  # of a datagram: it only chooses the way
        return str(probe.getsockname()[0])
    return None


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") and host.count(":") > 1 else host


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _escape(host: str) -> str:
    """Keep the brackets of an IPv6 address from being a class of letters in a pattern."""
    return host.replace("[", "[[]", 1)
