"""Blocks of elastic layers. They have no choices of their own, so shared execution looks inside."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.conv import ElasticConv2d
from supernet.nn.elastic.norms import ElasticBatchNorm
from supernet.nn.elastic.parts import as_graph
from supernet.nn.elastic.sizes import Size, Width, as_size
from supernet.space import Architecture, Choice


@final
class Residual(ChoiceModule):
    """Adds what a body makes of its input to the input: a block for a `Depth`.

    Args:
        body: A module that keeps the shape; it may hold choices.
    """

    has_fixed_forward = True

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x + body(x)`."""
        y: Tensor = x + self.body(x)
        return y

    def plain(self, arch: Architecture) -> nn.Module:
        return as_graph(self)


@final
class SqueezeExcitation(ChoiceModule):
    """Scales each channel by a number between 0 and 1 that depends on the means of all channels.

    Mean over height and width, 1x1 convolution to fewer channels, ReLU, 1x1 convolution back, gate.

    Args:
        width: Channels.
        reduction: How many times fewer channels there are in between.
        multiple_of: What their number is rounded to a multiple of; see `Size`.
        gate: Makes the last activation: `nn.Sigmoid` in the paper, `nn.Hardsigmoid` in MobileNetV3.

    Raises:
        SpaceError: If a width is below one.

    References:
        Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507.
    """

    has_fixed_forward = True

    def __init__(
        self,
        width: Width,
        *,
        reduction: int = 4,
        multiple_of: int = 1,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        whole = as_size(width)
        squeezed = Size((whole,), reduction, multiple_of)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ElasticConv2d(whole, squeezed, 1),
            nn.ReLU(inplace=True),
            ElasticConv2d(squeezed, whole, 1),
            gate(),
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of shape (images, width, height, width of the image), scaled."""
        y: Tensor = x * self.scale(x)
        return y

    def plain(self, arch: Architecture) -> nn.Module:
        return as_graph(self)


@final
class InvertedResidual(ChoiceModule):
    """Widens, filters each channel by itself, and narrows again; adds the input where it can.

    1x1 convolution to `expansion` times as many channels, depthwise convolution, squeeze-and-
    excitation if wanted, 1x1 convolution to the output width; a batch norm after each convolution,
    an activation after the first two norms. With an expansion of 1 the first convolution, its norm
    and its activation are left out. The input is added at stride 1 if the output has the same
    width: the same number or the same Choice.

    Args:
        in_channels: Channels it is given.
        out_channels: Channels it returns.
        kernel_size: Of the depthwise convolution; odd.
        expansion: How many times wider it is inside.
        stride: Of the depthwise convolution.
        squeeze: Whether there is a squeeze-and-excitation. To choose it, make one block with and
            one without the options of a `OneOf`.
        activation: Makes an activation.
        multiple_of: What the width inside, and that of the squeeze, is rounded to a multiple of.
        kernel_transform: As for `ElasticConv2d`.

    Raises:
        SpaceError: If a width or expansion is below one, or a kernel size is even.

    References:
        Sandler et al., "MobileNetV2", CVPR 2018, arXiv:1801.04381; with squeeze-and-excitation:
        Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244; elastic in
        expansion and kernel: arXiv:1908.09791.
    """

    has_fixed_forward = True

    def __init__(
        self,
        in_channels: Width,
        out_channels: Width,
        kernel_size: int | Choice = 3,
        *,
        expansion: int | Choice = 6,
        stride: int = 1,
        squeeze: bool = False,
        activation: Callable[[], nn.Module] = nn.ReLU6,
        multiple_of: int = 1,
        kernel_transform: bool = False,
    ) -> None:
        super().__init__()
        inp, out = as_size(in_channels), as_size(out_channels)
        wide = Size((inp, expansion), multiple_of=multiple_of) if expansion != 1 else inp
        parts: list[nn.Module] = []
        if expansion != 1:
            parts += [
                ElasticConv2d(inp, wide, 1, bias=False),
                ElasticBatchNorm(wide),
                activation(),
            ]
        parts += [
            ElasticConv2d(
                wide,
                wide,
                kernel_size,
                stride=stride,
                groups=wide,
                bias=False,
                kernel_transform=kernel_transform,
            ),
            ElasticBatchNorm(wide),
            activation(),
        ]
        if squeeze:
            parts.append(SqueezeExcitation(wide, multiple_of=multiple_of, gate=nn.Hardsigmoid))
        parts += [ElasticConv2d(wide, out, 1, bias=False), ElasticBatchNorm(out)]
        self.body = nn.Sequential(*parts)
        self.adds = stride == 1 and inp == out

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, output width, height / stride, width / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y

    def plain(self, arch: Architecture) -> nn.Module:
        return as_graph(self)
