"""Names by which servers are asked for, and what is said to who is elsewhere."""

import getpass
import socket
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.machine import hosts
from orchestrator.machine.hosts import explain_reach, is_allowed, list_hosts, list_origins, name_host
from orchestrator.tracking.tensorboard_server import guard_hosts

PORTS = [5000, 6006]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with a name and two addresses, that is no container."""
    addresses = {
        "lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")],
        "eth0": [
            SimpleNamespace(family=socket.AF_INET, address="10.1.2.3"),
            SimpleNamespace(family=socket.AF_INET6, address="fe80::7%eth0"),
            SimpleNamespace(family=psutil.AF_LINK, address="00:11:22:33:44:55"),
        ],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses)
    monkeypatch.setattr(socket, "gethostname", lambda: "Lab7.example.org")
    monkeypatch.setattr(hosts, "_CONTAINER_FILES", ())
    monkeypatch.setattr(hosts, "_CONTAINER_VARIABLES", ("container",))
    monkeypatch.setattr(hosts, "_find_outward_address", lambda: "10.1.2.3")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")


@pytest.mark.parametrize(
    ("host", "more", "header", "allowed"),
    [
        ("127.0.0.1", [], "127.0.0.1:5000", True),
        ("127.0.0.1", [], "localhost:8080", True),
        ("127.0.0.1", [], "LOCALHOST", True),
        ("127.0.0.1", [], "[::1]:5000", True),
        ("127.0.0.1", [], "evil.example:5000", False),
        ("127.0.0.1", [], "localhost.evil.example:5000", False),
        ("127.0.0.1", [], "127.0.0.1.evil.example", False),
        ("127.0.0.1", [], "lab7.example.org:5000", False),
        ("127.0.0.1", [], "", False),
        ("127.0.0.1", ["proxy.example.org"], "proxy.example.org", True),
        ("0.0.0.0", [], "lab7.example.org:5000", True),
        ("0.0.0.0", [], "lab7:5000", True),
        ("0.0.0.0", [], "10.1.2.3:5000", True),
        ("::", [], "[fe80::7]:6006", True),
        ("0.0.0.0", [], "10.1.2.4:5000", False),
        ("0.0.0.0", [], "10.1.2.3.evil.example:5000", False),
        ("10.1.2.3", [], "10.1.2.3:5000", True),
        ("10.1.2.3", [], "lab7:5000", False),
        ("0.0.0.0", ["*.googleusercontent.com"], "x-5000.googleusercontent.com", True),
        ("0.0.0.0", ["lab:5000"], "lab:5000", True),
        ("0.0.0.0", ["lab:5000"], "lab:6006", False),
        ("127.0.0.1", ["*"], "evil.example", True),
    ],
)
def test_who_is_answered(host, more, header, allowed):
    from mlflow.server.security_utils import is_allowed_host_header

    patterns = list_hosts(host, more)
    assert is_allowed(header, patterns) is allowed
    # MLflow compares in the same way, but for upper case, which no browser sends
    assert is_allowed_host_header(list(patterns), header.lower()) is allowed


def test_pages_of_the_server_itself_may_change_what_they_show():
    from mlflow.server.security_utils import should_block_cors_request

    origins = list(list_origins(list_hosts("0.0.0.0", ["proxy.example.org"])))
    for origin in ("http://lab7.example.org:5000", "http://10.1.2.3:5000", "https://proxy.example.org"):
        assert not should_block_cors_request(origin, "POST", origins)
    assert should_block_cors_request("http://evil.example", "POST", origins)
    assert list_origins(["*"]) == ("*",)


def test_the_address_to_open_is_one_that_leads_there(monkeypatch):
    assert name_host("127.0.0.1") == "127.0.0.1"
    assert name_host("::1") == "[::1]"
    assert name_host("0.0.0.0") == "10.1.2.3"
    monkeypatch.setattr(hosts, "_find_outward_address", lambda: None)
    assert name_host("::") == "Lab7.example.org"
    monkeypatch.setattr(hosts, "_CONTAINER_FILES", ("/",))
    assert name_host("0.0.0.0") == "127.0.0.1"  # whose ports are published


@pytest.mark.parametrize(
    ("host", "environment", "platform", "expected"),
    [
        ("127.0.0.1", {"DISPLAY": ":0"}, "linux", []),
        ("127.0.0.1", {}, "darwin", []),
        ("127.0.0.1", {"SSH_CONNECTION": "1.2.3.4 50000 10.9.8.7 22"}, "darwin", ["ada@10.9.8.7"]),
        ("127.0.0.1", {"SSH_CONNECTION": "", "DISPLAY": ":10"}, "linux", ["ada@Lab7.example.org"]),
        ("127.0.0.1", {}, "linux", ["ssh -L 5000:localhost:5000 -L 6006:localhost:6006 ada@Lab7.example.org"]),
        ("0.0.0.0", {}, "linux", ["--allowed-hosts NAME"]),
        ("127.0.0.1", {"container": "podman"}, "linux", ["docker run -p 5000:5000 -p 6006:6006"]),
        ("127.0.0.1", {"container": "podman"}, "linux", ["--host 0.0.0.0"]),
        ("0.0.0.0", {"container": "docker"}, "linux", ["ports have to be published"]),
        ("127.0.0.1", {"COLAB_RELEASE_TAG": "x"}, "linux", ["as_window(5000)", "as_window(6006)", "googleuser"]),
    ],
)
def test_who_is_elsewhere_is_told_the_way(host, environment, platform, expected):
    lines = list(explain_reach(host, PORTS, environment, platform))
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


def test_tensorboard_is_asked_only_by_its_names():
    said: list[str] = []

    def app(_environ, start_response):
        start_response("200 OK", [])
        return [b"board"]

    guarded = guard_hosts(app, list_hosts("127.0.0.1"))
    start = lambda status, _headers: said.append(status)  # noqa: E731
    assert guarded({"HTTP_HOST": "localhost:6006"}, start) == [b"board"]
    (refusal,) = guarded({"HTTP_HOST": "evil.example:6006"}, start)
    assert b"--allowed-hosts" in refusal
    guarded({}, start)
    assert said == ["200 OK", "403 Forbidden", "403 Forbidden"]
