"""A disk that is full or read-only, a tracking server that dies: a clear error or none, and nothing is lost."""

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.server import Server
from tests.faults.sweeps import Place, Whole

pytestmark = pytest.mark.faults
Inject = Callable[[str], None]


def mount(*words: str) -> bool:
    """Run `mount`; False where that is not permitted."""
    program = shutil.which("mount")
    return program is not None and subprocess.run([program, *words], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Callable[[], None]]:
    """Mount a disk of its own; gives what makes it large. Skips where mounting is not permitted."""
    folder.mkdir(parents=True)
    if not mount("-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)):
        pytest.skip("mounting a tmpfs is not permitted")
    try:
        yield lambda: mount("-o", "remount,size=1g", str(folder)) or pytest.fail("cannot enlarge the disk")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize("free_kb", [100, 400, 2_000, 30_000, 70_000, 200_000])
def test_a_full_disk(free_kb: int, tmp_path: Path, mlflow_store_template: Path, whole: Whole, inject: Inject):
    """From a disk that takes nothing to one that fills up in the middle: best takes 45 MB, last 134 MB."""
    store_kb = mlflow_store_template.stat().st_size // 1024
    with small_disk(tmp_path / "disk", store_kb + free_kb) as enlarge:
        place = Place(tmp_path / "place", mlflow_store_template, root=tmp_path / "disk" / "root")
        command = place.start()
        code = command.wait()
        inject("full disk")
        print(f"{free_kb} KB free: exit {code}\n{command.said}")  # noqa: T201 - shown where it fails
        assert code in {1, 4, 5}, command.said
        assert "Traceback" not in command.said
        assert any(word in command.said for word in ("No space left", "disk is full", "disk I/O error", "disk full"))
        assert place.wait_for_deaths() == []
        enlarge()
        place.finish()
        assert place.audit(whole.found) == []


@pytest.mark.parametrize("limit_mb", [20, 60])
def test_a_limit_on_the_size_of_files(limit_mb: int, place: Place, whole: Whole, inject: Inject):
    """The weights take 45 MB; what the run would continue from, 67 MB."""
    limit = limit_mb * 2**20
    command = place.start(limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    code = command.wait()
    inject("full quota")
    print(f"{limit_mb} MB: exit {code}\n{command.said}")  # noqa: T201 - shown where it fails
    assert code == 4, command.said
    assert "File too large" in command.said
    assert "Traceback" not in command.said
    place.finish()
    assert place.audit(whole.found) == []


def test_a_read_only_root(tmp_path: Path, mlflow_store_template: Path, whole: Whole, inject: Inject):
    with small_disk(tmp_path / "disk", 1_000_000):
        disk = str(tmp_path / "disk")
        place = Place(tmp_path / "place", mlflow_store_template, root=tmp_path / "disk" / "root")
        assert mount("-o", "remount,ro", disk)
        command = place.start()
        assert command.wait() == 5, command.said
        inject("read-only root")
        assert "Traceback" not in command.said
        assert str(place.root) in command.said
        assert mount("-o", "remount,rw", disk)
        place.finish()
        assert place.audit(whole.found) == []


@pytest.fixture
def server(place: Place) -> Iterator[Server]:
    server = Server(place)
    server.start()
    server.wait()
    yield server
    server.kill()


def test_a_tracking_server_dies_and_is_back_while_a_run_trains(
    server: Server, place: Place, whole: Whole, inject: Inject
):
    words = ("-s", f"tracking.mlflow_uri={server.uri}")
    command = place.start(*words)
    assert command.hears("epoch 1/3")
    server.kill()
    inject("tracking server killed and restarted")
    server.start()
    assert command.wait() == 0, command.said
    assert "the runs go on" in command.said
    server.wait()
    place.finish(*words)
    server.kill()
    assert place.audit(whole.found, late=True) == []


def test_a_tracking_server_dies_and_is_back_for_the_next_call(
    server: Server, place: Place, whole: Whole, inject: Inject
):
    words = ("-s", f"tracking.mlflow_uri={server.uri}")
    command = place.start(*words)
    assert command.hears("epoch 2/3")
    server.kill()
    inject("tracking server killed")
    assert command.wait() == 0, command.said
    assert "Traceback" not in command.said
    assert "the next start of this sweep delivers it" in command.said
    dead = place.start(*words)
    assert dead.wait() == 5, dead.said  # the records wait, and the store is not there
    server.start()
    server.wait()
    again = place.finish(*words)
    assert "reached the MLflow store" in again.said
    server.kill()
    assert place.audit(whole.found, late=True) == []


def test_server_and_parent_die(server: Server, place: Place, whole: Whole, inject: Inject):
    """What the store has missed is on disk: the next call delivers it, and then goes on."""
    words = ("-s", f"tracking.mlflow_uri={server.uri}")
    command = place.start(*words)
    assert command.hears("epoch 1/3")
    server.kill()
    assert command.hears("1 of 2 trials done")
    assert command.kill()
    inject("tracking server and parent killed")
    assert place.wait_for_deaths() == []
    server.start()
    server.wait()
    place.finish(*words)
    server.kill()
    assert place.audit(whole.found, late=True) == []
