"""Canvas of every figure: style, colors, text measurement and files with fixed bytes."""

from __future__ import annotations

import io
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, Literal

from matplotlib import rc_context, style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine, PlaceHolderLayoutEngine
from matplotlib.textpath import text_to_path

from supernet.text import escape, visible

INK = "#222222"
SOFT = "#666666"
FAINT = "#dddddd"
YELLOW = "#ffe9a8"
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = (  # Okabe and Ito, "Color Universal Design", 2008
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)
PALETTE = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, "#000000")
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")

NOTE = "note"
"""What marks the text that says under which conditions a figure was made."""

_DPI = 200
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
}


@contextmanager
def styled() -> Iterator[None]:
    """Set matplotlib's settings for the figures drawn inside, and put the old ones back.

    Starts from matplotlib's own defaults, so that a user's matplotlibrc changes nothing.
    """
    with style.context(["default", _STYLE]):
        yield


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Return an empty figure, in inches, that no window or global state knows of."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1) if constrained else None
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def annotate(figure: Figure, title: str, note: str) -> None:
    """Put a title above a figure of constrained layout, and its conditions below."""
    width = figure.get_figwidth()
    figure.suptitle(
        wrapped(title, width - 0.3, 11, bold=True), x=0.012, ha="left", fontsize=11, weight="bold"
    )
    below = wrapped(note, width - 0.3, 7.5)
    figure.supxlabel(below, x=0.012, ha="left", fontsize=7.5, color=SOFT, gid=NOTE)


def above(columns: int) -> dict[str, Any]:
    """Return where a legend goes that lies above the axes, in one line."""
    return {
        "loc": "lower left",
        "bbox_to_anchor": (0.0, 1.0),
        "ncols": max(columns, 1),
        "borderaxespad": 0.3,
        "borderpad": 0.2,
        "columnspacing": 1.4,
    }


def render(figure: Figure, name: str) -> dict[str, bytes]:
    """Return the figure as SVG and PNG. The same figure and name give the same bytes.

    The name salts the ids within the SVG, so those of two figures differ.
    """
    if isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
        figure.set_layout_engine(None)  # saving would draw twice, to lay out what is laid out
    notes = figure.findobj(lambda artist: artist.get_gid() == NOTE)
    images = {"svg": io.BytesIO(), "png": io.BytesIO()}
    with rc_context({"svg.hashsalt": f"supernet {name}"}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(images["svg"], format="svg", metadata=nothing)
    # How much of the height the note takes, for a page that says the same elsewhere.
    top = max((note.get_window_extent().y1 / figure.bbox.height for note in notes), default=0.0)
    svg = images["svg"].getvalue().replace(b"<svg ", f'<svg data-note="{top:.4f}" '.encode(), 1)
    images["svg"] = io.BytesIO(svg)
    figure.savefig(images["png"], format="png", dpi=_DPI, metadata={"Software": None})
    return {suffix: image.getvalue() for suffix, image in images.items()}


def drawable(text: str) -> str:
    r"""Return text in which what can't be seen, or can't be drawn as it is read, is an escape.

    The font has no signs for some letters. Letters that are written from right to left would change
    places with the numbers beside them, by some versions of matplotlib.

    >>> print(drawable("caf\xe9 \u6f22"))
    café \u6f22
    """
    return escape(visible(text), _has_sign)


@cache
def _has_sign(character: str) -> bool:
    if unicodedata.bidirectional(character) in ("R", "AL"):
        return False
    fonts = (FontProperties(family="DejaVu Sans", weight=w) for w in ("normal", "bold"))
    return all(get_font(findfont(font)).get_char_index(ord(character)) for font in fonts)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a line of text, in inches, with room for what hinting may add."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return 1.03 * float(width) / 72


def fit(text: str, width: float, size: float) -> str:
    """Return text cut at its end to a width in inches."""
    if text_width(text, size) <= width:
        return text
    return text[: _most(text, width, size, end="\u2026")].rstrip(" ,") + "\u2026"


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Return text broken into lines of at most a width in inches, if need be within words."""
    lines: list[str] = []
    for word in _pieces(text, width, size, bold=bold):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _pieces(text: str, width: float, size: float, *, bold: bool) -> Iterator[str]:
    """Yield the words of a text, and those that are too long for a line in parts."""
    for word in text.split():
        rest = word
        while rest:
            most = _most(rest, width, size, bold=bold)
            yield rest[:most]
            rest = rest[most:]


def _most(text: str, width: float, size: float, *, bold: bool = False, end: str = "") -> int:
    """Return how many characters, but at least one, go into a width, with an end to follow them."""
    return max(
        1,
        bisect_right(
            range(1, len(text) + 1),
            width,
            key=lambda count: text_width(text[:count] + end, size, bold=bold),
        ),
    )
