"""The comparison table as text: the same columns for the page and the figure."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.records import Results
from supernet.report.summary import Row, any_failed, compared, rows
from supernet.report.wording import (
    FAILED,
    NOTHING,
    brief,
    count,
    percent_spread,
    points_interval,
    rank,
    score,
    seconds,
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a title over one or two lines, and a cell per architecture."""

    title: str
    unit: str
    cells: list[str]
    best: int | None = None


def columns(results: Results) -> list[Column]:
    """Return the columns that the run has numbers for."""
    table = rows(results)
    names = ", ".join(brief(choice.name) for choice in results.network.choices)
    found = [
        Column("Architecture", f"({names})", [row.label for row in table]),
        Column("Params", "", [count(row.params) for row in table]),
        Column("MACs", "per image", [count(row.macs) for row in table]),
        Column(
            "One-shot",
            "test %",
            [percent_spread(row.one_shot) for row in table],
            _best(table, [row.one_shot.value for row in table]),
        ),
    ]
    return found + (_comparison(table) if compared(results) else _ranking(table))


def _ranking(table: list[Row]) -> list[Column]:
    return [
        Column("Validation", "one-shot %", [score(row.one_shot_validation) for row in table]),
        Column("Rank", "one-shot", [rank(row.one_shot_rank) for row in table]),
    ]


def _comparison(table: list[Row]) -> list[Column]:
    longer = [row.longer for row in table]
    found = [
        Column(
            "Standalone",
            "test %",
            [percent_spread(row.standalone) for row in table],
            _best(table, [row.standalone.value if row.standalone else None for row in table]),
        ),
        Column("Gap", "points", [points_interval(row.gap) for row in table]),
        Column("Rank", "one-shot", [rank(row.one_shot_rank) for row in table]),
        Column("Rank", "standalone", [rank(row.standalone_rank) for row in table]),
        Column("Training", "CPU s, alone", [seconds(row.standalone_cpu_s) for row in table]),
    ]
    if any(value is not None for value in longer):
        cells = [NOTHING if value is None else score(value) for value in longer]
        found.insert(2, Column("Longer", "test %", cells))
    return found


def _best(table: list[Row], values: list[float | None]) -> int | None:
    known = [(v, -i) for i, v in enumerate(values) if v is not None and v == v]
    return -max(known)[1] if known and len(table) > 1 else None


def note(results: Results) -> str:
    """Return what has to be known to read the table."""
    parts = ["One-shot rank is by validation accuracy"]
    if compared(results):
        parts[0] += ", standalone rank by test accuracy; gap is one-shot minus standalone"
    if results.verdict:
        n = results.verdict.test_images
        parts.append(f"\u00b1 and brackets are 95 % intervals over {n:,} test images")
    if any_failed(rows(results)):
        parts.append(
            f"{FAILED.capitalize()}: an output was not a finite number; it counts as ranked last"
        )
    return ". ".join(parts) + "."
