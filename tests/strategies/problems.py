"""Problems to search, large and small, with a formula for everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supernet.space import Architecture, Choice, Condition, SearchSpace

PLAIN = SearchSpace(tuple(Choice(f"c{at:02}", (0, 1, 2, 3)) for at in range(20)))

#: A choice of depth, and kernels of blocks that it may leave out.
NESTED = SearchSpace(
    (
        Choice("depth", (1, 2, 3)),
        Choice("kernel1", (3, 5, 7)),
        Choice("kernel2", (3, 5, 7)),
        Choice("kernel3", (3, 5, 7)),
        Choice("op", ("skip", "conv")),
        Choice("op.width", (8, 16)),
    ),
    (
        Condition("kernel2", (("depth", (2, 3)),)),
        Condition("kernel3", (("depth", (3,)),)),
        Condition("op.width", (("op", ("conv",)),)),
    ),
)

_WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 20)


def size(arch: Architecture) -> float:
    """Return a cost: a weighted sum of the options."""
    return float(sum(w * number(arch[name]) for w, name in zip(_WEIGHTS, arch, strict=True)))


def score(arch: Architecture) -> float:
    """Return a score with diminishing returns, and neighbors that help each other."""
    options = np.array([number(option) for option in arch.values()], float)
    return float(
        (_WEIGHTS[::-1] * np.sqrt(options)).sum() + 0.3 * (options[1:] == options[:-1]).sum()
    )


def scores(archs: Sequence[Architecture]) -> dict[Architecture, float]:
    """Return the score of each."""
    return {arch: score(arch) for arch in archs}


def number(option: int | str) -> int:
    """Return an option that is a number."""
    assert isinstance(option, int)
    return option
