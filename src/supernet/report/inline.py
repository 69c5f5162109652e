"""Figures inside a page: in its colors, with their own ids; curves that say their names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

#: What stands in a figure for a color that depends on light and dark.
_COLORS = {
    "#222222": "var(--ink)",
    "#000000": "var(--ink)",
    "#666666": "var(--soft)",
    "#dddddd": "var(--line)",
    "#ffffff": "var(--paper)",
    "#ffe9a8": "var(--mark)",
    "#0072b2": "var(--blue)",
}


def inline_figure(svg: bytes, name: str, title: str, curves: Mapping[int, str]) -> Markup:
    """Return an SVG of matplotlib's as a part of an HTML page.

    It keeps no declaration, metadata or style sheet; its ids begin with its name, so that two
    figures on a page don't share one; colors follow the page; and the note is cut off, as the page
    says the conditions once. Groups whose id is `curve-NUMBER` are called by their names.

    Args:
        svg: As `figures.canvas.render` returns it.
        name: Of the figure, a word.
        title: What it shows, for those who can't see it.
        curves: Names by number.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"#[0-9a-fA-F]{6}\b", _themed, text)
    text = re.sub(rf'<g id="{name}-curve-(\d+)">', lambda found: _curve(found, name, curves), text)
    return Markup(_head(text, title))


def _themed(found: re.Match[str]) -> str:
    color = found.group(0)
    return _COLORS.get(color.lower(), color)


def _curve(found: re.Match[str], name: str, curves: Mapping[int, str]) -> str:
    number = int(found.group(1))
    label = escape(curves.get(number, f"#{number + 1}"))
    return f'<g class="curve" data-curve="{number}" data-name="{label}"><title>{label}</title>'


def _head(text: str, title: str) -> str:
    """Return the figure with a head of its own: a name, the size of the page, no note."""
    head, rest = text.split(">", 1)
    note = re.search(r'data-note="([0-9.]+)"', head)
    box = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', head)
    named = f'role="img" aria-label="{escape(title)}"'
    if box is None:  # not matplotlib's
        return text.replace("<svg", f"<svg {named}", 1)
    width, height = float(box.group(1)), float(box.group(2))
    height *= 1 - (float(note.group(1)) if note else 0.0)
    return (
        f'<svg {named} viewBox="0 0 {width:g} {height:g}" '
        f'style="--width:{width:.0f}px" version="1.1">{rest}'
    )
