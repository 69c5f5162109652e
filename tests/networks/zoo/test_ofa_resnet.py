import math
from typing import Any

import pytest
from torch import nn

from supernet.errors import SettingsError
from supernet.networks.zoo import build_ofa_resnet
from supernet.nn.extraction import extract
from tests.networks.zoo.counting import costs, countable

SHAPE = (3, 224, 224)


def test_it_holds_networks_of_the_sizes_it_says() -> None:
    supernet = countable(build_ofa_resnet)
    # Stem: two widths inside, with or without a convolution, three widths; stages: a width, and
    # expansions of as many blocks as run.
    blocks = [sum(3**count for count in range(most - 2, most + 1)) for most in (4, 4, 6, 4)]
    assert supernet.space.size == 2 * 2 * 3 * math.prod(3 * count for count in blocks)
    assert costs(supernet, supernet.space.smallest, SHAPE) == (6_539_280, 962_192_128)
    assert costs(supernet, supernet.space.largest, SHAPE) == (48_105_992, 7_491_643_904)


def test_widths_are_those_of_the_papers_code() -> None:
    """Multiples of 8 near 65, 80 and 100 percent, by the rule of MobileNets."""
    options = {c.name: c.options for c in countable(build_ofa_resnet).space.choices}
    assert options["stem.inner"] == (24, 32)  # 32 * 0.65 and 32 * 0.8 both become 24
    assert options["stem.width"] == (40, 48, 64)
    assert options["stage1.width"] == (168, 208, 256)
    assert options["stage2.width"] == (336, 408, 512)
    assert options["stage3.width"] == (664, 816, 1024)
    assert options["stage4.width"] == (1328, 1640, 2048)


def test_one_of_them_is_resnet_50_d() -> None:
    supernet = countable(build_ofa_resnet)
    arch = supernet.space.largest
    depths = {"stage1.depth": 2, "stage2.depth": 3, "stage3.depth": 5, "stage4.depth": 2}
    arch = arch.but(**depths, **{name: 25 for name in arch if name.endswith(".expansion")})
    params, macs = costs(supernet, arch, SHAPE)
    # The tests of pytorchcv (github.com/osmr/imgclsmob) say so of "resneta50b".
    assert params == 25_576_264
    # By layer: places times weights; the first 1x1 convolution is before the stride.
    expected = 112**2 * 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2048 * 1000
    before, size = 64, 56
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width, inside, smaller = 256 << stage, 64 << stage, 56 >> stage
        for inp, at in [(before, size)] + (blocks - 1) * [(width, smaller)]:
            expected += at**2 * inp * inside + smaller**2 * inside * (9 * inside + width)
        expected += smaller**2 * before * width
        before, size = width, smaller
    assert macs == expected
    net = extract(supernet, arch)
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == 3 + 3 * 16 + 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (3, 224, 0)}, "shape is 0; it must be at least 1"),
        ({"widths": (64, 256, 512, 0, 2048)}, "widths is 0; it must be at least 1"),
        ({"widths": (64, 256)}, "number_of_widths is 2; it must be at least 5"),
        ({"shares": (0, 100)}, "shares is 0; it must be at least 1"),
        ({"depths": ()}, "stages is 0; it must be at least 1"),
        ({"fewer": 4}, "least_depth is 0; it must be at least 1"),
        ({"depths": (4, 1, 2, 2), "fewer": 0}, "depths is 1; it must be at least 2"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_ofa_resnet(seed=0, **setting)
