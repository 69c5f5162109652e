"""Blocks that are left out in their places."""

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.nn.elastic import Zero
from supernet.nn.extraction import extract
from supernet.nn.skipping import Skippable
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise, stir

DEPTH = Choice("depth", (0, 1, 2, 3))


class TestSkippable(ChoiceModuleContract):
    def build(self) -> nn.Module:
        blocks = (
            Skippable(DEPTH, number, nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()))
            for number in range(3)
        )
        return nn.Sequential(nn.Linear(4, 4), *blocks, nn.Linear(4, 2))

    def example(self) -> Tensor:
        return noise(6, 4)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor, mask: Tensor, *, scale: float = 1.0) -> Tensor:
        y: Tensor = self.linear(x) * mask * scale
        return y


class Listed(nn.Module):
    """Runs its blocks with a mask, or adds what they make."""

    def __init__(self, *, adds: bool) -> None:
        super().__init__()
        self.adds = adds
        self.blocks = nn.ModuleList(
            Skippable(
                DEPTH,
                number,
                nn.Linear(4, 4) if adds else Masked(),
                Zero() if adds else None,
                more=not adds,
            )
            for number in range(3)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x) if self.adds else block(x, mask, scale=2.0)
        return x


@torch.no_grad()
@pytest.mark.parametrize("adds", [False, True])
def test_left_out_a_block_changes_nothing(adds: bool) -> None:
    model = Listed(adds=adds)
    stir(model)
    supernet = Supernet(model)
    x, mask = noise(5, 4), noise(5, 4, seed=1)
    together = sharing.outputs(supernet, x, list(supernet.space), mask=mask)
    expected = x
    for depth, arch in enumerate(supernet.space):
        assert arch["depth"] == depth
        for found in (
            supernet(x, arch, mask=mask), together[depth], extract(supernet, arch)(x, mask),
        ):  # fmt: skip
            assert torch.equal(found, expected)
        if depth < 3:
            block = model.get_submodule(f"blocks.{depth}.block")
            expected = expected + block(expected) if adds else block(expected, mask, scale=2.0)


def test_extracted_the_blocks_have_their_names() -> None:
    supernet = Supernet(Listed(adds=False))
    names = {arch["depth"]: list(extract(supernet, arch).state_dict()) for arch in supernet.space}
    assert names[0] == []
    assert names[2] == [f"blocks.{n}.linear.{p}" for n in (0, 1) for p in ("weight", "bias")]


def test_a_block_that_changes_the_shape_is_refused() -> None:
    supernet = Supernet(Skippable(DEPTH, 2, nn.Linear(4, 3)))
    x = noise(2, 4)
    assert torch.equal(supernet(x, supernet.space.smallest), x)
    message = r"block 2 of 'depth' turns a tensor of shape \(2, 4\) into one of \(2, 3\)"
    with pytest.raises(SpaceError, match=message):
        supernet(x, supernet.space.largest)
    with pytest.raises(SpaceError, match=message):
        sharing.outputs(supernet, x, list(supernet.space))
