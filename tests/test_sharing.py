"""Shared execution gives what one-by-one execution gives, and does no piece of work twice."""

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.choices import ChoiceModule, Depth
from supernet.errors import SharingError, SpaceError
from supernet.space import Architecture
from supernet.supernet import Supernet
from tests.conftest import Counted, Residual, block, nested, nine, noise, stir

NINE, NESTED = nine(), nested()
Plan = Any  # "leaf", or (kind, ..., plans): what a random network is made of

MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "gradients": nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}
each_mode = pytest.mark.parametrize("mode", MODES)


def one_by_one(supernet: Supernet, x: Tensor, archs: Any) -> list[Tensor]:
    return [supernet(x.clone(), arch) for arch in archs]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def gradients(supernet: Supernet, loss: Tensor) -> list[Tensor]:
    parameters = list(supernet.parameters())
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def loss_of(outputs: list[Tensor]) -> Tensor:
    return torch.stack([(y * y).mean() for y in outputs]).sum()


# -- the whole nine-network space, and any part of it ------------------------------------------


@each_mode
@pytest.mark.parametrize("training", [True, False])
def test_all_nine_at_once_are_bit_for_bit_what_each_is_alone(mode: str, training: bool) -> None:
    supernet, x = nine().train(training), noise(4, 1, 8, 8)
    archs = list(supernet.space)
    with MODES[mode]():
        assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


def test_all_nine_with_the_real_widths() -> None:
    supernet, x = nine(widths=(64, 32), size=12), noise(3, 1, 12, 12)
    archs = list(supernet.space)
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


@given(st.lists(st.sampled_from(list(NINE.space)), min_size=1, max_size=12))
def test_any_of_the_nine_in_any_order_and_repeated(archs: list[Architecture]) -> None:
    x = noise(4, 1, 8, 8)
    assert_same(sharing.outputs(NINE, x, archs), one_by_one(NINE, x, archs))
    groups = sharing.run(NINE, x, archs)
    covered = [arch for group in groups for arch in group.archs]
    assert len(covered) == len(set(covered))
    assert set(covered) == set(archs)


