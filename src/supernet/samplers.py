"""Which architectures a training step draws.

`every` and `subtree` train several architectures on each batch, in one shared pass: a richer step,
and a dearer one. `uniform` and `uniform_options` train one. `split` trains several at the price of
one, each on a part of the batch. More architectures per step mean fewer steps in the same time;
docs/experiments.md says where we found which to win.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from supernet.errors import SettingsError, SpaceError
from supernet.sharing import Planner
from supernet.space import Architecture, Choice, Option, SearchSpace
from supernet.supernet import Supernet

#: More architectures than this in one step would be a mistake, not a plan.
MOST_AT_ONCE = 4096
_MOST_ENDS = 64  # of a sub-tree

#: Draws of which a sub-tree's work is averaged.
_PROBES = 8


@dataclass(frozen=True, slots=True)
class Draw:
    """What a step trains.

    Attributes:
        archs: The architectures.
        divided: Whether the batch is divided among them; otherwise each gets all of it.
    """

    archs: tuple[Architecture, ...]
    divided: bool = False


Sampler = Callable[[SearchSpace, random.Random], Draw]


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
    return Draw(tuple(space))


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
        return Draw(_balanced(space, Architecture(), paths, rng), divided=True)


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
    planner = Planner(supernet, x)
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
    return _balanced(space, beginning, ends, rng)


def _balanced(
    space: SearchSpace, beginning: Architecture, count: int, rng: random.Random
) -> tuple[Architecture, ...]:
    """Return architectures that begin alike and go on differently, options evenly used.

    All options of a choice are treated alike, so they are equally often used in expectation. Where
    two come out the same, they are one.
    """
    numbers = space.numbers(beginning)
    if count >= numbers.stop - numbers.start:  # `len` can't count past 2**63
        return tuple(map(space.at, numbers))

    def shuffled(choice: Choice, times: int) -> list[Option]:
        whole, rest = divmod(times, len(choice.options))
        options = [*choice.options * whole, *rng.sample(choice.options, rest)]
        rng.shuffle(options)
        return options

    return tuple(dict.fromkeys(space.deal(count, shuffled, beginning)))


def make_sampler(
    name: str, supernet: Supernet, x: Any, *, budget: float = 2.0, paths: int = 4
) -> Sampler:
    """Return a sampler by its name: `every`, `uniform`, `uniform options`, `subtree` or `split`.

    Args:
        name: Which.
        supernet: The network it is for.
        x: An input such as it will get, for `subtree`.
        budget: Of `subtree`.
        paths: Of `split`.

    Raises:
        SettingsError: If there is no such sampler, or it can't be had for these arguments.
    """
    if name == "subtree":
        return make_subtree(supernet, x, budget=budget)
    known: dict[str, Sampler] = {
        "every": every,
        "uniform": uniform,
        "uniform options": uniform_options,
        "split": Split(paths),
    }
    if name not in known:
        raise SettingsError(f"there is no sampler {name!r}; choose {', '.join(known)} or subtree")
    return known[name]


def training_macs(draw: Draw, planner: Planner) -> int:
    """Return the multiply-adds per sample of a training step over a draw, gradients included."""
    # Divided, each architecture has its share of the samples.
    sets = [(arch,) for arch in draw.archs] if draw.divided else [draw.archs]
    plans = [planner.plan(archs) for archs in sets]
    return sum(plan.training_macs for plan in plans) // sum(plan.samples for plan in plans)
