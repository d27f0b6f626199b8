"""Where an MLflow store says that artifacts lie, and how that follows a root that was moved or copied.

MLflow keeps absolute paths. Its own ways round that do not work for a store that is a file: a relative location is
made absolute when it is written, and `mlflow-artifacts:` needs a server also for the process that sweeps.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, column, func, inspect, literal, not_, table, update
from sqlalchemy.sql.elements import ColumnElement

from orchestrator import names
from orchestrator.storage.files import sync_tree
from orchestrator.storage.layout import Root, safe_name

OUR_EXPERIMENTS = f"""
SELECT experiment_id, name, artifact_location FROM experiments WHERE experiment_id IN (
    SELECT experiment_id FROM experiment_tags WHERE substr(key, 1, {len(names.VIEW_TAG)}) = '{names.VIEW_TAG}'
    UNION SELECT runs.experiment_id FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE tags.key = '{names.KIND}' AND tags.value = '{names.KIND_SWEEP}'
)
"""  # noqa: S608 - constants
"""Query for the experiments that sweeps made or use: id, name, artifact location."""

DEFAULT_ID = "0"
"""MLflow's own experiment, `Default`: it is there before anybody has chosen a place for it."""
_MLFLOWS_OWN_PLACE = ("mlruns", DEFAULT_ID)
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Columns that hold places of artifacts."""
_TRACE_KEY = "mlflow.artifactLocation"


def find_former_roots(experiments: Iterable[tuple[object, str, str]], root: Root) -> list[Path]:
    """Find where a root lay when the experiments of its own store were made, but for where it lies now.

    Args:
        experiments: What `OUR_EXPERIMENTS` finds. A place that a user has chosen is passed over.
        root: The root as it lies now.
    """
    found: dict[Path, None] = {}
    for number, name, location in experiments:
        path = to_path(location)
        leaf = DEFAULT_ID if str(number) == DEFAULT_ID else safe_name(name)
        if path is None or len(path.parents) < 2 or path.parts[-2:] != (root.artifacts.name, leaf):
            continue
        if path.parents[1] != root.path:
            found[path.parents[1]] = None
    return list(found)


def relocate(connection: Connection, old: Path, root: Root) -> str | None:
    """Let a store look under `root` for the artifacts that it says are under `old`; say what changed, if anything.

    What was written to the old place although the root lay here already (by a version that did not look) is copied
    here first. Nothing is removed there. The caller owns the transaction, and keeps others away.

    Raises:
        OSError: Artifacts cannot be copied.
    """
    copied = _bring_artifacts(connection, old, root)
    changed = _rewrite(connection, old, root.path, kept=root.artifacts)
    if not changed:
        return None
    also = f"; {copied} folders of artifacts that had been written there since were copied here" if copied else ""
    return (
        f"the root {root.path} was {old} before: the MLflow store looks for its artifacts here now "
        f"({changed} places changed{also})"
    )


def house_default(connection: Connection, root: Root) -> str | None:
    """Assign MLflow's own experiment a place under the root where it still has the folder that MLflow took by itself.

    That is `./mlruns/0` of whichever folder the first command ran in. Artifacts of sweeps that lie there are copied;
    other runs stay as they are.

    Raises:
        OSError: Artifacts cannot be copied.
    """
    (location,) = connection.exec_driver_sql(
        f"SELECT artifact_location FROM experiments WHERE experiment_id = {DEFAULT_ID}"  # noqa: S608 - a constant
    ).first() or ("",)
    old, new = to_path(location), root.artifacts / DEFAULT_ID
    if old is None or old.parts[-2:] != _MLFLOWS_OWN_PLACE or old.is_relative_to(root.path):
        return None
    experiments = table("experiments", column("experiment_id"), column("artifact_location"))
    runs = table("runs", column("run_uuid"), column("artifact_uri"))
    connection.execute(
        update(experiments).where(experiments.c.experiment_id == int(DEFAULT_ID)).values(artifact_location=new.as_uri())
    )
    ours = connection.exec_driver_sql(
        f"SELECT DISTINCT r.run_uuid, r.artifact_uri FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "  # noqa: S608
        f"WHERE r.experiment_id = {DEFAULT_ID} AND t.key = '{names.KIND}'"
    ).all()
    moved = 0
    for run_id, uri in ours:
        path = to_path(uri)
        if path is not None and path.is_relative_to(old):
            here = new / path.relative_to(old)
            _bring_folder(path, here)
            connection.execute(update(runs).where(runs.c.run_uuid == run_id).values(artifact_uri=here.as_uri()))
            moved += 1
    copied = f"; the artifacts of {moved} runs were copied there" if moved else ""
    return f"the artifacts of the experiment 'Default' belong to {new} now, not to {old}{copied}"


def to_path(location: str) -> Path | None:
    """Read the absolute local path that an artifact location names; None where it is on no local disk."""
    if location.startswith("file:"):
        parts = urlsplit(location)
        path = Path(unquote(parts.path))
        return path if parts.netloc in {"", "localhost"} and path.is_absolute() else None
    return Path(location) if location.startswith("/") else None


def _rewrite(connection: Connection, old: Path, new: Path, *, kept: Path) -> int:
    """Put `new` for `old` at the beginning of each place, unless it is under `kept`; count the places."""
    present = {name: {each["name"] for each in inspect(connection).get_columns(name)} for name in _tables(connection)}
    changed = 0
    for name, place in _PLACES:
        if place not in present.get(name, ()):  # another schema
            continue
        where: list[ColumnElement[bool]] = []
        target = table(name, column(place), column("key"))
        if name == "trace_tags":
            where.append(target.c.key == _TRACE_KEY)
        value = target.c[place]
        where += [not_(_starts(value, beginning)) for beginning, _ in _beginnings(kept, kept)]
        for before, after in _beginnings(old, new):
            moved = literal(after).concat(func.substr(value, len(before) + 1))
            statement = update(target).where(_starts(value, before), *where).values({place: moved})
            changed += connection.execute(statement).rowcount
    return changed


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) & {name for name, _ in _PLACES}


def _starts(value: ColumnElement[str], beginning: str) -> ColumnElement[bool]:
    """Whether a text begins so; `LIKE` would read some letters as patterns, and not care about case."""
    return func.substr(value, 1, len(beginning)) == beginning


def _beginnings(old: Path, new: Path) -> list[tuple[str, str]]:
    """List how a place under `old` begins, as an address, as one that is not escaped and as a path; and under `new`."""
    plain = (f"file://{old}/", f"{new.as_uri()}/")
    return list({plain[0]: plain[1], f"{old.as_uri()}/": f"{new.as_uri()}/", f"{old}/": f"{new}/"}.items())


def _bring_artifacts(connection: Connection, old: Path, root: Root) -> int:
    """Copy what runs have at the old place and lack here; count their folders."""
    if not old.is_dir():
        return 0
    is_root = (old / root.mlflow_db.name).exists()  # of a copy: what both have belongs to each
    count = 0
    for (uri,) in connection.exec_driver_sql("SELECT artifact_uri FROM runs").all():
        path = to_path(uri or "")
        if path is None or not path.is_relative_to(old) or path.is_relative_to(root.artifacts):
            continue
        here = root.path / path.relative_to(old)
        if not (is_root and here.exists()):
            count += _bring_folder(path, here)
    return count


def _bring_folder(old: Path, new: Path) -> bool:
    """Copy the files of a folder that are not in another one, or older there; say whether there were any."""
    files = [path for path in old.rglob("*") if path.is_file()] if old.is_dir() else []
    wanted = [(path, here) for path in files if _is_older(here := new / path.relative_to(old), path)]
    for path, here in wanted:
        here.parent.mkdir(parents=True, exist_ok=True)
        unfinished = here.with_name(f".{here.name}.tmp")
        shutil.copy2(path, unfinished)
        unfinished.replace(here)
    if wanted:
        sync_tree(new)
    return bool(wanted)


def _is_older(path: Path, other: Path) -> bool:
    try:
        return path.stat().st_mtime < other.stat().st_mtime
    except FileNotFoundError:
        return True
