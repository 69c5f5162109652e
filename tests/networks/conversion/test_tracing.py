"""Models whose code asks for shapes, branches, or does something else in training mode."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.networks.conversion import make_elastic
from supernet.nn.extraction import extract
from tests.conftest import noise, stir
from tests.networks.conversion.networks import X, conv_bn_relu


class Looking(nn.Module):
    """Looks at what it is given before it goes on."""

    def __init__(self, look: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.look = look

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.look(self.first(self.look(x))))
        return y


def _assert(x: Tensor) -> Tensor:
    assert x.shape[1] in (3, 4, 8)
    assert len(x) > 0
    assert x.size(-1) == x.shape[3] == 8
    return x


def _raise(x: Tensor) -> Tensor:
    if x.ndim != 4:
        raise ValueError(f"expected 4 axes, got {x.ndim} of {x.shape[0]:d} images")
    if not x.is_floating_point() or x.numel() == 0 or x.is_complex():
        raise TypeError(type(x))
    return x


def _of_a_kind(x: object) -> Tensor:
    if not torch.is_tensor(x) or not isinstance(x, Tensor):
        raise TypeError(type(x))
    return x


def _loop(x: Tensor) -> Tensor:
    for _ in range(x.size(1)):
        x = x + 1
    return x


def _pad(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    more = (-height) % 5, (-width) % 5
    x = F.pad(x, (0, more[1], 0, more[0])) if any(more) else x
    return x[..., :height, :width]


def _grid(x: Tensor) -> Tensor:
    *_, h, w = x.shape
    across = torch.linspace(0, 1, w, dtype=x.dtype, device=x.device)
    down = torch.arange(h).to(x)
    return x + across[None] * down[:, None] / max(h, w)


def _tokens(x: Tensor) -> Tensor:
    b, c, h, w = x.size()
    tokens = x.flatten(2).transpose(1, 2)
    return tokens.reshape(b, h, w, c).permute(0, 3, 1, 2)


def _windows(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    cut = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 4, 4)
    whole = cut.view(b, h // 4, w // 4, -1, 4, 4).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(b, -1, *x.shape[2:])


LOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "assert": _assert,
    "raise": _raise,
    "loop": _loop,
    "pad": _pad,
    "grid": _grid,
    "tokens": _tokens,
    "windows": _windows,
    "all of the shape": lambda x: x.reshape(*x.shape),
    "instance": _of_a_kind,
    "sizes as a tuple": lambda x: x.reshape(tuple(x.shape)) if tuple(x.shape) else x,
    "resized to another": lambda x: F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:]),
    "size of a kind": lambda x: x / x.shape[1] ** 0.5 + x.shape.numel() * 0,
    "dtype": lambda x: x.float() if x.dtype == torch.float16 else x,
    "unpacked": lambda x: torch.stack([*x], 0),
    "zipped": lambda x: torch.stack([a + b for a, b in zip(x, x, strict=True)], 0),
}


@pytest.mark.parametrize("name", LOOKS)
def test_code_that_looks_at_shapes_is_followed(name: str) -> None:
    model = stir(Looking(LOOKS[name]))
    supernet, report = make_elastic(model, example=X, width=(0.5,), kernel=(1,))
    assert {c.name for c in report.choices} == {"first.width", "first.kernel"}
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch)(X), supernet(X, arch))
    assert torch.equal(supernet(X, supernet.space.largest), model(X))


def test_a_width_by_which_code_decides_is_tried_at_every_option() -> None:
    def even(x: Tensor) -> Tensor:
        assert x.shape[1] != 6, "six"
        return x

    _, report = make_elastic(Looking(even), example=X, width=(0.25, 0.75), kernel=(1,))
    assert [c.name for c in report.choices] == ["first.kernel"]
    assert "the model can't run with less: AssertionError: six" in str(report)


BY_NUMBERS: dict[str, Callable[[Tensor], Tensor]] = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "item": lambda x: x if x.mean().item() > 0 else -x,
    "int": lambda x: x * int(x.sum()),
    "float": lambda x: x * float(x.sum()),
    "list": lambda x: x if x.flatten().tolist()[0] > 0 else -x,
    "in": lambda x: x if 1.0 in x else -x,
}


@pytest.mark.parametrize("name", BY_NUMBERS)
def test_code_that_decides_by_numbers_has_no_graph(name: str) -> None:
    _, report = make_elastic(Looking(BY_NUMBERS[name]), example=X, kernel=(1,))
    assert [c.name for c in report.choices] == ["first.kernel"]
    assert "the model can't be traced: " in report.lines[0].reasons[0]


class Auxiliary(nn.Module):
    """Has a second head in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv_bn_relu(3, 8), conv_bn_relu(8, 8)
        self.aux = nn.Sequential(nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(256, 2))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.stem(x)
        y: Tensor = self.head(self.body(x).mean((2, 3)))
        return (y, self.aux(x)) if self.training else y


def test_branches_in_training_mode_follow() -> None:
    model = stir(Auxiliary()).train()
    supernet, report = make_elastic(model, example=X, width=(0.5,), kernel=(1,))
    lines = {line.module: [c.name for c in line.choices] for line in report.lines}
    assert lines["aux.0"] == ["stem.0.width", "aux.0.width"]
    assert lines["aux.2"] == ["aux.0.width"]
    expected = model(X)
    found = supernet.train()(X, supernet.space.largest)
    assert all(map(torch.equal, found, expected))
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert all(map(torch.equal, net.train()(X), supernet.train()(X, arch)))


class Outputs(NamedTuple):
    main: Tensor
    aux: Tensor


class Named(Auxiliary):
    """Returns a named tuple in training mode, as GoogLeNet does."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        found = super().forward(x)
        return Outputs(*found) if isinstance(found, tuple) else found


def test_a_named_tuple_is_returned() -> None:
    model = stir(Named()).train()
    supernet, report = make_elastic(model, example=X, width=(0.5,), kernel=(1,))
    lines = {line.module: line for line in report.lines}
    assert lines["aux.2"].reasons == ("output width: the model returns it",)
    found = supernet.train()(X, supernet.space.largest)
    assert isinstance(found, Outputs)
    assert all(map(torch.equal, found, model(X)))


class Sometimes(nn.Module):
    """Asks for its targets in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = conv_bn_relu(3, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        if self.training and target is None:
            raise ValueError("targets are missing")
        y: Tensor = self.last(self.first(x))
        return y


def test_a_model_that_only_evaluates_on_the_example_is_converted_for_that() -> None:
    supernet, _ = make_elastic(Sometimes(), example=X, width=(0.5,))
    assert [c.name for c in supernet.space.choices] == ["first.0.width"]
    both, _ = make_elastic(Sometimes(), example=(X, noise(3)), width=(0.5,))
    assert both.train()(X, both.space.smallest, target=noise(3)).shape == (3, 2, 8, 8)


class Dropping(nn.Module):
    """Draws lots in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.training and torch.rand(()) < 0.5:
            x = x * 0
        y: Tensor = self.last(x)
        return y


def test_a_model_that_draws_lots_in_training_mode_is_converted() -> None:
    model, before = Dropping(), torch.get_rng_state()
    supernet, _ = make_elastic(model, example=X, width=(0.5,))
    assert [c.name for c in supernet.space.choices] == ["first.width"]
    assert torch.equal(torch.get_rng_state(), before)
