import numpy as np
import pytest

from supernet.errors import DataError
from supernet.evaluation.intervals import estimate_difference, estimate_share

RNG = np.random.default_rng(0)


def test_the_interval_of_a_share_is_as_wide_as_theory_has_it() -> None:
    hits = np.arange(1000) < 900
    found = estimate_share(hits)
    assert found.value == 0.9
    half = 1.96 * (0.9 * 0.1 / 1000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_what_both_get_right_adds_no_width_to_a_difference() -> None:
    hits = np.arange(1000) < 900
    same = estimate_difference(hits, hits)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    others = hits.copy()
    others[:20] = False
    found = estimate_difference(hits, others)
    assert found.value == pytest.approx(0.02)
    assert found.low > 0  # although the intervals of the two shares overlap


def test_the_difference_of_resampled_pairs_is_what_is_drawn() -> None:
    hits, others = RNG.random(400) < 0.8, RNG.random(400) < 0.7
    rows = RNG.integers(0, 400, (2000, 400))
    pairs = hits[rows].mean(1) - others[rows].mean(1)
    found = estimate_difference(hits, others)
    assert [found.low, found.high] == pytest.approx(np.percentile(pairs, [2.5, 97.5]), abs=0.01)


def test_bad_input_is_said() -> None:
    with pytest.raises(DataError, match="at least one"):
        estimate_share(np.zeros(0, bool))
    with pytest.raises(DataError, match="the same samples"):
        estimate_difference(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize("count", [1, 5, 21, 1000])
@pytest.mark.parametrize("right", [True, False])
def test_a_share_of_all_or_nothing_has_an_interval_all_the_same(count: int, right: bool) -> None:
    found = estimate_share(np.full(count, right))
    assert found.value == float(right)
    # The share at whose other end so many equal samples have a probability of 2.5 %.
    edge = found.low if right else 1 - found.high
    assert edge**count == pytest.approx(0.025)
    assert (found.high if right else found.low) == found.value
