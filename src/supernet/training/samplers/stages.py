"""Samplers that change during the training, and samplers made of others."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import final

from supernet.errors import SettingsError
from supernet.space import Architecture, Choice, Option, SearchSpace
from supernet.training.samplers.draws import AnySampler, Draw, Sampler, sampler_at
from supernet.training.samplers.paths import largest


@final
@dataclass(frozen=True, slots=True)
class Phases:
    """Uses one sampler after the other.

    >>> from supernet.training.samplers import uniform
    >>> Phases(((0.2, largest), (1.0, uniform))).at(0.2) is uniform
    True

    Attributes:
        phases: Until which share of the training, and which sampler; the last until 1. A sampler
            that itself changes as the training proceeds has its phase for all of it.

    Raises:
        SettingsError: If the shares don't rise from above 0 to 1.
    """

    phases: tuple[tuple[float, AnySampler], ...]

    def __post_init__(self) -> None:
        ends = [end for end, _ in self.phases]
        if not ends or ends[-1] != 1 or not all(a < b for a, b in pairwise([0, *ends])):
            raise SettingsError(f"phases end at {ends}; shares must rise from above 0 to 1 at last")

    def at(self, done: float) -> Sampler:
        start = 0.0
        for end, sampler in self.phases[:-1]:
            if done < end:
                return sampler_at(sampler, (done - start) / (end - start))
            start = end
        return sampler_at(self.phases[-1][1], (done - start) / (1 - start))


def warm_up(sampler: AnySampler, share: float) -> Phases:
    """Train the largest architecture alone first, for a share of the training.

    Raises:
        SettingsError: If the share is not between 0 and 1.
    """
    return Phases(((share, largest), (1.0, sampler)))


@final
@dataclass(frozen=True, slots=True)
class Shrinking:
    """Opens the options step by step: the largest architecture first, then ever smaller ones too.

    The training has stages of equal length. In the first, every choice has its last option. In
    each further one, the choices whose turn it is get one more option, the next smaller; once they
    have all, it is the turn of others. All options that are open are equally likely. A training of
    fewer steps than stages leaves some out.

    (The paper trains each stage against the outputs of the largest network as the first stage left
    it. Here that is a matter of the recipe, and the largest as it is: see `Recipe.distill`.)

    Attributes:
        order: Patterns for the names of choices, as of files, in the order of their turns; a choice
            has its turn with the first that fits. As in the paper:
            `("*kernel", "*depth", "*expansion")`.
        paths: How many architectures a step trains; fewer where some coincide.

    Raises:
        SettingsError: If `paths` is below one or `order` empty; in drawing, if a choice fits no
            pattern, or a pattern no choice.

    References:
        Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
        ICLR 2020, arXiv:1908.09791.
    """

    order: tuple[str, ...] = ("*",)
    paths: int = 1

    def __post_init__(self) -> None:
        if self.paths < 1:
            raise SettingsError(f"paths is {self.paths}; it must be at least 1")
        if not self.order:
            raise SettingsError("order is empty; name the choices to open, or give ('*',) for all")

    def at(self, done: float) -> Sampler:
        def draw(space: SearchSpace, rng: random.Random) -> Draw:
            opened = self.opened(space, done)

            def options_of(choice: Choice, times: int) -> list[Option]:
                return [rng.choice(opened[choice.name]) for _ in range(times)]

            return Draw(tuple(dict.fromkeys(space.deal(self.paths, options_of))))

        return draw

    def opened(self, space: SearchSpace, done: float) -> dict[str, tuple[Option, ...]]:
        """Return the options that are open at a point of the training, by choice."""
        turns = {choice.name: self._turn(choice.name) for choice in space.choices}
        rounds = [
            max((len(c.options) - 1 for c in space.choices if turns[c.name] == turn), default=None)
            for turn in range(len(self.order))
        ]
        if space.choices and None in rounds:
            idle = self.order[rounds.index(None)]
            raise SettingsError(
                f"{idle!r} in the order fits no choice that an earlier pattern doesn't; the "
                f"choices are {', '.join(turns)}"
            )
        lengths = [count or 0 for count in rounds]
        stage = int(done * (1 + sum(lengths)))
        return {
            choice.name: choice.options[-1 - max(0, stage - sum(lengths[: turns[choice.name]])) :]
            for choice in space.choices
        }

    def _turn(self, name: str) -> int:
        for turn, pattern in enumerate(self.order):
            if fnmatchcase(name, pattern):
                return turn
        raise SettingsError(
            f"the order {', '.join(self.order)} never opens {name!r}; name it, or add * at the end"
        )


@final
@dataclass(frozen=True, slots=True)
class WithLargest:
    """Adds the largest architecture to every draw of a sampler, for `Recipe(distill=True)`."""

    sampler: AnySampler

    def at(self, done: float) -> Sampler:
        inner = sampler_at(self.sampler, done)
        return lambda space, rng: inner(space, rng).adding(space.largest)


@final
@dataclass(frozen=True, slots=True)
class Weighted:
    """Lets the loss of some architectures count more than that of others.

    Attributes:
        sampler: What draws them.
        weigh: Returns a number above 0 for an architecture, by which its weight is multiplied.
    """

    sampler: AnySampler
    weigh: Callable[[Architecture], float]

    def at(self, done: float) -> Sampler:
        inner = sampler_at(self.sampler, done)

        def draw(space: SearchSpace, rng: random.Random) -> Draw:
            drawn = inner(space, rng)
            weights = [self.weigh(arch) * drawn.weight((arch,)) for arch in drawn.archs]
            return replace(drawn, weights=tuple(weights))

        return draw
