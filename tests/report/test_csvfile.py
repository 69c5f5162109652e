import csv
import io

import pytest

from supernet.report.csvfile import harmless, to_csv
from supernet.report.summary import rows
from tests.report.samples import sample_results, with_failures


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_cells_are_the_rows_numbers_to_the_last_bit() -> None:
    results = sample_results(seeds=2, longer=True)
    for line, row in zip(read(to_csv(results)), rows(results), strict=True):
        assert line["label"] == row.label
        assert all(line[name] == str(option) for name, option in row.options.items())
        assert row.standalone
        assert row.gap
        assert float(line["one_shot_test"]) == row.one_shot.value
        assert float(line["standalone_test_low"]) == row.standalone.low
        assert float(line["gap_high"]) == row.gap.high
        assert float(line["longer_test"]) == row.longer
        assert int(line["standalone_rank"]) == row.standalone_rank


def test_what_was_not_measured_is_empty() -> None:
    for line in read(to_csv(sample_results(standalone=False))):
        assert line["one_shot_test"]
        empty = {"one_shot_test_low", "standalone_test", "gap", "gap_low", "standalone_cpu_s"}
        assert {line[name] for name in empty} == {""}


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", " =", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_no_text_is_a_formula(start: str) -> None:
    results = sample_results(label=start + "1+{}")
    for line in read(to_csv(results)):
        assert line["label"].startswith("'" + start)
    assert harmless("plain") == "plain"
    assert harmless("") == ""


@pytest.mark.parametrize("start", ["\t", "\r", "\n", "\0", "\u202e", "\ufeff"])
def test_what_hides_a_formula_is_shown(start: str) -> None:
    text = to_csv(sample_results(label=start + "=1+{}"))
    assert start not in text.replace("\n", "" if start == "\n" else "\n")
    assert len(text.splitlines()) == 10
    for line in read(text):
        assert line["label"].startswith("\\")


def test_what_failed_is_empty_and_named() -> None:
    results = with_failures(sample_results(seeds=2, longer=True), one_shot=[0], test=[4], alone=[8])
    lines = read(to_csv(results))
    one_shot = "one_shot_validation one_shot_test longer_test"
    failed = {0: one_shot, 4: "one_shot_test longer_test", 8: "standalone_test"}
    assert [line["failed"] for line in lines] == [failed.get(i, "") for i in range(9)]
    for line in lines:
        for name in line["failed"].split():
            assert line[name] == ""
            assert line["gap"] == line["gap_low"] == ""
    assert lines[0]["one_shot_rank"] == lines[8]["standalone_rank"] == ""


def test_negative_numbers_stay_numbers() -> None:
    assert all(float(line["gap"]) < 0.5 for line in read(to_csv(sample_results())))
