"""The database of an MLflow store, looked at without MLflow: is it there, and where does it say that artifacts lie."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from orchestrator.errors import SetupError
from orchestrator.storage.flock import build_lock
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import read_owner
from orchestrator.tracking.mlflow.relocation import OUR_EXPERIMENTS, find_former_roots, house_default, relocate

_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_WAIT_S = 20


def is_database(uri: str) -> bool:
    """Whether a tracking URI is that of a database, not of a server."""
    return uri.startswith(_DATABASES)


def find_file(uri: str) -> Path | None:
    """Find the file of an SQLite store; None where the store is another one."""
    url = make_url(uri)
    named = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:"))
    return Path(str(url.database)) if named else None


def is_own(uri: str, root: Root) -> bool:
    """Whether a store is the file under the root, which no other root shares."""
    file = find_file(uri) if is_database(uri) else None
    return file is not None and file.resolve() == root.mlflow_db


@contextmanager
def holding_others_off(uri: str) -> Iterator[None]:
    """Hold others off a store that is a file: processes that migrate a fresh one at once all crash."""
    file = find_file(uri)
    if file is None:
        yield
        return
    lock = file.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with build_lock(lock):
        yield


def is_initialised(uri: str) -> bool:
    """Look whether a database has MLflow's tables; fails at once where MLflow would try for minutes."""
    file = find_file(uri)
    if file is not None and not file.exists():
        return False
    with _connecting(uri) as engine:
        return inspect(engine).has_table("alembic_version")


def mend_places(uri: str, root: Root, former: Sequence[Path] = ()) -> list[str]:
    """Let a store look for artifacts where its root lies now; say what changed, a sentence each.

    The caller holds others off.

    Args:
        uri: A database.
        root: The root as it lies now.
        former: Where it lay before, as far as is known. Of the root's own store that need not be said.

    Raises:
        SetupError: Another sweep is under way here, which knows the root by its other path.
        SQLAlchemyError: The database cannot be read or written.
        OSError: Artifacts cannot be copied.
    """
    with _connecting(uri) as engine:
        own = is_own(uri, root)
        with engine.begin() as connection:
            # copied roots have another identity, and a root that lies there now is somebody else's
            old = find_former_roots(connection.exec_driver_sql(OUR_EXPERIMENTS).all(), root) if own else list(former)
        if old:
            _require_nobody_else(root, old)
        with engine.begin() as connection:
            said = [relocate(connection, place, root) for place in old]
            said += [house_default(connection, root)] if own else []
    return [each for each in said if each is not None]


def follow_root(root: Root) -> list[str]:
    """Let the root's own store look for artifacts where the root lies now; say what changed, a sentence each.

    Raises:
        SetupError: Another sweep is under way here, or the store cannot be read or written.
    """
    if not root.mlflow_db.is_file():
        return []
    try:
        with holding_others_off(root.mlflow_uri):
            return mend_places(root.mlflow_uri, root) if is_initialised(root.mlflow_uri) else []
    except (SQLAlchemyError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise SetupError(f"cannot see whether the root {root.path} was moved: {reason}") from error


@contextmanager
def _connecting(uri: str) -> Iterator[Engine]:
    arguments = {"timeout": _WAIT_S} if uri.startswith("sqlite") else {}
    engine = create_engine(uri, poolclass=NullPool, connect_args=arguments)
    try:
        yield engine
    finally:
        engine.dispose()


def _require_nobody_else(root: Root, old: Sequence[Path]) -> None:
    """Refuse to change what a sweep under way relies on. Its own sweep is this process."""
    for path in sorted((root.path / "locks").glob("*.lock")):
        try:
            owner = read_owner(path)
        except ValueError:  # it is being written
            owner, alive = None, True
        else:
            alive = owner is not None
        if alive and not (owner is not None and (owner.pid, owner.host) == (os.getpid(), socket.gethostname())):
            who = f"process {owner.pid} on {owner.host}" if owner is not None else "another process"
            raise SetupError(
                f"the root {root.path} was {', '.join(map(str, old))} before, and {path.stem} is being swept in it by "
                f"{who}: where its artifacts lie cannot be changed now",
                hint="use the root by the same path as that sweep, or wait until it has ended",
            )
