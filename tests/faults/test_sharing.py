"""A root that is moved, an experiment and a server that are shared, and what stands between: nothing is misread."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.faults.auditor import read_mlflow
from tests.faults.cases import one_of
from tests.faults.server import Server
from tests.faults.sweeps import Place, Whole, Zygote
from tests.tracking.proxy import Proxy

pytestmark = pytest.mark.slow
Inject = Callable[[str], None]
HALFWAY = "orchestrator.search.study:OptunaSearch.tell:after:1"


@pytest.mark.parametrize("gone", one_of(True, False))
def test_a_root_is_moved_halfway(gone: bool, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject):
    """Also where the old place cannot be made again."""
    zygote.lose_parent(quick_place, HALFWAY)
    assert quick_place.wait_for_deaths() == []
    old = quick_place.root
    quick_place.root = old.rename(quick_place.folder / "moved root")
    if gone:
        old.touch()
    inject("moved root")
    said = zygote.finish(quick_place).said
    assert f"the root {quick_place.root} was {old} before" in said.replace("\n", " ")
    assert quick_place.audit(quick_whole.found) == []
    assert old.is_file() == gone
    assert old.exists() == gone
    for folder in artifact_folders(quick_place.root):
        assert folder.is_relative_to(quick_place.root)
        assert any(folder.iterdir())


def test_a_foreign_run_and_a_deleted_tag(quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject):
    zygote.lose_parent(quick_place, HALFWAY)
    assert quick_place.wait_for_deaths() == []
    with closing(sqlite3.connect(quick_place.root / "mlflow.db")) as db, db:
        (experiment,) = db.execute("select experiment_id from experiments where name = 'quick'").fetchone()
        db.execute(
            "insert into runs (run_uuid, user_id, name, source_type, status, start_time, lifecycle_stage, "
            "experiment_id, artifact_uri) values ('foreign', '', 'mine', 'LOCAL', 'RUNNING', 0, 'active', ?, '/x')",
            (experiment,),
        )
        db.execute("insert into tags values ('kind', 'run', 'foreign'), ('sweep', 'quick', 'foreign')")
        deleted = db.execute("delete from tags where key = 'optuna_trial'").rowcount
    assert deleted
    inject("foreign run")
    inject("deleted tag")
    zygote.finish(quick_place)
    (foreign,) = (run for run in read_mlflow(quick_place.root) if run["id"] == "foreign")
    assert (foreign["status"], foreign["tags"]) == ("RUNNING", {"kind": "run", "sweep": "quick"})
    with closing(sqlite3.connect(quick_place.root / "mlflow.db")) as db, db:
        db.execute("delete from tags where run_uuid = 'foreign'")
        db.execute("delete from runs where run_uuid = 'foreign'")
    assert quick_place.audit(quick_whole.found) == []


@pytest.fixture
def server(quick_place: Place) -> Iterator[Server]:
    server = Server(quick_place)
    server.start()
    server.wait(300)
    yield server
    server.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.mark.faults
@pytest.mark.parametrize("times", [1, 4])
def test_the_reply_is_lost_at_the_start(
    times: int, proxy: Proxy, server: Server, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    """The client asks again by itself where it may; where all replies are lost, the start or the next one finds it."""
    left = iter(range(times))
    proxy.judge = lambda _, path: "cut" if path.endswith("runs/create") and next(left, None) is not None else None
    words = ("-s", f"tracking.mlflow_uri={proxy.uri}")
    command = zygote.start(quick_place, *words)
    command.wait()
    inject("lost reply")
    assert len(proxy.done) == times
    zygote.finish(quick_place, *words)
    server.kill()
    assert quick_place.audit(quick_whole.found, late=True) == []


@pytest.mark.faults
@pytest.mark.parametrize(("only", "first"), [("", 40), ("log-batch", 5)])
def test_a_proxy_answers_with_a_page_in_the_middle(
    only: str,
    first: int,
    proxy: Proxy,
    server: Server,
    quick_place: Place,
    zygote: Zygote,
    quick_whole: Whole,
    inject: Inject,
):
    asked = count()
    proxy.judge = lambda _, path: "page" if only in path and first <= next(asked) < first + 10 else None
    words = ("-s", f"tracking.mlflow_uri={proxy.uri}")
    command = zygote.start(quick_place, *words)
    assert command.wait() == 0, command.said
    inject("page of a proxy")
    assert proxy.done
    proxy.judge = lambda *_: None  # well again
    zygote.finish(quick_place, *words)
    server.kill()
    assert quick_place.audit(quick_whole.found, late=True) == []


@pytest.mark.faults
def test_two_roots_on_one_server(
    server: Server, quick_place: Place, tmp_path: Path, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    words = ("-s", f"tracking.mlflow_uri={server.uri}")
    other = Place(tmp_path / "other", None, name="quick")
    first = zygote.start(quick_place, *words)
    assert first.hears("epoch 1/")
    second = zygote.start(other, *words)
    inject("two roots on one server")
    assert (first.wait(), second.wait()) == (0, 0), f"{first.said}\n{second.said}"
    server.kill()
    runs = read_mlflow(quick_place.root)
    roots = {run["tags"]["root_id"] for run in runs}
    assert len(roots) == 2
    for root in roots:
        mine = [run for run in runs if run["tags"]["root_id"] == root]
        (parent,) = (run for run in mine if run["tags"]["kind"] == "sweep")
        children = [run for run in mine if run["tags"]["kind"] == "run"]
        assert {run["status"] for run in mine} == {"FINISHED"}
        assert len(children) == len(quick_whole.found.results)
        assert {run["tags"]["mlflow.parentRunId"] for run in children} == {parent["id"]}


def artifact_folders(root: Path) -> list[Path]:
    with closing(sqlite3.connect(root / "mlflow.db")) as db:
        places = [place for (place,) in db.execute("select artifact_uri from runs where status = 'FINISHED'")]
    return [Path(unquote(urlsplit(place).path)) for place in places]
