import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supernet.errors import SpaceError
from supernet.nn.choices import OneOf
from supernet.nn.elastic import Resolution, Zero
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_zero_is_zeros_in_the_shape_of_a_convolution(stride: int, size: int) -> None:
    conv = nn.Conv2d(3, 3, 3, stride=stride, padding=1)
    x = noise(2, 3, size, size)
    x[0, 0, 0, 0], x[1, 0, 0, 0] = torch.inf, torch.nan
    supernet = Supernet(OneOf("o", {"zero": Zero(stride), "conv": conv}))
    arch = Architecture({"o.op": "zero"})
    for y in (supernet(x, arch), extract(supernet, arch)(x)):
        assert torch.equal(y, torch.zeros_like(conv(x)))


def test_zero_of_anything_else_keeps_the_shape() -> None:
    assert torch.equal(Supernet(Zero())(noise(4, 3), Architecture()), torch.zeros(4, 3))


def test_images_are_resized() -> None:
    supernet = Supernet(Resolution(Choice("size", (4, 6, 9))))
    x = noise(2, 3, 6, 6)
    for arch in supernet.space:
        size = int(arch["size"])
        expected = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        assert torch.equal(supernet(x, arch), expected)
    assert torch.equal(supernet(x, Architecture({"size": 6})), x)


def test_impossible_operations_are_refused() -> None:
    with pytest.raises(SpaceError, match="Zero has a stride of 0; it must be at least 1"):
        Zero(0)
    with pytest.raises(SpaceError, match="option of the choice 'size' is 0"):
        Resolution(Choice("size", (0, 4)))
    with pytest.raises(SpaceError, match=r"Resolution 4 is given a tensor of shape \(2, 3\)"):
        Supernet(Resolution(4))(noise(2, 3), Architecture())
