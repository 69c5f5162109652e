import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supernet.networks.zoo.parts import bottleneck, choice_of, sum_of
from supernet.nn.elastic import ElasticConv2d
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise, stir


def test_a_sum_gives_every_branch_the_same_input() -> None:
    x = noise(2, 3)
    branches = [stir(nn.Linear(3, 4), seed) for seed in range(3)]
    expected = branches[0](x) + branches[1](x) + branches[2](x)
    assert torch.equal(sum_of(*branches)(x), expected)
    width = Choice("width", (2, 4))
    first, second = (stir(ElasticConv2d(3, width, 1), seed) for seed in range(2))
    supernet, image = Supernet(sum_of(first, second)), noise(2, 3, 4, 4)
    for arch in supernet.space:
        with supernet.activate(arch):
            expected = first(image) + second(image)
        assert torch.equal(supernet(image, arch), expected)


def test_a_choice_has_every_option_once() -> None:
    assert choice_of("width", (24, 24, 32)) == Choice("width", (24, 32))


@pytest.mark.parametrize(("out", "stride"), [(4, 1), (6, 1), (4, 2), (6, 2)])
@pytest.mark.parametrize("size", [4, 5])
def test_the_bottleneck_is_that_of_resnet_d(out: int, stride: int, size: int) -> None:
    block = bottleneck(4, 3, out, stride=stride)
    stir(block)
    x = noise(3, 4, size, size)

    def conv_bn(x: torch.Tensor, at: str, stride: int = 1) -> torch.Tensor:
        weight, scale, shift = (
            block.get_parameter(f"0.branches.{at}.{name}")
            for name in ("0.weight", "1.weight", "1.bias")
        )
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return F.batch_norm(y, None, None, scale, shift, training=True)

    y = F.relu(conv_bn(x, "1.0"))
    y = conv_bn(F.relu(conv_bn(y, "1.1", stride)), "1.2")
    shortcut = x
    if out != 4 or stride == 2:
        shortcut = conv_bn(F.avg_pool2d(x, stride, ceil_mode=True), "0.1")
    expected = F.relu(shortcut + y)
    with Supernet(block).activate(Architecture()):
        torch.testing.assert_close(block(x), expected)
