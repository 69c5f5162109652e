"""The training rules that are held against today's default, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from supernet.nn.supernet import Supernet
from supernet.training.samplers import (
    AnySampler,
    Fair,
    Favoring,
    Ordering,
    Pacing,
    Power,
    Sandwich,
    Split,
    Weighted,
    every,
    make_size,
    make_subtree,
    uniform,
    uniform_options,
)
from supernet.training.samplers.sizes import ArchitectureSize, SizeKind
from yardstick.supernets import Parts, Rule

#: Draws architectures by their size.
Sized = Callable[[ArchitectureSize], AnySampler]


def _uniform(**changes: Any) -> Rule:
    """Return today's sampler with another recipe; `uniform` is the default of all three spaces."""
    return Rule(lambda *_: uniform, changes, costs_alike=True)


def _few_shot(parts: Parts) -> Rule:
    return Rule(lambda *_: uniform, costs_alike=True, parts=parts)


def _sized(make: Sized, by: SizeKind, **changes: Any) -> Rule:
    def sampler(supernet: Supernet, x: torch.Tensor) -> AnySampler:
        return make(make_size(supernet, x, by))

    return Rule(sampler, changes)


def _by_size(by: SizeKind, **changes: Any) -> dict[str, Rule]:
    """Return the rules that go by a size."""
    made: dict[str, Sized] = {
        f"favor {by} 1": lambda size: Favoring(uniform, size, 1.0),
        f"favor {by} 2": lambda size: Favoring(uniform, size, 2.0),
        f"pace {by}": lambda size: Pacing(uniform, size),
        f"favor {by} 1, pace": lambda size: Pacing(Favoring(uniform, size, 1.0), size),
        f"fair, weigh {by}": lambda size: Weighted(Fair(), Power(size)),
        f"fair, prior {by}": lambda size: Ordering(Fair(), size),
        f"sandwich, prior {by}": lambda size: Ordering(Sandwich(), size),
    }
    return {name: _sized(make, by, **changes) for name, make in made.items()}


RULES: Final[Mapping[str, Rule]] = {
    "today": _uniform(),
    **{f"rate {rate}": _uniform(learning_rate=rate) for rate in (0.02, 0.05, 0.1, 0.4)},
    **{
        f"rate {rate}, warm-up 0.1": _uniform(learning_rate=rate, warmup=0.1)
        for rate in (0.05, 0.1, 0.2)
    },
    **{f"batch {size}": Rule(lambda *_: uniform, {"batch_size": size}) for size in (16, 64)},
    **{
        f"adam {rate}": _uniform(optimizer="adam", learning_rate=rate)
        for rate in (0.001, 0.003, 0.01)
    },
    "clipped": _uniform(clip_norm=1.0),
    "averaged": _uniform(ema=0.98),
    "uniform options": Rule(lambda *_: uniform_options, costs_alike=True),
    "every": Rule(lambda *_: every),
    "fair": Rule(lambda *_: Fair()),
    "sandwich": Rule(lambda *_: Sandwich()),
    "split": Rule(lambda *_: Split()),
    "subtree": Rule(lambda supernet, x: make_subtree(supernet, x, budget=1.5)),
    **_by_size("layers"),
    **_by_size("macs"),
    **{
        f"batch 64, rate {rate}": Rule(
            lambda *_: uniform, {"batch_size": 64, "learning_rate": rate}
        )
        for rate in (0.05, 0.1)
    },
    "rate 0.05, averaged": _uniform(learning_rate=0.05, ema=0.98),
    **{
        f"rate {rate}, favor macs 2": _sized(
            lambda size: Favoring(uniform, size, 2.0), "macs", learning_rate=rate
        )
        for rate in (0.05, 0.1)
    },
    "batch 64, rate 0.05, favor macs 2": _sized(
        lambda size: Favoring(uniform, size, 2.0), "macs", learning_rate=0.05, batch_size=64
    ),
    **{
        f"few-shot {count}, {common}, rate {rate}": _few_shot(Parts(count, common, rate))
        for count in (2, 3)
        for common in (0.5, 0.8)
        for rate in (0.25, 1.0)
    },
    **{
        f"{count} members": Rule(lambda *_: uniform, costs_alike=True, members=count)
        for count in (2, 3)
    },
    "late": Rule(lambda *_: uniform, costs_alike=True, late=(0.8, 0.85, 0.9, 0.95)),
}
