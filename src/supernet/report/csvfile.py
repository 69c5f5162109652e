"""`results.csv`: one row per architecture, means over seeds, accuracies as fractions."""

from __future__ import annotations

import csv
import io
import math
import unicodedata

from supernet.records import Estimate, Results
from supernet.report.cleaning import cleaned
from supernet.report.summary import Row, rows

Cell = str | int | float | None


def to_csv(results: Results) -> str:
    """Return the table as CSV text.

    What was not measured is an empty cell, and so is what failed: `failed` names the columns.
    """
    results = cleaned(results)
    names = [choice.name for choice in results.network.choices]
    records = [_record(row, names) for row in rows(results)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in (_record_names(names))])
    writer.writerows([[_cell(value) for value in record] for record in records])
    return text.getvalue()


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, also if it trims or knows wide signs.

    >>> harmless("=1+1"), harmless("(1, 1)")
    ("'=1+1", '(1, 1)')
    """
    start = unicodedata.normalize("NFKC", text).strip()[:1]
    return f"'{text}" if start and start in "=+-@" else text


def _record_names(choices: list[str]) -> list[str]:
    return [
        "label",
        *choices,
        "params",
        "macs",
        *_estimate_names("one_shot_validation"),
        *_estimate_names("one_shot_validation_loss"),
        *_estimate_names("one_shot_test"),
        *_estimate_names("standalone_test"),
        *_estimate_names("gap"),
        "longer_test",
        "one_shot_rank",
        "standalone_rank",
        "standalone_cpu_s",
        *_estimate_names("corrected"),
        "failed",
    ]


def _estimate_names(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _record(row: Row, choices: list[str]) -> list[Cell]:
    return [
        row.label,
        *(row.options.get(name) for name in choices),
        row.params,
        row.macs,
        row.one_shot_validation,
        row.validation.low,
        row.validation.high,
        *_bounds(row.loss),
        *_bounds(row.one_shot),
        *_bounds(row.standalone),
        *_bounds(row.gap),
        row.longer,
        row.one_shot_rank,
        row.standalone_rank,
        row.standalone_cpu_s,
        *_bounds(row.corrected),
        " ".join(row.failed),
    ]


def _bounds(estimate: Estimate | None) -> list[Cell]:
    return [estimate.value, estimate.low, estimate.high] if estimate else [None] * 3


def _cell(value: Cell) -> Cell:
    if isinstance(value, str):
        return harmless(value)
    if value is None or not math.isfinite(value):
        return ""
    return value
