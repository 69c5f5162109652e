"""A convolution of elastic width and kernel size."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import filled, first, packed
from supernet.nn.elastic.sizes import Size, Width, as_size, choices_of, each, require_width
from supernet.nn.strided import conv2d
from supernet.space import Architecture, Choice


@final
class ElasticConv2d(ChoiceModule):
    """A convolution whose input width, output width, kernel size and groups may be chosen.

    It uses the first channels, and of a larger kernel the center. The padding keeps height and
    width at stride 1. The weights are initialized as those of the largest `nn.Conv2d`.

    Args:
        in_channels: Channels it is given.
        out_channels: Channels it returns.
        kernel_size: Odd.
        stride: Of both axes.
        groups: Into how many groups the channels are divided, which don't mix. Given the same
            Choice as both widths, it is a depthwise convolution; with `Size((width,), divisor=16)`
            the groups have 16 channels each.
        dilation: The distance between the kernel's points.
        bias: Whether a bias is added.
        kernel_transform: Whether the center of a kernel is changed by a learned linear map before
            it is used, one for each step from a size to the next smaller one, the same for all
            channels. It starts as the identity. Without it the center is used as it is.

    Raises:
        SpaceError: If a width is below one, a kernel size is even, or some widths are not divisible
            by their number of groups.

    References:
        Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
        ICLR 2020, arXiv:1908.09791: the center, and the map (section 3.3 there).
    """

    keeps_input = True

    def __init__(
        self,
        in_channels: Width,
        out_channels: Width,
        kernel_size: int | Choice = 3,
        *,
        stride: int = 1,
        groups: Width = 1,
        dilation: int = 1,
        bias: bool = True,
        kernel_transform: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = as_size(in_channels), as_size(out_channels)
        self.kernel_size, self.groups = as_size(kernel_size), as_size(groups)
        self.stride, self.dilation = stride, dilation
        sizes = sorted({self.kernel_size.of(arch) for arch in each(self.kernel_size)})
        if even := [size for size in sizes if size % 2 == 0]:
            raise SpaceError(
                f"kernel size {self.kernel_size} may be {even[0]}, which is even and has no "
                "center; use odd sizes"
            )
        largest = nn.Conv2d(self._widest_group(), self.out_channels.largest, sizes[-1], bias=bias)
        self.weight, self.bias = largest.weight, largest.bias
        #: The sizes that a learned map leads to, from large to small; `to3` is the map to 3x3.
        self.steps = tuple(reversed(sizes[:-1])) if kernel_transform else ()
        for size in self.steps:
            self.register_parameter(f"to{size}", nn.Parameter(torch.eye(size**2)))

    def _widest_group(self) -> int:
        """Return the most input channels of a group; all combinations must be possible."""
        widest = 1
        for arch in each(self.in_channels, self.out_channels, self.groups):
            groups = self.groups.of(arch)
            for side, size in (("input", self.in_channels), ("output", self.out_channels)):
                if size.of(arch) % groups:
                    raise SpaceError(
                        f"ElasticConv2d can't divide the {size.of(arch)} channels of its {side} "
                        f"width {size} into {groups} groups ({self.groups}); use multiples of "
                        "the number of groups, or a number of groups that follows the width"
                    )
            widest = max(widest, self.in_channels.of(arch) // groups)
        return widest

    @property
    def choices(self) -> tuple[Choice, ...]:
        return choices_of(self.in_channels, self.out_channels, self.kernel_size, self.groups)

    def weight_of(self, arch: Architecture) -> tuple[Tensor, Tensor | None]:
        """Return the parts of weight and bias that `arch` uses.

        The weight has the shape (output width, input width / groups, kernel size, kernel size).
        """
        out = self.out_channels.of(arch)
        weight = self.weight[:out, : self.in_channels.of(arch) // self.groups.of(arch)]
        size = self.kernel_size.of(arch)
        for step in self.steps:
            if step >= size:
                flat = F.linear(_center(weight, step).flatten(2), self.get_parameter(f"to{step}"))
                weight = flat.unflatten(2, (step, step))
        weight = packed(_center(weight, size), self.weight)
        return weight, first(self.bias, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the convolution of the active architecture makes of `x`.

        Args:
            x: Shape (images, input width, height, width).

        Raises:
            SpaceError: If `x` has another width.
        """
        arch = self.active
        require_width(self, x, -3, self.in_channels, arch)
        weight, bias = self.weight_of(arch)
        padding = _padding(weight, self.dilation)
        groups = self.groups.of(arch)
        return conv2d(x, weight, bias, self.stride, padding, self.dilation, groups)

    def plain(self, arch: Architecture) -> nn.Conv2d:
        weight, bias = self.weight_of(arch)
        plain = nn.Conv2d(
            self.in_channels.of(arch),
            self.out_channels.of(arch),
            self.kernel_size.of(arch),
            stride=self.stride,
            padding=_padding(weight, self.dilation),
            dilation=self.dilation,
            groups=self.groups.of(arch),
            bias=bias is not None,
            device="meta",
        )
        return filled(plain, self, weight=weight, bias=bias)

    def extra_repr(self) -> str:
        more = f", groups={self.groups}" if self.groups != Size((1,)) else ""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}{more}, bias={self.bias is not None}"
        )


def _center(weight: Tensor, size: int) -> Tensor:
    """Return the middle of kernels, a view."""
    start = (weight.shape[-1] - size) // 2
    return weight[..., start : start + size, start : start + size]


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.shape[-1] // 2)
