"""What the network says about its choices, held against what its modules do."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, final

import pytest
import torch
from hypothesis import assume, given, reject, settings, strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule, Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.reachability import find_space, restrict
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice, Condition, SearchSpace
from tests.conftest import Residual, nested, nine, noise, plain_net, stir
from tests.sampling import examples
from tests.sharing.networks import Plan, assert_same, sharing_warnings
from tests.space.spaces import spellings

MOST_SPELLINGS = 150


def linear() -> nn.Module:
    return nn.Linear(3, 3)


# -- random networks, whose choices may be shared -------------------------------------------------

NAMES = st.sampled_from("abcd")


def _inner(plans: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    return st.one_of(
        st.tuples(st.just("depth"), NAMES, st.lists(plans, min_size=2, max_size=2)),
        st.tuples(st.just("op"), NAMES, st.lists(plans, min_size=2, max_size=2)),
        st.tuples(st.just("chain"), st.none(), st.lists(plans, min_size=1, max_size=3)),
        st.tuples(st.just("residual"), st.none(), st.lists(plans, min_size=1, max_size=1)),
        st.tuples(st.just("by content"), st.none(), st.lists(plans, min_size=1, max_size=1)),
    )


PLANS = st.lists(st.recursive(st.sampled_from(["leaf", "same"]), _inner, max_leaves=9), min_size=1)


class ByContent(Residual):
    """Shared execution has to run it whole."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


def build(plan: Plan, same: nn.Module) -> nn.Module:
    """One leaf may be at several places: then it is reached if any of them is."""
    if plan == "leaf":
        return linear()
    if plan == "same":
        return same
    kind, name, plans = plan
    parts = [build(inner, same) for inner in plans]
    # The same operation under two names is refused, so each is in a chain of its own.
    kinds: dict[str, Callable[[], nn.Module]] = {
        "depth": lambda: Depth(name, parts, shortest=0),
        "op": lambda: OneOf(name, {str(n): nn.Sequential(p) for n, p in enumerate(parts)}),
        "chain": lambda: nn.Sequential(*parts),
        "residual": lambda: Residual(parts[0]),
        "by content": lambda: ByContent(parts[0]),
    }
    return kinds[kind]()


def network(plans: list[Plan]) -> Supernet:
    """The network of some plans, if it can be one, and if its spellings are not too many."""
    same = Depth("same", [linear(), OneOf("in same", {"a": linear(), "b": linear()})])
    net = stir(nn.Sequential(*(build(plan, same) for plan in plans)))
    with contextlib.suppress(SpaceError):  # that two choices decide over each other
        supernet = Supernet(net)
        assume(SearchSpace(supernet.space.choices).size <= MOST_SPELLINGS)
        return supernet
    return reject()


@contextlib.contextmanager
def recorded(net: nn.Module) -> Iterator[list[nn.Module]]:
    """Every module that runs inside the block, in order."""
    ran: list[nn.Module] = []
    handles = [m.register_forward_pre_hook(lambda m, _: ran.append(m)) for m in net.modules()]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


@settings(max_examples=examples(60))
@given(PLANS)
def test_architectures_are_one_exactly_if_the_same_modules_run(plans: list[Plan]) -> None:
    supernet, x = network(plans), noise(2, 3)
    space = supernet.space
    by_course: dict[tuple[nn.Module, ...], Architecture] = {}
    for arch in spellings(space):
        with recorded(supernet.net) as ran:
            supernet(x, arch)
        canonical = space.canonical(arch)
        assert by_course.setdefault(tuple(ran), canonical) == canonical
        asked = {c.name for m in ran if isinstance(m, ChoiceModule) for c in m.choices}
        assert set(space.active(arch)) == asked
        assert restrict(arch, supernet.net) == arch.restrict(asked)
    assert len(set(by_course.values())) == len(by_course) == space.size
    assert list(space) == [arch for arch in spellings(space) if arch in by_course.values()]


