"""Training of single networks: the truth of the yardstick, one line each."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from supernet.datasets import ImageData
from supernet.evaluation.accuracy import Scores, evaluate
from supernet.evaluation.cost import count_layers, count_network_macs, count_params
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.steps import train_steps
from yardstick.data import SCORED, SHAPE
from yardstick.spaces import SPACES

#: Settled by small sweeps, see docs/experiments.md.
RECIPES: Final[Mapping[str, Recipe]] = {
    "depth": Recipe(epochs=3, batch_size=32, learning_rate=0.1),
    "operations": Recipe(epochs=3, batch_size=32, learning_rate=0.2),
    "widths": Recipe(epochs=3, batch_size=32, learning_rate=0.2),
}
CALIBRATION, SCORING_BATCH = 1000, 250


def train_alone(
    space: str, arch: Architecture, seed: int, data: ImageData, recipe: Recipe, hits: bool = False
) -> dict[str, Any]:
    """Train an architecture from scratch; return what it reaches, and what it took.

    With `hits`, also which images it gets right, as text.
    """
    plain = extract(SPACES[space](1000 + seed), arch)
    line = {"space": space, "arch": dict(arch), "seed": seed, "layers": count_layers(plain)}
    line |= {"params": count_params(plain)}
    net = Supernet(plain)
    start = time.process_time()
    for _ in train_steps(net, data.train, recipe, seed=seed):
        pass
    line |= {"cpu_s": round(time.process_time() - start, 3)}
    scores = score(net, data)
    line |= scores_of(scores) | {"macs": count_network_macs(plain, SHAPE)}
    if hits and scores.scores is not None:
        line["hits"] = base64.b64encode(np.packbits(scores.scores.numpy()).tobytes()).decode()
    return line


def hits_of(line: dict[str, Any], scored: int = SCORED) -> NDArray[np.bool_]:
    """Return which images a network got right, from its line."""
    bits = np.frombuffer(base64.b64decode(line["hits"]), np.uint8)
    return np.unpackbits(bits, count=scored).astype(np.bool_)


def score(net: Supernet, data: ImageData) -> Scores:
    """Return the scores of a plain network on the images to score on."""
    (found,) = evaluate(
        net,
        list(net.space),
        calibration=data.train.first(min(CALIBRATION, len(data.train))).inputs(SCORING_BATCH),
        batches=data.validation.batches(SCORING_BATCH),
        per_sample=True,
    ).values()
    return found


def scores_of(scores: Scores) -> dict[str, float]:
    """Return accuracy and mean loss, as a line has them."""
    return {"accuracy": round(scores.score, 4), "loss": round(scores.loss, 5)}
