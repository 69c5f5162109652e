import csv
import io

import pytest

from supernet.report.csvfile import harmless, to_csv
from supernet.report.summary import rows
from tests.report.samples import sample_results


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


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula(start: str) -> None:
    results = sample_results(label=start + "1+{}")
    for line in read(to_csv(results)):
        assert line["label"].startswith("'" + start)
    assert harmless("plain") == "plain"


def test_negative_numbers_stay_numbers() -> None:
    assert all(float(line["gap"]) < 0.5 for line in read(to_csv(sample_results())))
