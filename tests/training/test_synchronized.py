"""Batch norms of several ranks, each with a part of a batch, do what one does with all of it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supernet.runs.ranks import ALONE, Ranks
from supernet.training.synchronized import pull_back, synchronized
from tests.conftest import noise, stir
from tests.ranks import together

KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "vectors": (nn.BatchNorm1d, ()),
    "sequences": (nn.BatchNorm1d, (5,)),
    "images": (nn.BatchNorm2d, (4, 3)),
    "volumes": (nn.BatchNorm3d, (2, 2, 2)),
}


class Again(nn.Module):
    """Runs its inside twice, the second time on the way back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.inner, x, use_reentrant=False)
        return found


def run(norm: nn.Module, x: Tensor, ranks: Ranks) -> dict[str, Tensor]:
    """Return what a norm makes of this rank's part, and gradients, put together."""
    rows = ranks.part(len(x))
    own = x[rows.start : rows.stop].clone().requires_grad_()
    weights = noise(*x.shape, seed=3).to(x)[rows.start : rows.stop]
    with synchronized(ranks):
        y = norm(own)
        pull_back((y * weights).square().sum())
    assert own.grad is not None
    found = {"y": y.detach(), "x": own.grad}
    of_parameters = {n: ranks.add(p.grad) for n, p in norm.named_parameters() if p.grad is not None}
    return found | of_parameters | dict(norm.named_buffers())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("affine", [True, False])
def test_equal_to_one_norm_with_the_whole_batch(kind: str, affine: bool) -> None:
    module, shape = KINDS[kind]
    x = 3 + 2 * noise(7, 3, *shape).double()

    def norm() -> nn.Module:
        return stir(module(3, eps=0.1, momentum=0.3, affine=affine)).double()

    wanted = run(norm(), x, ALONE)
    first, second = together(2, lambda ranks: run(norm(), x, ranks))
    for name, tensor in wanted.items():
        found = torch.cat([first[name], second[name]]) if name in "yx" else second[name]
        torch.testing.assert_close(found, tensor, rtol=1e-10, atol=1e-12)


def test_a_norm_that_runs_again_on_the_way_back() -> None:
    x = noise(6, 2, 4, 4).double()

    inner = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Tanh())

    def net() -> nn.Module:
        return stir(Again(copy.deepcopy(inner))).double()

    wanted = run(net(), x, ALONE)["x"]
    found = torch.cat([each["x"] for each in together(2, lambda ranks: run(net(), x, ranks))])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_norms_that_evaluate_are_left_alone() -> None:
    norm = nn.BatchNorm1d(2).eval()
    x = noise(4, 2)
    with synchronized(Ranks(0, 2)):  # no group: any sum would fail
        assert torch.equal(norm(x), norm(x))


def test_narrow_types_keep_their_type() -> None:
    def bfloat16(ranks: Ranks) -> Tensor:
        with synchronized(ranks):
            found: Tensor = nn.BatchNorm1d(2)(noise(4, 2, seed=ranks.rank).bfloat16())
        return found

    for found in together(2, bfloat16):
        assert found.dtype == torch.bfloat16
