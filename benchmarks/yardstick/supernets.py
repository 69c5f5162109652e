"""Training of a supernet for so many CPU seconds, and scores of the yardstick's networks in it."""

from __future__ import annotations

import collections
import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any, Final

import torch

from supernet.datasets import ImageData
from supernet.evaluation.accuracy import Scores, evaluate
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.training.fewshot import SURROUNDINGS, find_division
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler
from supernet.training.steps import train_steps
from yardstick.alone import CALIBRATION, SCORING_BATCH
from yardstick.data import SHAPE
from yardstick.spaces import SPACES

#: What a run of the command line trains with today, but for the epochs.
TODAY: Final = Recipe(batch_size=32, learning_rate=0.2)
#: Steps that are timed at a time, and how often.
TRIED, TURNS = 16, 5


@dataclass(frozen=True)
class Parts:
    """Few-shot training, as `train_few_shot` has it, for a number of steps.

    Attributes:
        count: How many supernets each have a part of the space.
        common: The share of the steps that the common one gets.
        rate: By what the learning rate of the parts is multiplied.
    """

    count: int
    common: float
    rate: float = 1.0


@dataclass(frozen=True)
class Rule:
    """How a supernet is trained: its sampler, and what its recipe has besides.

    Attributes:
        make: Makes the sampler for a network and an input.
        changes: Fields of the recipe other than today's.
        costs_alike: Whether a step costs as much as today's, so that nobody need measure.
        parts: If the space is divided.
        members: How many supernets, of seeds of their own, share the steps; the mean of their
            scores ranks.
        late: At which shares of the steps besides the end the weights are scored, too; the mean
            ranks.
    """

    make: Callable[[Supernet, torch.Tensor], AnySampler]
    changes: Mapping[str, Any] = field(default_factory=dict)
    costs_alike: bool = False
    parts: Parts | None = None
    members: int = 1
    late: tuple[float, ...] = ()


def train_supernets(
    space: str, rule: Rule, seed: int, data: ImageData, steps: int
) -> tuple[list[Supernet], dict[str, Any]]:
    """Return supernets trained for so many steps together, to whole epochs, and what that took.

    Args:
        space: Which space.
        rule: How.
        seed: Of weights, data order and sampler.
        data: The yardstick's.
        steps: About how many.
    """
    start = time.process_time()
    found: list[Supernet] = []
    drawn: list[int] = []
    told: dict[str, Any] = {}
    for member in range(rule.members):
        training = _Training(rule, seed + 1000 * member, data)
        supernet, each = SPACES[space](training.seed), steps // rule.members
        if rule.parts is None:
            found += training.train(supernet, each)
        else:
            parts, divided = training.train_parts(supernet, each, rule.parts)
            found += parts
            told |= divided
        drawn += training.drawn
    return found, told | {
        "steps": len(drawn),
        "architectures_per_step": round(sum(drawn) / len(drawn), 2),
        "cpu_s": round(time.process_time() - start, 2),
    }


