"""A choice with which the model can't run is given up, and said."""

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.networks.conversion import make_elastic
from tests.networks.conversion.networks import X


class Counting(nn.Module):
    """Its code counts on a number of channels, in a way that no graph shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        torch._assert(y.shape[1] == 8, "eight channels")
        z: Tensor = self.head(self.second(y))
        return z


def test_choices_that_fail_are_given_up() -> None:
    supernet, report = make_elastic(Counting(), example=X)
    assert [c.name for c in supernet.space.choices] == ["second.width"]
    assert "the model can't run with less: AssertionError: eight channels" in str(report)


class Reading(nn.Module):
    """Its code reads what an elastic layer has not, or does more with a layer than to call it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.head, self.how = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1), how

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.conv(x))
        if self.how == "attribute":
            return y + int(self.conv.padding[0])
        return y + isinstance(self.conv, nn.Conv2d)


@pytest.mark.parametrize(
    ("how", "message"), [("attribute", "does more with its layers"), ("class", "would not compute")]
)
def test_a_model_that_does_more_with_its_layers_is_refused(how: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make_elastic(Reading(how), example=X)


class Sized(nn.Module):
    """Counts on the stride of a layer, which an elastic convolution keeps, or on its class."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1)) for _ in range(3)))
        self.reading = Reading("class")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reading(self.stages(x))
        return y


def test_widths_are_given_up_before_a_model_is_refused() -> None:
    supernet, report = make_elastic(Sized(), example=X)
    assert [c.name for c in supernet.space.choices] == ["stages.depth"]
    assert "would not compute what the model does" in str(report)


class Asking(nn.Module):
    """Asks a layer for more than to be called, of what does not change with its width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % self.conv.stride[0] or x.shape[-1] < self.conv.kernel_size[0]:
            x = x[..., :-1]
        y: Tensor = self.head(self.conv(x))
        return y


def test_layers_can_be_asked_for_what_stays() -> None:
    supernet, _ = make_elastic(Asking(), example=X, width=(0.5,))
    assert [c.name for c in supernet.space.choices] == ["conv.width"]
    assert supernet(X, supernet.space.smallest).shape == (3, 2, 3, 3)


def test_one_image_is_enough() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)
    )
    supernet, _ = make_elastic(model, example=X[:1])
    assert [c.name for c in supernet.space.choices] == ["0.width"]


def test_a_model_that_is_never_the_same_can_be_converted() -> None:
    class Clock(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Clock.calls += 1
            return x + Clock.calls

    model = nn.Sequential(nn.Conv2d(3, 8, 3), Clock(), nn.Conv2d(8, 2, 1))
    supernet, _ = make_elastic(model, example=X)
    assert [c.name for c in supernet.space.choices] == ["0.width"]
