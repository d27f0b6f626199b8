"""Why a database cannot be used, and what leads on: only what is damaged is to be moved away."""

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

import psutil

from orchestrator.storage.databases import Program, find_revisions

_DRIVERS = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
}
"""Packages to install, by the module that SQLAlchemy misses."""
_WORDS = (
    ("locked", re.compile(r"database (table )?is locked")),
    ("full", re.compile(r"database or disk is full|No space left on device|disk quota exceeded", re.IGNORECASE)),
    ("read-only", re.compile(r"readonly database|Read-only file system|Permission denied", re.IGNORECASE)),
    ("no file", re.compile(r"unable to open database file")),
    ("damaged", re.compile(r"file is not a database|malformed|database corruption")),
    ("driver", re.compile(r"No module named '(?P<module>[\w.]+)'")),
    ("schema", re.compile(r"out-of-date database schema|no longer compatible with the table schema|locate revision")),
    (
        "unreachable",
        re.compile(r"could not connect|connection (to server .*)?failed|Connection refused", re.IGNORECASE),
    ),
)
_REVISION = re.compile(r"found version (?P<found>\w+),|Can't locate revision identified by '(?P<lost>\w+)'")


def hint_at_cause(error: BaseException, program: Program, address: str, file: Path | None) -> str | None:
    """Return what to do about an error of a database; None where its cause is not known.

    Args:
        error: What the program or its database raised, with what that came from.
        program: Whose database it is.
        address: Its address, without credentials.
        file: Its file, if it is one.
    """
    text = " ".join(_said(error))
    kind, found = next(((kind, match) for kind, words in _WORDS if (match := words.search(text))), (None, None))
    match kind:
        case "locked":
            return _name_holders(file)
        case "full":
            return "the disk is full: free some space, and give the same command again; nothing is damaged"
        case "read-only":
            return f"it cannot be written: see that you may write to {file or address} and its folder"
        case "no file":
            return f"see that {file or address} is a file in a folder that may be written, or choose another --root"
        case "damaged":
            return (
                f"it is damaged: put a copy of {file or address} back if there is one; else move it away to start over"
            )
        case "driver":
            module = found["module"] if found is not None else ""
            return f"its driver is not installed: pip install {_DRIVERS.get(module, module)}"
        case "schema":
            return _hint_at_schema(text, program, address, file)
        case "unreachable":
            return "start the database, or correct its address; nothing is damaged"
        case _:
            return None


def _said(error: BaseException) -> list[str]:
    """List what an error and those behind it say."""
    said, seen = [], set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said.append(str(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return said


def _hint_at_schema(text: str, program: Program, address: str, file: Path | None) -> str:
    found = _REVISION.search(text)
    revision = (found["found"] or found["lost"]) if found is not None else None
    newer = "pip install -U" in text if revision is None else revision not in _known(program)
    if newer:
        return f"it is of a newer {program.name} than the installed one, and whole: pip install -U {program.name}"
    if file is None:
        return f"it is of an older {program.name}, and whole: keep a copy, then {program.upgrade_command(address)}"
    copy = f"cp {shlex.quote(str(file))} {shlex.quote(f'{file}.bak')}"
    return f"it is of an older {program.name}, and whole: {copy} && {program.upgrade_command(address)}"


def _known(program: Program) -> set[str]:
    return set(find_revisions(program.name, program.migrations))


def _name_holders(file: Path | None) -> str:
    """Name the processes that have a file open, as far as this one may look."""
    holders = []
    for process in psutil.process_iter() if file is not None else ():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(Path(each.path) == file for each in process.open_files()):
                holders.append(f"{process.name()} (process {process.pid})")
    who = ", ".join(holders) or "another program, or a transaction of one that is not closed"
    return f"it is whole, and held by {who}: end that, and give the same command again"
