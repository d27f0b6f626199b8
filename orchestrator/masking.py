"""Credentials leave this package as `***`: in params, tags, notes, artifacts, messages and files.

An address is taken apart, not searched: user and password, and the values of its query. What is known to be secret, of
the addresses that were given and of the environment, is masked wherever it stands, however it is quoted there.
"""

import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
_KEY = r"[\w-]*(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?)"
_PATTERNS = (
    # `password=...` in a connection string
    (re.compile(rf"(?i)(?<![\w-])({_KEY}|sig|signature)=[^&\s'\"<>]+"), rf"\1={MASK}"),
    # `"password": "..."` in JSON, a Python dict, YAML
    (re.compile(rf"(?i)(['\"]{_KEY}['\"]\s*:\s*(['\"]))(?:(?!\2).)+(?=\2)"), rf"\1{MASK}"),
    # `password: ...` as a line of YAML
    (re.compile(rf"(?im)^(\s*{_KEY}:[ \t]+)\S.*$"), rf"\1{MASK}"),
    # tokens that are known by their shape: Hugging Face, GitHub, GitLab, AWS; bearer headers
    (re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}\b)"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{16,}=*"), rf"\1 {MASK}"),
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]+")
_AFTER_QUOTE = re.compile(r"[\s,;:.)\]}>&\\]|$")
"""What follows a quote that ends an address."""
_HARMLESS = {
    *("sslmode", "charset", "timeout", "connect_timeout", "driver", "application_name", "mode", "cache", "region"),
    *("workflowtype", "viewstatekey", "revision", "page", "max_results", "experiment_name", "experiment_id", "run_id"),
}
"""Keys of a query whose values may be read."""
_WORDS = {"true", "false", "yes", "no", "none", "null", "on", "off"}
_SECRET_NAME = re.compile(rf"(?i)_*{_KEY}|MLFLOW_TRACKING_USERNAME")
_FOLDERS = {"PWD", "OLDPWD"}
_LEAST = 8
"""Characters of a secret that is masked outside of an address: less would mask ordinary words."""
_LEAST_PART = 4
"""The same of a part of it, between characters that take an address apart."""

_known: set[str] = set()
"""The addresses that this process was given. A set that only grows: what was secret once stays so."""


def remember_address(address: str | None) -> None:
    """Mask the credentials of an address in all texts from now on, also where they stand without the address."""
    if address is not None and "://" in address and mask_address(address) != address:
        _known.add(address)


