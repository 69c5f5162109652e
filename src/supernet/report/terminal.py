"""Results on a terminal, or in a file that once was one."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supernet.records import Results
from supernet.report import conditions
from supernet.report.cleaning import cleaned
from supernet.report.summary import any_failed, by_rank, compared, ranked_by, rows, sentences
from supernet.report.wording import (
    DASH,
    ELLIPSIS,
    MINUS,
    PLUS_MINUS,
    TIMES,
    count,
    gap_spread,
    gap_unit,
    rank,
    score_spread,
    seconds,
    shorten,
    unit_of,
)

MOST_ROWS = 40
_LONGEST_LABEL = 14
_ASCII = str.maketrans({MINUS: "-", DASH: "-", PLUS_MINUS: "+-", TIMES: "x", ELLIPSIS: "~"})


def show(results: Results, console: Console) -> None:
    """Print the table and the verdict. Labels are shown as they are: no markup, no highlighting."""
    results = cleaned(results)
    titles, cells = _columns(results)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i, title in enumerate(titles):
        table.add_column(_text(title, console), justify="right" if i else "left", overflow="fold")
    for line in zip(*cells, strict=True):
        table.add_row(*(_text(cell, console) for cell in line))
    console.print(table)
    console.print(_text(_note(results), console))
    for sentence in conditions.caveats(results):
        console.print(_text(f"\n{sentence}", console))
    if said := sentences(results):
        console.print()
        for sentence in said:
            console.print(_text(sentence, console))


def _columns(results: Results) -> tuple[list[str], list[list[str]]]:
    table = rows(results)
    if len(table) > MOST_ROWS:
        table = by_rank(results)[:MOST_ROWS]
    measure, unit = results.measure, unit_of(results.measure)
    titles = ["arch", "params", f"one-shot {unit}"]
    cells = [
        shorten([row.label for row in table], _LONGEST_LABEL),
        [count(row.params) for row in table],
        [score_spread(row.one_shot if row.tested else None, measure) for row in table],
    ]
    if not compared(results):
        validation = [score_spread(row.validation, measure) for row in table]
        return [*titles, f"valid. {unit}", "rank"], [
            *cells,
            validation,
            [rank(row.one_shot_rank) for row in table],
        ]
    titles += [f"alone {unit}", f"gap, {gap_unit(measure)}".rstrip(", "), "ranks", "CPU s"]
    cells += [
        [score_spread(row.standalone, measure) for row in table],
        [gap_spread(row.gap, measure) for row in table],
        [f"{rank(row.one_shot_rank)} / {rank(row.standalone_rank)}" for row in table],
        [seconds(row.standalone_cpu_s) for row in table],
    ]
    return titles, cells


def _note(results: Results) -> str:
    failed = ""
    if (left_out := len(results.architectures) - MOST_ROWS) > 0:
        failed = f" The best {MOST_ROWS} are shown; {left_out:,} more are in results.csv."
    if any_failed(rows(results)):
        failed += " Failed: an output was not a finite number; it counts as ranked last."
    if not compared(results):
        bounds = f"{PLUS_MINUS}: 95 % intervals. " if results.ranking else ""
        return f"{bounds}Rank by {ranked_by(results)}.{failed}"
    bounds = f"{PLUS_MINUS}: 95 % intervals. " if results.verdict else ""
    ranks = f"Ranks: one-shot by {ranked_by(results)} / alone by test. Gap: one-shot minus alone."
    return f"{bounds}{ranks}{failed}"


def _text(text: str, console: Console) -> Text:
    """Return text that the console's encoding has letters for."""
    if not console.encoding.lower().startswith("utf"):
        text = text.translate(_ASCII).encode(console.encoding, "replace").decode(console.encoding)
    return Text(text)
