"""Choice of the architectures that a training scores: all, or a sample drawn once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final, Literal

from supernet.errors import SettingsError
from supernet.space import Architecture, SearchSpace

#: A space of at most so many architectures is scored whole, unless told otherwise.
ALL_UP_TO: Final = 256
#: Of a larger one, so many.
SAMPLE: Final = 64
#: To score more than these after every epoch would be a mistake, not a plan.
MOST: Final = 100_000

#: How many to score, all of them, or which.
Scored = int | Literal["all"] | Architecture | Iterable[Architecture]


def choose_scored(space: SearchSpace, wanted: Scored | None, seed: int) -> tuple[Architecture, ...]:
    """Return the architectures that a training scores, in the order of the space.

    The same arguments give the same sample, always with the smallest and the largest. No space is
    listed for it.

    Args:
        space: The space.
        wanted: How many; `all`; or these. By default all of at most 256, else 64.
        seed: Of the sample.

    Raises:
        SettingsError: If there are not that many, or too few to hold the smallest and the largest.
        SpaceError: If one of `wanted` is not in the space.
    """
    if isinstance(wanted, str):
        if wanted != "all":
            raise SettingsError(
                f"score is {wanted!r}; give a number, 'all', or a list of architectures"
            )
        wanted = space.size
    if isinstance(wanted, Architecture):
        wanted = [wanted]
    if wanted is None:
        wanted = space.size if space.size <= ALL_UP_TO else SAMPLE
    if not isinstance(wanted, int):
        return _checked(space, wanted)
    if min(wanted, space.size) > MOST:
        raise SettingsError(
            f"score asks for {min(wanted, space.size):,} architectures, of which each would be "
            f"scored after every epoch; ask for at most {MOST:,}"
        )
    if wanted >= space.size and wanted >= 1:
        return tuple(space)
    if wanted < 2 or isinstance(wanted, bool):
        raise SettingsError(
            f"score is {wanted!r}; it must be at least 2, for the smallest and the largest"
        )
    rng = random.Random(f"scored {seed}")  # its own: what a sampler draws doesn't depend on it
    numbers = {0, space.size - 1}
    if 2 * wanted > space.size:
        numbers |= set(rng.sample(range(1, space.size - 1), wanted - 2))
    while len(numbers) < wanted:  # at least every second draw is a new one
        numbers.add(rng.randrange(space.size))
    return tuple(space.at(number) for number in sorted(numbers))


def _checked(space: SearchSpace, wanted: Iterable[Architecture]) -> tuple[Architecture, ...]:
    archs = tuple(dict.fromkeys(wanted))
    if not archs:
        raise SettingsError("score is empty; give at least one architecture to score")
    for arch in archs:
        space.validate(arch)
    return archs