@settings(max_examples=examples(30))
@given(PLANS)
def test_every_spelling_computes_extracts_and_shares_the_same(plans: list[Plan]) -> None:
    supernet, x = network(plans), noise(2, 3)
    archs = spellings(supernet.space)
    expected = [supernet(x, arch) for arch in archs]
    canonical = [supernet.space.canonical(arch) for arch in archs]
    assert_same([supernet(x, arch) for arch in canonical], expected)
    assert_same([extract(supernet, arch)(x) for arch in archs], expected)
    with sharing_warnings():
        assert_same(sharing.outputs(supernet, x, archs), expected)
        # Two spellings are never two pieces of work, not even in what is run whole.
        together, alone = (
            sharing.prepare(supernet, x, some)[0].instructions for some in (archs, supernet.space)
        )
    assert len(together) == len(alone)


# -- what the conditions are ----------------------------------------------------------------------


def test_conditions_are_those_of_the_modules() -> None:
    space = nested().space
    assert space.conditions == (
        Condition("inner.depth", (("outer.depth", (2, 3)),)),
        Condition("cell.depth", (("outer.depth", (3,)),)),
    )
    assert space.size == 1 + 1 + 3 + 3 * 2
    assert not nine().space.conditions
    assert find_space(plain_net()) == SearchSpace()


def test_a_choice_of_several_modules_counts_if_any_is_reached() -> None:
    def one_of(name: str) -> OneOf:
        options = {"skip": nn.Identity(), "conv": OneOf("kernel", {"3": linear(), "5": linear()})}
        return OneOf(name, options)

    space = find_space(nn.Sequential(one_of("first"), one_of("second")))
    assert [choice.name for choice in space.choices] == ["first.op", "second.op", "kernel.op"]
    assert [condition.needs for condition in space.conditions] == [
        (("first.op", ("conv",)),),
        (("second.op", ("conv",)),),
    ]
    assert space.size == 1 + 3 * 2
    always = nn.Sequential(one_of("first"), OneOf("kernel", {"3": linear(), "5": linear()}))
    assert not find_space(always).conditions


def test_a_choice_inside_every_option_always_counts() -> None:
    inner = [OneOf("kernel", {"3": linear(), "5": linear()}) for _ in range(2)]
    assert find_space(OneOf("o", {"a": inner[0], "b": inner[1]})).conditions == ()
    outer = OneOf("p", {"skip": nn.Identity(), "o": OneOf("o", {"a": inner[0], "b": inner[1]})})
    assert [c.needs for c in find_space(outer).conditions] == [(("p.op", ("o",)),)] * 2


def test_what_is_never_reached_is_no_choice() -> None:
    """Within its own option, the same choice has nothing left to decide."""
    never = OneOf("never", {"a": linear(), "b": linear()})
    again = OneOf("o", {"a": linear(), "b": never})
    supernet = Supernet(OneOf("o", {"a": again, "b": linear()}))
    assert [choice.name for choice in supernet.space.choices] == ["o.op"]
    assert [supernet(noise(2, 3), arch).shape for arch in supernet.space] == [(2, 3)] * 2


@final
class Corner(ChoiceModule):
    """A chain with two choices, which reaches its child only if both are at their ends."""

    def __init__(self, child: nn.Module, reaches: Callable[[Any, Any], bool]) -> None:
        super().__init__()
        self.child, self.reaches = child, reaches

    @property
    def choices(self) -> tuple[Choice, ...]:
        return Choice("x", (1, 2, 3)), Choice("y", (1, 2, 3)), Choice("z", (1, 2))

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        return (self.child,) if self.reaches(arch["x"], arch["y"]) else ()


