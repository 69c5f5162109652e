"""The yardstick's spaces: depth of residual blocks, operations at eight places, widths and kernels.

All take images of 1 x 14 x 14 in ten classes. They are so narrow that their networks differ: a
training takes two to four CPU seconds, most of them overhead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from torch import nn

from supernet.networks.zoo.parts import (
    channels_last,
    classifier,
    conv_bn_relu,
    seeded,
)
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticBatchNorm, ElasticConv2d, Residual
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from yardstick.data import SHAPE

#: How many architectures of each space are trained alone.
SAMPLED: Final = 60


def build_depth(seed: int) -> Supernet:
    """Return three stages of 0 to 3 residual convolutions: 64 architectures.

    Between stages there are average pooling and a 1x1 convolution, so all that sees more than one
    pixel is what may be left out.
    """
    widths = (8, 10, 12)
    with seeded(seed):
        stages: list[nn.Module] = []
        before = SHAPE[0]
        for number, width in enumerate(widths, start=1):
            pool = [] if number == 1 else [nn.AvgPool2d(2, ceil_mode=True)]
            blocks = [Residual(conv_bn_relu(width, width)) for _ in range(3)]
            stages += [
                *pool,
                conv_bn_relu(before, width, kernel=1),
                Depth(f"stage{number}", blocks, shortest=0),
            ]
            before = width
        net = nn.Sequential(*stages, *classifier(before, 10, shape=SHAPE, halvings=2))
    return Supernet(channels_last(net))


def build_operations(seed: int) -> Supernet:
    """Return eight places with one of five operations each, two of which learn nothing.

    All that sees more than one pixel is at these places, but for average pooling half-way.
    """
    width = 8

    def place(number: int) -> OneOf:
        return OneOf(
            f"place{number}",
            {
                "skip": nn.Identity(),
                "pool": nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
                "conv1": conv_bn_relu(width, width, kernel=1),
                "depthwise3": nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ),
                "conv3": conv_bn_relu(width, width, kernel=3),
            },
        )

    with seeded(seed):
        places = [place(number) for number in range(1, 9)]
        net = nn.Sequential(
            conv_bn_relu(SHAPE[0], width, kernel=1),
            *places[:4],
            nn.AvgPool2d(2, ceil_mode=True),
            conv_bn_relu(width, width, kernel=1),
            *places[4:],
            *classifier(width, 10, shape=SHAPE, halvings=1),
        )
    return Supernet(channels_last(net))


def build_widths(seed: int) -> Supernet:
    """Return five convolutions of one of four widths and one of three kernel sizes each."""
    with seeded(seed):
        chain: list[nn.Module] = []
        before: int | Choice = SHAPE[0]
        for number in range(1, 6):
            options = (2, 4, 8, 12) if number < 4 else (4, 8, 16, 24)
            width = Choice(f"width{number}", options)
            kernel = Choice(f"kernel{number}", (1, 3, 5))
            stride = 2 if number in (2, 4) else 1
            chain += [
                ElasticConv2d(before, width, kernel, stride=stride, bias=False),
                ElasticBatchNorm(width),
                nn.ReLU(),
            ]
            before = width
        net = nn.Sequential(*chain, *classifier(before, 10, shape=SHAPE, halvings=2))
    return Supernet(channels_last(net))


SPACES: Final[Mapping[str, Callable[[int], Supernet]]] = {
    "depth": build_depth,
    "operations": build_operations,
    "widths": build_widths,
}


def sample(supernet: Supernet, count: int = SAMPLED) -> list[Architecture]:
    """Return the architectures whose ranking is judged: drawn with a fixed seed, each once."""
    rng = random.Random(0)
    found: dict[Architecture, None] = {}
    for _ in range(100 * count):
        found.setdefault(supernet.space.sample(rng, by="options"))
        if len(found) == min(count, supernet.space.size):
            break
    return list(found)
