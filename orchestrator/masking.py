"""Credentials leave this package as `***`: in params, tags, notes, artifacts and messages."""

import re

MASK = "***"
_KEY = r"[\w-]*(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?)"
_PATTERNS = (
    # user and password of a URI; a password may hold an at sign or a slash, quotes end it (JSON, YAML)
    (re.compile(r"(?<=://)[^\s/:@'\"]*(:[^\s'\"<>]*)?@"), f"{MASK}@"),
    # `password=...` in a query or a connection string
    (re.compile(rf"(?i)(?<![\w-])({_KEY}|sig|signature)=[^&\s'\"<>]+"), rf"\1={MASK}"),
    # `"password": "..."` in JSON, a Python dict, YAML
    (re.compile(rf"(?i)(['\"]{_KEY}['\"]\s*:\s*(['\"]))(?:(?!\2).)+(?=\2)"), rf"\1{MASK}"),
    # `password: ...` as a line of YAML
    (re.compile(rf"(?im)^(\s*{_KEY}:[ \t]+)\S.*$"), rf"\1{MASK}"),
    # tokens that are known by their shape: Hugging Face, GitHub, GitLab, AWS; bearer headers
    (re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}\b)"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{16,}=*"), rf"\1 {MASK}"),
)


def mask_credentials(text: str) -> str:
    """Replace user and password of every URI in `text`, and what else looks like a credential, by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
