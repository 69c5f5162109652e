import re

import pytest

from supernet.report.figures.canvas import render, styled
from supernet.report.figures.collection import FIGURES
from supernet.report.inline import inline_figure
from tests.report.samples import sample_results


@pytest.fixture(scope="module")
def svg() -> bytes:
    with styled():
        return render(FIGURES["one_shot_progress"](sample_results()), "one_shot_progress")["svg"]


def test_every_id_and_every_reference_has_the_figures_name(svg: bytes) -> None:
    text = inline_figure(svg, "fig", "what it shows", {})
    ids = re.findall(r'\bid="([^"]+)"', text)
    wanted = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    assert ids
    assert all(name.startswith("fig-") for name in ids)
    assert wanted
    assert set(wanted) <= set(ids)


def test_names_are_escaped(svg: bytes) -> None:
    evil = '<script>"&'
    text = inline_figure(svg, "fig", evil, {3: evil})
    assert "<script" not in text
    assert "<title>&lt;script&gt;&#34;&amp;</title>" in text
    assert 'aria-label="&lt;script&gt;&#34;&amp;"' in text


def test_the_note_is_cut_off(svg: bytes) -> None:
    """The height of the page's figure is that of the file's less what the note takes."""
    share = re.search(rb'data-note="([0-9.]+)"', svg)
    height = re.search(rb'viewBox="0 0 [0-9.]+ ([0-9.]+)"', svg)
    assert share
    assert height
    assert 0.02 < float(share.group(1)) < 0.3
    cut = re.search(r'viewBox="0 0 [0-9.]+ ([0-9.]+)"', inline_figure(svg, "fig", "", {}))
    assert cut
    left = float(height.group(1)) * (1 - float(share.group(1)))
    assert float(cut.group(1)) == pytest.approx(left, rel=1e-3)
