"""Given modules, of whose weights a part is used, keep the contract of choice modules."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supernet.nn.elastic import ElasticConv2d, ElasticLinear, Size
from supernet.nn.elastic.narrowed import Cuts, Holding, Narrowed, Parts, take
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise

A, B = Choice("a", (2, 4)), Choice("b", (1, 3))
ONE: Parts = ((Size((A,)), 4),)
#: A concatenation of two widths, and between them two channels that are always there.
MIXED: Parts = ((Size((A,)), 4), (Size((2,)), 2), (Size((B, 2)), 6))
BOTH = {"weight": {0: MIXED}, "bias": {0: MIXED}}


class Source(nn.Module):
    """Makes channels of the widths of `MIXED`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = ElasticConv2d(2, A, 1), ElasticConv2d(2, Size((B, 2)), 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), x, self.b(x)], 1)


def _conv(kind: type[nn.Module], *more: int, axes: tuple[int, int] = (0, 1)) -> nn.Module:
    conv = kind(12, 4, *more)
    weight: Cuts = {axes[0]: ONE, axes[1]: MIXED}
    attributes = {"in_channels": MIXED, "out_channels": ONE}
    return Narrowed(conv, {"weight": weight, "bias": {0: ONE}}, attributes)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: _conv(nn.Conv2d, 3),
    "transposed": lambda: _conv(nn.ConvTranspose2d, 2, 2, axes=(1, 0)),
    "batch norm": lambda: Narrowed(nn.BatchNorm2d(12), BOTH, {"num_features": MIXED}),
    "group norm": lambda: Narrowed(nn.GroupNorm(1, 12), BOTH, {"num_channels": MIXED}),
    "instance norm": lambda: Narrowed(
        nn.InstanceNorm2d(12, affine=True), BOTH, {"num_features": MIXED}
    ),
    "prelu": lambda: Narrowed(nn.PReLU(12), {"weight": {0: MIXED}}, {"num_parameters": MIXED}),
}


class _Contract(ChoiceModuleContract):
    def test_extracted_is_plain(self) -> None:
        """A class of the tests is in it, as one of the user's is in a converted network."""

    def example(self) -> Tensor:
        return noise(3, 2, 4, 4)


@pytest.mark.parametrize("name", LAYERS)
class TestNarrowed(_Contract):
    @pytest.fixture(autouse=True)
    def _take(self, name: str) -> None:
        self.name = name

    def build(self) -> nn.Module:
        return nn.Sequential(Source(), LAYERS[self.name]())


class Scaled(nn.Module):
    """Reads a parameter and a buffer of its own, beside layers with choices."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.shift: Tensor
        self.register_buffer("shift", torch.arange(4.0)[:, None, None])
        self.conv = ElasticConv2d(A, A, 3)
        self.free = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gamma * self.conv(x) + self.shift * self.free
        return y


class TestHolding(_Contract):
    def build(self) -> nn.Module:
        scaled = Holding(Scaled(), {"gamma": {0: ONE}, "shift": {0: ONE}})
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), ElasticLinear(A, 2))
        return nn.Sequential(ElasticConv2d(2, A, 1), scaled, pool)

    def params(self, arch: Architecture) -> int:
        a = int(arch["a"])
        return 3 * a + a + a * (9 * a + 1) + 1 + 2 * (a + 1)


def test_the_first_of_each_segment_is_taken() -> None:
    arch = Architecture({"a": 2, "b": 1})
    whole = torch.arange(12)
    assert take(whole, {0: MIXED}, arch).tolist() == [0, 1, 4, 5, 6, 7]
    assert take(whole, {0: MIXED}, Architecture({"a": 4, "b": 3})).tolist() == list(range(12))


def test_attributes_follow() -> None:
    layer = Narrowed(
        nn.GroupNorm(6, 12),
        BOTH,
        {"num_channels": MIXED, "num_groups": tuple((Size((s,), 2), n // 2) for s, n in MIXED)},
    )
    plain = layer.plain(Architecture({"a": 2, "b": 3}))
    assert isinstance(plain, nn.GroupNorm)
    assert (plain.num_channels, plain.num_groups, len(plain.weight)) == (10, 5, 10)
    norm = Narrowed(nn.LayerNorm(4), {"weight": {0: ONE}}, {"normalized_shape": ONE})
    assert norm.plain(Architecture({"a": 2})).normalized_shape == (2,)


def test_kinds_of_tensors_and_modes_stay() -> None:
    scaled = Scaled()
    scaled.gamma.requires_grad_(False)
    supernet = Supernet(Holding(scaled, {"gamma": {0: ONE}, "shift": {0: ONE}}).eval())
    net = extract(supernet, supernet.space.smallest)
    assert isinstance(net, Scaled)
    assert list(net.state_dict()) == ["gamma", "free", "shift", "conv.weight", "conv.bias"]
    assert isinstance(net.gamma, nn.Parameter)
    assert not net.gamma.requires_grad
    assert [name for name, _ in net.named_buffers()] == ["shift"]
    assert not net.training
    assert net.shift.shape == (2, 1, 1)
    # Somebody's code may ask the module for more than to be called.
    assert supernet.net.free is scaled.free