def mask_credentials(text: str) -> str:
    """Replace user and password of every address in `text`, and what else is or looks like a credential, by `***`."""
    addresses = {*_known, *(value for value in os.environ.values() if _ADDRESS.fullmatch(value))}
    for address in sorted(addresses, key=len, reverse=True):
        masked = mask_address(address)
        if masked != address:
            text = _replace(text, _spell(address), masked)
    text = _replace_addresses(text)
    secrets = {secret for address in addresses for secret in list_secrets(address)}
    secrets |= {value for name, value in os.environ.items() if _SECRET_NAME.fullmatch(name) and name not in _FOLDERS}
    ways = {way for secret in secrets if len(secret) >= _LEAST for way in _spell(secret)}
    text = _replace(text, sorted(ways, key=len, reverse=True), MASK)
    text = _replace_parts(text, secrets)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def mask_address(address: str) -> str:
    """Replace user and password of one whole address, and the values of its query, by `***`.

    Where it is not clear which `@` ends the password, since characters that must be encoded are not, nothing but the
    scheme is left.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    userinfo, place, query = _take_apart(rest)
    if userinfo is None:
        return f"{scheme}://{MASK}"
    return f"{scheme}://{f'{MASK}@' if userinfo else ''}{place}{''.join(shown for shown, _ in _read_query(query))}"


def is_ambiguous(address: str) -> bool:
    """True where it is not clear which `@` ends the password, since characters that must be encoded are not."""
    _, _, rest = address.partition("://")
    return _take_apart(rest)[0] is None


def open_address(address: str) -> str:
    """Return an address that may be shown and still be opened: without user and password."""
    return mask_address(address).replace(f"://{MASK}@", "://")


def list_secrets(address: str) -> Iterator[str]:
    """List what of an address is secret: its password, a user without password, and values of its query."""
    _, mark, rest = address.partition("://")
    if not mark:
        return
    userinfo, _, query = _take_apart(rest)
    if userinfo is None:  # as long as it is not clear which part is what, all of it is secret
        yield rest
        userinfo = rest.rpartition("@")[0]
    _, colon, password = userinfo.partition(":")
    yield password if colon else userinfo
    yield from (hidden for _, hidden in _read_query(query) if hidden)


def _take_apart(rest: str) -> tuple[str | None, str, str]:
    """Split what follows `://` into user and password, host and path, and query; None as the first if ambiguous."""
    query_at = next((match.start() for match in re.finditer(r"[?#]", rest)), len(rest))
    head, query = rest[:query_at], rest[query_at:]
    authority = head.partition("/")[0]
    if not {":", "@"} & set(authority):
        return "", head, query
    if "@" in query:
        return None, "", ""
    userinfo, _, place = head.rpartition("@")
    return userinfo, place, query


def _read_query(query: str) -> Iterator[tuple[str, str]]:
    """Split a query, marks included, into what may be shown of each part, and what may not."""
    for mark, piece in re.findall(r"([?&;#]|^)([^?&;#]*)", query):
        key, equals, value = piece.partition("=")
        secret = value if equals else key
        # without a value it is the name of a place where it follows `#`, and may be anything elsewhere
        harmless = key.lower() in _HARMLESS if equals else mark == "#"
        if harmless or len(secret) <= 1 or secret.lower() in _WORDS:
            yield f"{mark}{piece}", ""
        else:
            yield f"{mark}{key if equals else ''}{equals}{MASK}", secret


def _replace_addresses(text: str) -> str:
    pieces, at = [], 0
    for match in _ADDRESS.finditer(text):
        start, end = match.start(), match.end()
        if start < at:
            continue
        before = text[start - 1 : start]
        if before in {"'", '"'}:
            end = next((place for place in _quotes(text, before, start, end)), end)
        whole = text[start:end]
        address = whole.rstrip(".,;:!)]}>'\"\\")
        pieces += [text[at:start], mask_address(address), whole[len(address) :]]
        at = end
    return "".join([*pieces, text[at:]])


def _quotes(text: str, quoted: str, start: int, end: int) -> Iterator[int]:
    """List the places of quotes that may end what they began."""
    for match in re.finditer(re.escape(quoted), text[start:end]):
        if _AFTER_QUOTE.match(text, start + match.end()):
            yield start + match.start()


def _spell(secret: str) -> Iterable[str]:
    """List the ways in which a text may hold a secret, the longest first."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    ways = {*plain}
    for each in plain:
        encoded = {quote(each), quote(each, safe=""), quote_plus(each)}
        ways |= encoded | {re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), code) for code in encoded}
        ways |= {repr(each)[1:-1], json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1]}
        ways |= {each.replace("'", "''"), each.replace("'", "\\'"), html.escape(each), html.escape(each, quote=False)}
    return sorted((way for way in ways if len(way) >= _LEAST), key=len, reverse=True)


def _replace(text: str, ways: Iterable[str], masked: str) -> str:
    for way in ways:
        if way.isalpha():  # `postgres` is a word, too
            text = re.sub(rf"(?<![A-Za-z0-9]){way}(?![A-Za-z0-9])", masked.replace("\\", r"\\"), text)
        else:
            text = text.replace(way, masked)
    return text


def _replace_parts(text: str, secrets: Iterable[str]) -> str:
    """Mask the parts of secrets that a library may have taken for something else, such as a host."""
    ways = {way for secret in secrets if len(secret) >= _LEAST for way in (secret, unquote(secret))}
    parts = {part for way in ways for part in re.split(r"[^\w.~$!*+-]+", way) if len(part) >= _LEAST_PART}
    for part in sorted(parts, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])", MASK, text)
    return text
