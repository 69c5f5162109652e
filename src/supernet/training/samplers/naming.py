"""The registry of samplers: their names, what each draws, how it is made. No torch at import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supernet.errors import SettingsError
from supernet.training.samplers.balanced import Fair, Split
from supernet.training.samplers.draws import AnySampler
from supernet.training.samplers.paths import Sandwich, every, uniform, uniform_options
from supernet.training.samplers.sizes import Favoring, Ordering, Pacing, Power, SizeKind, make_size
from supernet.training.samplers.stages import Shrinking, Weighted, WithLargest, warm_up
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
        takes: Which settings it reads: of `budget`, `paths` and `order`.
    """

    draws: str
    make: Callable[[_Wanted], AnySampler]
    takes: tuple[str, ...] = ()


SAMPLERS: dict[str, SamplerKind] = {
    "every": SamplerKind("every architecture", lambda _: every),
    "uniform": SamplerKind("one, drawn uniformly", lambda _: uniform),
    "uniform options": SamplerKind("one, each option equally likely", lambda _: uniform_options),
    "fair": SamplerKind("several that use each option equally often", lambda _: Fair()),
    "sandwich": SamplerKind(
        "the largest, the smallest and random ones",
        lambda wanted: Sandwich(wanted.paths),
        takes=("paths",),
    ),
    "shrinking": SamplerKind(
        "ever smaller ones",
        lambda wanted: Shrinking(wanted.order, wanted.paths),
        takes=("order", "paths"),
    ),
    "subtree": SamplerKind(
        "several that begin alike",
        lambda wanted: make_subtree(wanted.supernet, wanted.x, budget=wanted.budget),
        takes=("budget",),
    ),
    "split": SamplerKind(
        "several among which the batch is split",
        lambda wanted: Split(wanted.paths),
        takes=("paths",),
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


def require_fitting(
    name: str,
    *,
    favor: str | None = None,
    weigh: str | None = None,
    prior: str | None = None,
    distills: bool = False,
) -> None:
    """Raise where one of these would do nothing with a sampler, or can't be had.

    Raises:
        SettingsError: If so, with the way out.
    """
    one = name.startswith("uniform")
    if favor and name == "every":
        raise SettingsError(
            "favor draws larger architectures more often, and the sampler every draws all in every "
            "step; use weigh, or another sampler, such as uniform"
        )
    for option, wanted in (("weigh", weigh), ("prior", prior)):
        if wanted and (one or name == "split"):
            why = "draws one" if one else "shows each other images"
            raise SettingsError(
                f"{option} compares the architectures of a step, and the sampler {name} {why}; use "
                "another, such as every, fair or sandwich"
            )
    if prior and distills:
        raise SettingsError(
            "a prior compares losses by the same labels, and with distill all but the largest "
            "architecture learn from its outputs; leave one of the two out"
        )


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
    favor: SizeKind | None = None,
    weigh: SizeKind | None = None,
    power: float = 1.0,
    pace: SizeKind | None = None,
    decay: float = 1.0,
    prior: SizeKind | None = None,
    prior_weight: float = 1.0,
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
        favor: By which size larger architectures are drawn more often; see `Favoring`.
        weigh: By which size losses of larger ones count more; see `Weighted` and `Power`.
        power: Of the size, for both.
        pace: By which size the learning rate of smaller ones falls faster; see `Pacing`.
        decay: Of `pace`.
        prior: By which size larger ones should rank higher; see `Ordering`.
        prior_weight: How much that counts.

    Raises:
        SettingsError: If there is no such sampler, or it can't be had for these arguments.
    """
    if name is None:
        name = default_sampler(supernet, x)
    require_sampler(name)
    require_fitting(name, favor=favor, weigh=weigh, prior=prior, distills=with_largest)
    sampler = SAMPLERS[name].make(_Wanted(supernet, x, budget, paths, order))
    sizes = {by: make_size(supernet, x, by) for by in (favor, weigh, pace, prior) if by}
    if favor:
        sampler = Favoring(sampler, sizes[favor], power)
    if largest_first:
        sampler = warm_up(sampler, largest_first)
    if with_largest:
        sampler = WithLargest(sampler)
    if weigh:
        sampler = Weighted(sampler, Power(sizes[weigh], power))
    if pace:
        sampler = Pacing(sampler, sizes[pace], decay)
    return Ordering(sampler, sizes[prior], prior_weight) if prior else sampler