@pytest.mark.parametrize(
    ("reaches", "needs"),
    [
        (lambda x, y: x > 1 and y < 3, [(("x", (2, 3)), ("y", (1, 2)))]),
        (lambda x, y: y == 2, [(("y", (2,)),)]),
        (lambda x, y: True, []),
        (
            lambda x, y: x == y == 1 or x == y == 3,
            [(("x", (n,)), ("y", (n,)), ("z", (z,))) for n in (1, 3) for z in (1, 2)],
        ),
    ],
)
def test_a_path_may_depend_on_several_choices(
    reaches: Callable[[Any, Any], bool], needs: list[Any]
) -> None:
    inner = Depth("d", [linear(), linear()])
    supernet = Supernet(Corner(inner, reaches))
    assert [condition.needs for condition in supernet.space.conditions] == needs
    for arch in spellings(supernet.space):
        reached = reaches(arch["x"], arch["y"])
        assert ("d.depth" in supernet.space.active(arch)) == reached


@final
class Gain(ChoiceModule):
    """Has a forward of its own, and children in it: all of them always run."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.gain, self.inner = Choice(name, (1, 2)), inner

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.gain,)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x) * self.active[self.gain.name]
        return y


def test_a_choice_module_with_a_forward_of_its_own_reaches_all_inside() -> None:
    gain = Gain("gain", Depth("d", [Gain("inner", linear()), linear()], shortest=0))
    space = find_space(OneOf("o", {"skip": nn.Identity(), "gain": gain}))
    assert space.size == 1 + 2 * (1 + 2 + 2)
    deep = (("o.op", ("gain",)), ("d.depth", (1, 2)))
    assert {c.choice: c.needs for c in space.conditions} == {
        "gain": deep[:1],
        "d.depth": deep[:1],
        "inner": deep,
    }


def test_whoever_replaces_a_forward_may_run_anything() -> None:
    depth = Depth("d", [linear(), Depth("inner", [linear(), linear()])])
    depth.forward = lambda x: depth.blocks[1](x)  # type: ignore[method-assign, misc]
    assert not find_space(depth).conditions
    arch = Architecture({"d.depth": 1, "inner.depth": 2})
    assert restrict(arch, depth) == arch


def test_a_restriction_is_what_counts_inside() -> None:
    supernet = nested()
    residual = next(m for m in supernet.net.modules() if isinstance(m, Residual))
    large = supernet.space.largest
    assert restrict(large, residual) == Architecture({"cell.depth": 2})
    assert restrict(large, supernet.net) == large
    two = large.but(**{"outer.depth": 2})
    assert restrict(two, supernet.net) == two.restrict(["outer.depth", "inner.depth"])


# -- what can't be a space ------------------------------------------------------------------------


def test_two_choices_of_one_name_are_refused_with_both_their_places() -> None:
    net = nn.Sequential(Depth("d", [linear()]), Residual(Depth("d", [linear(), linear()])))
    with pytest.raises(
        SpaceError,
        match=r"share a name, 'd\.depth': that of module '0' has the options \(1,\), that of "
        r"module '1\.inner' has \(1, 2\); rename one of them",
    ):
        find_space(net)
    with pytest.raises(SpaceError, match=r"that of the network itself has .*module 'blocks\.0'"):
        find_space(Depth("d", [Depth("d", [linear()], shortest=0)]))


def test_choices_that_decide_over_each_other_are_refused() -> None:
    def a_in_b(outer: str, inner: str) -> OneOf:
        deep = OneOf(inner, {"x": linear(), "y": linear()})
        return OneOf(outer, {"x": linear(), "y": deep})

    both = OneOf("p", {"one": a_in_b("a", "b"), "other": a_in_b("b", "a")})
    with pytest.raises(SpaceError, match=r"choices \['a\.op', 'b\.op'\] each decide whether"):
        find_space(both)
    find_space(OneOf("p", {"one": a_in_b("a", "b"), "other": a_in_b("a", "c")}))


def test_finding_the_space_changes_nothing() -> None:
    supernet = nested()
    before = torch.random.get_rng_state()
    again = find_space(supernet.net)
    assert again == supernet.space
    assert torch.equal(torch.random.get_rng_state(), before)
