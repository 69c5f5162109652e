"""Through which operations widths pass, and which fix them."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.networks.conversion.converter import Report, make_elastic
from tests.conftest import noise, stir
from tests.networks.conversion.networks import X


class Between(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, what: Callable[[Tensor], Tensor], width: int = 4, reads: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.what = what
        self.last = nn.Conv2d(reads, 2, 1)
        self.other = nn.Conv2d(3, 6, 5, padding=2)  # so that there is always a choice

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.what(self.first(x)))
        z: Tensor = self.other(x)
        return y.mean((2, 3)) + z.mean((1, 2, 3)).unsqueeze(1)


def tried(model: nn.Module) -> Report:
    """Convert; the largest architecture, and few others, have been tried then."""
    supernet, report = make_elastic(stir(model), example=X, width=(0.5,), kernel=(3,))
    for arch in (supernet.space.smallest, supernet.space.largest):
        supernet(X, arch)
    return report


PASSES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "method": lambda x: x.sigmoid(),
    "twice": lambda x: x + torch.tanh(x) * 2 - x / 3,
    "number": lambda x: 1 - x,
    "in place": lambda x: x.clone().add_(x).mul_(2),
    "scaled": lambda x: x * x.mean((2, 3), keepdim=True),
    "spread": lambda x: x.mean((2, 3))[:, :, None, None].expand_as(x) + x,
    "pooled": lambda x: F.max_pool2d(F.avg_pool2d(x, 3, 1, 1), 2),
    "resized": lambda x: F.interpolate(x, scale_factor=2.0),
    "padded": lambda x: F.pad(x, (1, 1, 1, 1)),
    "permuted": lambda x: x.permute(0, 2, 3, 1).permute((0, 3, 1, 2)),
    "transposed": lambda x: x.transpose(1, 3).transpose(3, 1),
    "flattened and back": lambda x: x.flatten(2).view(x.shape[0], -1, 8, 8),
    "sizes read": lambda x: x.reshape(x.size(0), x.size(1), 64).view(x.size(0), -1, 8, 8),
    "cropped": lambda x: x[:, :, 1:, ::2],
    "dropped": lambda x: F.dropout(x, 0.0).contiguous(),
    "softmax": lambda x: torch.softmax(x, 1),
    "averaged": lambda x: x.mean(1, keepdim=True) + x,
}

FIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "unknown": lambda x: torch.cumsum(x, 1),
    "written size": lambda x: x.reshape(-1, 4, 64).reshape(-1, 4, 8, 8),
    "whole shape": lambda x: x.view(x.shape),
    "split": lambda x: x.reshape(x.shape[0], 2, -1, 8, 8).flatten(1, 2),
    "chunks": lambda x: torch.cat(x.chunk(2, 1), 1),
    "a part": lambda x: torch.cat([x[:, :2], x[:, :2]], 1),
    "shuffled": lambda x: F.channel_shuffle(x, 2),
    "matrix": lambda x: torch.einsum("bchw,bdhw->bchw", x, x),
    "padded channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 1))[:, 1:-1],
    "with a constant": lambda x: x + torch.ones(4, 1, 1),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_width_passes(name: str) -> None:
    report = tried(Between(PASSES[name]))
    lines = {line.module: [c.name for c in line.choices] for line in report.lines}
    assert lines["first"] == lines["last"] == ["first.width"]


@pytest.mark.parametrize("name", FIXES)
def test_a_width_is_fixed_and_the_report_says_so(name: str) -> None:
    report = tried(Between(FIXES[name]))
    lines = {line.module: line for line in report.lines}
    assert not lines["first"].choices
    assert not lines["last"].choices
    assert "output width: " in lines["first"].reasons[0]
    assert "with less" not in str(report)  # the rule knows; it need not be tried


def test_flattened_a_channel_is_several_positions() -> None:
    for flat in (nn.Flatten(), nn.Flatten(1, -1)):
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(4), flat, nn.Linear(16, 2)
        )
        report = tried(model)
        assert [c.name for c in report.lines[1].choices] == ["0.width"]


class Parameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.last = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.last((self.conv(x) * self.gamma).mean((2, 3))))
        return y


def test_what_a_parameter_is_multiplied_with_is_fixed() -> None:
    lines = {line.module: line for line in tried(Parameter()).lines}
    assert not lines["conv"].choices
    assert "it is combined with the parameter 'gamma'" in lines["conv"].reasons[0]
    assert [c.name for c in lines["head"].choices] == ["last.width"]


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.c, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.c(x) + torch.cat([self.a(x), self.b(x)], 1))
        return y


def test_what_is_added_to_a_concatenation_is_fixed() -> None:
    model = nn.Sequential(Sum(), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1))
    report = tried(model)
    lines = {line.module: line for line in report.lines}
    for name in ("0.a", "0.b", "0.c"):
        assert not lines[name].choices
        assert "channels that come from several layers are added" in lines[name].reasons[0]


def test_a_layer_that_runs_twice_has_one_width() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), conv, nn.ReLU(), conv, nn.Conv2d(4, 2, 1))
    report = tried(model)
    assert {c.name for c in report.choices} == {"0.width"}


def test_linear_layers_read_the_last_axis() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 5))
    supernet, _ = make_elastic(model, example=noise(2, 3, 5), width=(0.5,))
    assert [c.options for c in supernet.space.choices] == [(4, 8)]
