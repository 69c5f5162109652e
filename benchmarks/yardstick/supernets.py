"""Training of a supernet for so many CPU seconds, and scores of the yardstick's networks in it."""

from __future__ import annotations

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
#: Each part of a training on trial, whose second half says what a step costs.
TRIED: Final = 40


@dataclass(frozen=True)
class Rule:
    """How a supernet is trained: its sampler, and what its recipe has besides.

    Attributes:
        make: Makes the sampler for a network and an input.
        changes: Fields of the recipe other than today's.
    """

    make: Callable[[Supernet, torch.Tensor], AnySampler]
    changes: Mapping[str, Any] = field(default_factory=dict)


def train_supernet(
    space: str,
    rule: Rule,
    seed: int,
    data: ImageData,
    *,
    seconds: float,
    steps: int | None = None,
) -> tuple[Supernet, dict[str, Any]]:
    """Return a supernet trained for so many CPU seconds, and what that took.

    Args:
        space: Which space.
        rule: How.
        seed: Of weights, data order and sampler.
        data: The yardstick's.
        seconds: How many; the steps that fit are found by a short training on trial.
        steps: How many steps instead, if it is known.
    """
    build, recipe = SPACES[space], replace(TODAY, **rule.changes)
    sampler = rule.make(build(seed), torch.zeros(2, *SHAPE))
    if steps is None:
        steps = round(seconds / seconds_per_step(build(seed), data, recipe, sampler))
    per_epoch = len(data.train) // recipe.batch_size
    epochs = max(1, round(steps / per_epoch))
    supernet = build(seed)
    start = time.process_time()
    training = train_steps(
        supernet, data.train, replace(recipe, epochs=epochs), sampler=sampler, seed=seed
    )
    drawn = [len(step.draw.archs) for step in training]
    training.settle()
    return supernet, {
        "steps": len(drawn),
        "architectures_per_step": round(sum(drawn) / len(drawn), 2),
        "cpu_s": round(time.process_time() - start, 2),
    }


def seconds_per_step(
    supernet: Supernet, data: ImageData, recipe: Recipe, sampler: AnySampler
) -> float:
    """Return the CPU seconds of a step, from a short training on trial; it spoils the network."""
    trial = replace(recipe, epochs=1, learning_rate=1e-3)
    for _ in range(2):
        start = time.process_time()
        part = data.train.first(TRIED * recipe.batch_size)
        for _ in train_steps(supernet, part, trial, sampler=sampler):
            pass
    return (time.process_time() - start) / TRIED


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
