"""The drawings are those that their program makes, and tell what sharing does."""

from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(DOCS))
    import drawings

    return SimpleNamespace(**vars(drawings))


def test_the_drawing_of_sharing_is_what_its_program_draws(drawings: SimpleNamespace) -> None:
    drawn = drawings.draw_sharing()
    assert (DOCS / "figures" / "shared-execution.svg").read_text(encoding="utf-8") == drawn
    boxes = [
        element
        for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")
        if element.get("class") != "card"
    ]
    assert len(boxes) == 63 + 25
    assert "589 million" in drawn
    assert "114 million" in drawn


def test_the_courses_are_those_of_the_nine(drawings: SimpleNamespace) -> None:
    rows = drawings.courses()
    assert len(set(rows)) == 9
    assert rows[0] == ("stem", "1.1", "halve", "2.1", "head")
    assert len(rows[-1]) == 9
