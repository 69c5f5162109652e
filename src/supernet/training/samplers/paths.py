"""Basic samplers: every architecture, the largest, random ones, or the ends and some."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import final

from supernet.errors import SettingsError, SpaceError
from supernet.space import SearchSpace
from supernet.training.samplers.draws import Draw

#: More architectures than this in one step would be a mistake, not a plan.
MOST_AT_ONCE = 4096


def every(space: SearchSpace, rng: random.Random) -> Draw:
    """Draw all architectures, in every step. With shared execution that costs little more than one.

    Raises:
        SpaceError: If the space has more than 4096 architectures.
    """
    if space.size > MOST_AT_ONCE:
        raise SpaceError(
            f"the sampler `every` would train all {space.size:,} architectures in each step; "
            f"it takes at most {MOST_AT_ONCE:,}: use `subtree`, `split` or `uniform`"
        )
    return _all_of(space)


@functools.lru_cache(maxsize=8)
def _all_of(space: SearchSpace) -> Draw:
    return Draw(tuple(space))


def largest(space: SearchSpace, rng: random.Random) -> Draw:
    """Draw the largest architecture, in every step; see `warm_up`."""
    return Draw((space.largest,))


def uniform(space: SearchSpace, rng: random.Random) -> Draw:
    """Draw one architecture per step, all distinct ones equally likely.

    References:
        Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
        ECCV 2020, arXiv:1904.00420.
    """
    return Draw((space.sample(rng),))


def uniform_options(space: SearchSpace, rng: random.Random) -> Draw:
    """Draw one architecture per step, all options of each choice that counts equally likely.

    That is `uniform` where no choice depends on another. Where some do, `uniform` draws shallow
    networks rarely, because there are few of them; this draws every depth equally often.
    """
    return Draw((space.sample(rng, by="options"),))


@final
@dataclass(frozen=True, slots=True)
class Sandwich:
    """Draws the largest architecture, the smallest, and random ones between them.

    The idea: what all architectures reach lies between what these two reach, so training both in
    every step lifts all. Made to go with `Recipe(distill=True)`.

    Attributes:
        paths: How many, the largest and the smallest among them; fewer where random ones coincide.

    Raises:
        SettingsError: If `paths` is below two.

    References:
        Yu and Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019,
        arXiv:1903.05134.
    """

    paths: int = 4

    def __post_init__(self) -> None:
        if self.paths < 2:
            raise SettingsError(
                f"paths is {self.paths}; a sandwich needs at least 2, the largest and the smallest"
            )

    def __call__(self, space: SearchSpace, rng: random.Random) -> Draw:
        between = [space.sample(rng) for _ in range(self.paths - 2)]
        return Draw(tuple(dict.fromkeys((space.largest, space.smallest, *between))))
