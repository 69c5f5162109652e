"""The result for a terminal, or for a file that once was one."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supernet.records import Results
from supernet.report import conditions
from supernet.report.cleaning import cleaned
from supernet.report.summary import any_failed, compared, rows
from supernet.report.wording import (
    DASH,
    ELLIPSIS,
    MINUS,
    PLUS_MINUS,
    TIMES,
    count,
    percent_spread,
    points_spread,
    rank,
    score,
    seconds,
    shorten,
)

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
    if results.verdict:
        console.print()
        for sentence in results.verdict.sentences:
            console.print(_text(sentence, console))


def _columns(results: Results) -> tuple[list[str], list[list[str]]]:
    table = rows(results)
    titles = ["arch", "params", "one-shot %"]
    cells = [
        shorten([row.label for row in table], _LONGEST_LABEL),
        [count(row.params) for row in table],
        [percent_spread(row.one_shot) for row in table],
    ]
    if not compared(results):
        validation = [score(row.one_shot_validation) for row in table]
        return [*titles, "valid. %", "rank"], [
            *cells,
            validation,
            [rank(row.one_shot_rank) for row in table],
        ]
    titles += ["alone %", "gap, points", "ranks", "CPU s"]
    cells += [
        [percent_spread(row.standalone) for row in table],
        [points_spread(row.gap) for row in table],
        [f"{rank(row.one_shot_rank)} / {rank(row.standalone_rank)}" for row in table],
        [seconds(row.standalone_cpu_s) for row in table],
    ]
    return titles, cells


def _note(results: Results) -> str:
    failed = ""
    if any_failed(rows(results)):
        failed = " Failed: an output was not a finite number; it counts as ranked last."
    if not compared(results):
        return f"Rank by validation accuracy.{failed}"
    bounds = f"{PLUS_MINUS}: 95 % intervals. " if results.verdict else ""
    ranks = "Ranks: one-shot by validation / alone by test. Gap: one-shot minus alone."
    return f"{bounds}{ranks}{failed}"


def _text(text: str, console: Console) -> Text:
    """Return text that the console's encoding has letters for."""
    if not console.encoding.lower().startswith("utf"):
        text = text.translate(_ASCII).encode(console.encoding, "replace").decode(console.encoding)
    return Text(text)
