"""Samplers by name, as the command line asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supernet.errors import SettingsError
from supernet.nn.supernet import Supernet
from supernet.training.samplers.balanced import Fair, Split
from supernet.training.samplers.draws import AnySampler
from supernet.training.samplers.paths import Sandwich, every, uniform, uniform_options
from supernet.training.samplers.stages import Shrinking, WithLargest, warm_up
from supernet.training.samplers.subtrees import make_subtree


def make_sampler(
    name: str,
    supernet: Supernet,
    x: Any,
    *,
    budget: float = 2.0,
    paths: int = 4,
    order: tuple[str, ...] = ("*",),
    largest_first: float = 0.0,
    with_largest: bool = False,
) -> AnySampler:
    """Return a sampler by its name.

    Args:
        name: `every`, `uniform`, `uniform options`, `fair`, `sandwich`, `shrinking`, `subtree` or
            `split`.
        supernet: The network it is for.
        x: An input such as it will get, for `subtree`.
        budget: Of `subtree`.
        paths: Of `sandwich`, `shrinking` and `split`.
        order: Of `shrinking`.
        largest_first: The share of the training in which the largest architecture is trained alone
            before; see `warm_up`.
        with_largest: Whether to add the largest architecture to every draw; see `WithLargest`.

    Raises:
        SettingsError: If there is no such sampler, or it can't be had for these arguments.
    """
    known: dict[str, Callable[[], AnySampler]] = {
        "every": lambda: every,
        "uniform": lambda: uniform,
        "uniform options": lambda: uniform_options,
        "fair": Fair,
        "sandwich": lambda: Sandwich(paths),
        "shrinking": lambda: Shrinking(order, paths),
        "split": lambda: Split(paths),
        "subtree": lambda: make_subtree(supernet, x, budget=budget),
    }
    if name not in known:
        *others, last = known
        raise SettingsError(f"there is no sampler {name!r}; choose {', '.join(others)} or {last}")
    sampler = known[name]()
    if largest_first:
        sampler = warm_up(sampler, largest_first)
    return WithLargest(sampler) if with_largest else sampler
