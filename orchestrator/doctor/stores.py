"""What sweeps have written under a root: can it be read, by these versions, and who writes just now."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.finding import Finding, fail, ok, warn
from orchestrator.errors import SetupError
from orchestrator.storage.databases import (
    MLFLOW,
    OPTUNA,
    Program,
    find_command,
    find_damage,
    find_revisions,
    newest_revision,
    open_database,
    read_revision,
    read_tables,
)
from orchestrator.storage.layout import DEFAULT_ROOT, Root
from orchestrator.storage.lock import read_owner
from orchestrator.tracking.mlflow.relocation import OUR_EXPERIMENTS, find_former_roots


def check_mlflow(path: Path, check: str = "mlflow") -> Finding:
    """Look at the MLflow store in a SQLite file."""
    return _check_database(check, path, MLFLOW)


def check_places(root: Root) -> Iterator[Finding]:
    """Return whether the root's own MLflow store looks for artifacts where the root lies."""
    if not root.mlflow_db.is_file():
        return
    try:
        with open_database(root.mlflow_db) as connection:
            former = find_former_roots(connection.execute(OUR_EXPERIMENTS), root)
    except SetupError:  # the store's own check says what is wrong
        return
    if former:
        yield warn(
            "artifacts",
            f"the root was {', '.join(map(str, former))} before, and its MLflow store looks for artifacts there",
            "nothing to do: the next sweep, report or ui lets it look here",
        )


def check_optuna(root: Root) -> Finding:
    """Look at the Optuna studies."""
    return _check_database("optuna", root.optuna_db, OPTUNA)


def check_file_store(root: Root) -> Iterator[Finding]:
    """Look for the file store of an older MLflow, and say how to bring it over."""
    for folder in dict.fromkeys((root.path, Path(DEFAULT_ROOT).resolve())):
        if not any(folder.glob("*/meta.yaml")):
            continue
        # the migration deletes a database that is there, after a question
        target = next(
            path for path in (folder / "mlflow.db", folder / "migrated.db", _unused(folder)) if not path.exists()
        )
        command = f"{find_command('mlflow')} migrate-filestore --source {_quote(folder)} --target {_quote(f'sqlite:///{target}')}"
        view = "" if target.name == "mlflow.db" else f"; see them with mlflow ui --backend-store-uri sqlite:///{target}"
        yield warn(
            "mlflow files",
            f"{folder} holds the file store of an older MLflow, which nothing reads any more; its runs are whole",
            f"bring them over: {command}{view}; then move its numbered folders away",
        )


def check_locks(root: Root) -> Finding:
    """Return who sweeps just now."""
    alive = []
    for path in sorted((root.path / "locks").glob("*.lock")):
        try:
            owner = read_owner(path)
        except ValueError:  # it is being written
            alive.append(f"{path.stem} by another process")
            continue
        except OSError as error:
            return warn("locks", f"{path} cannot be read: {error.strerror}", "whose file is it?")
        if owner:
            alive.append(f"{path.stem} by process {owner.pid} on {owner.host} since {owner.started}")
    return ok("locks", f"being swept: {', '.join(alive)}" if alive else "nobody sweeps here")


def check_spool(root: Root) -> Iterator[Finding]:
    """Describe what the tracking store has not received yet."""
    for path in sorted((root.path / "spool").glob("*")):
        if path.is_file() and path.stat().st_size > 0:
            yield warn(
                "spool",
                f"{path} holds records that the tracking store has not received ({path.stat().st_size} bytes)",
                "the next sweep of that experiment delivers them: start the store, then the sweep",
            )


def _check_database(check: str, path: Path, program: Program) -> Finding:
    if not path.exists():
        return ok(check, f"no store at {path} yet; the first sweep makes it")
    try:
        with open_database(path) as connection:
            damage = find_damage(connection, path)
            tables = read_tables(connection)
            revision = read_revision(connection)
            what, table = program.count
            count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] if table in tables else 0  # noqa: S608 - a constant
    except SetupError as error:
        return fail(check, error.message, _damage_hint(path))
    if damage:
        return fail(check, f"{path} is damaged: {damage}", _damage_hint(path))
    if not tables:
        return ok(check, f"{path} is empty; the first sweep fills it")
    return _check_schema(check, path, program, revision, f"{count} {what}")


def _check_schema(check: str, path: Path, program: Program, revision: str | None, content: str) -> Finding:
    known = find_revisions(program.name, program.migrations)
    newest = newest_revision(known)
    if revision is None:
        return fail(
            check, f"{path} is a database, but none of {program.name}", "move it away, or choose another --root"
        )
    if revision == newest:
        return ok(check, f"{path}: {content}, schema {revision}")
    if revision in known:
        command = program.upgrade_command(f"sqlite:///{path}")
        return fail(
            check,
            f"{path}: {content}, but its schema {revision} is older than {newest} of the installed {program.name}",
            f"keep a copy, then bring it up to date: cp {_quote(path)} {_quote(f'{path}.bak')} && {command}",
        )
    return fail(
        check,
        f"{path}: {content}, but its schema {revision} is of a newer {program.name} than the installed one",
        f"install a newer {program.name}, or choose another --root",
    )


def _damage_hint(path: Path) -> str:
    return f"put a copy back if there is one; else move {path} away, and the next sweep makes a new one"


def _unused(folder: Path) -> Path:
    numbers = range(2, 1_000_000)
    return next(path for number in numbers if not (path := folder / f"migrated-{number}.db").exists())


def _quote(text: str | Path) -> str:
    return shlex.quote(str(text))
