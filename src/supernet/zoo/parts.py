"""What the networks of the zoo are made of, and how they are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from supernet.errors import SettingsError


def require(least: int, /, **sizes: int) -> None:
    """Raise `SettingsError`, naming the size, if one is below `least`."""
    for name, value in sizes.items():
        if value < least:
            raise SettingsError(f"{name} is {value}; it must be at least {least}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block, weights are drawn from `seed`. No generator outside is touched."""
    with torch.random.fork_rng(devices=()):
        # Not torch.manual_seed, which seeds the generators of all devices.
        torch.default_generator.manual_seed(seed)
        yield


def conv_bn_relu(inp: int, out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU.

    With an odd kernel it keeps height and width at stride 1, and halves them, rounded up, at 2.
    """
    return nn.Sequential(
        nn.Conv2d(inp, out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def classifier(
    width: int, classes: int, *, shape: tuple[int, int, int], halvings: int
) -> tuple[nn.Module, ...]:
    """Return the end of a network: global average pooling, and a linear layer.

    Args:
        width: Channels that arrive.
        classes: How many classes there are.
        shape: Of one image, as the network gets it: channels, height, width.
        halvings: How many strides of 2 there were since.
    """
    _, high, wide = shape
    for _ in range(halvings):
        high, wide = (high + 1) // 2, (wide + 1) // 2
    # Unlike that of nn.AdaptiveAvgPool2d(1), the gradient of this keeps the channels_last layout,
    # which makes the step over all nine networks of `build_mnist_net` 4 % cheaper on a CPU.
    return nn.AvgPool2d((high, wide)), nn.Flatten(), nn.Linear(width, classes)


def channels_last(net: nn.Sequential) -> nn.Sequential:
    """Put the weights of convolutions in the layout that is the fastest on a CPU."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
