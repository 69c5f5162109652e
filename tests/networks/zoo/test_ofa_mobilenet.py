import math
from typing import Any

import pytest
import torch
from torch import fx, nn

from supernet.errors import SettingsError
from supernet.evaluation.cost import count_params
from supernet.networks.zoo import build_ofa_mobilenet
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from tests.conftest import noise, stir
from tests.networks.zoo.counting import costs, countable

SHAPE = (3, 224, 224)
TINY: dict[str, Any] = {"widths": (2, 2, 2, 2, 2, 2), "head": (3, 4), "classes": 3}


def test_it_holds_as_many_networks_as_the_paper_says_of_the_sizes_it_says() -> None:
    supernet = countable(build_ofa_mobilenet)
    # Section 3 of arXiv:1908.09791: roughly 2e19, by this formula.
    assert supernet.space.size == (9**2 + 9**3 + 9**4) ** 5
    assert math.isclose(supernet.space.size, 2e19, rel_tol=0.1)
    # The same section: they share 7.7 million parameters.
    assert round(count_params(supernet) / 1e6, 1) == 7.7
    assert costs(supernet, supernet.space.smallest, SHAPE) == (3_410_792, 121_278_672)
    assert costs(supernet, supernet.space.largest, SHAPE) == (7_664_760, 566_170_656)


def test_squeezing_and_activations_are_where_mobilenetv3_large_has_them() -> None:
    """Table 1 of arXiv:1905.02244, by output channels."""
    supernet = countable(build_ofa_mobilenet)
    net = extract(supernet, supernet.space.largest)
    seen: dict[int, tuple[bool, type[nn.Module]]] = {}
    for block in (m for m in net.modules() if hasattr(m, "body") and isinstance(m, fx.GraphModule)):
        kinds = {type(m) for m in block.modules()}
        width = [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
        squeezes = nn.Hardsigmoid in kinds
        activation = nn.Hardswish if nn.Hardswish in kinds else nn.ReLU
        assert seen.setdefault(width, (squeezes, activation)) == (squeezes, activation)
    assert seen == {
        16: (False, nn.ReLU),
        24: (False, nn.ReLU),
        40: (True, nn.ReLU),
        80: (False, nn.Hardswish),
        112: (True, nn.Hardswish),
        160: (True, nn.Hardswish),
    }


def test_images_are_resized_if_there_are_resolutions() -> None:
    supernet = Supernet(build_ofa_mobilenet(seed=0, resolutions=(32, 64), depths=(1, 2), **TINY))
    assert supernet.space.choices[0].name == "resolution"
    without = Supernet(build_ofa_mobilenet(seed=0, depths=(1, 2), **TINY))
    assert supernet.space.size == 2 * without.space.size
    sizes: list[tuple[int, ...]] = []
    supernet.net.get_submodule("1").register_forward_hook(
        lambda *call: sizes.append(tuple(call[-1].shape[2:]))
    )
    for arch in (supernet.space.smallest, supernet.space.largest):
        assert supernet(noise(2, 3, 40, 50), arch).shape == (2, 3)
    assert sizes == [(16, 16), (32, 32)]


@pytest.mark.parametrize("transform", [True, False])
def test_smaller_kernels_are_maps_of_larger_ones_if_wanted(*, transform: bool) -> None:
    net = stir(build_ofa_mobilenet(seed=0, kernel_transform=transform, depths=(1, 2), **TINY))
    maps = [name for name, _ in net.named_parameters() if name.endswith(("to3", "to5"))]
    assert len(maps) == (20 if transform else 0)
    supernet, x = Supernet(net), noise(4, 3, 33, 33)
    for arch in (supernet.space.smallest, supernet.space.at(12345), supernet.space.largest):
        assert torch.equal(extract(supernet, arch)(x), supernet(x, arch))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (3, 0, 224)}, "shape is 0; it must be at least 1"),
        ({"widths": (16, 24, 40, 80, 112, 0)}, "widths is 0; it must be at least 1"),
        ({"head": (960, 0)}, "head is 0; it must be at least 1"),
        ({"depths": (0, 4)}, "least_depth is 0; it must be at least 1"),
        ({"depths": (1, 1)}, "most_depth is 1; it must be at least 2"),
        ({"depths": (4, 3)}, "most_depth is 3; it must be at least 4"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_ofa_mobilenet(seed=0, **setting)
