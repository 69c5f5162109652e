"""Stability of a one-shot ranking: whether to buy more samples or more training.

This needs no network trained alone, so every training of a supernet can tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from supernet.errors import DataError
from supernet.evaluation.ranking.bootstrap import Bools, Samples, widen_certainty
from supernet.evaluation.ranking.metrics import Floats, below_all, kendall_rows, pick
from supernet.evaluation.ranking.sentences import ranking_sentences
from supernet.records import ACCURACY, Estimate, Measure, Ranking

SPLITS: Final = 20
"""How often the samples are halved; the mean tau is then good to about 0.02."""

_Z: Final = 1.959964


def describe_ranking(
    validation: Samples,
    *,
    labels: Sequence[str],
    macs: Sequence[int],
    rng: np.random.Generator,
    failed: Bools | None = None,
    before: Floats | None = None,
    losses: Samples | None = None,
    rank_by: Literal["score", "loss"] = "score",
    test: Samples | None = None,
    measure: Measure = ACCURACY,
    leaning: Floats | None = None,
) -> Ranking:
    """Return a one-shot ranking with its intervals, its pick, and how steady it is.

    Args:
        validation: Scores per validation sample in the supernet, (S, A, N).
        labels: Names of the architectures.
        macs: Their multiply-adds: of equals the cheapest is picked.
        rng: Halves the samples; it is advanced.
        failed: Which evaluations failed, (S, A).
        before: Mean validation scores one checkpoint earlier, (S, A), if there were two.
        losses: Losses of the same samples, lower is better, if known.
        rank_by: Whether networks are ranked by scores or by losses.
        test: Scores per test sample, for their intervals.
        measure: What the scores are called.
        leaning: What is added to each architecture's scores before they rank, (A,).

    Raises:
        DataError: If losses are to rank, and there are none, or the shapes differ.
        DivergedError: If all evaluations failed.
    """
    if losses is not None and losses.shape != validation.shape:
        raise DataError(f"losses are {losses.shape}, but scores {validation.shape}")
    if rank_by == "loss" and losses is None:
        raise DataError("there are no losses to rank by; give them, or rank by score")
    lost = np.zeros(validation.shape[:2], np.bool_) if failed is None else failed
    gone: Bools = np.asarray(lost.any(axis=0))
    ranking = np.negative(losses) if losses is not None and rank_by == "loss" else validation
    if leaning is not None:
        ranking = ranking + leaning[:, None]
    means = np.where(gone, np.nan, ranking.mean(axis=(0, 2), dtype=np.float64))
    best = int(pick(means, np.asarray(macs, np.float64)))
    half = float(np.mean([halves_tau(ranking[:, ~gone], rng) for _ in range(SPLITS)]))
    drift = None if before is None else _drift_tau(validation, lost, before)
    record = Ranking(
        measure=measure,
        ranked_by=rank_by,
        leaning=None if leaning is None else leaning.tolist(),
        samples=validation.shape[2],
        validation=[_normal(validation[:, i], gone[i]) for i in range(len(labels))],
        test=None if test is None else [_normal(test[:, i], gone[i]) for i in range(len(labels))],
        losses=None
        if losses is None
        else [_normal(losses[:, i], gone[i]) for i in range(len(labels))],
        picked=labels[best],
        equals=[labels[i] for i in _equals(ranking, best, gone)],
        halves_tau=half,
        scoring_tau=full_tau(half),
        drift_tau=drift,
        enough_samples=None if drift is None else enough_samples(half, validation.shape[2], drift),
        sentences=[],
    )
    return record.model_copy(update={"sentences": ranking_sentences(record)})


def full_tau(half: float) -> float:
    """Return the tau between two whole sets of samples, given the one between halves of one.

    By the Spearman-Brown formula for the correlation, `2 r / (1 + r)`, of normal scores, whose tau
    is `2 / pi asin r`. A tau below 0 between halves is the same as none.

    >>> full_tau(0.0), full_tau(1.0), round(full_tau(0.5), 2)
    (0.0, 1.0, 0.62)
    """
    r = math.sin(math.pi / 2 * max(half, 0.0))
    return 2 / math.pi * math.asin(2 * r / (1 + r)) if math.isfinite(half) else math.nan


def enough_samples(half: float, samples: int, tau: float) -> int | None:
    """Return how many samples make two rankings by as many agree at a tau: about, and rounded up.

    By the Spearman-Brown formula, as `full_tau`. With the tau between the last two checkpoints this
    is the number from which on more samples steady a ranking less than more training would.

    >>> enough_samples(0.5, 2000, full_tau(0.5))
    2000
    >>> enough_samples(0.5, 2000, 0.5), enough_samples(0.5, 2000, 0.9), enough_samples(0, 9, 0.5)
    (1000, 34000, None)

    Args:
        half: The tau between halves of the samples.
        samples: How many these are together.
        tau: The one to reach.

    Returns:
        None if that can't be told: nothing is ranked, or no number would do.
    """
    if not (half > 0 and 0 < tau < 1):
        return None
    r, wanted = (math.sin(math.pi / 2 * min(each, 1.0)) for each in (half, tau))
    exact = samples / 2 * wanted * (1 - r) / (r * (1 - wanted))
    unit: int = 10 ** max(0, len(str(int(exact))) - 2)
    return max(1, math.ceil(round(exact / unit, 6)) * unit)


def halves_tau(samples: Samples, rng: np.random.Generator) -> float:
    """Return the tau between the rankings by two random halves of the samples; NaN if none."""
    if samples.shape[1] < 2 or samples.shape[2] < 2:
        return math.nan
    order = rng.permutation(samples.shape[2])
    n = len(order) // 2
    halves = [
        samples[:, :, part].mean(axis=(0, 2), dtype=np.float64)[None]
        for part in (order[:n], order[n : 2 * n])
    ]
    return float(kendall_rows(halves[0], halves[1])[0])


def _drift_tau(validation: Samples, failed: Bools, before: Floats) -> float:
    """Return the tau between the last two checkpoints, mean over seeds."""
    last = np.where(failed, np.nan, validation.mean(axis=2, dtype=np.float64))
    return float(np.mean(kendall_rows(below_all(last), below_all(before))))


def _equals(ranking: Samples, best: int, gone: Bools) -> list[int]:
    """Return which networks can't be told from the picked one, compared in pairs, at 95 %.

    By the normal approximation to the mean difference per sample; networks that get the same
    everywhere are equal.
    """
    mean = ranking.mean(axis=0, dtype=np.float64)
    found = []
    for i in range(len(mean)):
        difference = mean[best] - mean[i]
        n = len(difference)
        error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        if i != best and not gone[i] and float(difference.mean()) <= _Z * error:
            found.append(i)
    return found


def _normal(samples: Samples, failed: bool) -> Estimate:
    """Return a mean over seeds and samples, (S, N), with the 95 % interval over samples."""
    if failed:
        return Estimate(value=math.nan, low=math.nan, high=math.nan)
    mean = samples.mean(axis=0, dtype=np.float64)
    value = float(mean.mean())
    if len(mean) < 2:
        return Estimate(value=value, low=math.nan, high=math.nan)
    reach = _Z * float(mean.std(ddof=1)) / math.sqrt(len(mean))
    found = Estimate(value=value, low=value - reach, high=value + reach)
    return widen_certainty(found, len(mean)) if samples.dtype == np.bool_ else found
