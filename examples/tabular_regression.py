"""Regression on a table: six numbers in, one out.

supernet train --net examples/tabular_regression.py:build \
    --data examples/tabular_regression.py:load --task regression --learning-rate 0.01
"""

import torch
from torch import Tensor, nn

import supernet as sn


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :1] * x[:, 1:2]).sin() + x[:, 2:3]


def load() -> tuple[tuple[Tensor, Tensor], ...]:
    return rows(4000, seed=1), rows(1000, seed=2), rows(1000, seed=3)


def build(shape: tuple[int, ...], width: int = 32) -> nn.Sequential:
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(4)]
    return nn.Sequential(
        nn.Linear(shape[0], width), nn.ReLU(), sn.Depth("body", layers), nn.Linear(width, 1)
    )


if __name__ == "__main__":
    recipe = sn.Recipe(epochs=5, batch_size=32, learning_rate=0.01)
    result = sn.train(sn.Supernet(build((6,))), load(), recipe, task=sn.Regression())
    print(result.best, result.scores[result.best])
