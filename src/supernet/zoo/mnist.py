"""The network of the experiment: two variable-length blocks, nine architectures."""

from __future__ import annotations

import torch
from torch import nn

from supernet.choices import Depth
from supernet.errors import SettingsError


def conv_bn_relu(inp: int, out: int, *, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution that keeps height and width at stride 1, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inp, out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def build_mnist_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    widths: tuple[int, int] = (64, 32),
    longest: int = 3,
) -> nn.Sequential:
    """Return the network of the experiment, newly initialised.

    A convolution to `widths[0]` channels; a block of 1 to `longest` convolutions that keep the
    shape; a convolution with stride 2 to `widths[1]`; a second such block; global average pooling;
    a linear layer. With the defaults: depths (1, 1) to (3, 3), 66 to 158 thousand parameters and
    34.8 to 96.2 million multiply-adds per 28x28 image.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        widths: Channels before and after the stride-2 convolution.
        longest: The most convolutions a block may run.

    Raises:
        SettingsError: If a size is below one, or there are fewer than two classes.
    """
    for name, value, least in (
        ("classes", classes, 2),
        ("shape", min(shape), 1),
        ("widths", min(widths), 1),
        ("longest", longest, 1),
    ):
        if value < least:
            raise SettingsError(f"{name} is {value}; it must be at least {least}")
    channels, height, width = shape
    wide, narrow = widths
    with torch.random.fork_rng(devices=()):
        # Not torch.manual_seed, which seeds the generators of all devices.
        torch.default_generator.manual_seed(seed)
        net = nn.Sequential(
            conv_bn_relu(channels, wide),
            Depth("block1", [conv_bn_relu(wide, wide) for _ in range(longest)]),
            conv_bn_relu(wide, narrow, stride=2),
            Depth("block2", [conv_bn_relu(narrow, narrow) for _ in range(longest)]),
            # Global average pooling. Unlike nn.AdaptiveAvgPool2d(1), its gradient keeps the
            # channels_last layout, which makes the step over all nine 4 % cheaper on a CPU.
            nn.AvgPool2d(((height + 1) // 2, (width + 1) // 2)),
            nn.Flatten(),
            nn.Linear(narrow, classes),
        )
    return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
