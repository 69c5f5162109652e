from typing import Any

import pytest
from torch import nn

from supernet.errors import SettingsError
from supernet.networks.zoo import build_nasbench_macro_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.networks.zoo.counting import costs, countable

SHAPE = (3, 32, 32)


def decoded(digits: str) -> Architecture:
    """The benchmark's way to write an architecture."""
    names = ("identity", "mb3_k3", "mb6_k5")
    return Architecture({f"position{i}.op": names[int(d)] for i, d in enumerate(digits, start=1)})


def test_it_holds_6561_networks_of_the_sizes_it_says() -> None:
    supernet = countable(build_nasbench_macro_net)
    assert supernet.space.size == 6561
    assert costs(supernet, supernet.space.smallest, SHAPE) == (387_882, 7_713_280)
    assert costs(supernet, supernet.space.largest, SHAPE) == (2_932_586, 105_660_928)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("digits", "params", "flops"),
    [
        # From nas-bench-macro_cifar10.json of github.com/xiusu/NAS-Bench-Macro. Its "flops" are
        # multiply-adds of convolutions and the linear layer, without biases.
        ("10000011", 1_203_722, 24_932_864),
        ("00011110", 1_118_378, 31_390_208),
        ("02012100", 890_666, 47_327_744),
        ("11111221", 2_181_386, 65_012_224),
        ("22222200", 1_269_610, 79_266_304),
        ("22222211", 2_077_034, 92_070_400),
    ],
)
def test_parameters_and_multiply_adds_are_the_benchmarks(
    digits: str, params: int, flops: int
) -> None:
    assert costs(countable(build_nasbench_macro_net), decoded(digits), SHAPE) == (params, flops)


def test_every_stage_begins_with_twice_the_channels_at_half_the_size() -> None:
    supernet = Supernet(build_nasbench_macro_net(seed=0, width=2, stages=(2, 1), head=5))
    for digits in ("000", "111", "222"):
        modules = list(extract(supernet, decoded(digits)).modules())
        assert {type(m) for m in modules if "activation" in type(m).__module__} == {nn.ReLU}
        convs = [
            (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
            for m in modules
            if isinstance(m, nn.Conv2d)
        ]
        assert (convs[0], convs[-1]) == ((3, 2, 3, 1), (8, 5, 1, 1))
        kernel, times = {"0": (1, 1), "1": (3, 3), "2": (5, 6)}[digits[0]]
        strided = [conv for conv in convs if conv[3] == 2]
        assert strided == [
            (2 * times, 4 if times == 1 else 2 * times, kernel, 2),
            (4 * times, 8 if times == 1 else 4 * times, kernel, 2),
        ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (3, 32, 0)}, "shape is 0; it must be at least 1"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"stages": ()}, "number_of_stages is 0; it must be at least 1"),
        ({"stages": (2, 0)}, "stages is 0; it must be at least 1"),
        ({"head": 0}, "head is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_nasbench_macro_net(seed=0, **setting)
