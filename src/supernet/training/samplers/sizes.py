"""Sizes of architectures, and samplers made of others that treat larger ones otherwise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, final, get_args

from supernet.errors import SettingsError
from supernet.space import Architecture, SearchSpace
from supernet.training.samplers.draws import AnySampler, Draw, Prior, Sampler, sampler_at

if TYPE_CHECKING:
    from supernet.nn.supernet import Supernet

#: What the size of an architecture may be: layers with weights, multiply-adds, or parameters.
SizeKind = Literal["layers", "macs", "params"]

#: The least that an architecture counts, whatever its size: nothing is left out for good.
_FLOOR: Final = 1e-3


@final
@dataclass(frozen=True, slots=True)
class ArchitectureSize:
    """How large architectures are: a function of an architecture. Made by `make_size`.

    Attributes:
        by: What is counted.
        count: Counts it.
        least: The size of the smallest architecture of the space.
        most: The size of the largest.
    """

    by: str
    count: Callable[[Architecture], float]
    least: float
    most: float

    def __call__(self, arch: Architecture) -> float:
        """Return the size of an architecture."""
        return self.count(arch)

    def place(self, arch: Architecture) -> float:
        """Return where it lies between the smallest, 0, and the largest, 1."""
        if self.most <= self.least:
            return 1.0
        return min(max((self.count(arch) - self.least) / (self.most - self.least), 0.0), 1.0)


def make_size(supernet: Supernet, x: Any, by: SizeKind = "layers") -> ArchitectureSize:
    """Return the size of a network's architectures, as a function that builds nothing.

    Args:
        supernet: The network.
        x: An input such as it will get, or one without content; or the shape of one sample.
        by: `layers` (those with weights, as the depth of `supernet.evaluation.ranking`), `macs`, or
            `params`.

    Raises:
        SettingsError: If nothing of this name is counted.
    """
    if by not in get_args(SizeKind):
        raise SettingsError(f"there is no size {by!r}; choose layers, macs or params")
    from supernet.evaluation.cost import plan_costs, plan_layers  # here, because it needs torch

    count = plan_layers(supernet) if by == "layers" else plan_costs(supernet, x)[by]
    space = supernet.space
    return ArchitectureSize(by, count, count(space.smallest), count(space.largest))


@final
@dataclass(frozen=True, slots=True)
class Power:
    """A weight for `Weighted`: the size over that of the largest, to a power.

    Attributes:
        size: Of architectures.
        power: Above 0, larger ones count more; below 0, smaller ones.
    """

    size: ArchitectureSize
    power: float = 1.0

    def __post_init__(self) -> None:
        _check_power(self.power)

    def __call__(self, arch: Architecture) -> float:
        """Return the weight of an architecture; at least 0.001 of the largest's."""
        return _raised(self.size(arch), self.size.most, self.power)


@final
@dataclass(frozen=True, slots=True)
class Favoring:
    """Draws larger architectures more often.

    Of some draws of another sampler one is kept, with a probability in proportion to the mean size
    of its architectures, to a power. A sampler that always draws the same stays as it is.

    Attributes:
        sampler: The other sampler.
        size: Of architectures.
        power: Above 0, larger ones are drawn more often; below 0, smaller ones.
        among: Of how many draws one is kept.

    Raises:
        SettingsError: If `among` is below two, or `power` not a finite number.

    References:
        Wang et al., "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling",
        CVPR 2021, arXiv:2011.09011: there, of some draws the one predicted to be best, or worst, is
        trained.
    """

    sampler: AnySampler
    size: ArchitectureSize
    power: float = 1.0
    among: int = 8

    def __post_init__(self) -> None:
        _check_power(self.power)
        if self.among < 2:
            raise SettingsError(f"among is {self.among}; it must be at least 2 draws")

    def at(self, done: float) -> Sampler:
        inner = sampler_at(self.sampler, done)

        def draw(space: SearchSpace, rng: random.Random) -> Draw:
            draws = [inner(space, rng) for _ in range(self.among)]
            return rng.choices(draws, [self._weight(drawn) for drawn in draws])[0]

        return draw

    def _weight(self, draw: Draw) -> float:
        mean = math.fsum(map(self.size, draw.archs)) / len(draw.archs)
        return _raised(mean, self.size.most, self.power)


