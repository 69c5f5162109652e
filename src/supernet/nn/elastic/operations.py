"""Operations without weights: nothing at all, and another resolution."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import as_graph
from supernet.nn.elastic.sizes import Width, as_size
from supernet.space import Architecture, Choice


@final
class Zero(ChoiceModule):
    """Returns zeros whatever it is given; among the options of a `OneOf` it cuts a connection.

    Its partner, which changes nothing, is `nn.Identity`. Extracted, it is a graph that calls
    `torch.zeros_like`.

    Args:
        stride: By how much height and width shrink, rounded up: 2 for a place where the other
            options have stride 2.

    Raises:
        SpaceError: If `stride` is below one.

    References:
        "None", or zeroise, in Dong and Yang, "NAS-Bench-201", ICLR 2020, arXiv:2001.00326.
    """

    keeps_input = True

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        if stride < 1:
            raise SpaceError(f"Zero has a stride of {stride}; it must be at least 1")
        self.stride = stride

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros for a tensor; with a stride, of shape (images, channels, height, width)."""
        kept = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return torch.zeros_like(kept)

    def plain(self, arch: Architecture) -> nn.Module:
        return as_graph(self)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


@final
class Resolution(ChoiceModule):
    """Resizes images to a chosen height and width; for the beginning of a network.

    Bilinear, without antialiasing: extracted, it is an `nn.Upsample`. What follows must be able to
    take images of any size, so pool with `nn.AdaptiveAvgPool2d`.

    Args:
        size: The height and width of the result.

    Raises:
        SpaceError: If a size is below one.

    References:
        The input resolution is a choice in arXiv:1908.09791 and in BigNAS, arXiv:2003.11142.
    """

    keeps_input = True

    def __init__(self, size: Width) -> None:
        super().__init__()
        self.size = as_size(size)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.size.choices

    def forward(self, x: Tensor) -> Tensor:
        """Return images of shape (images, channels, height, width) in the chosen size.

        Raises:
            SpaceError: If `x` is something else than images.
        """
        if x.ndim != 4:
            raise SpaceError(
                f"Resolution {self.size} is given a tensor of shape {tuple(x.shape)}; it takes "
                "images, of shape (images, channels, height, width)"
            )
        size = self.size.of(self.active)
        return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)

    def plain(self, arch: Architecture) -> nn.Module:
        size = self.size.of(arch)
        return nn.Upsample((size, size), mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        return str(self.size)
