"""Changes in place: right or refused, and never wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from tests.conftest import Residual, noise, stir
from tests.sampling import examples
from tests.sharing.networks import (
    LEAVES,
    MODES,
    Cell,
    InPlaceResidual,
    Network,
    Plan,
    Unannounced,
    View,
    assert_same,
    copied,
    each_mode,
    gradients,
    loss_of,
    one_by_one,
    plans_of,
    sharing_warnings,
    some_archs,
)


def right_or_refused(supernet: Supernet, x: Tensor, most: int = 24) -> list[str]:
    """Run in two orders; fail if an output or a gradient is wrong; return the refusals."""
    archs = some_archs(supernet, most)
    expected = one_by_one(supernet, x, archs)
    try:
        apart = gradients(supernet, loss_of(one_by_one(supernet, x, archs)))
    except RuntimeError:  # no gradients wanted, or none to be had even alone
        apart = []
    refusals = []
    for order in (archs, archs[::-1]):
        try:
            outputs = sharing.outputs(supernet, copied(x), order)
        except SharingError as refusal:
            refusals.append(str(refusal))
            continue
        found = dict(zip(order, outputs, strict=True))
        assert_same([found[arch] for arch in archs], expected)
        if apart:
            for a, b in zip(gradients(supernet, loss_of(outputs)), apart, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    return refusals


@each_mode
@settings(max_examples=examples(80))
@given(plans_of(st.one_of(LEAVES, st.sampled_from(["leaky_", "view", "unannounced"]))))
def test_random_networks_are_right_or_refused_and_never_wrong(mode: str, plan: list[Plan]) -> None:
    with MODES[mode](), sharing_warnings():
        right_or_refused(Network(["linear", *plan]).supernet.eval(), noise(5, 3), most=12)


# -- cases ----------------------------------------------------------------------------------------


def leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.3, inplace=True)  # unlike ReLU, not the same when it is done twice


def conv(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2))


def after(before: nn.Module, *between: nn.Module) -> nn.Module:
    """A network that changes a value in place right after it was split."""
    return nn.Sequential(before, *between, leaky(), nn.Conv2d(2, 2, 3))


class Does(nn.Module):
    """Runs a function of its children, called `a` and `b`."""

    def __init__(self, what: Callable[..., Any], a: nn.Module, b: nn.Module | None = None) -> None:
        super().__init__()
        self.a, self.b, self.what = a, b, what

    def forward(self, x: Tensor) -> Any:
        return self.what(self, x)


def relu_on_a_view(self: Does, x: Tensor) -> Tensor:
    y = self.a(x)
    F.leaky_relu(y.view(-1), 0.3, inplace=True)
    z: Tensor = y * 2
    return z


def read_again(self: Does, x: Tensor) -> Tensor:
    z = self.a(x)
    y: Tensor = z + x.tanh()
    return y


def view_read_again(self: Does, x: Tensor) -> Tensor:
    v = x.view(-1)
    z = self.a(x)
    y: Tensor = z + v.tanh().view(x.shape)
    return y


def last_of_all(self: Does, x: Tensor) -> Tensor:
    y: Tensor = self.a(x)
    y.mul_(3)
    return y


def split_add(self: Does, x: Tensor) -> Tensor:
    y: Tensor = self.a(x)
    y += x
    y *= 2
    return F.leaky_relu(y, 0.3, inplace=True)


def sliced(self: Does, x: Tensor) -> Tensor:
    y = self.a(x)
    left, right = y[:, :1], y[:, 1:]
    left.mul_(3)
    return torch.cat([right, left], 1)


#: By name: a network, and whether it must run; otherwise it may also be refused.
CASES: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "after a block": (lambda: after(Depth("d", [conv(2) for _ in range(3)])), True),
    "after a skipped block": (
        lambda: after(nn.Sequential(conv(2), Depth("d", [conv(2)], shortest=0))),
        True,
    ),
    "on the input itself": (
        lambda: after(Depth("d", [nn.Sequential(leaky(), conv(2))], shortest=0)),
        True,
    ),
    "at the start of a block": (
        lambda: after(
            nn.Sequential(conv(2), Depth("d", [nn.Sequential(leaky(), conv(2))], shortest=0))
        ),
        True,
    ),
    "on a view": (
        lambda: after(Depth("d", [conv(2), conv(2)]), nn.Flatten(), nn.Unflatten(1, (2, 6, 6))),
        True,
    ),
    "after a block that returns its input": (
        lambda: after(nn.Sequential(conv(2), Depth("d", [nn.Identity(), conv(2)], shortest=0))),
        True,
    ),
    "after what returns its input": (
        lambda: after(
            nn.Sequential(
                conv(2),
                Depth("d", [conv(2)], shortest=0),
                Does(lambda m, x: m.a(x), Depth("e", [nn.Identity(), conv(2)], shortest=0)),
            )
        ),
        True,
    ),
    "inside blocks": (
        lambda: after(
            nn.Sequential(Depth("d", [nn.Sequential(conv(2), leaky()) for _ in range(3)]), conv(2))
        ),
        True,
    ),
    "one branch only, the other hands out a view": (
        lambda: nn.Sequential(conv(2), OneOf("o", {"view": View(), "leaky": leaky()})),
        True,
    ),
    "after another branch, whose gradient needs the value": (
        lambda: nn.Sequential(
            conv(2), OneOf("o", {"conv": conv(2), "leaky": nn.Sequential(leaky(), conv(2))})
        ),
        True,
    ),
    "at the start of a residual": (
        lambda: nn.Sequential(
            conv(2),
            Depth("d", [conv(2), conv(2)]),
            Residual(nn.Sequential(leaky(), Depth("e", [conv(2), conv(2)]))),
        ),
        False,
    ),
    "x += y inside residuals": (
        lambda: nn.Sequential(
            conv(2), Depth("d", [InPlaceResidual(Depth(f"e{i}", [conv(2)] * 2)) for i in range(2)])
        ),
        True,
    ),
    "x += y on what others need": (
        lambda: nn.Sequential(
            conv(2), Does(split_add, Depth("d", [conv(2) for _ in range(3)])), conv(2)
        ),
        True,
    ),
    "x += y where x and y may be the same": (
        lambda: nn.Sequential(
            conv(2), Residual(Does(split_add, Depth("d", [conv(2)], shortest=0))), conv(2)
        ),
        False,
    ),
    "through a view in a forward": (
        lambda: nn.Sequential(conv(2), Does(relu_on_a_view, Depth("d", [conv(2), conv(2)]))),
        False,
    ),
    "and read again, where another reads it unchanged": (
        lambda: nn.Sequential(
            conv(2), Does(read_again, OneOf("o", {"conv": conv(2), "leaky": leaky()}))
        ),
        False,
    ),
    "and a view read again": (
        lambda: nn.Sequential(
            conv(2), Does(view_read_again, OneOf("o", {"conv": conv(2), "leaky": leaky()}))
        ),
        False,
    ),
    "in a branch, after another that hands on a view": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(72, 3),
            Depth("d", [nn.Linear(3, 3), nn.Linear(3, 3)]),
            Cell(OneOf("o", {"linear": nn.Linear(3, 3), "view": View()}), leaky(), nn.Linear(6, 3)),
        ),
        False,
    ),
    "in a branch, after another that reads the value": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(72, 3),
            Cell(Depth("d", [nn.Identity(), nn.Linear(3, 3)]), leaky(), nn.Linear(6, 3)),
        ),
        False,
    ),
    "last of all, on what is returned": (
        lambda: nn.Sequential(conv(2), Does(last_of_all, Depth("d", [conv(2), conv(2)]))),
        False,
    ),
    "on a slice": (
        lambda: nn.Sequential(conv(2), Does(sliced, Depth("d", [conv(2), conv(2)]))),
        False,
    ),
    "unannounced": (
        lambda: nn.Sequential(
            conv(2), OneOf("o", {"conv": conv(2), "unannounced": Unannounced()}), conv(2)
        ),
        False,
    ),
    "unannounced, and read again": (
        lambda: nn.Sequential(
            conv(2), Residual(Depth("d", [Unannounced(), conv(2)], shortest=0)), conv(2)
        ),
        False,
    ),
}


@each_mode
@pytest.mark.parametrize("case", CASES)
def test_changes_in_place_are_right_or_refused_and_never_wrong(case: str, mode: str) -> None:
    build, runs = CASES[case]
    with torch.random.fork_rng(devices=()):
        supernet = Supernet(stir(build()))
    with MODES[mode]():
        refusals = right_or_refused(supernet, noise(3, 2, 6, 6))
    assert not (refusals and runs)


def test_outputs_that_were_given_away_do_not_change() -> None:
    net = nn.Sequential(nn.Linear(3, 3), OneOf("o", {"view": View(), "leaky": leaky()}))
    supernet = Supernet(stir(net))
    stream = sharing.stream(supernet, noise(4, 3), supernet.space)
    kept = [(group.value, group.value.clone()) for group in stream]
    assert all(torch.equal(value, copy) for value, copy in kept)


def test_outputs_come_when_nothing_changes_them_any_more() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Does(last_of_all, Depth("d", [nn.Linear(3, 3)] * 2)))
    supernet = Supernet(stir(net))
    x = noise(4, 3)
    with torch.no_grad():
        for group in sharing.stream(supernet, x, [supernet.space.largest]):
            assert torch.equal(group.value.clone(), supernet(x, supernet.space.largest))


def test_the_refusal_names_the_module_and_the_way_out() -> None:
    build, _ = CASES["and read again, where another reads it unchanged"]
    supernet = Supernet(build())
    with pytest.raises(SharingError, match=r"LeakyReLU changes its input in place.*inplace=False"):
        sharing.run(supernet, noise(3, 2, 6, 6), supernet.space)
    (group,) = sharing.run(supernet, noise(3, 2, 6, 6), [supernet.space.smallest])
    assert_same([group.value], one_by_one(supernet, noise(3, 2, 6, 6), [supernet.space.smallest]))


def test_one_architecture_is_never_refused() -> None:
    for build, _ in CASES.values():
        supernet, x = Supernet(stir(build())).eval(), noise(3, 2, 6, 6)
        for arch in supernet.space:
            assert_same(sharing.outputs(supernet, copied(x), [arch]), [supernet(copied(x), arch)])