def test_the_gradient_of_all_nine_is_the_sum_of_theirs() -> None:
    supernet, x = nine().double(), noise(4, 1, 8, 8).double()
    archs = list(supernet.space)
    shared = gradients(supernet, loss_of(sharing.outputs(supernet, x, archs)))
    apart = gradients(supernet, loss_of(one_by_one(supernet, x, archs)))
    for a, b in zip(shared, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_no_architectures_are_no_work() -> None:
    assert sharing.run(NINE, noise(4, 1, 8, 8), []) == []
    assert sharing.outputs(NINE, noise(4, 1, 8, 8), []) == []


def test_a_plain_network_is_one_group() -> None:
    supernet = Supernet(stir(block()))
    (group,) = sharing.run(supernet, noise(6, 4), supernet.space)
    assert torch.equal(group.value, supernet(noise(6, 4), Architecture()))


def test_architectures_outside_the_space_are_refused() -> None:
    bad = NINE.space.largest.but(**{"block1.depth": 7})
    with pytest.raises(SpaceError, match=r"'block1\.depth' is 7"):
        sharing.run(NINE, noise(4, 1, 8, 8), [NINE.space.smallest, bad])


def test_choices_that_do_not_matter_do_not_split() -> None:
    groups = sharing.run(NESTED, noise(6, 4), NESTED.space)
    outer = {tuple(sorted({int(a["outer.depth"]) for a in group.archs})) for group in groups}
    assert outer == {(0,), (1,), (2,), (3,)}
    assert len(groups) == 1 + 1 + 3 + 3 * 2


# -- random nested networks ---------------------------------------------------------------------

LEAVES = st.sampled_from(["linear", "norm", "tanh", "flatten"])


def _inner(plans: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    return st.one_of(
        st.tuples(st.just("chain"), st.lists(plans, max_size=3)),
        st.tuples(st.just("depth"), st.integers(0, 1), st.lists(plans, min_size=1, max_size=3)),
        st.tuples(st.just("residual"), plans),
        st.tuples(st.just("twice"), plans),
    )


PARTS = st.recursive(LEAVES, _inner, max_leaves=8)
#: At least one choice, with anything before, inside and after it.
PLANS = st.builds(
    lambda before, shortest, blocks, after: [*before, ("depth", shortest, blocks), *after],
    st.lists(PARTS, max_size=2),
    st.integers(0, 1),
    st.lists(PARTS, min_size=2, max_size=3),
    st.lists(PARTS, max_size=2),
)


class Builder:
    """Makes a network from a plan, every leaf of it counted."""

    def __init__(self) -> None:
        self.leaves: list[Counted] = []
        self.depths = 0

    def leaf(self, inner: nn.Module) -> Counted:
        self.leaves.append(Counted(inner))
        return self.leaves[-1]

    def build(self, plan: Plan) -> nn.Module:
        if isinstance(plan, str):
            kinds: dict[str, Callable[[], nn.Module]] = {
                "linear": lambda: nn.Linear(3, 3),
                "norm": lambda: nn.BatchNorm1d(3),
                "tanh": nn.Tanh,
                "flatten": nn.Flatten,  # returns what it is given: the same memory
            }
            return self.leaf(kinds[plan]())
        if plan[0] == "chain":
            return nn.Sequential(*map(self.build, plan[1]))
        if plan[0] == "depth":
            self.depths += 1
            name = f"d{self.depths}"
            return Depth(name, [self.build(inner) for inner in plan[2]], shortest=plan[1])
        if plan[0] == "residual":
            return Residual(self.build(plan[1]))
        module = self.build(plan[1])
        return nn.Sequential(module, module)


def supernet_of(plan: list[Plan]) -> tuple[Supernet, list[Counted]]:
    builder = Builder()
    with torch.random.fork_rng(devices=()):
        net = nn.Sequential(*map(builder.build, plan))
    return Supernet(stir(net)), builder.leaves


def some_archs(supernet: Supernet, most: int = 24) -> list[Architecture]:
    """All architectures of a small space, and a spread of those of a large one."""
    size = supernet.space.size
    return list(itertools.islice(supernet.space, 0, None, max(1, math.ceil(size / most))))


class Model:
    """Says which pieces of work there are: a module, and everything that was done before it.

    Written without looking at groups or paths, to be what `sharing` is held against.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.work: set[tuple[Any, ...]] = set()

    def history(self, module: nn.Module, arch: Architecture, before: tuple[Any, ...]) -> Any:
        if isinstance(module, Depth):
            for inner in list(module.blocks)[: int(arch[module.depth.name])]:
                before = self.history(inner, arch, before)
            return before
        if isinstance(module, nn.Sequential) and module in self.supernet.modules_with_choices:
            for inner in module:
                before = self.history(inner, arch, before)
            return before
        here: tuple[Any, ...] = (id(module),)
        if module in self.supernet.modules_with_choices:
            choices = [
                c for m in module.modules() if isinstance(m, ChoiceModule) for c in m.choices
            ]
            here += (arch.restrict(c.name for c in choices),)
        self.work.add((*before, here))
        return (*before, here)

    def pieces(self, module: nn.Module, arch: Architecture, leaf: nn.Module) -> int:
        """How often `leaf` runs inside one piece of work."""
        if module is leaf:
            return 1
        if isinstance(module, Depth):
            ran = list(module.blocks)[: int(arch[module.depth.name])]
        else:
            ran = list(module) if isinstance(module, nn.Sequential) else list(module.children())
        return sum(self.pieces(inner, arch, leaf) for inner in ran)


@settings(max_examples=150)
@given(PLANS)
def test_random_networks_give_the_same_bits_and_do_only_distinct_work(plan: list[Plan]) -> None:
    supernet, leaves = supernet_of(plan)
    archs, x = some_archs(supernet), noise(5, 3)
    expected = one_by_one(supernet, x, archs)
    for mode in MODES.values():
        for leaf in leaves:
            leaf.calls = 0
        with mode():
            assert_same(sharing.outputs(supernet, x, archs), expected)
        model = Model(supernet)
        for arch in archs:
            model.history(supernet.net, arch, ())
        modules = {id(m): m for m in supernet.modules()}
        for leaf in leaves:
            runs = 0
            for *_, (module, *restricted) in model.work:
                arch = restricted[0] if restricted else Architecture()
                runs += model.pieces(modules[module], arch, leaf)
            assert leaf.calls == runs


@settings(max_examples=40)
@given(PLANS)
def test_random_networks_get_the_sum_of_the_gradients(plan: list[Plan]) -> None:
    supernet, _ = supernet_of(["linear", *plan])
    supernet.double()
    archs, x = some_archs(supernet, most=8), noise(5, 3).double()
    shared = gradients(supernet, loss_of(sharing.outputs(supernet, x, archs)))
    apart = gradients(supernet, loss_of(one_by_one(supernet, x, archs)))
    for a, b in zip(shared, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# -- what is computed ---------------------------------------------------------------------------


def counted_two_blocks() -> tuple[Supernet, list[list[Counted]]]:
    first, second = ([Counted(nn.Linear(3, 3)) for _ in range(3)] for _ in range(2))
    stem, head = Counted(nn.Linear(3, 3)), Counted(nn.Linear(3, 2))
    net = nn.Sequential(stem, Depth("a", first), Depth("b", second), head)
    return Supernet(stir(net)), [[stem], first, second, [head]]


def test_nothing_is_computed_twice() -> None:
    supernet, parts = counted_two_blocks()
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert [[m.calls for m in part] for part in parts] == [[1], [1, 1, 1], [3, 3, 3], [9]]


def test_what_no_architecture_needs_is_not_computed() -> None:
    supernet, parts = counted_two_blocks()
    archs = [Architecture({"a.depth": a, "b.depth": b}) for a, b in ((1, 1), (2, 1))]
    sharing.run(supernet, noise(4, 3), [*archs, *archs])
    assert [[m.calls for m in part] for part in parts] == [[1], [1, 1, 0], [2, 0, 0], [2]]


def test_two_ways_to_skip_everything_are_one_computation() -> None:
    inner, head = Counted(nn.Linear(3, 3)), Counted(nn.Linear(3, 2))
    net = nn.Sequential(Depth("a", [Depth("b", [inner], shortest=0)], shortest=0), head)
    supernet = Supernet(stir(net))
    groups = sharing.run(supernet, noise(4, 3), supernet.space)
    assert (inner.calls, head.calls) == (1, 2)
    assert sorted(len(group.archs) for group in groups) == [1, 3]


def test_what_is_no_chain_runs_once_per_restriction() -> None:
    inner = Counted(nn.Linear(3, 3))
    cell = Residual(Depth("cell", [inner, nn.Tanh()]))
    supernet = Supernet(stir(nn.Sequential(cell, Depth("a", [block(3) for _ in range(3)]))))
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert inner.calls == 2


def test_a_module_at_two_places_runs_at_both() -> None:
    act = nn.Tanh()
    net = nn.Sequential(nn.Linear(3, 3), act, Depth("d", [nn.Linear(3, 3)], shortest=0), act)
    supernet, x = Supernet(stir(net)), noise(4, 3)
    archs = list(supernet.space)
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


# -- changes in place ---------------------------------------------------------------------------


def conv(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2))


def in_place_after(*, before: nn.Module, pad: int = 0) -> Supernet:
    """A network that changes a value in place right after it was split."""
    between = [nn.Flatten(), nn.Unflatten(1, (2, 6, 6))] * pad
    act = nn.LeakyReLU(0.3, inplace=True)  # unlike ReLU, not the same when it is done twice
    net = nn.Sequential(before, *between, act, nn.Conv2d(2, 2, 3))
    return Supernet(stir(net))


class Returns(nn.Module):
    """Gives back what it was given, under two of three depths: the same memory for both."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Depth("inner", [nn.Identity(), conv(2)], shortest=0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


IN_PLACE: dict[str, Callable[[], Supernet]] = {
    "after a block": lambda: in_place_after(before=Depth("d", [conv(2) for _ in range(3)])),
    "after a skipped block": lambda: in_place_after(
        before=nn.Sequential(conv(2), Depth("d", [conv(2)], shortest=0))
    ),
    "on the input itself": lambda: in_place_after(
        before=Depth("d", [nn.Sequential(nn.LeakyReLU(0.3, inplace=True), conv(2))], shortest=0)
    ),
    "at the start of a block": lambda: in_place_after(
        before=nn.Sequential(
            conv(2), Depth("d", [nn.Sequential(nn.ReLU(inplace=True), conv(2))], shortest=0)
        )
    ),
    "on a view": lambda: in_place_after(before=Depth("d", [conv(2) for _ in range(2)]), pad=2),
    "after a block that returns its input": lambda: in_place_after(
        before=nn.Sequential(conv(2), Depth("d", [nn.Identity(), conv(2)], shortest=0))
    ),
    "after what is no chain": lambda: in_place_after(
        before=nn.Sequential(conv(2), Depth("d", [conv(2)], shortest=0), Returns())
    ),
    "by what is no chain": lambda: Supernet(
        stir(
            nn.Sequential(
                conv(2),
                Depth("d", [conv(2), conv(2)]),
                Residual(nn.Sequential(nn.LeakyReLU(0.3, True), Depth("e", [conv(2), conv(2)]))),
            )
        )
    ),
    "inside blocks": lambda: in_place_after(
        before=nn.Sequential(
            Depth("d", [nn.Sequential(conv(2), nn.ReLU(inplace=True)) for _ in range(3)]), conv(2)
        )
    ),
}
HARMLESS = {"inside blocks"}


@each_mode
@pytest.mark.parametrize("where", IN_PLACE)
def test_changes_in_place_are_right_or_refused_and_never_wrong(where: str, mode: str) -> None:
    supernet = IN_PLACE[where]()
    archs = list(supernet.space)
    expected = one_by_one(supernet, noise(3, 2, 6, 6), archs)
    for order in (archs, archs[::-1]):
        with MODES[mode]():
            try:
                outputs = sharing.outputs(supernet, noise(3, 2, 6, 6), order)
            except SharingError:
                assert where not in HARMLESS
                assert mode != "inference" or where == "on the input itself"
                continue
            found = dict(zip(order, outputs, strict=True))
            assert_same([found[arch] for arch in archs], expected)


def test_a_value_that_others_need_may_not_change() -> None:
    supernet = IN_PLACE["after a block"]()
    with pytest.raises(SharingError, match=r"LeakyReLU changes its input in place.*inplace=False"):
        sharing.outputs(supernet, noise(3, 2, 6, 6), list(supernet.space))


# -- hooks, other kinds of modules, exceptions --------------------------------------------------


class OwnForward(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return 2 * y


def halved(module: nn.Module) -> None:
    """Give one module, but not its type, a forward of its own."""
    forward = module.forward
    module.forward = lambda x: forward(x) / 2


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("at", ["chain", "depth", "block"])
def test_hooks_still_run(at: str, kind: str) -> None:
    supernet = Supernet(
        stir(nn.Sequential(nn.Linear(3, 3), Depth("d", [nn.Linear(3, 3) for _ in range(3)])))
    )
    depth = supernet.net.get_submodule("1")
    modules = {"chain": supernet.net, "depth": depth, "block": depth.get_submodule("blocks.0")}
    seen: list[nn.Module] = []

    def pre_hook(module: nn.Module, x: tuple[Tensor]) -> Tensor:
        seen.append(module)
        return x[0] * 3

    def hook(module: nn.Module, _: Any, y: Tensor) -> Tensor:
        seen.append(module)
        return y + 1

    archs, x = list(supernet.space), noise(4, 3)
    before = one_by_one(supernet, x, archs)
    if kind == "before":
        modules[at].register_forward_pre_hook(pre_hook)
    else:
        modules[at].register_forward_hook(hook)
    expected = one_by_one(supernet, x, archs)
    assert not torch.equal(before[0], expected[0])
    seen.clear()
    assert_same(sharing.outputs(supernet, x, archs), expected)
    assert len(seen) == (1 if at == "block" else 3)


@pytest.mark.parametrize("which", ["chain", "depth", "type"])
def test_a_forward_of_their_own_is_what_runs(which: str) -> None:
    depth = Depth("d", [nn.Linear(3, 3) for _ in range(3)])
    chain = (OwnForward if which == "type" else nn.Sequential)(nn.Linear(3, 3), depth)
    if which != "type":
        halved(chain if which == "chain" else depth)
    supernet = Supernet(stir(nn.Sequential(chain, nn.Tanh())))
    archs, x = list(supernet.space), noise(4, 3)
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError


@pytest.mark.parametrize("opaque", [False, True])
def test_nothing_stays_active_after_an_exception(opaque: bool) -> None:
    depth = Depth("d", [nn.Linear(3, 3), Fails()])
    supernet = Supernet(nn.Sequential(Residual(depth) if opaque else depth))
    with pytest.raises(ZeroDivisionError):
        sharing.run(supernet, noise(4, 3), supernet.space)
    assert depth.active is None
    small = supernet.space.smallest
    (group,) = sharing.run(supernet, noise(4, 3), [small])
    assert torch.equal(group.value, supernet(noise(4, 3), small))
