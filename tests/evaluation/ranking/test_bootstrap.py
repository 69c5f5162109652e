import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from supernet.errors import DataError
from supernet.evaluation.ranking import bootstrap
from supernet.evaluation.ranking.bootstrap import Scores, interval, observe, resample
from supernet.evaluation.ranking.metrics import Floats
from supernet.records import Estimate
from tests.evaluation.ranking.samples import exactly, same, some_hits, verdict_of


class TestInterval:
    def test_percentiles(self) -> None:
        estimate = interval(0.5, np.linspace(0, 1, 1001)[::-1])
        assert same(estimate, Estimate(value=0.5, low=0.025, high=0.975))

    def test_holds_its_value(self) -> None:
        assert same(interval(2.0, np.zeros(9)), Estimate(value=2, low=0, high=2))
        assert same(interval(-2.0, np.zeros(9)), Estimate(value=-2, low=-2, high=0))

    def test_nan(self) -> None:
        nan = math.nan
        assert same(interval(nan, np.zeros(9)), Estimate(value=nan, low=nan, high=nan))
        assert same(interval(1, np.full(9, nan)), Estimate(value=1, low=nan, high=nan))
        assert same(interval(1, np.array([1, nan, 1])), Estimate(value=1, low=1, high=1))


class TestResampling:
    def test_is_what_drawing_by_hand_gives(self) -> None:
        """The same draws, one by one, by indexing."""
        hits = some_hits(seeds=3, longer=True)
        got = resample(hits, np.random.default_rng(5), 20)
        rng = np.random.default_rng(5)
        drawn = rng.multinomial(3, [1 / 3] * 3, size=20)
        assert got.drawn.tolist() == drawn.tolist()
        for b in range(20):
            seeds = np.repeat(np.arange(3), drawn[b])
            validation, test = rng.integers(60, size=60), rng.integers(80, size=80)
            for mean, array, images in (
                (got.validation, hits.one_shot_validation, validation),
                (got.one_shot, hits.one_shot_test, test),
                (got.standalone, hits.standalone_test, test),
                (got.longer, hits.longer_test, test),
            ):
                assert mean is not None
                assert array is not None
                expected = array[seeds][:, :, images].mean(axis=(0, 2))
                np.testing.assert_allclose(mean[b], expected, rtol=0, atol=1e-14)
            np.testing.assert_allclose(
                got.standalone_seeds[b], hits.standalone_test[:, :, test].mean(axis=2), atol=1e-14
            )

    def test_chunks_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hits = some_hits()
        whole = resample(hits, np.random.default_rng(0), 30)
        monkeypatch.setattr(bootstrap, "CELLS", 170)
        parts = resample(hits, np.random.default_rng(0), 30)
        for name in ("validation", "one_shot", "standalone", "standalone_seeds", "drawn"):
            assert getattr(parts, name).tolist() == getattr(whole, name).tolist()

    def test_equal_networks_stay_equal(self) -> None:
        hits = some_hits(seeds=3, networks=1)
        parts: list[Any] = [np.repeat(h, 2, axis=1) for _, h in hits.arrays()]
        twice = Scores(*parts)
        for accuracies in (observe(twice), resample(twice, np.random.default_rng(0), 50)):
            assert (accuracies.validation[..., 0] == accuracies.validation[..., 1]).all()

    def test_memory_is_bounded(self) -> None:
        hits = Scores(*(np.zeros((3, 9, n), bool) for n in (5_000, 10_000, 10_000)))
        tracemalloc.start()
        resample(hits, np.random.default_rng(0), 1000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 25e6  # all at once, the weights alone would be 1000 x 15,000 x 4 bytes: 60 MB

    def test_needs_a_resample(self) -> None:
        with pytest.raises(DataError, match="resamples is 0; it must be at least 1"):
            resample(some_hits(), np.random.default_rng(0), 0)

    def test_covers_about_as_often_as_it_says(self) -> None:
        """Mean gap of 0.05, seen through 200 images, 200 times. Images are shared: it is paired.

        Between 90 and 99 % is 3 standard errors either way of what a bootstrap reaches here.
        """
        rng = np.random.default_rng(0)
        covered = 0
        widths = []
        for _ in range(200):
            hard = rng.random((1, 1, 200))
            one_shot, standalone = hard < 0.80, hard < 0.85
            one_shot, standalone = (np.repeat(h, 2, axis=1) for h in (one_shot, standalone))
            hits = Scores(one_shot, one_shot, standalone)
            seen, drawn = observe(hits), resample(hits, rng, 200)
            gap = interval(
                float((seen.one_shot - seen.standalone).mean()),
                (drawn.one_shot - drawn.standalone).mean(axis=1),
            )
            covered += gap.low <= -0.05 <= gap.high
            widths.append(gap.high - gap.low)
        assert 0.90 <= covered / 200 <= 0.99
        assert np.mean(widths) == pytest.approx(3.92 * math.sqrt(0.05 * 0.95 / 200), rel=0.1)

    def test_the_luck_of_seeds_widens_the_interval(self) -> None:
        one_shot, standalone = exactly([[50], [90]], 100), exactly([[70], [70]], 100)
        hits = Scores(one_shot, one_shot, standalone)
        gap = verdict_of(hits, resamples=1000).mean_gap
        assert gap.high - gap.low > 0.3  # images alone: 2 x 1.96 x 0.04


class TestHits:
    @pytest.mark.parametrize(
        ("position", "shape"), [(0, (3, 5, 0)), (1, (2, 5)), (2, (3, 0, 80)), (3, (1, 1, 1, 1))]
    )
    def test_not_three_dimensions_or_empty(self, position: int, shape: tuple[int, ...]) -> None:
        arrays: list[Any] = [h for _, h in some_hits(longer=True).arrays()]
        arrays[position] = np.ones(shape, bool)
        with pytest.raises(DataError, match=r"of shape \(seeds, architectures, samples\)"):
            Scores(*arrays)

    def test_a_score_that_is_no_number_must_be_said_to_have_failed(self) -> None:
        arrays: list[Any] = [h.astype(float) for _, h in some_hits().arrays()]
        arrays[1][0, 2, 3] = np.nan
        with pytest.raises(DataError, match="one_shot_test has scores that are not finite"):
            Scores(*arrays)
        failed = np.zeros((2, 5), bool)
        failed[0, 2] = True
        drawn = resample(
            Scores(*arrays, failed={"one_shot_test": failed}), np.random.default_rng(0), 3
        )
        assert np.isnan(drawn.one_shot).sum(axis=1).tolist() == [1, 1, 1]

    def test_not_bool(self) -> None:
        arrays: list[Any] = [h for _, h in some_hits().arrays()]
        arrays[1] = arrays[1].astype(np.uint8)
        with pytest.raises(DataError, match=r"one_shot_test is uint8 of shape \(2, 5, 80\); give"):
            Scores(*arrays)

    @pytest.mark.parametrize(
        ("position", "shape"),
        [(1, (3, 5, 80)), (1, (2, 4, 80)), (2, (2, 5, 60)), (3, (2, 5, 81))],
    )
    def test_shapes_that_do_not_fit(self, position: int, shape: tuple[int, ...]) -> None:
        arrays: list[Any] = [h for _, h in some_hits(longer=True).arrays()]
        arrays[position] = np.ones(shape, bool)
        with pytest.raises(DataError, match=r"has shape .*, but there are 2 seed\(s\), 5 arch"):
            Scores(*arrays)


def test_floats_are_floats() -> None:
    """Whatever float type went in, counts are exact and means are float64."""
    drawn = resample(some_hits(), np.random.default_rng(0), 3)
    arrays: list[Floats] = [drawn.validation, drawn.standalone, drawn.standalone_seeds]
    assert {a.dtype for a in arrays} == {np.dtype(np.float64)}
