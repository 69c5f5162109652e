"""1x1 convolutions with a stride never reach the kernel that writes past its workspace."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from supernet.nn.choices import OneOf
from supernet.nn.elastic import ElasticConv2d
from supernet.nn.strided import StridedConvolutions, conv2d
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from supernet.training import Recipe, train


def images(channels: int, *, last: bool = True) -> Tensor:
    x = torch.randn(4, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return x.to(memory_format=torch.channels_last) if last else x


def stride_of(y: Tensor) -> tuple[int, ...]:
    """Return the stride of the convolution that PyTorch is asked to differentiate."""
    assert y.grad_fn is not None
    return tuple(y.grad_fn._saved_stride)  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [2, 4, 7, 12])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
@pytest.mark.parametrize("last", ["inputs", "weights"])
def test_it_is_the_same_convolution(
    channels: int, stride: int | tuple[int, int], last: str
) -> None:
    x, layer = images(channels, last=last == "inputs"), nn.Conv2d(channels, 5, 1, stride)
    if last == "weights":
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        expected = layer(x)
    y = conv2d(x, layer.weight, layer.bias, stride)
    torch.testing.assert_close(y, expected)
    assert stride_of(y) == (1, 1)


def test_its_gradients_are_those_in_float64() -> None:
    x = images(4).requires_grad_()
    weight = torch.randn(3, 4, 1, 1, requires_grad=True)
    conv2d(x, weight, None, 2).square().sum().backward()
    wide, own = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    F.conv2d(wide, own, None, 2).square().sum().backward()
    for found, right in ((x.grad, wide.grad), (weight.grad, own.grad)):
        assert found is not None
        assert right is not None
        assert found.double() == pytest.approx(right, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: F.conv2d(x, w, None, 2),
        lambda x, w: F.conv2d(x, w, stride=(2, 1), padding="valid"),
        lambda x, w: torch.conv2d(input=x, weight=w, stride=(2,), padding=(0,)),
        lambda x, w: F.conv2d(F.pad(x, (1, 1, 1, 1)), weight=w, bias=None, stride=2),
    ],
    ids=["by place", "one way", "by name", "padded before"],
)
def test_in_the_block_every_call_is_covered(call: Any) -> None:
    x, weight = images(4), torch.randn(3, 4, 1, 1, requires_grad=True)
    assert max(stride_of(call(x, weight))) == 2
    with StridedConvolutions():
        y = call(x, weight)
    assert stride_of(y) == (1, 1)
    torch.testing.assert_close(y, call(x, weight))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 4, 1, 2),
        nn.Conv2d(4, 4, 3, 2),
        nn.Conv2d(4, 4, 1, 2, padding=1),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(5, 4, 1, 2),
    ],
    ids=["wide", "3x3", "padded", "every pixel", "channels first"],
)
def test_other_convolutions_are_left_as_they_are(layer: nn.Conv2d) -> None:
    x = images(layer.in_channels, last=layer.in_channels != 5)
    expected = layer(x)
    with StridedConvolutions():
        y = layer(x)
    assert torch.equal(y, expected)
    assert stride_of(y) == stride_of(expected)


def test_an_elastic_convolution_is_covered_in_any_loop() -> None:
    width, kernel = Choice("width", (4, 8)), Choice("kernel", (1, 3))
    net = Supernet(nn.Sequential(ElasticConv2d(2, width, kernel, stride=2)))
    narrow = net.space.smallest
    assert stride_of(net(images(2), narrow)) == (1, 1)
    assert stride_of(net(images(2), net.space.largest)) == (2, 2)


def test_a_training_step_is_covered_whatever_runs_the_convolution() -> None:
    """The network's own convolution and one of a choice, in a step and in a recomputed block."""
    seen: list[tuple[int, ...]] = []

    class Watched(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if y.grad_fn is not None and not y.is_meta:
                seen.append(stride_of(y))
            return y

    class Again(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
            return y

    torch.manual_seed(0)
    options = {"thin": Watched(2, 2, 1, 2), "wide": nn.Conv2d(2, 2, 3, 2, padding=1)}
    net = nn.Sequential(
        Watched(2, 2, 1, 2),
        OneOf("op", options),
        Again(Watched(2, 2, 1, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )
    loader = DataLoader(TensorDataset(torch.randn(16, 2, 16, 16), torch.arange(16) % 3), 8)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = copy.deepcopy(net.state_dict())
    train(net, (loader, loader, loader), Recipe(epochs=4), sampler="uniform")
    assert len(seen) > 10
    assert set(seen) == {(1, 1)}
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
