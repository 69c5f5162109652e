import math

from supernet.records import Estimate
from supernet.report.wording import (
    count,
    gap,
    gap_interval,
    interval,
    percent,
    score,
    score_spread,
    seconds,
    shorten,
)

NAN = Estimate(value=math.nan, low=math.nan, high=math.nan)


def test_what_is_not_a_number_is_a_dash_or_unknown() -> None:
    for text in (percent(math.nan), gap(math.inf), count(math.nan), seconds(math.nan)):
        assert text == "-"
    assert gap_interval(NAN) == "-"
    assert interval(NAN) == "can't tell"


def test_an_accuracy_that_is_not_a_number_is_a_failure_and_one_that_is_not_there_a_dash() -> None:
    assert score_spread(NAN) == score(math.nan) == "failed"
    assert score_spread(None) == "-"
    assert score(0.0) == "0.00"


def test_a_gap_of_nothing_has_no_sign() -> None:
    assert gap(-1e-9) == gap(1e-9) == "0.00"


def test_a_short_count_never_rounds_up_into_four_digits() -> None:
    assert [count(10**k - 1) for k in range(3, 16)] == [
        "999", "10.0 k", "100 k", "1.00 M", "10.0 M", "100 M", "1.00 G", "10.0 G", "100 G",
        "1.00 T", "10.0 T", "100 T", "1.00 P",
    ]  # fmt: skip


def test_short_labels_stay_different_and_short() -> None:
    labels = [f"a-very-long-label-{i:03}-with-a-long-end" for i in range(120)]
    short = shorten(labels, 20)
    assert len(set(short)) == 120
    assert max(map(len, short)) <= 20
    assert shorten(["(1, 1)"] * 2, 20) == ["(1, 1)"] * 2
