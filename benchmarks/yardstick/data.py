"""The yardstick's data: MNIST made small, moved about and noisy, so that networks differ."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from supernet.datasets import ImageData, load_mnist
from supernet.datasets.image_data import DataSplit

#: Height and width of an image, and by how many pixels a digit may be moved.
SIDE, SHIFT = 14, 2
#: The standard deviation of the noise; a digit's strokes are 0.5 brighter than the rest.
NOISE = 0.1
TRAIN, SCORED = 3000, 5000
SHAPE = (1, SIDE, SIDE)


def load(train: int = TRAIN, scored: int = SCORED) -> ImageData:
    """Return so many images to train on and to score on: the first ones of MNIST's splits."""
    data = load_mnist().limit(train=train, validation=scored, test=min(scored, 5000))
    return replace(
        data,
        name="small noisy MNIST",
        train=spoiled(data.train, seed=1),
        validation=spoiled(data.validation, seed=2),
        test=spoiled(data.test, seed=3),
    )


def spoiled(split: DataSplit, seed: int) -> DataSplit:
    """Return images at half the size, each moved at random, with less contrast and with noise."""
    generator = torch.Generator().manual_seed(seed)
    small = F.avg_pool2d(split.images.float() / 255, 2)
    count, room = len(small), 2 * SHIFT + 1
    padded = F.pad(small, (SHIFT,) * 4)
    top, left = (torch.randint(0, room, (count, 1), generator=generator) for _ in range(2))
    rows, columns = (start + torch.arange(SIDE) for start in (top, left))
    moved = padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None]]
    noise = NOISE * torch.randn(moved.shape, generator=generator)
    seen = (0.25 + 0.5 * moved + noise).clamp(0, 1)
    return replace(split, images=(seen * 255).byte()[:, None], mean=(0.35,), std=(0.3,))