class _Training:
    """One by a rule, or one after the other; `drawn` has the architectures of each step."""

    def __init__(self, rule: Rule, seed: int, data: ImageData) -> None:
        self.rule, self.seed, self.data = rule, seed, data
        self.recipe = replace(TODAY, **rule.changes)
        self.drawn: list[int] = []

    def train(self, supernet: Supernet, steps: int, rate: float = 1.0) -> list[Supernet]:
        """Train for about so many steps; return it, and before that what it was at late shares."""
        sampler = self.rule.make(copy.deepcopy(supernet), torch.zeros(2, *SHAPE))
        images, epochs = _images_for(steps, self.recipe, self.data)
        recipe = replace(self.recipe, epochs=epochs, learning_rate=rate * self.recipe.learning_rate)
        training = train_steps(
            supernet, self.data.train.first(images), recipe, sampler=sampler, seed=self.seed
        )
        late = []
        for step in training:
            self.drawn.append(len(step.draw.archs))
            if step.step in (round(share * step.steps) for share in self.rule.late):
                late.append(copy.deepcopy(supernet))
        training.settle()
        return [*late, supernet]

    def train_parts(
        self, supernet: Supernet, steps: int, parts: Parts
    ) -> tuple[list[Supernet], dict[str, Any]]:
        """Train a common supernet and its parts; a gradient of the division counts as a step."""
        choices = [c for c in supernet.space.choices if len(c.options) >= parts.count]
        dividing = SURROUNDINGS * sum(len(choice.options) for choice in choices)
        steps -= dividing
        common = round(parts.common * steps)
        self.train(supernet, common)
        division = find_division(
            supernet, self.data.train, self.recipe, parts=parts.count, seed=self.seed
        )
        found = []
        for group in division.groups:
            part = copy.deepcopy(supernet)
            part.space = supernet.space.keep({division.choice: group})
            found += self.train(part, (steps - common) // parts.count, parts.rate)
        return found, {"dividing": dividing, "division": {division.choice: division.groups}}


def _images_for(steps: int, recipe: Recipe, data: ImageData) -> tuple[int, int]:
    """Return of how many images how many epochs are about so many steps."""
    epochs = max(1, math.ceil(steps * recipe.batch_size / len(data.train)))
    return max(1, steps // epochs) * recipe.batch_size, epochs


def steps_for(space: str, rule: Rule, seconds: float, data: ImageData) -> int:
    """Return how many steps of a rule take so many CPU seconds."""
    (cost,) = _costs([_trial(space, rule, data)])
    return round(seconds / cost)


def relative_cost(space: str, rule: Rule, today: Rule, data: ImageData) -> float:
    """Return how many times what a step costs today it costs by a rule, measured in turn."""
    mine, todays = _costs([_trial(space, rule, data), _trial(space, today, data)])
    return mine / todays


def _costs(trials: list[Callable[[], object]]) -> list[float]:
    """Return the CPU seconds of a step of each: the median of turns, after one that isn't timed."""
    taken: list[list[float]] = [[] for _ in trials]
    for _ in range(TURNS + 1):
        for trial, times in zip(trials, taken, strict=True):
            start = time.process_time()
            trial()
            times.append((time.process_time() - start) / TRIED)
    return [statistics.median(times[1:]) for times in taken]


def _trial(space: str, rule: Rule, data: ImageData) -> Callable[[], object]:
    supernet, probe = SPACES[space](0), SPACES[space](0)
    sampler = rule.make(probe, torch.zeros(2, *SHAPE))
    recipe = replace(TODAY, **rule.changes, epochs=1)
    part = data.train.first(TRIED * recipe.batch_size)
    seeds = itertools.count()
    return lambda: collections.deque(
        train_steps(supernet, part, recipe, sampler=sampler, seed=next(seeds)), maxlen=0
    )


def score_all(
    supernets: Sequence[Supernet], archs: Sequence[Architecture], data: ImageData, images: int
) -> dict[str, Any]:
    """Return accuracies in percent and mean losses in the supernets, on the first test images.

    An architecture has the mean of all that it is an architecture of.
    """
    start = time.process_time()
    found: dict[Architecture, list[Scores]] = {arch: [] for arch in archs}
    for supernet in supernets:
        scores = evaluate(
            supernet,
            [arch for arch in archs if arch in supernet.space],
            calibration=data.train.first(min(CALIBRATION, len(data.train))).inputs(SCORING_BATCH),
            batches=data.test.first(images).batches(SCORING_BATCH),
            per_sample=True,
        )
        for arch, score in scores.items():
            found[arch].append(score)
    return {
        "accuracy": [round(100 * mean(one.score for one in each), 3) for each in found.values()],
        "loss": [round(mean(one.loss for one in each), 5) for each in found.values()],
        "scored": images,
        "scoring_cpu_s": round(time.process_time() - start, 2),
    }
