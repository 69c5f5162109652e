"""The registry of samplers: their names, what each draws, how it is made. No torch at import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supernet.errors import SettingsError
from supernet.training.samplers.balanced import Fair, Split
from supernet.training.samplers.draws import AnySampler
from supernet.training.samplers.paths import Sandwich, every, uniform, uniform_options
from supernet.training.samplers.stages import Shrinking, WithLargest, warm_up
from supernet.training.samplers.subtrees import make_subtree

if TYPE_CHECKING:
    from supernet.nn.supernet import Supernet

#: `every` is the default for at most so many architectures.
_TENS = 64


@dataclass(frozen=True)
class _Wanted:
    """What a sampler is made for; see `make_sampler`."""

    supernet: Supernet
    x: Any
    budget: float
    paths: int
    order: tuple[str, ...]


@dataclass(frozen=True)
class SamplerKind:
    """A sampler as it is known by name.

    Attributes:
        draws: What a step trains, in a few words.
        make: Makes it.
    """

    draws: str
    make: Callable[[_Wanted], AnySampler]


SAMPLERS: dict[str, SamplerKind] = {
    "every": SamplerKind("every architecture", lambda _: every),
    "uniform": SamplerKind("one, drawn uniformly", lambda _: uniform),
    "uniform options": SamplerKind("one, each option equally likely", lambda _: uniform_options),
    "fair": SamplerKind("several that use each option equally often", lambda _: Fair()),
    "sandwich": SamplerKind(
        "the largest, the smallest and random ones", lambda wanted: Sandwich(wanted.paths)
    ),
    "shrinking": SamplerKind(
        "ever smaller ones", lambda wanted: Shrinking(wanted.order, wanted.paths)
    ),
    "subtree": SamplerKind(
        "several that begin alike",
        lambda wanted: make_subtree(wanted.supernet, wanted.x, budget=wanted.budget),
    ),
    "split": SamplerKind(
        "several among which the batch is split", lambda wanted: Split(wanted.paths)
    ),
}


def require_sampler(name: str) -> None:
    """Raise unless there is a sampler of this name.

    Raises:
        SettingsError: With the names that there are.
    """
    if name not in SAMPLERS:
        *others, last = SAMPLERS
        raise SettingsError(f"there is no sampler {name!r}; choose {', '.join(others)} or {last}")


def default_sampler(supernet: Supernet, x: Any) -> str:
    """Return the name of the sampler that fits a space.

    `every` where there are at most 64 architectures, and one shared pass over all of them takes at
    most twice the multiply-adds of the largest alone; else `uniform`.

    Args:
        supernet: The network.
        x: An input such as it will get, or one without content; see `sharing.plan`.
    """
    from supernet.evaluation.batches import planner_for  # here, because it needs torch

    space = supernet.space
    if space.size > _TENS:
        return "uniform"
    planner = planner_for(supernet, x)
    shared, largest = planner.plan(space).macs, planner.plan([space.largest]).macs
    return "every" if shared <= 2 * largest else "uniform"


def make_sampler(
    name: str | None,
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
            `split`; None for the one that fits the space, see `default_sampler`.
        supernet: The network it is for.
        x: An input such as it will get, for `subtree` and the default.
        budget: Of `subtree`.
        paths: Of `sandwich`, `shrinking` and `split`.
        order: Of `shrinking`.
        largest_first: The share of the training in which the largest architecture is trained alone
            before; see `warm_up`.
        with_largest: Whether to add the largest architecture to every draw; see `WithLargest`.

    Raises:
        SettingsError: If there is no such sampler, or it can't be had for these arguments.
    """
    if name is None:
        name = default_sampler(supernet, x)
    require_sampler(name)
    sampler = SAMPLERS[name].make(_Wanted(supernet, x, budget, paths, order))
    if largest_first:
        sampler = warm_up(sampler, largest_first)
    return WithLargest(sampler) if with_largest else sampler
