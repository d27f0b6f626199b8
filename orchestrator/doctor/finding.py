"""What a check found."""

from typing import Literal

from orchestrator.masking import mask_credentials
from orchestrator.records.record import Record

Status = Literal["ok", "warn", "fail"]


class Finding(Record):
    """One check: what was found, and what to do about it."""

    check: str
    """What was looked at, a word or two."""
    status: Status
    """`fail`: a sweep cannot run, or must not; `warn`: it can, but somebody should know."""
    message: str
    """What was found, a sentence on one line."""
    hint: str | None = None
    """What to do about it."""


def ok(check: str, message: str) -> Finding:
    """Report that all is well."""
    return Finding(check=check, status="ok", message=_one_line(message))


def warn(check: str, message: str, hint: str | None = None) -> Finding:
    """Describe what somebody should know."""
    return Finding(check=check, status="warn", message=_one_line(message), hint=hint)


def fail(check: str, message: str, hint: str | None = None) -> Finding:
    """Describe what keeps a sweep from running."""
    return Finding(check=check, status="fail", message=_one_line(message), hint=hint)


def _one_line(text: str) -> str:
    text = mask_credentials(text)
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
