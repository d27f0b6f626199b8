"""The three splits, and the names by which people call them."""

import re

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

_ALIASES = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "dev", "eval", "evaluation"),
    TEST: ("test", "testing", "holdout"),
}
_SPLIT_OF = {alias: split for split, aliases in _ALIASES.items() for alias in aliases}
_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")


def canonical_name(name: str) -> str | None:
    """Return which split is called so, in any case; None: none of them."""
    return _SPLIT_OF.get(re.sub(r"[-_ ]", "", name.casefold()))


def find_split(name: str) -> str | None:
    """Return the only split of which a word of the name tells, as in `seg_train` or `val2017`; None: none, or several.

    Words end at digits, spaces, points, hyphens and underscores.
    """
    if whole := canonical_name(name):
        return whole
    found = {_SPLIT_OF[word] for word in _BETWEEN_WORDS.split(name.casefold()) if word in _SPLIT_OF}
    return found.pop() if len(found) == 1 else None
