"""Small networks to write down: of every zoo space, and of classes that users write."""

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.evaluation.batchnorm import recalibrate
from supernet.networks.zoo import (
    build_autoformer_net,
    build_mnist_net,
    build_nasbench201_net,
    build_nasbench_macro_net,
    build_ofa_mobilenet,
    build_ofa_resnet,
    build_operations_net,
    build_residual_net,
)
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import noise, stir

#: How to build a small network of each space, and the shape of its images.
ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mnist": (lambda: build_mnist_net(seed=0, shape=(1, 8, 8), widths=(6, 4)), (1, 8, 8)),
    "residual": (
        lambda: build_residual_net(seed=0, shape=(1, 8, 8), widths=(4, 6), deepest=2),
        (1, 8, 8),
    ),
    "operations": (lambda: build_operations_net(seed=0, shape=(1, 8, 8)), (1, 8, 8)),
    "nasbench201": (
        lambda: build_nasbench201_net(seed=0, shape=(3, 8, 8), width=4, cells=1),
        (3, 8, 8),
    ),
    "nasbench_macro": (
        lambda: build_nasbench_macro_net(seed=0, shape=(3, 8, 8), width=4, head=12),
        (3, 8, 8),
    ),
    "ofa_mobilenet": (
        lambda: build_ofa_mobilenet(
            seed=0,
            classes=4,
            shape=(3, 32, 32),
            widths=(8,) * 6,
            head=(8, 12),
            resolutions=(24, 32),
        ),
        (3, 32, 32),
    ),
    "ofa_resnet": (
        lambda: build_ofa_resnet(seed=0, classes=4, shape=(3, 32, 32), widths=(16,) * 5),
        (3, 32, 32),
    ),
    "autoformer": (
        lambda: build_autoformer_net(
            seed=0,
            classes=4,
            shape=(3, 8, 8),
            patch=4,
            widths=(12, 16),
            depths=(1, 2),
            heads=(1, 2),
            head_width=4,
            ratios=(100, 200),
        ),
        (3, 8, 8),
    ),
}


def subnet(supernet: Supernet, arch: Architecture, x: Tensor) -> nn.Module:
    """Take one out and give its batch norms statistics."""
    net = extract(supernet, arch)
    recalibrate(net, [x])
    return net.eval()


def some(name: str, count: int) -> list[tuple[nn.Module, Tensor]]:
    """Return so many random networks of a space, with images for them."""
    make, shape = ZOO[name]
    supernet, rng = Supernet(stir(make())), random.Random(0)
    x = noise(4, *shape)
    return [(subnet(supernet, supernet.space.sample(rng), x), x) for _ in range(count)]


class Arithmetic(nn.Module):
    """Operators of all kinds, slices, a parameter and a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.ReLU(inplace=True)
        self.weight = nn.Parameter(noise(4))
        self.steps: Tensor
        self.register_buffer("steps", torch.arange(4.0))
        self.scale = 3

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Any:
        y = self.first(x) + 1
        z = x * 2 - (x - 1) / self.scale
        joined = torch.cat([y[:, :2], z[..., 2:]], dim=1)
        u = joined - self.second(joined) * -2
        left, right = u.chunk(2, 1)[0], u.chunk(2, 1)[1]
        mean = -((left + right).view(x.shape[0], -1).mean(1, keepdim=True) ** 2)
        return mean + self.weight * self.steps + x.size(0) // 2 + F.gelu(u)


class Tied(nn.Module):
    """One weight, at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.embedding(tokens).mean(1))


class Branching(nn.Module):
    """What it does depends on values, so no graph says it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear, self._scale = nn.Linear(width, width), 0.5

    def forward(self, x: Tensor) -> Any:
        return self.linear(x) * self._scale if x.sum() > 0 else self.linear(x) - self.width


class Reshaped(nn.Module):
    """Calls something that has no name in model folders."""

    def forward(self, x: Tensor) -> Any:
        return torch.fft.fft(x).real


def shared_layer() -> nn.Module:
    """One layer at two places of a chain."""
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3))


def named() -> nn.Module:
    """A network whose parts have names already."""
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    net.add_module("head", nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(16, 2))))
    return net


#: Networks as users write them, with inputs.
OWN: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "arithmetic": lambda: (Arithmetic(), noise(3, 4)),
    "tied": lambda: (Tied(), torch.tensor([[1, 2], [3, 6]])),
    "shared layer": lambda: (shared_layer(), noise(3, 4)),
    "named": lambda: (named(), noise(2, 3, 4, 4)),
    "one layer": lambda: (nn.Linear(3, 2), noise(2, 3)),
    "double": lambda: (nn.Sequential(nn.Linear(3, 2)).double(), noise(2, 3).double()),
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), noise(2, 3, 8)),
    "nothing": lambda: (nn.Sequential(nn.Identity()), noise(2, 3)),
}
