"""Which architectures a training step draws."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from supernet.errors import SpaceError
from supernet.space import Architecture, SearchSpace

Sampler = Callable[[SearchSpace, random.Random], Sequence[Architecture]]

#: More architectures than this in one step would be a mistake, not a plan.
MOST_AT_ONCE = 4096


def every(space: SearchSpace, rng: random.Random) -> Sequence[Architecture]:
    """Draw all architectures, in every step. With shared execution that costs little more than one.

    Raises:
        SpaceError: If the space has more than 4096 architectures.
    """
    if space.size > MOST_AT_ONCE:
        raise SpaceError(
            f"the sampler `every` would train all {space.size:,} architectures in each step; "
            f"it takes at most {MOST_AT_ONCE:,}: use `uniform`"
        )
    return list(space)


def uniform(space: SearchSpace, rng: random.Random) -> Sequence[Architecture]:
    """Draw one architecture per step, all equally likely.

    References:
        Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
        ECCV 2020, arXiv:1904.00420.
    """
    return [space.sample(rng)]


SAMPLERS: dict[str, Sampler] = {"every": every, "uniform": uniform}
