"""Training of a supernet for so many CPU seconds, and scores of the yardstick's networks in it."""

from __future__ import annotations

import collections
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch

from supernet.datasets import ImageData
from supernet.evaluation.accuracy import evaluate
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
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
class Rule:
    """How a supernet is trained: its sampler, and what its recipe has besides.

    Attributes:
        make: Makes the sampler for a network and an input.
        changes: Fields of the recipe other than today's.
        costs_alike: Whether a step costs as much as today's, so that nobody need measure.
    """

    make: Callable[[Supernet, torch.Tensor], AnySampler]
    changes: Mapping[str, Any] = field(default_factory=dict)
    costs_alike: bool = False


def train_supernet(
    space: str, rule: Rule, seed: int, data: ImageData, steps: int
) -> tuple[Supernet, dict[str, Any]]:
    """Return a supernet trained for so many steps, to whole epochs, and what that took.

    Args:
        space: Which space.
        rule: How.
        seed: Of weights, data order and sampler.
        data: The yardstick's.
        steps: About how many.
    """
    build, recipe = SPACES[space], replace(TODAY, **rule.changes)
    sampler = rule.make(build(seed), torch.zeros(2, *SHAPE))
    supernet = build(seed)
    images, epochs = _images_for(steps, recipe, data)
    start = time.process_time()
    training = train_steps(
        supernet,
        data.train.first(images),
        replace(recipe, epochs=epochs),
        sampler=sampler,
        seed=seed,
    )
    drawn = [len(step.draw.archs) for step in training]
    training.settle()
    return supernet, {
        "steps": len(drawn),
        "architectures_per_step": round(sum(drawn) / len(drawn), 2),
        "cpu_s": round(time.process_time() - start, 2),
    }


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
    supernet: Supernet, archs: Sequence[Architecture], data: ImageData, images: int
) -> dict[str, Any]:
    """Return accuracies in percent and mean losses in the supernet, on the first test images."""
    start = time.process_time()
    found = evaluate(
        supernet,
        archs,
        calibration=data.train.first(min(CALIBRATION, len(data.train))).inputs(SCORING_BATCH),
        batches=data.test.first(images).batches(SCORING_BATCH),
        per_sample=True,
    )
    return {
        "accuracy": [round(100 * found[arch].score, 3) for arch in archs],
        "loss": [round(found[arch].loss, 5) for arch in archs],
        "scored": images,
        "scoring_cpu_s": round(time.process_time() - start, 2),
    }
