"""Building blocks of the zoo's networks."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from supernet.errors import SettingsError
from supernet.nn.elastic import ElasticBatchNorm, ElasticConv2d, ElasticLinear, Width
from supernet.nn.elastic.parts import as_graph
from supernet.space import Choice


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


def elastic_conv_bn(
    inp: Width,
    out: Width,
    *,
    kernel: int = 3,
    stride: int = 1,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Return a convolution and batch norm whose widths may be chosen, and an activation."""
    return nn.Sequential(
        ElasticConv2d(inp, out, kernel, stride=stride, bias=False),
        ElasticBatchNorm(out),
        activation(),
    )


class Sum(nn.Module):
    """Adds what several modules make of one and the same input."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y: Tensor = first(x)
        for branch in others:
            y = y + branch(x)
        return y


def sum_of(*branches: nn.Module) -> fx.GraphModule:
    """Return the sum of several modules as a graph, whose class is PyTorch's.

    The modules may hold choices: shared execution looks inside.
    """
    return as_graph(Sum(*branches))


def bottleneck(inp: Width, inside: Width, out: Width, *, stride: int = 1) -> nn.Sequential:
    """Return the bottleneck of ResNet-D: what three convolutions make of the input, added to it.

    The 3x3 convolution has the stride. Where stride or width (another Choice or number) change the
    shape, the shortcut is average pooling and a 1x1 convolution.
    """
    body = nn.Sequential(
        elastic_conv_bn(inp, inside, kernel=1),
        elastic_conv_bn(inside, inside, stride=stride),
        elastic_conv_bn(inside, out, kernel=1, activation=nn.Identity),
    )
    shortcut: nn.Module = nn.Identity()
    if inp != out or stride > 1:
        pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        conv = elastic_conv_bn(inp, out, kernel=1, activation=nn.Identity)
        shortcut = nn.Sequential(pool, conv)
    return nn.Sequential(sum_of(shortcut, body), nn.ReLU(inplace=True))


def choice_of(name: str, options: Iterable[int]) -> Choice:
    """Return a choice between numbers, each given once or more often."""
    return Choice(name, tuple(dict.fromkeys(options)))


def classifier(
    width: Width, classes: int, *, shape: tuple[int, int, int], halvings: int
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
    pool = nn.AvgPool2d((high, wide))
    if isinstance(width, int):
        return pool, nn.Flatten(), nn.Linear(width, classes)
    return pool, nn.Flatten(), ElasticLinear(width, classes)


def channels_last(net: nn.Sequential) -> nn.Sequential:
    """Put the weights of convolutions in the layout that is the fastest on a CPU."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
