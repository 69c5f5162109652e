"""Memory, random modules, hooks, modes, and what an exception leaves behind."""

import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.nn.choices import ChoiceModule, Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing.guard import Guard
from supernet.sharing.programs import Output
from tests.conftest import Residual, noise, stir
from tests.sharing.networks import (
    MODES,
    ByShape,
    InPlaceResidual,
    assert_same,
    assert_same_gradients,
    assert_shares,
    each_mode,
    one_by_one,
    sharing_warnings,
)


def linears(count: int) -> list[nn.Module]:
    return [nn.Linear(3, 3) for _ in range(count)]


# -- memory ---------------------------------------------------------------------------------------


class Alive(nn.Module):
    """Counts how many of the values that such modules made are still there."""

    values: weakref.WeakSet[Tensor]
    most = 0

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.5
        Alive.values.add(y)
        gc.collect(0)
        Alive.most = max(Alive.most, len(Alive.values))
        return y


def chain_of_choices(levels: int, wrap: Callable[[nn.Module], nn.Module]) -> Supernet:
    net = nn.Sequential(
        *(wrap(OneOf(f"o{i}", {"a": Alive(), "b": Alive()})) for i in range(levels))
    )
    return Supernet(net)


@pytest.mark.parametrize("mode", ["no_grad", "inference"])
@pytest.mark.parametrize("wrap", [lambda m: m, Residual], ids=["chain", "residual"])
@pytest.mark.parametrize("seed", [0, 1, None])
def test_memory_grows_with_depth_and_not_with_architectures(
    mode: str, wrap: Callable[[nn.Module], nn.Module], seed: int | None
) -> None:
    supernet = chain_of_choices(8, wrap)
    archs = list(supernet.space)
    if seed is not None:
        random.Random(seed).shuffle(archs)
    Alive.values, Alive.most = weakref.WeakSet(), 0
    done = 0
    with MODES[mode]():
        for group in sharing.stream(supernet, noise(2, 2), archs):
            done += len(group.archs)
            del group
    assert done == 2**8
    assert Alive.most <= 2 * 8 + 2


def test_outputs_come_one_after_the_other() -> None:
    supernet = Supernet(nn.Sequential(Depth("d", [nn.Tanh() for _ in range(3)])))
    stream = sharing.stream(supernet, noise(2, 3), supernet.space)
    seen: list[Any] = []
    supernet.net.get_submodule("0.blocks.2").register_forward_hook(lambda *_: seen.append(1))
    first = next(stream)
    assert seen == []
    assert [len(first.archs), *(len(group.archs) for group in stream)] == [1, 1, 1]


# -- random modules -------------------------------------------------------------------------------


class DropTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.body = Depth("d", linears(2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(x) + self.drop(x) + 0 * self.body(x)
        return y


def dropping() -> Supernet:
    head = nn.Sequential(nn.Dropout(0.5), nn.Flatten())
    return Supernet(nn.Sequential(nn.Dropout(0.5), Depth("d", [nn.Identity(), nn.Tanh()]), head))


def test_dropout_draws_once_for_all_who_share_it() -> None:
    supernet, x = dropping(), torch.ones(40, 50)
    first, second = sharing.outputs(supernet, x, list(supernet.space))
    # The first mask is common; what differs afterwards has masks of its own.
    kept = (first != 0) & (second != 0)
    assert 0.08 < kept.float().mean() < 0.17  # 1/8, were it 1/16 if all four were independent
    assert not torch.equal(first != 0, second != 0)
    shared = Supernet(nn.Sequential(nn.Dropout(0.5), Depth("d", [nn.Identity(), nn.Tanh()])))
    first, second = sharing.outputs(shared, x, list(shared.space))
    assert torch.equal(first != 0, second != 0)
    assert 0.4 < (first != 0).float().mean() < 0.6


@pytest.mark.parametrize("build", [dropping, lambda: Supernet(DropTwice())])
def test_one_architecture_drops_what_it_drops_alone(build: Callable[[], Supernet]) -> None:
    supernet, x = build(), torch.ones(6, 3)
    for arch in supernet.space:
        sharing.prepare(supernet, x, [arch])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(3)
            (ours,) = sharing.outputs(supernet, x, [arch])
            torch.manual_seed(3)
            assert torch.equal(ours, supernet(x, arch))


@pytest.mark.parametrize("build", [dropping, lambda: Supernet(DropTwice())])
def test_evaluated_dropout_does_nothing(build: Callable[[], Supernet]) -> None:
    assert_shares(build().eval(), torch.ones(6, 3))


def test_two_calls_draw_twice() -> None:
    supernet = Supernet(DropTwice())
    first, second = sharing.outputs(supernet, torch.ones(40, 50)[:, :3], list(supernet.space))
    assert set(first.unique().tolist()) == {0.0, 2.0, 4.0}
    assert torch.equal(first, second)


# -- hooks, modes, frozen parameters, buffers -----------------------------------------------------


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("at", ["chain", "depth", "block", "residual", "inside", "identity"])
def test_hooks_still_run(at: str, kind: str) -> None:
    depth, inside = Depth("d", linears(3)), Depth("e", linears(2))
    net = nn.Sequential(nn.Identity(), nn.Linear(3, 3), depth, Residual(inside))
    supernet = Supernet(stir(net))
    modules = {
        "chain": net,
        "depth": depth,
        "block": depth.blocks[0],
        "residual": net[3],
        "inside": inside.blocks[0],
        "identity": net[0],
    }
    runs = {"chain": 6, "depth": 3, "block": 1, "residual": 6, "inside": 3, "identity": 1}
    seen: list[nn.Module] = []

    def pre_hook(module: nn.Module, x: tuple[Tensor]) -> Tensor:
        seen.append(module)
        return x[0] * 3

    def hook(module: nn.Module, _: Any, y: Tensor) -> Tensor:
        seen.append(module)
        return y + 1

    archs, x = list(supernet.space), noise(4, 3)
    before = sharing.outputs(supernet, x, archs)
    if kind == "before":
        handle = modules[at].register_forward_pre_hook(pre_hook)
    else:
        handle = modules[at].register_forward_hook(hook)
    expected = one_by_one(supernet, x, archs)
    assert not torch.equal(before[0], expected[0])
    seen.clear()
    assert_same(sharing.outputs(supernet, x, archs), expected)
    assert len(seen) == runs[at]
    handle.remove()
    assert_same(sharing.outputs(supernet, x, archs), before)


def test_frozen_parameters_stay_without_gradients() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Depth("d", linears(2)), Residual(Depth("e", linears(2))))
    supernet = Supernet(stir(net)).double()
    net[0].requires_grad_(False)
    x = noise(4, 3).double()
    assert_same_gradients(supernet, x, list(supernet.space))
    torch.stack(sharing.outputs(supernet, x, list(supernet.space))).sum().backward()
    assert all(p.grad is None for p in net[0].parameters())
    assert all(p.grad is not None for p in net[2].parameters())


class Gated(nn.Module):
    """Reads a parameter, a buffer, a plain tensor and plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([2.0]))
        self.shift: Tensor
        self.none: Tensor | None
        self.register_buffer("shift", torch.tensor([1.0]))
        self.register_buffer("none", None)
        self.table = torch.tensor([0.5, 1.0, 2.0])
        self.factor = 0.7
        self.sizes = [1, 2]
        self.drop = nn.Dropout(0.0)
        self.parts = nn.ModuleList(linears(2))
        self.act: nn.Module = nn.Tanh()
        self.body = Depth("d", [nn.Linear(3, 3), nn.Tanh()])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.alpha * self.body(x) + self.shift * self.factor
        if self.none is not None:
            y = y + self.none
        for part in self.parts:
            y = part(y)
        y = self.act(y * self.table) * self.sizes[0]
        return y if self.training else y - 1


def retain(gated: Gated, x: Tensor) -> None:
    with torch.no_grad():
        gated.alpha.add_(1)


def new_parameter(gated: Gated, x: Tensor) -> None:
    gated.alpha = nn.Parameter(torch.tensor([-1.0]))


def new_buffer(gated: Gated, x: Tensor) -> None:
    gated.shift = torch.tensor([5.0])


def buffer_at_last(gated: Gated, x: Tensor) -> None:
    gated.none = torch.tensor([5.0])


def new_table(gated: Gated, x: Tensor) -> None:
    gated.table = torch.tensor([3.0, 1.0, 1.0])


def table_in_place(gated: Gated, x: Tensor) -> None:
    gated.table.add_(1)


def new_factor(gated: Gated, x: Tensor) -> None:
    gated.factor = 3.0


def new_sizes(gated: Gated, x: Tensor) -> None:
    gated.sizes[0] = 4


def new_child(gated: Gated, x: Tensor) -> None:
    gated.act = nn.Sigmoid()


def new_block(gated: Gated, x: Tensor) -> None:
    gated.body.blocks[1] = nn.Sigmoid()


def new_part(gated: Gated, x: Tensor) -> None:
    gated.parts[0] = nn.Sigmoid()


def another_part(gated: Gated, x: Tensor) -> None:
    gated.parts.append(nn.Sigmoid())


def evaluated(gated: Gated, x: Tensor) -> None:
    gated.eval()


def own_forward(gated: Gated, x: Tensor) -> None:
    gated.forward = lambda x: gated.body(x) * 9  # type: ignore[method-assign]


CHANGES = [
    *(retain, new_parameter, new_buffer, buffer_at_last, new_table, table_in_place, new_factor),
    *(new_sizes, new_child, new_block, new_part, another_part, evaluated, own_forward),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("inside", [False, True])
def test_no_change_between_runs_goes_unnoticed(
    change: Callable[[Gated, Tensor], None], inside: bool
) -> None:
    gated = Gated()
    supernet = Supernet(nn.Sequential(Residual(gated)) if inside else gated)
    stir(supernet)
    x, archs = noise(4, 3), list(supernet.space)
    before = sharing.outputs(supernet, x, archs)
    assert_same(before, one_by_one(supernet, x, archs))
    change(gated, x)
    with sharing_warnings():
        after = sharing.outputs(supernet, x, archs)
    assert_same(after, one_by_one(supernet, x, archs))
    assert not torch.equal(before[0], after[0]) or change is new_block


# -- exceptions -----------------------------------------------------------------------------------


class Fails(nn.Module):
    fails = True

    def forward(self, x: Tensor) -> Tensor:
        if Fails.fails:
            raise ZeroDivisionError
        return x * 1


def states(net: nn.Module) -> dict[str, Any]:
    return {name: {"_active": None, **vars(module)} for name, module in net.named_modules()}


@each_mode
@pytest.mark.parametrize("wrap", [nn.Sequential, Residual, InPlaceResidual, ByShape])
def test_nothing_stays_behind_after_an_exception(mode: str, wrap: type[nn.Module]) -> None:
    supernet = Supernet(nn.Sequential(wrap(Depth("d", [nn.Linear(3, 3), Fails()]))))
    x, archs = noise(4, 3), list(supernet.space)
    before = states(supernet)
    Fails.fails = True
    with MODES[mode](), sharing_warnings(), pytest.raises(ZeroDivisionError):
        sharing.run(supernet, x, archs)
    assert states(supernet) == before
    assert all(m._active is None for m in supernet.modules() if isinstance(m, ChoiceModule))
    small = supernet.space.smallest
    with MODES[mode]():
        (group,) = sharing.run(supernet, x, [small])
        assert torch.equal(group.value, supernet(x, small))
        Fails.fails = False
        assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


def test_what_is_active_outside_stays_active() -> None:
    depth = Depth("d", linears(2))
    supernet = Supernet(ByShape(depth))
    large = supernet.space.largest
    with sharing_warnings(), supernet.activate(large):
        sharing.run(supernet, noise(4, 3), supernet.space)
        assert depth.active == large


def test_a_stream_that_is_left_leaves_nothing_active() -> None:
    depth = Depth("d", linears(2))
    supernet = Supernet(ByShape(depth))
    with sharing_warnings():
        next(sharing.stream(supernet, noise(4, 3), supernet.space))
    assert depth._active is None


def test_notes_of_memory_that_is_gone_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would keep a piece of the heap from being used again: a gigabyte at 4,096 networks."""
    guards: list[Guard] = []
    enter = Guard.give

    def give(guard: Guard, output: Output) -> None:
        enter(guard, output)
        guards[:] = [guard]

    monkeypatch.setattr(Guard, "give", give)
    parts = [OneOf(f"o{i}", {"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}) for i in range(9)]
    supernet = Supernet(nn.Sequential(*parts))
    with torch.no_grad():
        for _ in sharing.stream(supernet, noise(4, 3), supernet.space):
            pass
    assert supernet.space.size == 512
    assert len(guards[0]._held) <= 65
