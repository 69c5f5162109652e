from typing import Any

import pytest
from torch import nn

from supernet.errors import SettingsError
from supernet.evaluation.cost import count_macs, count_params
from supernet.networks.zoo import build_operations_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet


def test_it_holds_two_hundred_and_fifty_six_networks_of_the_sizes_it_says() -> None:
    supernet = Supernet(build_operations_net(seed=0))
    assert [(choice.name, choice.options) for choice in supernet.space.choices] == [
        (f"position{number}.op", ("conv3", "conv5")) for number in range(1, 9)
    ]
    assert supernet.space.size == 256
    macs, params = [], []
    for arch in (supernet.space.smallest, supernet.space.largest):
        macs.append(count_macs(supernet, arch, (1, 28, 28)))
        params.append(count_params(extract(supernet, arch)))
    assert [round(count / 1e6, 1) for count in macs] == [38.2, 102.4]
    assert [round(count / 1e3) for count in params] == [84, 215]


@pytest.mark.parametrize(
    ("positions", "first_half"),
    [(1, 0), (2, 1), (5, 2), (6, 3), pytest.param(8, 4, marks=pytest.mark.slow)],
)
def test_halfway_the_image_is_halved(positions: int, first_half: int) -> None:
    supernet = Supernet(build_operations_net(seed=0, width=2, positions=positions))
    for arch in supernet.space:
        convs = [m for m in extract(supernet, arch).modules() if isinstance(m, nn.Conv2d)]
        assert [conv.stride[0] for conv in convs].index(2) == 1 + first_half
        del convs[1 + first_half]
        kernels = [f"conv{conv.kernel_size[0]}" for conv in convs[1:]]
        assert kernels == list(arch.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (1, 28, 0)}, "shape is 0; it must be at least 1"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"positions": 0}, "positions is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_operations_net(seed=0, **setting)
