"""Standard output and standard error that cost nobody a result: closed, full, broken, or without most letters."""

import codecs
import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import IO, Any, TextIO, cast

_ERRORS = "orchestrator.readable"
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("─━╌╴╶═", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╷╵┏┓┗┛", "+"),
        **dict.fromkeys("·•●", "*"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("█▇▆▅▄▃▂▁", "#"),
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "…": "...",
        "\u00d7": "x",
        "±": "+-",
        "→": "->",
        "≤": "<=",
        "≥": ">=",
    }
)
"""What this program and the libraries that print for it use, in ASCII."""
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Errors of a reader that has enough."""


def protect_streams() -> None:
    """Keep standard output and error from ever raising: a letter that has no code is written in ASCII, or escaped.

    What cannot be written is lost and remembered (`lost_output`). A stream that is closed goes to `os.devnull`: the
    next file that is opened would get its number, and whatever prints would write into it. Streams that are not those
    of the process, as in a notebook or a test, stay as they are.
    """
    _open_closed()
    codecs.register_error(_ERRORS, _write_readably)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
        if isinstance(stream, io.TextIOWrapper) and _number(stream) == number and _find_raw(stream) is None:
            setattr(sys, name, _protect(stream, number))


def lost_output(stream: TextIO) -> OSError | None:
    """Return the error for which something is missing in a protected stream; None: nothing is, or nobody reads on."""
    raw = _find_raw(stream)
    if raw is None:
        return None
    with suppress(ValueError):  # closed
        stream.flush()
    return None if raw.error is None or raw.error.errno in _GONE else raw.error


def write_data(text: str) -> None:
    """Write what other programs read on standard output: in UTF-8, whatever the locale, unless it is a terminal."""
    stream = sys.stdout
    buffer: IO[bytes] | None = getattr(stream, "buffer", None)
    if buffer is None or stream.isatty():
        stream.write(text)
        return
    stream.flush()
    buffer.write(text.encode("utf-8", "surrogateescape"))


class _Enduring(io.FileIO):
    """A file that takes whatever is written; the first error is kept, and nothing is tried after it.

    Attributes:
        error: Why something was lost.
    """

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write, or pass over, all of `content`."""
        view = memoryview(content).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                written = super().write(view[done:])
            except OSError as error:
                self.error = error
                break
            if not written:  # somebody made the stream non-blocking, and its reader is slow
                select.select([], [self], [])
            done += written or 0
        return len(view)


def _protect(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    with suppress(OSError):
        stream.flush()
    raw = _Enduring(number, "w", closefd=False)
    return io.TextIOWrapper(
        cast("IO[bytes]", raw) if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=number == 2 or stream.line_buffering,
        write_through=stream.write_through,
    )


def _find_raw(stream: TextIO) -> _Enduring | None:
    """Return what a protected stream writes to; None for any other stream."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # no buffer lies between where Python runs unbuffered
    return raw if isinstance(raw, _Enduring) else None


def _number(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _open_closed() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def _write_readably(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (letter.translate(_PLAIN) for letter in letters)
    return "".join(each if each.isascii() else each.encode("ascii", "backslashreplace").decode() for each in plain), (
        error.end
    )
