import pytest
import torch
from torch import nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.evaluation.cost import count_macs, count_params
from supernet.nn.choices import Depth
from supernet.nn.elastic import ElasticConv2d, InvertedResidual, Residual, SqueezeExcitation
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise, stir

W, K, R = Choice("w", (2, 4)), Choice("k", (3, 5)), Choice("r", (2, 3))
X = noise(3, 4, 6, 6)


def plain_of(block: nn.Module) -> nn.Module:
    return extract(Supernet(block), Architecture()).train()


def test_the_input_is_added_where_it_can_be() -> None:
    for adds, block in (
        (True, InvertedResidual(4, 4)),
        (True, InvertedResidual(W, Choice("w", (2, 4)))),
        (False, InvertedResidual(4, 4, stride=2)),
        (False, InvertedResidual(4, 6)),
        (False, InvertedResidual(W, Choice("v", (2, 4)))),
    ):
        assert block.adds is adds
    block = InvertedResidual(4, 4)
    supernet = Supernet(stir(block)).train()
    y = supernet(X, Architecture())
    block.adds = False
    assert torch.equal(y, X + supernet(X, Architecture()))


def test_it_is_the_block_of_mobilenet() -> None:
    """The chain of plain layers, in the order of the paper."""
    layers = [type(m) for m in plain_of(InvertedResidual(4, 6, 5, squeeze=True)).modules()]
    norm, act = nn.BatchNorm2d, nn.ReLU6
    assert [m for m in layers if m in (nn.Conv2d, norm, act, nn.ReLU, nn.Hardsigmoid)] == [
        *(nn.Conv2d, norm, act),
        *(nn.Conv2d, norm, act),
        *(nn.Conv2d, nn.ReLU, nn.Conv2d, nn.Hardsigmoid),
        *(nn.Conv2d, norm),
    ]
    narrow = plain_of(InvertedResidual(4, 6, expansion=1))
    assert [m.groups for m in narrow.modules() if isinstance(m, nn.Conv2d)] == [4, 1]


def test_its_costs_are_those_of_mobilenet_v2() -> None:
    """Bottleneck of 24 channels, expansion 6, at 56 x 56: its cost is the formula of the paper.

    h * w * d' * t * (d' + k^2 + d''), in section 3.2 of arXiv:1801.04381.
    """
    supernet = Supernet(InvertedResidual(24, 24))
    assert count_macs(supernet, Architecture(), (24, 56, 56)) == 56 * 56 * 24 * 6 * (24 + 9 + 24)
    assert count_params(supernet) == 24 * 6 * (24 + 9 + 24) + 4 * 144 + 2 * 24


def test_what_kernels_have_in_common_is_done_once() -> None:
    supernet = Supernet(stir(InvertedResidual(4, 4, K, expansion=R)))
    program, _ = sharing.prepare(supernet, X, list(supernet.space))
    # Widening, norm and activation once for each expansion; the rest, six, for each of four.
    assert len(program.instructions) == 2 * 3 + 4 * (3 + 2 + 1)


def test_each_channel_is_scaled_by_what_follows_from_all_means() -> None:
    block = SqueezeExcitation(W, reduction=2, gate=nn.Hardsigmoid)
    supernet = Supernet(stir(block))
    down, up = (m for m in block.modules() if isinstance(m, ElasticConv2d))
    assert down.bias is not None
    assert up.bias is not None
    for w in (2, 4):
        x = noise(3, w, 6, 6)
        squeezed = x.mean((2, 3)) @ down.weight[: w // 2, :w, 0, 0].T + down.bias[: w // 2]
        scale = squeezed.relu() @ up.weight[:w, : w // 2, 0, 0].T + up.bias[:w]
        expected = x * nn.functional.hardsigmoid(scale)[:, :, None, None]
        torch.testing.assert_close(supernet(x, Architecture({"w": w})), expected)


def test_residual_blocks_can_be_skipped() -> None:
    bodies = [nn.Sequential(ElasticConv2d(4, 4, K), nn.Tanh()) for _ in range(2)]
    supernet = Supernet(stir(Depth("d", list(map(Residual, bodies)), shortest=0)))
    arch = supernet.space.largest
    with supernet.activate(arch):
        once = X + bodies[0](X)
        twice = once + bodies[1](once)
    for depth, expected in enumerate((X, once, twice)):
        assert torch.equal(supernet(X, arch.but(**{"d.depth": depth})), expected)


def test_impossible_blocks_are_refused() -> None:
    for build, message in (
        (lambda: InvertedResidual(4, 4, 4), "kernel size 4 may be 4, which is even"),
        (lambda: InvertedResidual(4, 4, expansion=Choice("r", (0, 2))), "choice 'r' is 0"),
        (lambda: InvertedResidual(0, 4), "a size is 0"),
        (lambda: SqueezeExcitation(W, reduction=0), "a size is 0"),
    ):
        with pytest.raises(SpaceError, match=message):
            build()
