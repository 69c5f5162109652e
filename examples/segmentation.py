"""Segmentation: a class for every pixel; pixels of class 255 don't count.

supernet train --net examples/segmentation.py:build --data examples/segmentation.py:load \
    --task dense --learning-rate 0.05
"""

import torch
from torch import Tensor, nn

import supernet as sn


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise in which a bright square is to be found; its border doesn't count."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(count, 1, 16, 16, generator=generator), torch.zeros(count, 16, 16).long()
    for number, place in enumerate(torch.randint(0, 8, (count, 2), generator=generator).tolist()):
        box = (slice(place[0], place[0] + 8), slice(place[1], place[1] + 8))
        x[number, 0][box] += 2
        y[number][box] = 1
    return x, torch.where(x[:, 0].abs() < 0.05, 255, y)


def load() -> tuple[tuple[Tensor, Tensor], ...]:
    return pictures(1000, seed=1), pictures(200, seed=2), pictures(200, seed=3)


def build(shape: tuple[int, ...], width: int = 8) -> nn.Sequential:
    def block() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))

    first = nn.Conv2d(shape[0], width, 3, padding=1)
    return nn.Sequential(first, sn.Depth("body", [block(), block()]), nn.Conv2d(width, 2, 1))


if __name__ == "__main__":
    recipe = sn.Recipe(epochs=2, batch_size=20, learning_rate=0.05)
    result = sn.train(sn.Supernet(build((1, 16, 16))), load(), recipe, task=sn.Dense())
    print(result.best, result.scores[result.best])
