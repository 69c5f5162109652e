"""Through which operations widths pass, and which fix them."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.networks.conversion.converter import Report, make_elastic
from supernet.nn.extraction import extract
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


def put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 1.0
    return y


def of_a_kind(x: object) -> Tensor:
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        raise TypeError
    return x


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
    "moved": lambda x: x.movedim(1, -1).movedim(-1, 1),
    "flattened and back": lambda x: x.flatten(2).view(x.shape[0], -1, 8, 8),
    "flattened and divided": lambda x: x.flatten(2).unflatten(2, (8, 8)),
    "sizes read": lambda x: x.reshape(x.size(0), x.size(1), 64).view(x.size(0), -1, 8, 8),
    "whole shape": lambda x: x.view(x.shape),
    "rest of the shape": lambda x: x.flatten(2).reshape(*x.shape[:2], *x.shape[2:]),
    "shape of another": lambda x: x.flatten(2).view_as(x),
    "cropped": lambda x: x[:, :, 1:, ::2],
    "dropped": lambda x: F.dropout(x, 0.0).contiguous(),
    "softmax": lambda x: torch.softmax(x, 1),
    "normalized": lambda x: F.normalize(x, dim=1),
    "masked": lambda x: x.masked_fill(x > 1, 0.0),
    "chosen": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "turned": lambda x: x.flip(1) + x.flip((2, 3)) + x.roll(1, 2),
    "averaged": lambda x: x.mean(1, keepdim=True) + x,
    "averaged by axis": lambda x: x.mean(axis=(2, 3), keepdim=True) + x,  # type: ignore[call-overload]
    "largest": lambda x: x.amax((2, 3), keepdim=True) + x.max(2, keepdim=True)[0],
    "split": lambda x: x.reshape(x.shape[0], 2, -1, 8, 8).flatten(1, 2),
    "chunks": lambda x: torch.cat(x.chunk(2, 1), 1),
    "halves": lambda x: torch.cat([x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]], 1),
    "split in two": lambda x: torch.cat(x.split(x.size(1) // 2, 1)[::-1], 1),
    "shuffled": lambda x: F.channel_shuffle(x, 2),
    "shuffled by hand": lambda x: (
        x.view(len(x), 2, x.size(1) // 2, 8, 8).transpose(1, 2).reshape(x.shape)
    ),
    "matrix": lambda x: torch.einsum("bchw,bdhw->bchw", x, x),
    "product": lambda x: (
        (x.flatten(2) @ x.flatten(2).mT).softmax(-1).matmul(x.flatten(2)).view_as(x)
    ),
    "attention": lambda x: F.scaled_dot_product_attention(x.mT, x.mT, x.mT).mT,
    "stacked": lambda x: torch.stack([x, -x], 0).sum(0),
    "instance": lambda x: F.instance_norm(x),
    "checked": lambda x: x if x.ndim == 4 and x.shape[1] % 2 == 0 and len(x) > 1 else -x,
    "of a kind": of_a_kind,
    "one by one": lambda x: sum((x for _ in range(x.size(2))), x),
}

FIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "unknown": lambda x: torch.cumsum(x, 1),
    "written size": lambda x: x.reshape(-1, 4, 64).reshape(-1, 4, 8, 8),
    "a part": lambda x: torch.cat([x[:, :2], x[:, :2]], 1),
    "cut at a number": lambda x: torch.cat(x.split(2, 1), 1),
    "cut in unequal parts": lambda x: torch.cat(x.split([1, 3], 1), 1),
    "channel by channel": lambda x: torch.stack([x[:, c] for c in range(x.size(1))], 1),
    "taken apart": lambda x: torch.stack(x.unbind(1), 1),
    "rolled": lambda x: x.roll(1, 1),
    "padded channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 1))[:, 1:-1],
    "with a constant": lambda x: x + torch.ones(4, 1, 1),
    "into a place": put,
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


def test_a_parameter_of_the_models_own_follows() -> None:
    supernet, report = make_elastic(stir(Parameter()), example=X, width=(0.5,), kernel=(3,))
    lines = {line.module: line for line in report.lines}
    assert [c.name for c in lines[""].choices] == ["conv.width"]
    assert [c.name for c in lines["last"].choices] == ["conv.width", "last.width"]
    for arch in supernet.space:
        assert extract(supernet, arch).get_parameter("gamma").shape == (arch["conv.width"], 1, 1)
        assert torch.equal(extract(supernet, arch)(X), supernet(X, arch))


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.c, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.c(x) + torch.cat([self.a(x), self.b(x)], 1))
        return y


def test_what_is_added_to_a_concatenation_consists_of_as_many_parts() -> None:
    model = stir(nn.Sequential(Sum(), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)))
    supernet, report = make_elastic(model, example=X, width=(0.5,), kernel=(3,))
    lines = {line.module: [c.name for c in line.choices] for line in report.lines}
    assert lines["0.a"] == ["0.a.width"]
    assert lines["0.b"] == ["0.b.width"]
    assert lines["0.c"] == lines["0.last"][:2] == ["0.a.width", "0.b.width"]
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch)(X), supernet(X, arch))


def test_a_layer_that_runs_twice_has_one_width() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), conv, nn.ReLU(), conv, nn.Conv2d(4, 2, 1))
    report = tried(model)
    assert {c.name for c in report.choices} == {"0.width"}


def test_linear_layers_read_the_last_axis() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 5))
    supernet, _ = make_elastic(model, example=noise(2, 3, 5), width=(0.5,))
    assert [c.options for c in supernet.space.choices] == [(4, 8)]
