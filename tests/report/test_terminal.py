import io
import re

import pytest
from rich.console import Console

from supernet.records import Results
from supernet.report import print_results
from supernet.report.summary import rows
from supernet.report.wording import score
from tests.report.samples import sample_results, with_failures


def printed(results: Results, *, encoding: str = "utf-8", terminal: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    print_results(results, Console(file=file, width=80, force_terminal=terminal))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    "results",
    [
        sample_results(seeds=3, longer=True),
        sample_results(standalone=False),
        sample_results(verdict=False),
        sample_results(depths=(1,)),
        sample_results(depths=(3, 3, 3)),
        with_failures(sample_results(seeds=2), one_shot=[0], test=[1], alone=[2]),
        with_failures(sample_results(standalone=False), one_shot=[0]),
        sample_results(label="a-net-with-a-very-long-name-{}-and-more"),
    ],
)
def test_fits_80_columns_with_one_line_per_row(results: Results) -> None:
    lines = printed(results).splitlines()
    assert max(map(len, lines)) <= 80
    for row in rows(results):
        assert any(score(row.one_shot.value) in line for line in lines)
    assert len(lines) < len(results.architectures) + 16


def test_what_failed_is_said() -> None:
    results = with_failures(sample_results(), one_shot=[0], alone=[2])
    lines = printed(results).splitlines()
    assert re.search(r"^\(1, 1\) .* failed .* - +- / \d ", next(s for s in lines if "(1, 1)" in s))
    assert re.search(r"^\(1, 3\) .* failed +- +\d / - ", next(s for s in lines if "(1, 3)" in s))
    text = " ".join(" ".join(lines).split())
    assert "Failed: an output was not a finite number; it counts as ranked last." in text
    assert "nan" not in text
    assert "Failed" not in printed(sample_results())


def test_says_the_verdict() -> None:
    results = sample_results()
    assert results.verdict
    text = " ".join(printed(results).split())
    assert all(sentence in text for sentence in results.verdict.sentences)


def test_no_escape_codes_where_there_is_no_terminal() -> None:
    assert "\x1b" not in printed(sample_results())
    assert "\x1b" in printed(sample_results(), terminal=True)


def test_labels_are_no_markup() -> None:
    assert "[red]1, 1" in printed(sample_results(label="[red]{}"))


def test_an_ascii_terminal_gets_ascii() -> None:
    text = printed(sample_results(), encoding="ascii")
    assert "+-" in text
    assert "?" not in text
