"""The comparison table as text: the columns that a run has numbers for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from supernet.records import Estimate, Measure, Results
from supernet.report.summary import Row, any_failed, compared, ranked_by, rows
from supernet.report.wording import (
    FAILED,
    NOTHING,
    brief,
    count,
    gap_interval,
    gap_unit,
    rank,
    score,
    score_spread,
    seconds,
    unit_of,
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a title over one or two lines, and a cell per architecture.

    `keys` are numbers to sort the cells by, NaN where there is none; None if they are texts. `best`
    are the numbers of the cells that hold the highest score, all of them if several are equal.
    """

    title: str
    unit: str
    cells: list[str]
    keys: list[float] | None = None
    best: frozenset[int] = frozenset()


#: Names of choices that are longer together don't stand at the head of a column.
_LONGEST = 160


def columns(results: Results, table: Sequence[Row] | None = None) -> list[Column]:
    """Return the columns that the run has numbers for.

    Args:
        results: The run.
        table: The rows to show, in this order; all by default.
    """
    table = rows(results) if table is None else table
    measure = results.measure
    names = ", ".join(brief(choice.name) for choice in results.network.choices)
    if len(names) > _LONGEST:
        names = f"{len(results.network.choices)} choices, as in the file results.csv"
    found = [
        Column("Architecture", f"({names})", [row.label for row in table]),
        Column("Params", "", [count(row.params) for row in table], [row.params for row in table]),
        Column(
            "MACs", "per sample", [count(row.macs) for row in table], [row.macs for row in table]
        ),
        _scores("One-shot", measure, [row.one_shot if row.tested else None for row in table]),
    ]
    if any(row.loss is not None for row in table):
        found.append(_losses([row.loss for row in table]))
    found += (_comparison if compared(results) else _ranking)(table, measure)
    if results.corrected:
        predicted = [row.corrected for row in table]
        found.append(_scores("Corrected", measure, predicted, of="predicted"))
    return found


def _ranking(table: Sequence[Row], measure: Measure) -> list[Column]:
    values = [row.one_shot_validation for row in table]
    cells = [score_spread(row.validation, measure) for row in table]
    return [
        Column("Validation", f"one-shot {unit_of(measure)}", cells, values, _highest(values)),
        _ranks("one-shot", [row.one_shot_rank for row in table]),
    ]


def _comparison(table: Sequence[Row], measure: Measure) -> list[Column]:
    found = [
        _scores("Standalone", measure, [row.standalone for row in table]),
        Column(
            "Gap",
            gap_unit(measure),
            [gap_interval(row.gap, measure) for row in table],
            [row.gap.value if row.gap else math.nan for row in table],
        ),
        _ranks("one-shot", [row.one_shot_rank for row in table]),
        _ranks("standalone", [row.standalone_rank for row in table]),
        Column(
            "Training",
            "CPU s, alone",
            [seconds(row.standalone_cpu_s) for row in table],
            [math.nan if (s := row.standalone_cpu_s) is None else s for row in table],
        ),
    ]
    if any(row.longer is not None for row in table):
        longer = [math.nan if row.longer is None else row.longer for row in table]
        cells = [NOTHING if row.longer is None else score(row.longer, measure) for row in table]
        found.insert(2, Column("Longer", f"test {unit_of(measure)}", cells, longer))
    return found


def _scores(
    title: str, measure: Measure, estimates: Sequence[Estimate | None], of: str = "test"
) -> Column:
    values = [math.nan if e is None else e.value for e in estimates]
    cells = [score_spread(estimate, measure) for estimate in estimates]
    return Column(title, f"{of} {unit_of(measure)}", cells, values, _highest(values))


def _losses(losses: Sequence[Estimate | None]) -> Column:
    measure = Measure(name="loss")
    cells = [score_spread(loss, measure) for loss in losses]
    values = [math.nan if loss is None else loss.value for loss in losses]
    best = _highest([-value for value in values])
    return Column("Loss", "one-shot, validation", cells, values, best)


def _ranks(whose: str, ranks: Sequence[int | None]) -> Column:
    keys = [math.nan if r is None else float(r) for r in ranks]
    return Column("Rank", whose, [rank(r) for r in ranks], keys)


def _highest(values: Sequence[float]) -> frozenset[int]:
    known = [value for value in values if not math.isnan(value)]
    if len(values) < 2 or not known:
        return frozenset()
    return frozenset(i for i, value in enumerate(values) if value == max(known))


def note(results: Results) -> str:
    """Return what has to be known to read the table."""
    parts = [f"One-shot rank is by {ranked_by(results)}"]
    if compared(results):
        name = results.measure.name
        parts[0] += f", standalone rank by test {name}; gap is one-shot minus standalone"
    if results.verdict:
        n = results.verdict.test_images
        parts.append(f"± and brackets are 95 % intervals over {n:,} test samples")
    elif results.ranking:
        parts.append("± are 95 % intervals over samples")
    if any_failed(rows(results)):
        parts.append(
            f"{FAILED.capitalize()}: an output was not a finite number; it counts as ranked last"
        )
    return ". ".join(parts) + "."
