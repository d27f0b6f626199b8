"""SQLite files that other programs made, opened to be read only; and the schemas that those programs know."""

import ast
import importlib.util
import shlex
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SetupError

_WAIT_S = 2.0
_SMALL = 100 * 2**20
"""Bytes up to which every page of a file is checked: that takes a second."""
_VERSION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that keeps a database.

    Attributes:
        name: Its package.
        migrations: Where they lie in the package.
        upgrade: Its command that brings a database to the newest schema; `{}` is its address.
        count: What to count for people, and in which table.
    """

    name: str
    migrations: str
    upgrade: str
    count: tuple[str, str]

    def upgrade_command(self, address: str) -> str:
        """Write the command, for a shell, that brings the database at an address to the newest schema."""
        return f"{find_command(self.name)} {self.upgrade.format(shlex.quote(address))}"


MLFLOW = Program(
    name="mlflow", migrations="store/db_migrations/versions", upgrade="db upgrade {}", count=("runs", "runs")
)
OPTUNA = Program(
    name="optuna",
    migrations="storages/_rdb/alembic/versions",
    upgrade="storage upgrade --storage {}",
    count=("studies", "studies"),
)


def find_command(name: str) -> str:
    """Name a command of this environment, whether it is on the path or not."""
    return shlex.quote(str(Path(sys.executable).with_name(name)))


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file to be read; it is neither made nor changed.

    Raises:
        SetupError: It cannot be read as a database, or is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise SetupError(f"{path} cannot be read: {error}") from error


def find_damage(connection: sqlite3.Connection, path: Path) -> str | None:
    """Check every page, unless the file is large; say what is wrong with the first bad one."""
    if path.stat().st_size > _SMALL:
        return None
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else str(found)


def read_tables(connection: sqlite3.Connection) -> set[str]:
    """List the tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def read_revision(connection: sqlite3.Connection) -> str | None:
    """Read the revision of the schema; None where the database has none."""
    if _VERSION_TABLE not in read_tables(connection):
        return None
    row = connection.execute(f"SELECT version_num FROM {_VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    return None if row is None else str(row[0])


def find_revisions(package: str, folder: str) -> Mapping[str, str | None]:
    """Read the revisions that an installed package can migrate to, each with the one before it.

    The migrations are read, not imported: importing the package would take seconds.

    Args:
        package: Name of the package.
        folder: Where its migrations lie in it.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return {}
    files = (Path(spec.submodule_search_locations[0]) / folder).glob("*.py")
    values = (_read_constants(path) for path in files)
    return {each["revision"]: each.get("down_revision") for each in values if each.get("revision")}


def newest_revision(revisions: Mapping[str, str | None]) -> str | None:
    """Name the revision that no other one follows."""
    return next(iter(revisions.keys() - set(revisions.values())), None)


def _read_constants(path: Path) -> dict[str, str]:
    found = {}
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found
