"""Self-attention of elastic width and number of heads."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from typing import Any, final

import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.linear import ElasticLinear
from supernet.nn.elastic.parts import as_graph
from supernet.nn.elastic.sizes import Size, Width, as_size
from supernet.space import Architecture, Choice


@final
class ElasticAttention(ChoiceModule):
    """Multi-head self-attention whose embedding width and number of heads may be chosen.

    Queries, keys and values have `heads` times `head_width` features; a linear layer brings the
    heads' results back to the embedding width. It uses the first heads, and of the weights the
    first features.

    Args:
        width: The embedding width: the size of the last axis of input and result.
        heads: How many heads.
        head_width: The features of one head. Without it they are the embedding width divided by
            `heads`, as in `nn.MultiheadAttention`; then the number of heads is not chosen.
        bias: Whether the linear layers have biases.
        causal: Whether a token sees only itself and those before it, as in language models.

    Raises:
        SpaceError: If a size is below one; if there is no `head_width`, and `heads` is a choice or
            doesn't divide the embedding width.

    References:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; elastic in
        heads and width, with heads of one size: AutoFormer, ICCV 2021, arXiv:2107.00651.
    """

    has_fixed_forward = True

    def __init__(
        self,
        width: Width,
        heads: Width,
        *,
        head_width: int | None = None,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__()
        embedding, count = as_size(width), as_size(heads)
        if head_width is None and count.choices:
            raise SpaceError(
                f"ElasticAttention can't choose its number of heads, {count}, if their width "
                "follows from it; give `head_width`"
            )
        each = Size((embedding,), count.largest) if head_width is None else as_size(head_width)
        inner = Size((count, each))
        #: How the last axis is parted: (heads, features of one), of which one is known beforehand.
        self.parting = (count.largest, -1) if head_width is None else (-1, head_width)
        self.causal = causal
        self.query = ElasticLinear(embedding, inner, bias=bias)
        self.key = ElasticLinear(embedding, inner, bias=bias)
        self.value = ElasticLinear(embedding, inner, bias=bias)
        self.out = ElasticLinear(inner, embedding, bias=bias)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of `x`, shape (samples, tokens, embedding width), to itself."""
        query = self.query(x).unflatten(-1, self.parting).transpose(1, 2)
        key = self.key(x).unflatten(-1, self.parting).transpose(1, 2)
        value = self.value(x).unflatten(-1, self.parting).transpose(1, 2)
        # Left out where it says nothing, so that the extracted network reads as one writes it.
        masked: dict[str, Any] = {"is_causal": True} if self.causal else {}
        heads = F.scaled_dot_product_attention(query, key, value, **masked)
        y: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return y

    def plain(self, arch: Architecture) -> nn.Module:
        return as_graph(self)
