"""What a lost store has not heard yet: on disk, in order, until it has."""

import json
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from orchestrator.records.record import Record
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStatus, SweepSummary
from orchestrator.storage.files import make_folder, write_atomically
from orchestrator.storage.layout import Root
from orchestrator.tracking.entries import CallOrigin


class Started(Record):
    """A run started."""

    op: Literal["start"] = "start"
    key: str
    """Names the run's start."""
    at_ms: int
    """When it was: Unix time, milliseconds."""
    start: RunStart
    origin: CallOrigin


class Epoch(Record):
    """A run had an epoch."""

    op: Literal["epoch"] = "epoch"
    key: str
    at_ms: int
    metrics: EpochMetrics


class Ended(Record):
    """A run ended: with a result, or with the reason why it has none."""

    op: Literal["end"] = "end"
    key: str
    at_ms: int
    status: SweepStatus
    result: RunResult | None = None
    reason: str = ""


class Adopted(Record):
    """A finished run went to another trial."""

    op: Literal["adopt"] = "adopt"
    run_id: str | None
    start: RunStart


Message = Started | Epoch | Ended | Adopted


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """What alone matters of the sweep itself: its last summary and its end."""

    summary: SweepSummary | None = None
    """Without its trials, which no store keeps."""
    at_ms: int = 0
    """When it was summed up."""
    end: SweepStatus | None = None

    def to_json(self, root: Root) -> str:
        """Write it down; files under the root so that the root can be moved."""
        summary = self.summary
        plain = {
            "at_ms": self.at_ms,
            "end": self.end,
            "summary": summary
            and {
                "front": summary.front,
                "table": summary.table,
                "metrics": summary.metrics,
                "note": summary.note,
                "files": [root.relative(path) for path in summary.files],
            },
        }
        return json.dumps(plain, default=str)  # as the store's own table is written

    @classmethod
    def from_json(cls, text: bytes, root: Root) -> Self:
        """Read it back.

        Raises:
            ValueError: It is not what `to_json` writes; so `KeyError` and `TypeError`.
        """
        plain = json.loads(text)
        kept = plain["summary"]
        summary = kept and SweepSummary(
            trials=(),
            front=tuple(kept["front"]),
            table=tuple(kept["table"]),
            metrics=kept["metrics"],
            note=kept["note"],
            files=tuple(root.path / path for path in kept["files"]),
        )
        return cls(summary=summary, at_ms=plain["at_ms"], end=plain["end"])


class Line(Record):
    """A line of the file."""

    seq: int
    """Rises by one a line, also over many files."""
    message: Annotated[Message, Field(discriminator="op")]


