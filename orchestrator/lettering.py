"""How text that a user wrote is drawn: as it is, in letters that a font of this machine has, else escaped."""

import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_LOG = logging.getLogger("orchestrator")
_NOT_FOR_TEXT = ("Last Resort", "cm", "STIXSize", "STIXNonUni")
"""How fonts begin that draw a frame for any letter, or have signs of formulas where others have letters."""
_REGULAR = {400, "400", "normal", "regular", "book"}
_SILENT = ("Cf", "Mn")
"""Categories of what only changes its neighbours: where no font has it, it is left out."""
_borrowed: list[str] | None = None
"""Families that were added within `lettering`; None outside of it."""
_told: set[str] = set()
"""Letters of which it was said that no font has them."""


@contextmanager
def lettering() -> Iterator[None]:
    """Let the figures that are drawn and saved meanwhile borrow letters from other fonts of the machine (`plain`).

    matplotlib's settings are as before afterwards. A glyph that is missing all the same is a box, without a warning.
    """
    global _borrowed
    import matplotlib as mpl

    before, _borrowed = _borrowed, []
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
            yield
    finally:
        _borrowed = before


def plain(text: str, limit: int | None = None) -> str:
    r"""Make matplotlib draw a text as it is: a dollar sign starts no formula, and no letter is an empty box.

    A letter that the usual font lacks comes from another font of this machine; where none has it, it is written as in
    Python (`\u8c46`), which is said once.

    Args:
        text: What a user wrote.
        limit: Characters from which the middle is left out; None: no limit.
    """
    if limit is not None and len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    shown = [letter if letter == "\n" or " " <= letter <= "~" else _show(letter) for letter in text]
    _tell([letter for letter, how in zip(text, shown, strict=True) if len(how) > 1])
    return "".join(shown).replace("$", r"\$")


def _show(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) in _SILENT:
        family = _find_family(letter)
        if family is not None:
            _borrow(family)
            return letter
        if unicodedata.category(letter) in _SILENT:
            return ""
    return letter.encode("ascii", "backslashreplace").decode() if not letter.isascii() else repr(letter)[1:-1]


def _borrow(family: str) -> None:
    """Add a family to those of the texts that are made from now on."""
    if family and _borrowed is not None and family not in _borrowed:
        import matplotlib as mpl

        _borrowed.append(family)
        mpl.rcParams["font.family"] = [*mpl.rcParams["font.family"], family]


def _tell(letters: list[str]) -> None:
    new = list(dict.fromkeys(letter for letter in letters if letter not in _told and letter.isprintable()))
    if not new:
        return
    _told.update(new)
    _LOG.warning(
        "no font of this machine has %s: pictures show such letters as %s; a font that has them, such as those of the "
        "package fonts-noto, is found once it is installed",
        ", ".join(new[:5]) + (", ..." if len(new) > 5 else ""),
        new[0].encode("ascii", "backslashreplace").decode(),
    )


@cache
def _find_family(letter: str) -> str | None:
    """Name a family that has a letter; empty: the usual font has it; None: no font of this machine does."""
    usual = _load_font(None)
    if usual is not None and usual.get_char_index(ord(letter)):
        return ""
    for family in (*_list_families(), *_list_new_families()):
        font = _load_font(family)
        if font is not None and font.get_char_index(ord(letter)):
            return family
    return None


@cache
def _list_families() -> tuple[str, ...]:
    """List the families for running text, those without serifs first."""
    from matplotlib import font_manager

    entries = [each for each in font_manager.fontManager.ttflist if each.style == "normal" and each.weight in _REGULAR]
    found = {each.name for each in entries if not each.name.startswith(_NOT_FOR_TEXT)}
    return tuple(sorted(found, key=lambda name: ("Sans" not in name, "Mono" in name, name)))


@cache
def _list_new_families() -> tuple[str, ...]:
    """List the families that were installed after matplotlib made its list, which it keeps for good."""
    from matplotlib import font_manager

    known = {each.fname for each in font_manager.fontManager.ttflist}
    before = set(_list_families())
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            font_manager.fontManager.addfont(path)
        except Exception as error:  # noqa: BLE001 - whatever is in a file that calls itself a font
            _LOG.debug("%s is no font that can be drawn: %s", path, error)
    _list_families.cache_clear()
    return tuple(family for family in _list_families() if family not in before)


@cache
def _load_font(family: str | None) -> "FT2Font | None":
    """Load the font that matplotlib draws a family with; None for what it cannot draw, such as coloured bitmaps."""
    from matplotlib import font_manager

    try:
        wanted = font_manager.FontProperties() if family is None else font_manager.FontProperties(family=[family])
        font = font_manager.get_font(font_manager.findfont(wanted, fallback_to_default=family is None))
    except Exception as error:  # noqa: BLE001 - whatever is in a file that calls itself a font
        _LOG.debug("the font %s cannot be loaded: %s", family, error)
        return None
    return font if font.scalable else None
