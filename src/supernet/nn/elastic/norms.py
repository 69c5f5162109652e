"""Norms of elastic width."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import filled, first
from supernet.nn.elastic.sizes import Width, as_size, require_width
from supernet.space import Architecture, Choice

_KINDS: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@final
class ElasticBatchNorm(ChoiceModule, _BatchNorm):
    """A batch norm whose width may be chosen: it uses the scale and shift of the first channels.

    Like that of every batch norm, its running statistics are removed in a supernet. While it has
    any, they are those of one architecture, and as wide as that has it.

    Args:
        width: Channels.
        dims: 2 for images; 1 for sequences and single vectors, 3 for volumes.
        eps: What is added to the variance.
        momentum: As for `nn.BatchNorm2d`.
        affine: Whether there are a scale and a shift.

    Raises:
        SpaceError: If a width is below one, or `dims` is not 1 to 3.
    """

    keeps_input = True

    def __init__(
        self,
        width: Width,
        *,
        dims: int = 2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        if dims not in _KINDS:
            raise SpaceError(f"ElasticBatchNorm has {dims!r} dims; it must be 1, 2 or 3")
        super().__init__(as_size(width).largest, eps, momentum, affine)
        self.width, self.dims = as_size(width), dims

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.width.choices

    def weight_of(self, arch: Architecture) -> tuple[Tensor | None, Tensor | None]:
        """Return the parts of scale and shift that `arch` uses."""
        width = self.width.of(arch)
        return first(self.weight, width), first(self.bias, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of shape (samples, width, ...), normalized as `nn.BatchNorm2d` does it.

        Raises:
            SpaceError: If `x` has another width, or doesn't fit `dims`.
        """
        if x.ndim != self.dims + 2 and (self.dims, x.ndim) != (1, 2):
            raise SpaceError(
                f"ElasticBatchNorm is given a tensor of shape {tuple(x.shape)}, but its `dims` is "
                f"{self.dims}: it takes (samples, width) and as many axes more"
            )
        require_width(self, x, 1, self.width, self.active)
        momentum = 0.0 if self.momentum is None else self.momentum
        averages = self.training and self.track_running_stats
        if averages and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        used = averages or not self.training
        return F.batch_norm(
            x,
            self.running_mean if used else None,
            self.running_var if used else None,
            *self.weight_of(self.active),
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )

    def plain(self, arch: Architecture) -> _BatchNorm:
        kind, width = _KINDS[self.dims], self.width.of(arch)
        plain = kind(width, self.eps, self.momentum, self.affine, device="meta")
        plain.track_running_stats = self.track_running_stats
        for name, value in self.named_buffers():
            setattr(plain, name, value.detach().clone())
        for name in plain._buffers.keys() - dict(self.named_buffers()).keys():
            setattr(plain, name, None)
        weight, bias = self.weight_of(arch)
        return filled(plain, self, weight=weight, bias=bias)

    def extra_repr(self) -> str:
        return f"{self.width}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


@final
class ElasticLayerNorm(ChoiceModule):
    """A layer norm over the last axis, whose size may be chosen; uses the first of its weights.

    Args:
        width: The size of the last axis.
        eps: What is added to the variance.

    Raises:
        SpaceError: If a width is below one.

    References:
        Elastic in width as in Chen et al., "AutoFormer", ICCV 2021, arXiv:2107.00651.
    """

    keeps_input = True

    def __init__(self, width: Width, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.width, self.eps = as_size(width), eps
        largest = nn.LayerNorm(self.width.largest)
        self.weight, self.bias = largest.weight, largest.bias

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.width.choices

    def weight_of(self, arch: Architecture) -> tuple[Tensor, Tensor]:
        """Return the parts of scale and shift that `arch` uses."""
        width = self.width.of(arch)
        return self.weight[:width], self.bias[:width]

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of shape (..., width), normalized over its last axis.

        Raises:
            SpaceError: If `x` has another width.
        """
        require_width(self, x, -1, self.width, self.active)
        weight, bias = self.weight_of(self.active)
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)

    def plain(self, arch: Architecture) -> nn.LayerNorm:
        weight, bias = self.weight_of(arch)
        plain = nn.LayerNorm(len(weight), self.eps, device="meta")
        return filled(plain, self, weight=weight, bias=bias)

    def extra_repr(self) -> str:
        return f"{self.width}, eps={self.eps}"
