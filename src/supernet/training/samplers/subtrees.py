"""Samplers of architectures that begin alike and share much of their work."""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from supernet.errors import SettingsError
from supernet.space import Architecture, SearchSpace
from supernet.training.samplers.balanced import balance
from supernet.training.samplers.draws import Draw

if TYPE_CHECKING:
    from supernet.nn.supernet import Supernet
    from supernet.sharing import Planner

_MOST_ENDS = 64  # of a sub-tree

#: Draws of which a sub-tree's work is averaged.
_PROBES = 8


@final
@dataclass(frozen=True, slots=True)
class Subtree:
    """Draws architectures that agree in their first choices and part after them.

    A step shares the common beginning and trains several ends. Where they part is drawn too, all
    places equally likely; how many architectures there are then depends on the place alone, not
    on the options drawn, so every option of a choice is drawn equally often in expectation. (Where
    choices depend on others, some beginnings have fewer ends, and come as seldom as that makes
    them: all architectures are equally likely to have theirs drawn.) Within a draw the ends are
    balanced: each option of a choice comes equally often where the choice counts, as far as the
    numbers allow. Made by `make_subtree`, which knows what places cost.

    Attributes:
        ends: For each number of leading choices in common, how many architectures are drawn; one
            is for a place that is never drawn.
        savings: For each, how many times cheaper they are together than one by one, on average.
    """

    ends: tuple[int, ...]
    savings: tuple[float, ...]

    def __call__(self, space: SearchSpace, rng: random.Random) -> Draw:
        place = rng.choice([place for place, ends in enumerate(self.ends) if ends > 1])
        return Draw(_subtree(space, place, self.ends[place], rng))

    def __str__(self) -> str:
        ways = [
            f"{ends} that agree in the first {place} choices ({saving:.1f} times cheaper than one "
            "by one)"
            for place, (ends, saving) in enumerate(zip(self.ends, self.savings, strict=True))
            if ends > 1
        ]
        return "architectures per step, each equally often: " + "; ".join(ways)


def make_subtree(supernet: Supernet, x: Any, *, budget: float = 2.0) -> Subtree:
    """Return the sampler `subtree` for a network.

    Args:
        supernet: The network. Its choices should be in the order in which they run, as they are if
            its modules are; another order is right too, but shares less.
        x: An input such as it will get, or one without content; see `sharing.plan`.
        budget: The multiply-adds of a step, on average over draws that part at the same place, in
            units of the largest architecture's. A place whose draws would be above is never drawn.

    Raises:
        SettingsError: If the space has one architecture only, or the budget doesn't allow for two.
    """
    space = supernet.space
    if space.size == 1:
        raise SettingsError("the sampler `subtree` needs more than one architecture")
    from supernet.evaluation.batches import planner_for  # here, because it needs torch

    planner = planner_for(supernet, x)
    bound = budget * planner.plan([space.largest]).macs
    found = [_most_ends(planner, space, place, bound) for place in range(len(space.choices))]
    if max(ends for ends, _ in found) < 2:
        raise SettingsError(
            f"a budget of {budget:g} largest architectures per step allows for one only; raise it "
            "(2 is always enough), or use `uniform`"
        )
    return Subtree(tuple(ends for ends, _ in found), tuple(saving for _, saving in found))


def _most_ends(planner: Planner, space: SearchSpace, place: int, bound: float) -> tuple[int, float]:
    """Return how many architectures that part at `place` fit the bound, and what they save."""
    rng = random.Random(0)  # of a measurement, which should come out the same every time
    savings = {1: 1.0}

    def too_many(ends: int) -> bool:
        plans = [planner.plan(_subtree(space, place, ends, rng)) for _ in range(_PROBES)]
        macs, apart = sum(p.macs for p in plans), sum(p.macs_apart for p in plans)
        savings[ends] = apart / macs if macs else 1.0
        return macs > bound * _PROBES

    candidates = range(2, min(_MOST_ENDS, space.most(place)) + 1)
    ends = 1 + bisect.bisect_left(candidates, True, key=too_many)
    return ends, savings[ends]


def _subtree(
    space: SearchSpace, place: int, ends: int, rng: random.Random
) -> tuple[Architecture, ...]:
    beginning = space.sample(rng).restrict(c.name for c in space.choices[:place])
    return balance(space, beginning, ends, rng)
