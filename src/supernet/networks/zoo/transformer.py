"""Parts of a vision transformer: a class token, positions, and layers."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from typing import final

import torch
from torch import Tensor, nn

from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic import ElasticAttention, ElasticLayerNorm, ElasticLinear, Residual, Size
from supernet.nn.elastic.parts import as_graph, filled
from supernet.space import Architecture, Choice


def transformer_layer(width: Choice, heads: Choice, head_width: int, inside: Size) -> nn.Module:
    """Return self-attention and a perceptron, each normed before and added to its input.

    Args:
        width: Features of a token.
        heads: How many heads there are.
        head_width: Features of one.
        inside: Features in the middle of the perceptron.
    """
    attention = ElasticAttention(width, heads, head_width=head_width)
    mlp = (ElasticLinear(width, inside), nn.GELU(), ElasticLinear(inside, width))
    return nn.Sequential(
        Residual(nn.Sequential(ElasticLayerNorm(width, eps=1e-6), attention)),
        Residual(nn.Sequential(ElasticLayerNorm(width, eps=1e-6), *mlp)),
    )


def _tokens(x: Tensor, first: Tensor, positions: Tensor) -> Tensor:
    """Make tokens of a map (images, width, height, width of the map): (images, count, width)."""
    tokens = x.flatten(2).transpose(1, 2)
    return torch.cat([first.expand(tokens.size(0), -1, -1), tokens], 1) + positions


class Tokens(nn.Module):
    """Puts a class token before the places of a map, and adds positions."""

    def __init__(self, first: Tensor, positions: Tensor) -> None:
        super().__init__()
        self.first, self.positions = nn.Parameter(first), nn.Parameter(positions)

    def forward(self, x: Tensor) -> Tensor:
        return _tokens(x, self.first, self.positions)


@final
class ElasticTokens(ChoiceModule):
    """`Tokens` whose width is chosen: uses the first numbers of class token and positions."""

    def __init__(self, width: Choice, count: int) -> None:
        super().__init__()
        self.width = Size((width,))
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, self.width.largest))
        self.positions = nn.Parameter(0.02 * torch.randn(1, count + 1, self.width.largest))

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.width.choices

    def weight_of(self, arch: Architecture) -> tuple[Tensor, Tensor]:
        """Return the parts of class token and positions that `arch` uses."""
        width = self.width.of(arch)
        return self.first[..., :width], self.positions[..., :width]

    def forward(self, x: Tensor) -> Tensor:
        return _tokens(x, *self.weight_of(self.active))

    def plain(self, arch: Architecture) -> nn.Module:
        first, positions = self.weight_of(arch)
        plain = as_graph(Tokens(first.detach(), positions.detach()))
        return filled(plain, self, first=first, positions=positions)


class First(nn.Module):
    """Keeps the first token."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]
