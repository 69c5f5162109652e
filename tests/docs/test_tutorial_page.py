"""What docs/tutorial.md shows is what there is."""

import io
import re
from pathlib import Path

from rich.console import Console

from supernet.report import print_results
from supernet.runs.folder import read_results

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
QUICK = read_results(ROOT / "benchmarks" / "results" / "quick")


def test_the_sample_is_what_its_record_prints() -> None:
    told = io.StringIO()
    print_results(QUICK, Console(file=told, width=80))
    printed = [line.rstrip() for line in told.getvalue().rstrip().splitlines()]
    shown = re.search(r"^( {4}arch .*?)\n\n {4}Page: ", PAGE, re.DOTALL | re.MULTILINE)
    assert shown
    assert [line.removeprefix("    ").rstrip() for line in shown[1].splitlines()] == printed


def test_the_sample_says_when_and_where_it_was_made() -> None:
    made = QUICK.conditions
    assert made.started[:10] in PAGE
    assert f"{made.hardware['processor']}" in PAGE
    assert made.hardware["vector instructions"].replace("AVX512", "AVX-512") in PAGE
    assert made.command.startswith("supernet compare")


def test_the_script_is_as_short_as_it_says() -> None:
    assert "a script of 40 lines" in PAGE
    assert len((ROOT / "main.py").read_text().splitlines()) <= 40


def test_there_are_as_many_examples_as_it_says() -> None:
    assert "five more" in PAGE
    assert len(list((ROOT / "examples").glob("*.py"))) == 5
