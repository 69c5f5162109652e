import csv
import io
import math
from dataclasses import replace

import pytest

from supernet.records import Estimate
from supernet.report.searching import (
    BestAlone,
    Finalist,
    Found,
    SearchReport,
    _draw_front,
    render_figures,
    summarize,
    to_csv,
    to_html,
)


def sample(**changes: object) -> SearchReport:
    found = tuple(
        Found(
            number,
            {"block.depth": number + 1, "op": "=1+1"},
            {"score": 0.5 + number / 10, "macs": 1e6 * (number + 1)},
            None,
            True,
        )
        for number in range(3)
    )
    failed = Found(3, {"block.depth": 4, "op": "<b>"}, {"score": math.nan}, "it\x1b broke", False)
    front = tuple(
        Finalist(
            one.number,
            f"<script>{one.number}",
            one.values,
            Estimate(value=one.values["score"], low=0.4, high=0.8),
            like=("another",) if one.number else (),
        )
        for one in found[::-1]
    )
    content: dict[str, object] = {
        "title": "Search of a net",
        "objectives": (("score", "max"), ("macs", "min")),
        "limits": "macs <= 5000000",
        "found": (*found, failed),
        "front": front,
        "volumes": {"search": [0.1, 0.2, 0.3, 0.3], "random": [0.1, 0.1, 0.2, 0.2]},
        "options": {"block.depth": (1, 2, 3, 4), "op": ("=1+1", "<b>")},
        "facts": {"budget": "4"},
        "samples": (60, 0),
    }
    return SearchReport(**(content | changes))  # type: ignore[arg-type]


def test_every_evaluation_is_a_line_and_no_cell_a_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(sample()).decode())))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["front"] for row in rows] == ["1", "1", "1", "0"]
    assert rows[0]["op"] == "'=1+1"
    assert rows[3]["score"] == ""
    assert rows[3]["error"] == r"it\x1b broke"


def test_the_summary_says_what_is_known_and_what_is_not() -> None:
    said = " ".join(summarize(sample()))
    assert "Four architectures evaluated for score (max), macs (min)" in said
    assert "all with macs <= 5000000; three networks on the front" in said
    assert "one evaluation failed, and none of them was selected" in said.lower()
    assert "of 2 of the 3 can't be told from those of others of the front" in said
    assert "search 0.3" in said
    assert "random 0.2" in said
    assert "too good by some luck" in said


def test_what_was_confirmed_is_said_and_how() -> None:
    third, second, first = sample().front
    score = Estimate(value=0.625, low=0.5, high=0.75)
    front = (
        replace(third, confirmed=score),
        replace(second, confirmed=score),
        replace(first, unconfirmed="its loss is nan"),
    )
    said = " ".join(summarize(sample(front=front, samples=(60, 80))))
    assert "On 80 samples that the search never saw (the test split), with the supernet's" in said
    assert "62.50 % (50.00 to 75.00)" in said
    assert "which failed: its loss is nan" in said
    assert "best validation score" not in said
    best = BestAlone(third.label, 0.5)
    report = sample(front=front, samples=(60, 80), alone="8 epochs, seed 0", best=best)
    said = " ".join(summarize(report))
    assert "Trained alone with the run's recipe (8 epochs, seed 0), then scored once on 80" in said
    assert "all others score differently" in said
    said = " ".join(summarize(replace(report, best=replace(best, like=("another",)))))
    assert "on the test split another can't be told from it" in said
    assert "trained alone (95 %)" in to_html(report, {})


def test_the_page_is_one_file_without_anything_strange() -> None:
    report = sample()
    figures = render_figures(report)
    assert set(figures) == {"search_front", "search_hypervolume", "search_common"}
    page = to_html(report, {name: formats["svg"] for name, formats in figures.items()})
    assert "<script" not in page
    assert "&lt;script&gt;2" in page
    assert page.count("data:image/svg+xml") == 3
    assert 'src="http' not in page
    assert to_html(report, {name: formats["svg"] for name, formats in figures.items()}) == page


def test_a_search_that_found_nothing_has_a_page_too() -> None:
    report = sample(front=(), volumes={}, found=sample().found[3:])
    figures = render_figures(report)
    assert set(figures) == {"search_front"}
    assert "no networks on the front" in " ".join(summarize(report))
    assert to_html(report, {name: formats["svg"] for name, formats in figures.items()})


def test_one_objective_is_drawn_over_the_evaluations() -> None:
    report = sample(objectives=(("score", "max"),))
    assert "search_front" in render_figures(report)


@pytest.mark.parametrize(
    ("first", "alone", "drawn"),
    [
        ("score", "", True),
        ("score", "8 epochs", True),
        ("corrected", "8 epochs", True),
        ("corrected", "", False),
    ],
)
def test_confirmed_scores_are_drawn_beside_what_they_confirm(
    first: str, alone: str, drawn: bool
) -> None:
    """Scores with the supernet's weights say nothing about what networks would score alone."""

    def named(one: Found | Finalist) -> dict[str, float]:
        return {first: one.values["score"], "macs": one.values["macs"]}

    report = sample(objectives=((first, "max"), ("macs", "min")), alone=alone)
    known = Estimate(value=0.5, low=0.4, high=0.6)
    report = replace(
        report,
        found=tuple(replace(one, values=named(one)) for one in report.found[:3]),
        front=tuple(replace(one, values=named(one), confirmed=known) for one in report.front),
    )
    assert ("unseen samples" in _draw_front_text(report)) == drawn


def _draw_front_text(report: SearchReport) -> str:
    (axes,) = _draw_front(report).axes
    legend = axes.get_legend()
    assert legend is not None
    return " ".join(text.get_text() for text in legend.get_texts())
