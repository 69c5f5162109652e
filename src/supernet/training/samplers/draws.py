"""The type of a sampler: a function that says which architectures a training step trains."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, runtime_checkable

from supernet.errors import SettingsError
from supernet.space import Architecture, SearchSpace


@dataclass(frozen=True, slots=True)
class Prior:
    """Which architectures of a draw should have the lower loss, and how much that counts.

    Attributes:
        pairs: Of places in the draw: the first should have the lower loss.
        weight: How much it counts, relative to the mean loss.
        margin: By how much it should be lower.
    """

    pairs: tuple[tuple[int, int], ...]
    weight: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Draw:
    """What a step trains.

    Attributes:
        archs: The architectures.
        divided: Whether the batch is divided among them; otherwise each gets all of it.
        weights: How much the loss of each counts, relative to the others; by default all the same.
        rate: By what the learning rate is multiplied in this step.
        prior: Which of them should have the lower loss; see `Ordering`.

    Raises:
        SettingsError: If there isn't one weight above 0 for each of distinct architectures, or the
            batch is divided too; or if the rate is not a number above 0.
    """

    archs: tuple[Architecture, ...]
    divided: bool = False
    weights: tuple[float, ...] | None = None
    rate: float = 1.0
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise SettingsError(f"the rate of a draw is {self.rate}; it must be a number above 0")
        if self.weights is None:
            return
        if self.divided:
            raise SettingsError(
                "a draw that divides the batch has no weights: each architecture counts as much as "
                "it has images; leave the weights out, or don't divide"
            )
        if not len(set(self.archs)) == len(self.archs) == len(self.weights):
            raise SettingsError(
                f"{len(self.weights)} weights for {len(set(self.archs))} different architectures "
                f"of {len(self.archs)}; give one for each of different ones"
            )
        if bad := [weight for weight in self.weights if not 0 < weight < math.inf]:
            raise SettingsError(f"a weight of a draw is {bad[0]}; it must be a number above 0")

    def weight(self, archs: Iterable[Architecture]) -> float:
        """Return how much some of its architectures count together."""
        if self.weights is None:
            return len(tuple(archs))
        of = dict(zip(self.archs, self.weights, strict=True))
        return sum(map(of.__getitem__, archs))

    @property
    def work(self) -> Draw:
        """What of it decides the work of a step: architectures, and whether the batch is cut."""
        return Draw(self.archs, self.divided)

    def adding(self, arch: Architecture) -> Draw:
        """Return the draw with one more architecture, which counts 1; as it is if it is in there.

        Raises:
            SettingsError: If the batch is divided.
        """
        if arch in self.archs:
            return self
        if self.divided:
            raise SettingsError(
                "nothing can be added to a divided batch, of which it would get no image; use "
                "another sampler than `split`"
            )
        weights = None if self.weights is None else (*self.weights, 1.0)
        return replace(self, archs=(*self.archs, arch), weights=weights)


Sampler = Callable[[SearchSpace, random.Random], Draw]


@runtime_checkable
class Staged(Protocol):
    """What draws differently as the training proceeds: a sampler for every point of it."""

    def at(self, done: float) -> Sampler:
        """Return the sampler for a step.

        Args:
            done: The share of the training that lies before it, from 0 to below 1. Nothing else
                may decide, so that a training that is resumed or rolled back draws the same.
        """


AnySampler = Sampler | Staged


def sampler_at(sampler: AnySampler, done: float) -> Sampler:
    """Return the sampler for a step that has the share `done` of the training before it."""
    return sampler.at(done) if isinstance(sampler, Staged) else sampler


def name_of(sampler: object) -> str:
    """Return a name that is the same in every process, as `repr` need not be.

    >>> class Mine:
    ...     def __init__(self) -> None:
    ...         self.width = 3
    >>> name_of(Mine()).rpartition(".")[2]
    'Mine(width=3)'
    """
    if is_dataclass(sampler):
        values = (f"{f.name}={name_of(getattr(sampler, f.name))}" for f in fields(sampler))
        return f"{type(sampler).__qualname__}({', '.join(values)})"
    if isinstance(sampler, tuple):
        return f"({', '.join(map(name_of, sampler))}{',' * (len(sampler) == 1)})"
    if callable(sampler) or isinstance(sampler, Staged):
        return str(getattr(sampler, "__qualname__", type(sampler).__qualname__))
    if type(sampler).__repr__ is object.__repr__:  # which tells where it lies in memory
        own = (f"{name}={name_of(value)}" for name, value in vars(sampler).items())
        return f"{type(sampler).__qualname__}({', '.join(own)})"
    return repr(sampler)
