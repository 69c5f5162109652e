"""Costs of a training step over a draw, and the parts in which it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from supernet.space import Architecture
from supernet.training.samplers.draws import Draw

if TYPE_CHECKING:
    from supernet.sharing import Planner


def parts_of(
    draw: Draw, max_bytes: int | None, planner: Callable[[], Planner]
) -> Sequence[tuple[Architecture, ...]]:
    """Return the sets of architectures that a step runs one after the other, to save memory.

    Args:
        draw: What it trains.
        max_bytes: The most that activations may take; None is no bound. A divided batch is never
            cut.
        planner: Where to get a planner for such a batch from, if there is a bound.

    Raises:
        SharingError: If one architecture alone is above the bound.
    """
    if max_bytes is None or draw.divided:
        return [draw.archs]
    return planner().plan(draw.archs).split(max_bytes=max_bytes)


def training_macs(draw: Draw, planner: Planner, max_bytes: int | None = None) -> int:
    """Return the multiply-adds per sample of a training step over a draw, gradients included.

    Args:
        draw: What it trains.
        planner: Of the network; with `max_bytes`, for batches of the size that is trained with.
        max_bytes: See `parts_of`: what different parts have in common is done in each.
    """
    if draw.divided:  # each architecture has its share of the samples
        plans = [planner.plan((arch,)) for arch in draw.archs]
        return sum(plan.training_macs for plan in plans) // sum(plan.samples for plan in plans)
    plans = [planner.plan(archs) for archs in parts_of(draw, max_bytes, lambda: planner)]
    return sum(plan.training_macs for plan in plans) // plans[0].samples
