import torch
import torch.nn.functional as F
from torch import nn

from supernet.nn.elastic import ElasticLinear, Size
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from tests.conftest import noise, stir

INP, OUT = Choice("i", (2, 4)), Choice("o", (3, 6))
X = noise(5, 2, 4)


def test_it_uses_the_first_rows_and_columns() -> None:
    for bias in (True, False):
        linear = ElasticLinear(INP, OUT, bias=bias)
        supernet = Supernet(stir(linear))
        for arch in supernet.space:
            i, o = int(arch["i"]), int(arch["o"])
            offset = linear.bias[:o] if bias else None
            expected = F.linear(X[..., :i], linear.weight[:o, :i].contiguous(), offset)
            assert torch.equal(supernet(X[..., :i], arch), expected)


def test_the_largest_is_the_plain_layer() -> None:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        plain = nn.Linear(4, 6)
        torch.manual_seed(3)
        elastic = ElasticLinear(INP, OUT)
    assert elastic.state_dict().keys() == plain.state_dict().keys()
    supernet = Supernet(elastic)
    assert torch.equal(supernet(X, supernet.space.largest), plain(X))


def test_after_flattening_the_first_features_are_those_of_the_first_channels() -> None:
    images = noise(3, 4, 2, 2)
    linear = ElasticLinear(Size((INP, 4)), 5)
    supernet = Supernet(stir(nn.Sequential(nn.Flatten(), linear)))
    wide = images.clone()
    wide[:, 2:] = 0
    narrow = supernet(images[:, :2], supernet.space.smallest)
    torch.testing.assert_close(narrow, supernet(wide, supernet.space.largest))
