import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supernet.errors import SettingsError
from supernet.evaluation.cost import count_macs, count_params
from supernet.networks.zoo import build_residual_net
from supernet.networks.zoo.residual import ResidualBlock, residual_block
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import noise, stir


def test_it_holds_sixty_four_networks_of_the_sizes_it_says() -> None:
    supernet = Supernet(build_residual_net(seed=0))
    assert [choice.name for choice in supernet.space.choices] == [
        "stage1.depth",
        "stage2.depth",
        "stage3.depth",
    ]
    assert supernet.space.size == 64
    macs, params = [], []
    for arch in (supernet.space.smallest, supernet.space.largest):
        macs.append(count_macs(supernet, arch, (1, 28, 28)))
        params.append(count_params(extract(supernet, arch)))
    assert [round(count / 1e6, 1) for count in macs] == [14.6, 47.1]
    assert [round(count / 1e3) for count in params] == [124, 415]


@pytest.mark.parametrize("training", [True, False])
def test_the_block_is_that_of_the_paper(training: bool) -> None:
    block = stir(residual_block(3)).train(training)
    x = noise(2, 3, 5, 5)
    before = x.clone()

    def conv_bn(x: torch.Tensor, number: int) -> torch.Tensor:
        y = F.conv2d(x, block.get_parameter(f"conv{number}.weight"), padding=1)
        mean, var = (torch.zeros(3), torch.ones(3)) if not training else (None, None)
        scale, shift = (block.get_parameter(f"bn{number}.{name}") for name in ("weight", "bias"))
        return F.batch_norm(y, mean, var, scale, shift, training)

    expected = F.relu(x + conv_bn(F.relu(conv_bn(x, 1)), 2))
    assert torch.equal(block(x), expected)
    assert torch.equal(x, before)


def test_the_graph_computes_what_the_class_does() -> None:
    plain, graph, x = ResidualBlock(3), residual_block(3), noise(2, 3, 5, 5)
    plain.load_state_dict(graph.state_dict())
    for net in (graph, copy.deepcopy(graph)):
        for training in (True, False):
            assert torch.equal(net.train(training)(x), plain.train(training)(x))
            plain.load_state_dict(net.state_dict())


def test_there_is_a_stage_for_every_width() -> None:
    supernet = Supernet(build_residual_net(seed=0, widths=(2, 3), deepest=3, shape=(1, 9, 9)))
    sizes: list[tuple[int, ...]] = []
    for name in ("2", "4"):
        supernet.net.get_submodule(name).register_forward_hook(
            lambda *call: sizes.append(tuple(call[-1].shape))
        )
    depths = Architecture({"stage1.depth": 1, "stage2.depth": 3})
    supernet(noise(1, 1, 9, 9), depths)
    assert sizes == [(1, 2, 9, 9), (1, 3, 5, 5)]
    strides = [m.stride for m in supernet.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count((2, 2)) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (0, 28, 28)}, "shape is 0; it must be at least 1"),
        ({"widths": (16, 0, 64)}, "widths is 0; it must be at least 1"),
        ({"widths": ()}, "stages is 0; it must be at least 1"),
        ({"deepest": 0}, "deepest is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_residual_net(seed=0, **setting)
