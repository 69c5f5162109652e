"""Which options choices get, and which layers are left alone."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from supernet.networks.conversion import make_elastic
from supernet.nn.extraction import extract
from tests.networks.conversion.networks import X, plain_stack


def options(width: int, shares: tuple[float, ...], groups: int = 0) -> tuple[int | str, ...]:
    middle = nn.Conv2d(width, width, 3, padding=1, groups=groups) if groups else nn.Identity()
    model = nn.Sequential(nn.Conv2d(3, width, 1), middle, nn.Conv2d(width, 2, 1))
    supernet, _ = make_elastic(model, example=X, width=shares)
    return supernet.space.choices[0].options


def test_widths_are_rounded_to_what_suits_and_the_whole_is_the_last() -> None:
    assert options(64, (0.25, 0.5, 0.75)) == (16, 32, 48, 64)
    assert options(64, (0.3, 1)) == (16, 64)
    assert options(16, (0.25, 1.0)) == (4, 16)
    assert options(12, (0.5,)) == (8, 12)
    assert options(7, (0.5,)) == (4, 7)
    assert options(2, (0.01,)) == (1, 2)


def test_widths_respect_groups() -> None:
    assert options(12, (0.5,), groups=12) == (8, 12)  # depthwise
    assert options(12, (0.25, 0.5), groups=4) == (3, 6, 12)
    assert options(24, (0.5,), groups=4) == (12, 24)
    assert options(24, (0.5,), groups=2) == (12, 24)


@pytest.mark.parametrize("shares", [(0.5,), (0.3, 0.9), (0.01,), (1.0, 0.5)])
def test_widths_are_whole_ascending_and_different(shares: tuple[float, ...]) -> None:
    for width in (2, 3, 5, 8, 12, 20, 24, 63, 64):
        found = [int(option) for option in options(width, shares)]
        assert found == sorted(set(found))
        assert found[0] >= 1
        assert found[-1] == width


def test_kernels_are_those_that_are_smaller_and_the_own() -> None:
    convs = [nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3, 5, 7)]
    supernet, report = make_elastic(
        nn.Sequential(*convs), example=X, kernel=(5, 3), width=None, depth=False
    )
    found = {c.name: c.options for c in supernet.space.choices}
    assert found == {"2.kernel": (3, 5), "3.kernel": (3, 5, 7)}
    assert report.lines[1].reasons == ("kernel: of (3, 5) none is smaller than 3",)


@pytest.mark.parametrize(
    "odd_one",
    [
        nn.Conv2d(3, 3, 5),
        nn.Conv2d(3, 3, 4, padding=2),
        nn.Conv2d(3, 3, (5, 3), padding=(2, 1)),
        nn.Conv2d(3, 3, 5, padding=2, padding_mode="reflect"),
        nn.Conv2d(3, 3, 5, padding=2, stride=(1, 2)),
    ],
)
def test_kernels_without_a_center_stay(odd_one: nn.Conv2d) -> None:
    model = nn.Sequential(odd_one, nn.Conv2d(3, 3, 5, padding=2))
    supernet, report = make_elastic(model, example=X, kernel=(1, 3), width=None, depth=False)
    assert [c.name for c in supernet.space.choices] == ["1.kernel"]
    assert "have a center to use" in report.lines[0].reasons[0]


@pytest.mark.parametrize("dilation", [1, 2])
def test_dilated_and_same_padded_kernels_have_a_center(dilation: int) -> None:
    model = nn.Conv2d(3, 3, 5, padding="same", dilation=dilation)
    supernet, _ = make_elastic(model, example=X, kernel=(3,))
    assert [c.name for c in supernet.space.choices] == ["kernel"]
    assert torch.equal(supernet(X, supernet.space.largest), model(X))
    assert extract(supernet, supernet.space.smallest)(X).shape == (3, 3, 8, 8)


def left_alone(model: nn.Sequential, place: int) -> str:
    supernet, report = make_elastic(model, example=X, kernel=(1,))
    line = next(line for line in report.lines if line.module.partition(".")[0] == str(place))
    assert not line.choices
    assert supernet.space.size > 1
    return " ".join(line.reasons)


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(6, 2, 3, padding=1),
    )  # fmt: skip


def test_layers_with_hooks_are_left_alone() -> None:
    model = net()
    model[0].register_forward_hook(lambda *_: None)
    assert "it has hooks" in left_alone(model, 0)


def test_layers_with_tied_weights_are_left_alone() -> None:
    model = nn.Sequential(net(), nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    model[2].weight = model.get_parameter("0.1.weight")
    assert "it shares its weight with '0.1'" in left_alone(model, 2)


def test_layers_with_computed_weights_are_left_alone() -> None:
    model = net()
    weight_norm(model[0])
    assert "its weight is computed from other parameters" in left_alone(model, 0)


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


class NormAndMore(nn.BatchNorm2d):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.act(super().forward(x))
        return y


def test_a_batch_norm_of_another_class_is_replaced_only_if_it_is_a_chain() -> None:
    model = net().insert(1, OtherNorm(4))
    assert "its class does something else" in left_alone(model, 1)
    model = net().insert(1, NormAndMore(4)).train()
    supernet, report = make_elastic(model, example=X)
    assert [c.name for c in report.lines[1].choices] == ["0.width"]
    expected = model(X)
    assert torch.equal(supernet(X, supernet.space.largest), expected)
    assert torch.equal(extract(supernet, supernet.space.largest)(X), expected)


def test_names_are_matched_by_patterns() -> None:
    _, report = make_elastic(plain_stack(), example=X, exclude="0.*", kernel=(1,))
    assert {c.name.split(".")[0] for c in report.choices} == {"1", "2", "3"}
    assert any("excluded by '0.*'" in why for line in report.lines for why in line.reasons)