@final
@dataclass(frozen=True, slots=True)
class Pacing:
    """Lets the learning rate of smaller architectures fall faster: they are trained sooner.

    The learning rate of the recipe is multiplied by `(1 - done) ** (decay * (1 - place))`, where
    `done` is the share of the training that is over, and `place` that of the architecture between
    the smallest, 0, and the largest, 1. In a draw of several, the loss of each counts by its own
    factor, and the step goes at their mean.

    Attributes:
        sampler: The other sampler.
        size: Of architectures.
        decay: How much faster the rate of the smallest falls: with 1 and the schedule `one-cycle`,
            it falls as a square where that of the largest falls in a line.

    Raises:
        SettingsError: If `decay` is below 0 or not a finite number.

    References:
        Jeon et al., "Subnet-Aware Dynamic Supernet Training for Neural Architecture Search", CVPR
        2025, arXiv:2503.10740: its learning rate that decays by complexity; the formula is ours.
    """

    sampler: AnySampler
    size: ArchitectureSize
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < math.inf:
            raise SettingsError(f"decay is {self.decay}; it must be a number, 0 or above")

    def at(self, done: float) -> Sampler:
        inner = sampler_at(self.sampler, done)

        def draw(space: SearchSpace, rng: random.Random) -> Draw:
            drawn = inner(space, rng)
            factors = [self.factor(arch, done) for arch in drawn.archs]
            if drawn.divided:  # whose architectures can't count by different factors
                return replace(drawn, rate=drawn.rate * math.fsum(factors) / len(factors))
            before = [drawn.weight((arch,)) for arch in drawn.archs]
            weights = [a * b for a, b in zip(before, factors, strict=True)]
            rate = drawn.rate * math.fsum(weights) / math.fsum(before)
            if len(set(factors)) == 1:
                return replace(drawn, rate=rate)
            return replace(drawn, rate=rate, weights=tuple(weights))

        return draw

    def factor(self, arch: Architecture, done: float) -> float:
        """Return by what the learning rate of an architecture is multiplied."""
        return max(math.pow(1 - done, self.decay * (1 - self.size.place(arch))), _FLOOR)


@final
@dataclass(frozen=True, slots=True)
class Ordering:
    """Trains for a ranking that is declared beforehand: the larger, the better.

    Of every two architectures of a draw whose sizes differ by enough, the larger one's loss should
    not be above the smaller one's: by how much it is, is added to the loss of the step, as a mean
    over these pairs. The prior is yours to declare, and may be wrong: measure before believing it.

    Attributes:
        sampler: What draws; several at a time, or there are no pairs.
        size: Of architectures.
        weight: How much the pairs count, relative to the mean loss.
        margin: By how much the larger one's loss should be below.
        apart: From which ratio of sizes on two are ordered at all.
        after: The share of the training from which on pairs count, as losses of networks that have
            learned nothing rank nothing.

    Raises:
        SettingsError: If a number makes no sense.

    References:
        Dong et al., "Prior-Guided One-shot Neural Architecture Search", 2022, arXiv:2206.13329.
    """

    sampler: AnySampler
    size: ArchitectureSize
    weight: float = 1.0
    margin: float = 0.0
    apart: float = 1.05
    after: float = 0.2

    def __post_init__(self) -> None:
        rules = (
            ("weight", self.weight, 0 < self.weight < math.inf, "above 0"),
            ("margin", self.margin, 0 <= self.margin < math.inf, "0 or above"),
            ("apart", self.apart, 1 <= self.apart < math.inf, "1 or above"),
            ("after", self.after, 0 <= self.after < 1, "from 0 to below 1"),
        )
        for name, value, holds, rule in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}; it must be {rule}")

    def at(self, done: float) -> Sampler:
        inner = sampler_at(self.sampler, done)
        return inner if done < self.after else lambda space, rng: self._ranked(inner(space, rng))

    def _ranked(self, draw: Draw) -> Draw:
        sizes = [self.size(arch) for arch in draw.archs]
        pairs = tuple(
            (i, j)
            for i, larger in enumerate(sizes)
            for j, smaller in enumerate(sizes)
            if larger > smaller and larger >= self.apart * smaller
        )
        return replace(draw, prior=Prior(pairs, self.weight, self.margin)) if pairs else draw


def _check_power(power: float) -> None:
    if not math.isfinite(power):
        raise SettingsError(f"power is {power}; it must be a finite number")


def _raised(size: float, most: float, power: float) -> float:
    share = max(size / most if most else 1.0, _FLOOR)
    return max(math.pow(share, power), _FLOOR)
