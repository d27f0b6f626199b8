"""Which root this is, wherever it lies: what tells its runs from those of other roots on one tracking server."""

import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from orchestrator.errors import SetupError
from orchestrator.records.record import Record
from orchestrator.storage.files import write_atomically
from orchestrator.storage.flock import build_lock
from orchestrator.storage.layout import Root


class Identity(Record):
    """Who a root is. It keeps its id where it is moved; a copy beside the original gets its own."""

    id: str
    path: str
    """Where the root lay when it was last used."""
    host: str
    """Machine on which it was last used."""
    inode: int
    """Number of the folder in its file system: a folder that is renamed keeps it, a copy has another."""
    former: tuple[str, ...] = ()
    """Where it lay before."""
    copy_of: str | None = None
    """Where the root lay that it was copied from, if it was."""

    @property
    def place(self) -> str:
        """The folder itself, as told to others: its number, machine and path."""
        return f"{self.inode}@{self.host}:{self.path}"

    def is_at(self, place: str) -> bool:
        """Whether `place` is this folder: whoever holds a lock in it then knows what lives and what is dead."""
        inode, _, where = place.partition("@")
        return inode == str(self.inode) or where == f"{self.host}:{self.path}"


def take_identity(root: Root) -> tuple[Identity, str | None]:
    """Read who a root is, and note where it lies now; a root that has no identity yet gets one.

    Returns:
        The identity, and a sentence where the root is found to be a copy of another one.

    Raises:
        SetupError: The file cannot be read or written.
    """
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        with build_lock(root.identity.with_suffix(".lock")):
            before = read_identity(root.identity)
            now, said = _settle(before, root)
            if now != before:
                write_atomically(root.identity, now.model_dump_json(indent=1))
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SetupError(
            f"cannot tell which root this is: {root.identity}: {reason}",
            hint="make it readable and writable; without the file the root counts as a new one on a tracking server, "
            "and its earlier runs there as another root's",
        ) from error
    return now, said


def read_identity(path: Path) -> Identity | None:
    """Read an identity; None where there is none.

    Raises:
        OSError: The file cannot be read.
        ValidationError: It is no identity.
    """
    try:
        return Identity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


def _settle(before: Identity | None, root: Root) -> tuple[Identity, str | None]:
    here: dict[str, Any] = {"path": str(root.path), "host": socket.gethostname(), "inode": root.path.stat().st_ino}
    if before is None:
        return Identity(id=uuid4().hex, **here), None
    if before.path == here["path"]:
        return before.model_copy(update=here), None
    original = Root(Path(before.path))
    if _is_same(original, before.id) and not original.path.samefile(root.path):
        said = (
            f"the root {root.path} is a copy of {original.path}: on a tracking server it counts as a root of its own, "
            "and what was tracked there before the copy stays with the original"
        )
        return Identity(id=uuid4().hex, copy_of=before.path, **here), said
    former = tuple(dict.fromkeys([*before.former, before.path]))
    former = tuple(path for path in former if path != here["path"])
    return before.model_copy(update={**here, "former": former}), None


def _is_same(root: Root, known: str) -> bool:
    try:
        found = read_identity(root.identity)
    except (OSError, ValidationError):
        return False
    return found is not None and found.id == known
