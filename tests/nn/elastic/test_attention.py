import pytest
import torch
from torch import nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.nn.elastic import ElasticAttention
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise, stir

W, H = Choice("w", (4, 8)), Choice("h", (1, 2, 4))
X = noise(3, 5, 8).double()


def reference(attention: ElasticAttention, width: int, inner: int, heads: int) -> torch.Tensor:
    """What `nn.MultiheadAttention` computes with the first of the weights."""
    parts = [attention.query, attention.key, attention.value]
    whole = nn.MultiheadAttention(width, heads, batch_first=True).double()
    with torch.no_grad():
        whole.in_proj_weight.copy_(torch.cat([p.weight[:inner, :width] for p in parts]))
        whole.in_proj_bias.copy_(torch.cat([p.bias[:inner] for p in parts]))
        whole.out_proj.weight.copy_(attention.out.weight[:width, :inner])
        whole.out_proj.bias.copy_(attention.out.bias[:width])
    x = X[..., :width]
    y: torch.Tensor = whole(x, x, x, need_weights=False)[0]
    return y


def test_it_is_multi_head_attention() -> None:
    attention = ElasticAttention(W, 2)
    supernet = Supernet(stir(attention).double())
    for w in (4, 8):
        y = supernet(X[..., :w], Architecture({"w": w}))
        torch.testing.assert_close(y, reference(attention, w, w, 2))


def test_it_uses_the_first_heads() -> None:
    attention = ElasticAttention(W, H, head_width=2)
    supernet = Supernet(stir(attention).double())
    # Where heads x features is the width, it is PyTorch's again.
    y = supernet(X[..., :4], Architecture({"w": 4, "h": 2}))
    torch.testing.assert_close(y, reference(attention, 4, 4, 2))
    y = supernet(X, Architecture({"w": 8, "h": 4}))
    torch.testing.assert_close(y, reference(attention, 8, 8, 4))
    # Heads that are left out contribute nothing: it is as if their results were zero.
    few = supernet(X, Architecture({"w": 8, "h": 1}))
    with torch.no_grad():
        attention.out.weight[:, 2:] = 0
    torch.testing.assert_close(supernet(X, Architecture({"w": 8, "h": 4})), few)


def test_shared_execution_looks_inside() -> None:
    supernet = Supernet(stir(ElasticAttention(8, H, head_width=2)).double())
    program, _ = sharing.prepare(supernet, X, list(supernet.space))
    assert len(program.instructions) == 3 * (3 * 3 + 1 + 2 + 1)


def test_impossible_heads_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"can't choose its number of heads, 'h', .* `head_width`"):
        ElasticAttention(W, H)
    with pytest.raises(SpaceError, match=r"'w' / 3 is no whole number for {'w': 4}"):
        ElasticAttention(W, 3)
    with pytest.raises(SpaceError, match="a size is 0"):
        ElasticAttention(W, H, head_width=0)
    with pytest.raises(SpaceError, match="option of the choice 'heads' is 0"):
        ElasticAttention(W, Choice("heads", (0, 1)), head_width=2)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("extracted", [False, True])
def test_causal_attention_sees_nothing_of_what_comes_later(heads: int, extracted: bool) -> None:
    attention = stir(ElasticAttention(W, H, head_width=2, causal=True)).double()
    supernet, arch = Supernet(attention), Architecture({"w": 8, "h": heads})
    changed = X.clone()
    changed[:, 3:] += 1
    plain = extract(supernet, arch)
    one, other = (plain(x) if extracted else supernet(x, arch) for x in (X, changed))
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3:], other[:, 3:])
