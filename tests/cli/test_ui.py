"""The servers are real processes; all but one test put a small web server in the place of MLflow and TensorBoard."""

import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import NotFoundError, SetupError
from orchestrator.storage.layout import Root
from orchestrator.viewer import servers as ui
from orchestrator.viewer.views import find_views

# Answers every request with 200 and has a child of its own, whose process id it writes to a file.
SERVER = """
import http.server, pathlib, socketserver, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[2]).write_text(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
DIES = "print('the database is of a newer version'); raise SystemExit(3)"
SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mlflow.db").touch()
    return Root.at(tmp_path)


@pytest.fixture
def ports():
    """Two free ports, most likely still free when they are used."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return {"mlflow_port": one.getsockname()[1], "tensorboard_port": two.getsockname()[1]}


@pytest.fixture
def fakes(monkeypatch, root):
    """Put programs in the place of the two servers; they run `SERVER` unless a test says otherwise."""
    programs = {"mlflow": SERVER, "tensorboard": SERVER}

    def command(name: str, port: int) -> list[str]:
        return [sys.executable, "-c", programs[name], str(port), str(root.path / f"{name}.pid")]

    monkeypatch.setattr(ui, "mlflow_command", lambda _root, _host, port, _hosts: command("mlflow", port))
    monkeypatch.setattr(ui, "tensorboard_command", lambda _root, _host, port, _hosts: command("tensorboard", port))
    return programs


def is_gone(pid: int) -> bool:
    """True when the process has ended; an orphan that its new parent has not reaped counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def assert_gone(path: Path) -> None:
    pid, deadline = int(path.read_text()), time.monotonic() + 5
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still lives"
        time.sleep(0.05)


def read(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.read()


def ask(url: str, host: str) -> int:
    """Ask by another name; returns the status."""
    request = urllib.request.Request(url, headers={"Host": host})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_both_answer_inside_and_are_gone_afterwards(root, ports, fakes):
    with ui.open_viewer(root, **ports) as viewer:
        assert [page.name for page in viewer.pages] == ["MLflow UI", "TensorBoard"]
        assert [page.url for page in viewer.pages] == [f"http://127.0.0.1:{port}" for port in ports.values()]
        assert [read(page.url) for page in viewer.pages] == [b"OK", b"OK"]
    with pytest.raises(urllib.error.URLError, match="refused"):
        read(viewer.pages[0].url)
    assert_gone(root.path / "mlflow.pid")
    assert_gone(root.path / "tensorboard.pid")


def test_a_busy_port_is_passed_over_aloud(root, ports, fakes):
    said: list[str] = []
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", ports["mlflow_port"]))
        busy.listen()
        with ui.open_viewer(root, **ports, say=said.append) as viewer:
            taken = int(viewer.pages[0].url.rsplit(":", 1)[1])
    assert taken > ports["mlflow_port"]
    assert said == [f"port {ports['mlflow_port']} is busy: MLflow UI takes {taken}"]


def test_the_two_never_take_the_same_port(root, ports, fakes):
    port = ports["mlflow_port"]
    with ui.open_viewer(root, mlflow_port=port, tensorboard_port=port) as viewer:
        assert len({page.url for page in viewer.pages}) == 2


def test_one_that_dies_at_the_start_is_quoted_and_the_other_stopped(root, ports, fakes):
    fakes["mlflow"] = DIES
    with (
        pytest.raises(SetupError, match="MLflow UI ended by itself with exit code 3") as caught,
        ui.open_viewer(root, **ports),
    ):
        pytest.fail("the context began")
    assert "newer version" in str(caught.value.hint)
    with pytest.raises(urllib.error.URLError, match="refused"):
        read(f"http://127.0.0.1:{ports['tensorboard_port']}")


def test_one_that_dies_later_ends_the_wait(root, ports, fakes):
    with ui.open_viewer(root, **ports) as viewer:
        victim = viewer._servers[1].process
        threading.Timer(0.3, victim.kill).start()
        with pytest.raises(SetupError, match="TensorBoard ended by itself with exit code -9"):
            viewer.wait()
    assert_gone(root.path / "tensorboard.pid")  # its child was of the same group


def test_one_that_never_answers_is_given_up(root, ports, fakes, monkeypatch):
    fakes["tensorboard"] = SLEEPS
    monkeypatch.setattr(ui, "_START_TIMEOUT_S", 1.0)
    with pytest.raises(SetupError, match="TensorBoard does not answer at http"), ui.open_viewer(root, **ports):
        pytest.fail("the context began")


def test_a_remote_store_is_passed_on_and_not_served(root, ports, fakes):
    with ui.open_viewer(root, **ports, mlflow_uri="https://tracking.example:5000") as viewer:
        assert [page.url for page in viewer.pages] == [
            "https://tracking.example:5000",
            f"http://127.0.0.1:{ports['tensorboard_port']}",
        ]
    assert not (root.path / "mlflow.pid").exists()


def test_nothing_there_yet(tmp_path):
    with pytest.raises(NotFoundError, match="nothing to show under"), ui.open_viewer(Root.at(tmp_path / "no")):
        pytest.fail("the context began")
    assert not (tmp_path / "no").exists()


def test_a_store_elsewhere_has_to_be_named(tmp_path):
    root = Root.at(tmp_path)
    root.tensorboard("demo").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="no MLflow store") as caught, ui.open_viewer(root):
        pytest.fail("the context began")
    assert "--mlflow-uri" in str(caught.value.hint)


def test_no_free_port_is_named(monkeypatch):
    monkeypatch.setattr(ui, "_is_free", lambda _host, _port: False)
    with pytest.raises(SetupError, match=r"ports 65530 to 65535 of 127\.0\.0\.1 are all busy"):
        ui.find_free_port("127.0.0.1", 65_530)


def test_an_address_of_another_machine_is_named():
    with pytest.raises(SetupError, match=r"'192\.0\.2\.1' is no address of this machine"):
        ui.find_free_port("192.0.2.1", 5000)


def test_the_servers_listen_on_loopback_with_the_stores_of_the_root(root):
    hosts = ("localhost", "localhost:*")
    mlflow = ui.mlflow_command(root, "127.0.0.1", 5000, hosts)
    assert mlflow[mlflow.index("--artifacts-destination") + 1] == f"file://{root.path}/artifacts"
    assert mlflow[mlflow.index("--host") + 1] == "127.0.0.1"
    assert mlflow[mlflow.index("--allowed-hosts") + 1] == "localhost,localhost:*"
    tensorboard = ui.tensorboard_command(root, "127.0.0.1", 6006, hosts)
    assert tensorboard[tensorboard.index("--logdir") - 1] == "localhost,localhost:*"
    assert tensorboard[tensorboard.index("--logdir") + 1] == f"{root.path}/tensorboard"
    assert tensorboard[tensorboard.index("--host") + 1] == "127.0.0.1"


# Answers as `SERVER`, and writes down the store that its environment names.
TELLS = f"""
import os, pathlib, sys
pathlib.Path(sys.argv[2] + ".store").write_text(os.environ["MLFLOW_BACKEND_STORE_URI"])
{SERVER}
"""


def test_the_store_is_named_in_the_environment_and_not_where_every_user_can_read_it(root, ports, fakes):
    fakes["mlflow"] = TELLS
    store = "postgresql://anna:Zq1secret@127.0.0.1/db"
    with ui.open_viewer(root, **ports, mlflow_uri=store):
        assert (root.path / "mlflow.pid.store").read_text() == store
        children = psutil.Process().children(recursive=True)
        assert len(children) >= 2
        assert "Zq1secret" not in " ".join(word for child in children for word in child.cmdline())


def test_the_page_of_a_server_is_shown_without_credentials(root, ports, fakes):
    with ui.open_viewer(root, **ports, mlflow_uri="http://anna:Zq1secret@host:5000/x") as viewer:
        assert viewer.pages[0].url == "http://host:5000/x"


def test_a_server_that_dies_shows_no_credentials(root, ports, fakes):
    fakes["mlflow"] = "import os; print('cannot open', os.environ['MLFLOW_BACKEND_STORE_URI']); raise SystemExit(3)"
    store = "postgresql://anna:Zq1'se@cret@127.0.0.1/db"
    with pytest.raises(SetupError, match="ended by itself") as caught, ui.open_viewer(root, **ports, mlflow_uri=store):
        pass
    assert "cannot open postgresql://***@127.0.0.1/db" in caught.value.hint


# Puts `SERVER` in the place of both servers, in the process of the command.
WITH_FAKES = f"""
import sys
from orchestrator.viewer import servers as ui
from orchestrator.cli import main
def command(name):
    return lambda root, *places: [sys.executable, "-c", {SERVER!r}, str(places[-2]), str(root.path / f"{{name}}.pid")]
