"""The training rules that are held against today's default, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from supernet.training.samplers import (
    Fair,
    Sandwich,
    Split,
    every,
    make_sampler,
    make_subtree,
    uniform,
    uniform_options,
)
from yardstick.supernets import Rule


def _at(rate: float, **changes: object) -> Rule:
    """Return today's sampler at another rate."""
    return Rule(
        lambda supernet, x: make_sampler(None, supernet, x), {"learning_rate": rate} | changes
    )


RULES: Final[Mapping[str, Rule]] = {
    "today": Rule(lambda supernet, x: make_sampler(None, supernet, x)),
    **{f"rate {rate}": _at(rate) for rate in (0.02, 0.05, 0.1, 0.4)},
    **{f"rate {rate}, warm-up 0.1": _at(rate, warmup=0.1) for rate in (0.1, 0.2, 0.4)},
    "uniform": Rule(lambda *_: uniform),
    "uniform options": Rule(lambda *_: uniform_options),
    "every": Rule(lambda *_: every),
    "fair": Rule(lambda *_: Fair()),
    "sandwich": Rule(lambda *_: Sandwich()),
    "split": Rule(lambda *_: Split()),
    "subtree": Rule(lambda supernet, x: make_subtree(supernet, x, budget=1.5)),
    "averaged": Rule(lambda supernet, x: make_sampler(None, supernet, x), {"ema": 0.99}),
}
