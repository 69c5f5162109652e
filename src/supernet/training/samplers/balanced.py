"""Samplers that use the options of each choice equally often."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from supernet.errors import SettingsError, SpaceError
from supernet.space import Architecture, Choice, Option, SearchSpace
from supernet.training.samplers.draws import Draw


@final
@dataclass(frozen=True, slots=True)
class Split:
    """Divides the batch among several architectures: many at the price of one path per step.

    In each draw every option of a choice comes equally often among the architectures in which the
    choice counts, as far as the numbers allow; in expectation exactly, if it always counts.

    Attributes:
        paths: How many architectures; fewer where the space is smaller.

    Raises:
        SettingsError: If `paths` is below one.
    """

    paths: int = 4

    def __post_init__(self) -> None:
        if self.paths < 1:
            raise SettingsError(f"paths is {self.paths}; it must be at least 1")

    def __call__(self, space: SearchSpace, rng: random.Random) -> Draw:
        paths = min(self.paths, space.size)
        return Draw(balance(space, Architecture(), paths, rng), divided=True)


@final
@dataclass(frozen=True, slots=True)
class Fair:
    """Draws architectures that use each option of each choice equally often, in every step.

    There are as many as the least common multiple of the numbers of options: as many as there are
    options, where all choices have the same number of them, as in the paper. One that comes out
    several times is trained once and counts as often. (The paper adds the gradients of a step up;
    here, as with all samplers, they are averaged.)

    For choices that always count, equally often is meant strictly. One that counts in some of the
    architectures only has its options used as evenly among those as their number allows: how often
    two of them are used differs by one at most.

    Attributes:
        most: The most architectures that a step may have.

    References:
        Chu, Zhang and Xu, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
        Architecture Search", ICCV 2021, arXiv:1907.01845.
    """

    most: int = 64

    def __call__(self, space: SearchSpace, rng: random.Random) -> Draw:
        numbers = sorted({len(choice.options) for choice in space.choices})
        count = math.lcm(*numbers)
        if count > self.most:
            raise SpaceError(
                f"strict fairness takes {count:,} architectures in each step, the least common "
                f"multiple of the numbers of options, {numbers}; at most {self.most:,} are "
                "allowed: raise `most`, or use `split` or `uniform`, which are fair on average"
            )
        times = Counter(space.deal(count, _even(rng)))
        weights = tuple(map(float, times.values())) if len(times) < count else None
        return Draw(tuple(times), weights=weights)


def balance(
    space: SearchSpace, beginning: Architecture, count: int, rng: random.Random
) -> tuple[Architecture, ...]:
    """Return architectures that begin alike and go on differently, options evenly used.

    All options of a choice are treated alike, so they are equally often used in expectation. Where
    two come out the same, they are one.
    """
    numbers = space.numbers(beginning)
    if count >= numbers.stop - numbers.start:  # `len` can't count past 2**63
        return tuple(map(space.at, numbers))
    return tuple(dict.fromkeys(space.deal(count, _even(rng), beginning)))


def _even(rng: random.Random) -> Callable[[Choice, int], list[Option]]:
    """Return how to deal: each option as often as the others, or once more, in random order."""

    def shuffled(choice: Choice, times: int) -> list[Option]:
        whole, rest = divmod(times, len(choice.options))
        options = [*choice.options * whole, *rng.sample(choice.options, rest)]
        rng.shuffle(options)
        return options

    return shuffled
