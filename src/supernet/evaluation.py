"""Scoring: one architecture, or many at once, never without batch-norm statistics of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from supernet.batchnorm import Statistics, calibrate, evaluating, require_statistics
from supernet.errors import DataError, DivergedError
from supernet.space import Architecture
from supernet.supernet import Supernet

Batches = Iterable[tuple[Tensor, Tensor]]


@torch.no_grad()
def score(statistics: Statistics, batches: Batches) -> dict[Architecture, Tensor]:
    """Say which images each calibrated architecture classifies right, in one shared pass.

    Args:
        statistics: What `calibrate` returned, for the weights as they are now.
        batches: Inputs and labels (class numbers).

    Returns:
        For each architecture a boolean tensor, one entry per image, in the order of `batches`.

    Raises:
        DataError: If `batches` is empty.
        DivergedError: If an architecture's output is not a number: that is no score.
    """
    hits: dict[Architecture, list[Tensor]] = {arch: [] for arch in statistics.archs}
    with evaluating(statistics.supernet):
        for x, y in batches:
            for group in statistics.run(x):
                right = _hits(group.value, y, group.archs[0].label)
                for arch in group.archs:
                    hits[arch].append(right)
    return {arch: _joined(parts) for arch, parts in hits.items()}


@torch.no_grad()
def score_network(net: nn.Module, batches: Batches) -> Tensor:
    """Say which images a plain network classifies right; see `score`.

    Raises:
        CalibrationError: If a batch norm has no statistics yet.
        DataError: If `batches` is empty.
        DivergedError: If an output is not a number.
    """
    require_statistics(net)
    with evaluating(net):
        return _joined([_hits(net(x), y, "the network") for x, y in batches])


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
    one by one would give.

    Raises:
        CalibrationError: If `calibration` is empty; see also `calibrate`.
        DataError: If `batches` is empty.
        DivergedError: If an output is not a number.
    """
    hits = score(calibrate(supernet, archs, calibration), batches)
    return {arch: accuracy(hits[arch]) for arch in archs}


def accuracy(hits: Tensor) -> float:
    """Return the fraction of `hits` that is true."""
    return hits.double().mean().item()


def _hits(logits: Tensor, y: Tensor, who: str) -> Tensor:
    if not torch.isfinite(logits).all():
        raise DivergedError(f"{who} puts out values that are not finite numbers; it has no score")
    return logits.argmax(dim=1) == y


def _joined(parts: list[Tensor]) -> Tensor:
    if not parts:
        raise DataError("scoring needs at least one batch, and was given none")
    return torch.cat(parts)