ui.mlflow_command, ui.tensorboard_command = command("mlflow"), command("tensorboard")
main()
"""
REAL = "from orchestrator.cli import main; main()"


def test_a_parent_that_is_killed_takes_the_servers_and_their_children_along(root, ports):
    command = [sys.executable, "-c", WITH_FAKES, "ui", "--root", str(root.path)]
    options = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in ports:
            process.stdout.readline()
        process.kill()
        process.wait(10)
    for name in ("mlflow", "tensorboard"):
        assert_gone(root.path / f"{name}.pid")
    for port in ports.values():
        with pytest.raises(urllib.error.URLError, match="refused"):
            read(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("number", "program", "titles"),
    [(signal.SIGINT, REAL, (b"MLflow", b"TensorBoard")), (signal.SIGTERM, WITH_FAKES, (b"OK", b"OK"))],
    ids=["real servers", "fakes"],
)
def test_the_command_prints_addresses_and_stops_the_servers(root, ports, number, program, titles):
    command = [sys.executable, "-c", program, "ui", "--root", str(root.path)]
    options = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            pages = [line.split()[-1] for line in lines if line]
            assert pages == [f"http://127.0.0.1:{port}" for port in ports.values()]
            assert titles[0] in read(pages[0])
            assert titles[1] in read(pages[1])
            if program is REAL:
                for page in pages:
                    assert ask(page, "evil.example") == ask(page, f"evil.example:{page.rsplit(':', 1)[1]}") == 403
                    assert ask(page, "localhost:8080") == ask(page, "[::1]:9") == 200  # a tunnel has another port
            process.send_signal(number)
            process.wait(30)
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
        assert process.stderr.read().splitlines()[-1] == "stopped"
    for page in pages:
        with pytest.raises(urllib.error.URLError, match="refused"):
            read(page)


def test_the_views_of_each_sweep_are_found_in_the_mlflow_server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            tags = [{"key": f"mlflow.sharedViewState.{view}", "value": "{}"} for view in ("runs", "sweep")]
            experiments = [
                {"experiment_id": "7", "name": "beans", "tags": tags},
                {"experiment_id": "0", "name": "Default"},  # not ours: no view is kept with it
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"experiments": experiments}).encode())

        def log_message(self, *_):
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        views = find_views(address)
        server.shutdown()
    route = f"{address}/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey="
    assert [(view.name, view.url) for view in views] == [
        ("beans: runs, highest val_acc first", f"{route}runs"),
        ("beans: runs under their sweep", f"{route}sweep"),
    ]
    assert find_views("http://127.0.0.1:1") == []
