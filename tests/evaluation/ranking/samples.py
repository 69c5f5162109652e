"""Scores, costs and verdicts for tests."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.evaluation.ranking.bootstrap import Bools, Scores
from supernet.evaluation.ranking.verdict import Costs, judge
from supernet.records import Estimate, Verdict

ALL_HITS = ("one_shot_validation", "one_shot_test", "standalone_test", "longer_test")


def exactly(counts: list[list[int]], images: int) -> Bools:
    """Scores of which the first so many are right: counts[seed][architecture]."""
    return np.asarray(np.arange(images) < np.array(counts)[..., None])


def at_random(rng: np.random.Generator, accuracy: NDArray[Any], images: int) -> Bools:
    """Scores with the given chances, (S, A)."""
    return np.asarray(rng.random((*accuracy.shape, images)) < accuracy[..., None])


def some_hits(seeds: int = 2, networks: int = 5, seed: int = 0, longer: bool = False) -> Scores:
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.5, 0.9, (seeds, networks))
    return Scores(
        at_random(rng, accuracy, 60),
        at_random(rng, accuracy, 80),
        at_random(rng, accuracy, 80),
        at_random(rng, accuracy, 80) if longer else None,
    )


def costs_of(
    hits: Scores, supernet: float = 300, standalone: float = 150, scoring: float = 9
) -> Costs:
    return Costs(
        np.full(hits.seeds, supernet),
        np.full((hits.seeds, hits.networks), standalone),
        np.full(hits.seeds, scoring),
    )


def verdict_of(hits: Scores, costs: Costs | None = None, resamples: int = 200) -> Verdict:
    return judge(
        hits,
        costs or costs_of(hits),
        labels=[f"({i})" for i in range(hits.networks)],
        macs=range(100, 100 + hits.networks),
        rng=np.random.default_rng(1),
        resamples=resamples,
    )


def same(a: Estimate, b: Estimate) -> bool:
    """Equal to rounding, NaN being equal to NaN."""
    return np.allclose(
        [a.value, a.low, a.high], [b.value, b.low, b.high], rtol=0, atol=1e-12, equal_nan=True
    )


def failed_in(hits: Scores, **failed: list[int]) -> Scores:
    """The hits, with the evaluations of some architectures failed under the last seed."""
    masks = {name: np.zeros((hits.seeds, hits.networks), bool) for name in failed}
    for name, which in failed.items():
        masks[name][-1, which] = True
    return replace(hits, failed=masks)


def nothing_right(hits: Scores, **failed: list[int]) -> Scores:
    """The hits, with nothing right for some architectures, under any seed."""
    changed = {name: getattr(hits, name).copy() for name in failed}
    for name, which in failed.items():
        changed[name][:, which] = False
    return replace(hits, **changed)


def numbers_in(verdict: Verdict) -> list[Estimate]:
    return [
        Estimate(**value)
        for found in verdict.model_dump(
            exclude={"failed", "measure", "baselines", "tau_by"}
        ).values()
        for value in (found if isinstance(found, list) else [found])
        if isinstance(value, dict)
    ]


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)
