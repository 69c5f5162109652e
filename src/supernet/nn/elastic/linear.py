"""A linear layer of elastic width."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import filled, first, packed
from supernet.nn.elastic.sizes import Width, as_size, choices_of, require_width
from supernet.space import Architecture, Choice


@final
class ElasticLinear(ChoiceModule):
    """A linear layer whose input and output width may be chosen: it uses the first of each.

    The weights are initialized as those of the largest `nn.Linear`.

    Args:
        in_features: The size of the last axis of what it is given.
        out_features: The size of the last axis of its result.
        bias: Whether a bias is added.

    Raises:
        SpaceError: If a width is below one.
    """

    keeps_input = True

    def __init__(self, in_features: Width, out_features: Width, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = as_size(in_features), as_size(out_features)
        largest = nn.Linear(self.in_features.largest, self.out_features.largest, bias=bias)
        self.weight, self.bias = largest.weight, largest.bias

    @property
    def choices(self) -> tuple[Choice, ...]:
        return choices_of(self.in_features, self.out_features)

    def weight_of(self, arch: Architecture) -> tuple[Tensor, Tensor | None]:
        """Return the parts of weight and bias that `arch` uses: its rows and columns."""
        out = self.out_features.of(arch)
        weight = packed(self.weight[:out, : self.in_features.of(arch)], self.weight)
        return weight, first(self.bias, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of shape (..., input width), as (..., output width).

        Raises:
            SpaceError: If `x` has another width.
        """
        require_width(self, x, -1, self.in_features, self.active)
        return F.linear(x, *self.weight_of(self.active))

    def plain(self, arch: Architecture) -> nn.Linear:
        weight, bias = self.weight_of(arch)
        out, inp = weight.shape
        plain = nn.Linear(inp, out, bias=bias is not None, device="meta")
        return filled(plain, self, weight=weight, bias=bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
