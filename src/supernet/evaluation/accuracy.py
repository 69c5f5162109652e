"""Scoring: one architecture, or many at once, never without batch-norm statistics of their own.

What puts out anything that is not a finite number, on whatever image, has a failed evaluation: no
hits, and NaN for an accuracy. So one bad architecture of thousands doesn't end the scoring of the
others, nor is it taken for one that gets nothing right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from supernet.errors import DataError, DivergedError
from supernet.evaluation.batchnorm import Statistics, calibrate, evaluating, require_statistics
from supernet.nn.supernet import Supernet
from supernet.space import Architecture

Batches = Iterable[tuple[Tensor, Tensor]]

_Candidate = TypeVar("_Candidate")


@torch.no_grad()
def score(statistics: Statistics, batches: Batches) -> dict[Architecture, Tensor | None]:
    """Say which images each calibrated architecture classifies right, in one shared pass.

    Args:
        statistics: What `calibrate` returned, for the weights as they are now.
        batches: Inputs and labels (class numbers).

    Returns:
        For each architecture a boolean tensor, one entry per image, in the order of `batches`; None
        for one whose evaluation failed, as an output was not a finite number.

    Raises:
        DataError: If `batches` is empty.
        DivergedError: If the evaluation of every architecture failed.
    """
    hits: dict[Architecture, list[Tensor | None]] = {arch: [] for arch in statistics.archs}
    with evaluating(statistics.supernet):
        for x, y in batches:
            for group in statistics.run(x):
                right = _hits(group.value, y)
                for arch in group.archs:
                    hits[arch].append(right)
    joined = {arch: _joined(parts) for arch, parts in hits.items()}
    if joined and all(right is None for right in joined.values()):
        raise DivergedError(_nothing_finite([arch.label for arch in joined]))
    return joined


@torch.no_grad()
def score_network(net: nn.Module, batches: Batches) -> Tensor:
    """Say which images a plain network classifies right; see `score`.

    Raises:
        CalibrationError: If a batch norm has no statistics yet.
        DataError: If `batches` is empty.
        DivergedError: If an output is not a finite number.
    """
    require_statistics(net)
    with evaluating(net):
        hits = _joined([_hits(net(x), y) for x, y in batches])
    if hits is None:
        raise DivergedError(_nothing_finite(["()"]))
    return hits


def evaluate(
    supernet: Supernet,
    archs: Sequence[Architecture],
    *,
    calibration: Iterable[Tensor],
    batches: Batches,
) -> dict[Architecture, float]:
    """Return the accuracy of each of `archs`, a fraction, from two shared passes.

    The first pass, over `calibration` (inputs of the training set), gives each its batch-norm
    statistics; the second scores. The numbers are those that extracting, recalibrating and scoring
    one by one would give. One whose outputs are not all finite numbers has NaN: find the best with
    `find_best(scores)`, for what `max` makes of NaN depends on where in the order it stands.

    Raises:
        CalibrationError: If `calibration` is empty; see also `calibrate`.
        DataError: If `batches` is empty.
        DivergedError: If the evaluation of every architecture failed.
    """
    hits = score(calibrate(supernet, archs, calibration), batches)
    return {arch: accuracy(hits[arch]) for arch in archs}


def accuracy(hits: Tensor | None) -> float:
    """Return the fraction of `hits` that is true; NaN for a failed evaluation."""
    return math.nan if hits is None else hits.double().mean().item()


def stack(hits: Sequence[Tensor | None]) -> Tensor:
    """Return hits as one boolean tensor, architectures x images.

    The row of a failed evaluation is False throughout. Only its accuracy, which is NaN, tells it
    from one that gets nothing right, so the two have to be kept together.

    Raises:
        DivergedError: If there are no hits at all, so that nobody knows how many images there were.
    """
    sound = next((right for right in hits if right is not None), None)
    if sound is None:
        raise DivergedError("there are no hits to stack: every evaluation failed, or none was made")
    return torch.stack([torch.zeros_like(sound) if right is None else right for right in hits])


def find_best(scores: Mapping[_Candidate, float]) -> _Candidate:
    """Return the candidate with the highest score; of equals, the first. NaN is never chosen.

    >>> find_best({"failed": math.nan, "bad": 0.0, "good": 0.9})
    'good'

    Raises:
        DataError: If there are no candidates.
        DivergedError: If all scores are NaN: none of the evaluations succeeded.
    """
    if not scores:
        raise DataError("there are no scores to find the best of; give at least one")
    scored = {candidate: score for candidate, score in scores.items() if not math.isnan(score)}
    if not scored:
        raise DivergedError(_nothing_finite([str(candidate) for candidate in scores]))
    return max(scored, key=scored.__getitem__)


def _hits(logits: Tensor, y: Tensor) -> Tensor | None:
    return logits.argmax(dim=1) == y if torch.isfinite(logits).all() else None


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    if not parts:
        raise DataError("scoring needs at least one batch, and was given none")
    sound = [part for part in parts if part is not None]
    return torch.cat(sound) if len(sound) == len(parts) else None


def _nothing_finite(who: Sequence[str]) -> str:
    if len(who) > 1:
        return (
            f"all {len(who):,} architectures put out values that are not finite numbers; none has "
            "a score, so train again with a lower learning rate"
        )
    name = "the network" if who[0] == "()" else who[0]  # the label of a network without choices
    return f"{name} puts out values that are not finite numbers; it has no score"
