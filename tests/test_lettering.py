"""Letters that no font has, and a font that is made here and has one of them."""

import io
import logging

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from orchestrator import lettering as module
from orchestrator.lettering import lettering, plain

SPROUT = "\U0001f331"
BEAN = "豆"


@pytest.fixture(autouse=True)
def no_font_is_known(monkeypatch):
    """Start without what other tests found or were told, and give matplotlib its own list back."""
    fonts = list(font_manager.fontManager.ttflist)
    _forget()
    monkeypatch.setattr(module, "_told", set())
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    # the machine may have fonts for any letter
    plain_fonts = [each for each in fonts if each.name in {"DejaVu Sans", "Last Resort High-Efficiency", "cmmi10"}]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", plain_fonts)
    yield
    _forget()


def _forget() -> None:
    for each in (module._find_family, module._list_families, module._list_new_families, module._load_font):
        each.cache_clear()


@pytest.fixture
def bean_font(tmp_path):
    """A font of one letter, a square."""
    pen = TTGlyphPen(None)
    for step, point in enumerate([(100, 0), (100, 700), (900, 700), (900, 0)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "bean"])
    builder.setupCharacterMap({ord(BEAN): "bean"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "bean": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "bean": (1000, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Beans Sans", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "beans.ttf"
    builder.save(path)
    return path


def draw(text: str) -> np.ndarray:
    with lettering():
        figure = Figure(figsize=(2, 1))
        FigureCanvasAgg(figure)
        figure.text(0.1, 0.3, plain(text), fontsize=40)
        content = io.BytesIO()
        figure.savefig(content, format="png")
    return np.asarray(Image.open(content).convert("L"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("angular_leaf_spot", "angular_leaf_spot"),
        ("$10_$20", r"\$10_\$20"),
        ("a\nb", "a\nb"),
        ("Größe Ω Ж", "Größe Ω Ж"),
        (f"{BEAN} {SPROUT}\U000e0067", r"\u8c46 \U0001f331"),  # a tag, which has no shape, is left out
        ("a\x07b\udcff\t", r"a\x07b\udcff\t"),
    ],
)
def test_text_is_drawn_as_it_is_or_escaped(text, expected):
    assert plain(text) == expected


def test_a_long_text_keeps_both_ends():
    assert plain("0123456789" * 5, limit=9) == "0123…6789"
    assert plain("012345678", limit=9) == "012345678"


def test_letters_that_no_font_has_are_told_once(caplog):
    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        plain(BEAN * 2)
        plain(f"{BEAN}{SPROUT}")
    first, second = caplog.messages
    assert first.startswith(rf"no font of this machine has {BEAN}: pictures show such letters as \u8c46; ")
    assert second.startswith(f"no font of this machine has {SPROUT}: ")


def test_a_font_that_has_the_letter_draws_it(bean_font, monkeypatch):
    """It was installed after matplotlib made its list of fonts."""
    escaped = draw(BEAN)
    _forget()
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(bean_font)])
    before = dict(mpl.rcParams)
    image = draw(f"A{BEAN}B")
    assert (image != escaped).any()
    # the square of the font: 0.8 em wide and 0.7 em high, at 40 points and 100 dots an inch; no letter is so black
    dark = image < 128
    runs = max(len(run) for row in dark for run in "".join("x" if dot else " " for dot in row).split())
    assert runs == pytest.approx(0.8 * 40 * 100 / 72, abs=2)
    assert dict(mpl.rcParams) == before


def test_outside_of_a_drawing_no_setting_is_touched(bean_font, monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(bean_font)])
    before = list(mpl.rcParams["font.family"])
    assert plain(BEAN) == BEAN
    assert mpl.rcParams["font.family"] == before


def test_a_file_that_is_no_font_is_passed_over(tmp_path, monkeypatch):
    bad = tmp_path / "bad.ttf"
    bad.write_bytes(b"\0\1\0\0 no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(bad), str(tmp_path / "gone.ttf")])
    assert plain(BEAN) == r"\u8c46"