class Spool:
    """The messages that wait, `<root>/spool/<experiment>.jsonl`, and what alone matters of the rest: its latest state.

    A line is on disk before `append` returns; where the disk takes none, it waits in memory for the next call. What
    was delivered is noted after it was delivered, one by one: after a death in between, the first is delivered again.
    The file is there as long as anything waits, be it the state alone. The caller owns the experiment's lock.
    """

    def __init__(self, root: Root, experiment_name: str) -> None:
        self._root = root
        self.path = root.spool(experiment_name)
        stem = self.path.name.removesuffix(".jsonl")
        self.refused_path = root.refused(experiment_name)
        self._note_path = self.path.with_name(f"{stem}.delivered")
        self._state_path = self.path.with_name(f"{stem}.latest.json")
        self._waiting: deque[Line] = deque()
        self._unwritten = 0
        self._size = 0
        self._next = 1
        self._latest: Latest | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and self._latest is None

    @property
    def head(self) -> Message | None:
        """The first message that waits."""
        return self._waiting[0].message if self._waiting else None

    @property
    def latest(self) -> Latest | None:
        """The sweep's latest state, if it waits."""
        return self._latest

    @property
    def is_durable(self) -> bool:
        """Whether all that waits is on disk."""
        return not self._unwritten

    def load(self) -> list[str]:
        """Read what an earlier process left. A torn last line is cut off: whoever wrote it died before it was told.

        Returns:
            What cannot be read in the middle, a line each, set aside.

        Raises:
            OSError: The files cannot be read or mended.
        """
        delivered = int(_read(self._note_path) or b"0")
        content = _read(self.path)
        self._size = content.rfind(b"\n") + 1
        if self._size < len(content):
            os.truncate(self.path, self._size)
        self._waiting.clear()
        self._unwritten = 0
        self._next = delivered + 1
        strange = []
        for text in _split(content[: self._size]):
            line = _parse(text)
            if line is None:
                strange.append(text)
                continue
            self._next = max(self._next, line.seq + 1)
            if line.seq > delivered:
                self._waiting.append(line)
        self._latest = None
        if state := _read(self._state_path):
            try:
                self._latest = Latest.from_json(state, self._root)
            except (ValueError, KeyError, TypeError):
                strange.append(state.decode(errors="replace"))
        if strange:
            self._set_aside("".join(f"{text}\n" for text in strange))
        if not self._waiting:
            self._remove()
        return strange

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        self._waiting.append(Line(seq=self._next, message=message))
        self._next += 1
        self._unwritten += 1
        self._write()

    def note_delivered(self) -> None:
        """Drop the first message: it was delivered."""
        line = self._waiting.popleft()
        self._unwritten = min(self._unwritten, len(self._waiting))
        with suppress(OSError):  # a note that is lost has it delivered twice, which shows nowhere
            if self._waiting:
                write_atomically(self._note_path, str(line.seq))
            else:
                self._remove()

    def note_refused(self) -> None:
        """Drop the first message: the store refuses it. It is kept beside the others."""
        with suppress(OSError):
            self._set_aside(self._waiting[0].model_dump_json() + "\n")
        self.note_delivered()

    def load_refused(self) -> list[Line]:
        """Read what the store has refused, in order; what cannot be read is passed over, and stays.

        Raises:
            OSError: The file cannot be read.
        """
        return [line for line in map(_parse, _split(_read(self.refused_path))) if line is not None]

    def keep_refused(self, lines: Sequence[Line]) -> None:
        """Keep those lines alone of what the store has refused, and what cannot be read.

        Raises:
            OSError: The file cannot be written.
        """
        strange = [text for text in _split(_read(self.refused_path)) if _parse(text) is None]
        content = "".join(f"{text}\n" for text in [*strange, *(line.model_dump_json() for line in lines)])
        if content:
            write_atomically(self.refused_path, content)
        else:
            self.refused_path.unlink(missing_ok=True)

    def keep_latest(self, latest: Latest) -> None:
        """Keep the sweep's latest state, in place of an earlier one."""
        self._latest = latest
        with suppress(OSError):  # kept in memory, and followed by the next
            self._make_folder()
            self.path.touch()
            write_atomically(self._state_path, latest.to_json(self._root))

    def drop_latest(self) -> None:
        """Drop the sweep's latest state: it was delivered."""
        self._latest = None
        with suppress(OSError):
            self._state_path.unlink(missing_ok=True)
            if not self._waiting:
                self._remove()

    def _write(self) -> None:
        """Write what is not on disk yet; a line that the disk took in part is taken back."""
        new = list(self._waiting)[len(self._waiting) - self._unwritten :]
        content = "".join(f"{line.model_dump_json()}\n" for line in new)
        try:
            self._make_folder()
            if not self._size:
                write_atomically(self.path, content)
            else:
                with self.path.open("ab") as file:
                    file.write(content.encode())
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, self._size)
            return
        self._size += len(content.encode())
        self._unwritten = 0

    def _make_folder(self) -> None:
        make_folder(self.path.parent, mode=0o700)

    def _set_aside(self, text: str) -> None:
        with self.refused_path.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _remove(self) -> None:
        """Remove the lines before the note: a note alone skips nothing, since numbers rise."""
        self._size = 0
        if self._latest is not None:
            self.path.write_bytes(b"")
        else:
            self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)


def _split(content: bytes) -> list[str]:
    return content.decode(errors="replace").split("\n")[:-1]  # not `splitlines`: JSON may hold U+2028


def _parse(text: str) -> Line | None:
    try:
        return Line.model_validate_json(text)
    except ValidationError:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
