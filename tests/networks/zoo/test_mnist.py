from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import SettingsError
from supernet.networks.zoo import build_mnist_net
from supernet.networks.zoo.parts import conv_bn_relu
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from tests.conftest import noise


def test_it_holds_the_nine_networks() -> None:
    supernet = Supernet(build_mnist_net(seed=0))
    depths = [tuple(arch.values()) for arch in supernet.space]
    assert depths == [(first, second) for first in (1, 2, 3) for second in (1, 2, 3)]


def test_the_pooling_is_global() -> None:
    supernet = Supernet(build_mnist_net(seed=0, shape=(1, 9, 13), widths=(4, 3)))
    seen: list[torch.Size] = []
    supernet.get_submodule("net.4").register_forward_hook(
        lambda _, x, y: seen.extend((x[0].shape, y.shape))
    )
    supernet(noise(2, 1, 9, 13), supernet.space.smallest)
    assert seen == [(2, 3, 5, 7), (2, 3, 1, 1)]


def test_the_weights_are_pytorchs_defaults_under_the_seed() -> None:
    net = build_mnist_net(seed=11, widths=(4, 3), longest=1)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(11)
        by_hand = nn.Sequential(
            conv_bn_relu(1, 4),
            Depth("block1", [conv_bn_relu(4, 4)]),
            conv_bn_relu(4, 3, stride=2),
            Depth("block2", [conv_bn_relu(3, 3)]),
            nn.AvgPool2d(14),
            nn.Flatten(),
            nn.Linear(3, 10),
        )
    assert net.state_dict().keys() == by_hand.state_dict().keys()
    for key, value in by_hand.state_dict().items():
        assert torch.equal(net.state_dict()[key], value)
    other = build_mnist_net(seed=12, widths=(4, 3), longest=1)
    assert not torch.equal(net.get_parameter("0.0.weight"), other.get_parameter("0.0.weight"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (1, 0, 28)}, "shape is 0; it must be at least 1"),
        ({"widths": (64, 0)}, "widths is 0; it must be at least 1"),
        ({"longest": 0}, "longest is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_mnist_net(seed=0, **setting)
