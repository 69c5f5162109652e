import math
from collections.abc import Callable

import pytest

from supernet.records import Results
from supernet.report.summary import (
    Curve,
    account,
    any_failed,
    compared,
    one_shot_curves,
    ranks,
    rows,
    standalone_curves,
    total,
)
from tests.report.samples import sample_results, with_failures


@pytest.fixture(scope="module")
def results() -> Results:
    return sample_results(seeds=3, epochs=4, longer=True)


def test_rows_agree_with_the_records(results: Results) -> None:
    assert results.verdict
    for i, (row, arch) in enumerate(zip(rows(results), results.architectures, strict=True)):
        assert (row.label, row.options, row.params, row.macs) == (
            arch.label, arch.options, arch.params, arch.macs,
        )  # fmt: skip
        seeds = results.seeds
        assert row.one_shot_validation == pytest.approx(
            sum(s.supernet.validation[i] for s in seeds) / 3
        )
        assert row.one_shot.value == pytest.approx(sum(s.supernet.test[i] for s in seeds) / 3)
        assert row.standalone
        assert row.standalone.value == pytest.approx(
            sum(s.standalone[i].test[0] for s in seeds) / 3
        )
        assert row.gap == results.verdict.gaps[i]
        assert row.standalone_cpu_s == pytest.approx(
            sum(
                phase.cpu_s
                for phase in results.ledger
                if phase.kind == "training" and phase.arch == arch.label
            )
            / 3
        )


def test_without_a_verdict_the_means_stay_and_the_intervals_go(results: Results) -> None:
    bare = rows(results.model_copy(update={"verdict": None}))
    for row, judged in zip(bare, rows(results), strict=True):
        assert row.standalone
        assert judged.standalone
        assert row.gap
        assert row.one_shot.value == pytest.approx(judged.one_shot.value)
        assert row.standalone.value == pytest.approx(judged.standalone.value)
        assert row.gap.value == pytest.approx(row.one_shot.value - row.standalone.value)
        assert math.isnan(row.gap.low)


def test_without_standalone_networks_there_is_nothing_to_compare() -> None:
    results = sample_results(standalone=False)
    assert not compared(results)
    assert standalone_curves(results) == []
    for row in rows(results):
        assert row.standalone is None
        assert row.gap is None
        assert row.standalone_rank is None
        assert row.standalone_cpu_s is None


def test_rank_one_is_the_highest_of_its_own_score(results: Results) -> None:
    table = rows(results)
    first = next(row for row in table if row.one_shot_rank == 1)
    assert first.one_shot_validation == max(row.one_shot_validation for row in table)
    first = next(row for row in table if row.standalone_rank == 1)
    assert first.standalone
    assert first.standalone.value == max(r.standalone.value for r in table if r.standalone)


def test_ties_share_a_rank_and_nan_has_none() -> None:
    assert ranks([0.5, math.nan, 0.7, 0.7]) == [3, None, 1, 1]


@pytest.mark.parametrize("curves_of", [one_shot_curves, standalone_curves])
def test_a_curve_lies_between_its_lowest_and_highest_seed(
    curves_of: Callable[[Results], list[Curve]], results: Results
) -> None:
    curves = curves_of(results)
    assert [curve.label for curve in curves] == [arch.label for arch in results.architectures]
    for curve in curves:
        assert curve.epochs == [1, 2, 3, 4]
        for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True):
            assert low <= mean <= high


def test_an_epoch_that_failed_under_one_seed_has_no_accuracy_and_the_others_keep_theirs() -> None:
    plain = sample_results(seeds=3, epochs=4)
    failed = with_failures(plain, one_shot=[2])
    for curve, was in zip(one_shot_curves(failed), one_shot_curves(plain), strict=True):
        assert (curve.mean[:-1], curve.low[:-1]) == (was.mean[:-1], was.low[:-1])
        last = [curve.mean[-1], curve.low[-1], curve.high[-1]]
        assert [math.isnan(value) for value in last] == [curve.index == 2] * 3
    first = with_failures(plain.model_copy(update={"seeds": plain.seeds[::-1]}), one_shot=[2])
    again = first.model_copy(update={"seeds": first.seeds[::-1]})
    assert all(
        math.isnan(v) for v in (one_shot_curves(again)[2].low[-1], again.seeds[0].supernet.test[2])
    )


def test_what_failed_has_no_rank_and_is_named() -> None:
    results = with_failures(sample_results(seeds=2), one_shot=[0], test=[1], alone=[2])
    table = rows(results)
    assert [row.failed for row in table[:4]] == [
        ["one_shot_validation", "one_shot_test"], ["one_shot_test"], ["standalone_test"], [],
    ]  # fmt: skip
    assert [row.one_shot_rank is None for row in table] == [i == 0 for i in range(9)]
    assert [row.standalone_rank is None for row in table] == [i == 2 for i in range(9)]
    assert any_failed(table)
    assert not any_failed(rows(sample_results(standalone=False)))


def test_the_account_loses_nothing(results: Results) -> None:
    lines = account(results.ledger)
    whole = total(results.ledger)
    for name in ("phases", "wall_s", "cpu_s", "images", "macs"):
        assert sum(getattr(line, name) for line in lines) == pytest.approx(getattr(whole, name))
    assert whole.phases == len(results.ledger)
