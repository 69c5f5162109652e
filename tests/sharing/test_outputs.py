"""Shared execution gives what one-by-one execution gives, and does no piece of work twice."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import Counted, Residual, block, nested, nine, noise, stir
from tests.sharing.networks import (
    MODES,
    Scaled,
    assert_same,
    assert_same_gradients,
    assert_shares,
    each_mode,
    one_by_one,
)
from tests.space.spaces import spellings

NINE, NESTED = nine(), nested()


# -- the whole nine-network space, and any part of it ---------------------------------------------


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
    assert_same_gradients(nine().double(), noise(4, 1, 8, 8).double(), list(NINE.space))


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
    groups = sharing.run(NESTED, noise(6, 4), spellings(NESTED.space))
    assert sum(len(group.archs) for group in groups) == 4 * 3 * 2
    outer = {tuple(sorted({int(a["outer.depth"]) for a in group.archs})) for group in groups}
    assert outer == {(0,), (1,), (2,), (3,)}
    assert len(groups) == 1 + 1 + 3 + 3 * 2


def test_the_order_architectures_are_given_in_changes_no_bit_and_no_gradient() -> None:
    supernet, x = nine().double(), noise(4, 1, 8, 8).double()
    archs = list(supernet.space)
    forth = sharing.outputs(supernet, x, archs)
    back = sharing.outputs(supernet, x, archs[::-1])
    assert_same(forth, back[::-1])
    assert_same_gradients(supernet, x, archs[::-1])


# -- what is computed -----------------------------------------------------------------------------


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
    assert sorted(len(group.archs) for group in groups) == [1, 2]


def test_a_residual_is_shared_inside() -> None:
    inner, after = Counted(nn.Linear(3, 3)), Counted(nn.Tanh())
    cell = Residual(nn.Sequential(Depth("cell", [inner, nn.Tanh()]), after))
    supernet = Supernet(stir(nn.Sequential(cell, Depth("a", [block(3) for _ in range(3)]))))
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert (inner.calls, after.calls) == (1, 2)


def test_a_branch_is_shared_across_the_choices_of_another() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = OneOf("one", {"a": nn.Linear(3, 3), "b": nn.Tanh()})
            self.other = Counted(nn.Linear(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.one(x), self.other(x)], 1)

    net = Branches()
    supernet = Supernet(stir(net))
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert net.other.calls == 1


class Calls(nn.Module):
    """Calls a module that others call too, in its own way."""

    def __init__(self, inner: nn.Module, **named: Any) -> None:
        super().__init__()
        self.inner, self.named = inner, named
        self.skipped = Depth(f"skipped {named}", [nn.Tanh()], shortest=0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(self.skipped(x), **self.named)
        return y


def test_calls_with_other_arguments_are_other_work() -> None:
    inner = Scaled(Counted(nn.Linear(3, 3)))
    ways = {"plain": Calls(inner), "half": Calls(inner, by=0.5), "double": Calls(inner, by=2.0)}
    supernet = Supernet(stir(OneOf("o", ways)))
    assert_shares(supernet, noise(4, 3))
    counted = inner.inner
    assert isinstance(counted, Counted)
    counted.calls = 0
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert counted.calls == 3 * 2


# -- several inputs, and outputs of any form ------------------------------------------------------


class Masked(nn.Module):
    """One input by place, others by name; takes another course without a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Depth("body", [nn.Linear(3, 3) for _ in range(3)])
        self.head = OneOf("head", {"linear": nn.Linear(3, 3), "tanh": nn.Tanh()})

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, double: bool = False, power: float = 1.0
    ) -> Tensor:
        x = self.body(x)
        if mask is not None:
            x = x * mask
        y: Tensor = self.head(x) ** power
        return y + y if double else y


@pytest.mark.parametrize("training", [True, False])
def test_inputs_by_name_and_constants_among_them(training: bool) -> None:
    supernet, x = Supernet(stir(Masked())).train(training), noise(4, 3)
    mask = noise(4, 3, seed=1).relu()
    before = sharing.outputs(supernet, x, list(supernet.space))
    forms: list[dict[str, Any]] = [{}, {"mask": mask}, {"mask": None}, {"double": True}]
    forms += [{"power": 2.0}, {"power": 3.0}, {"mask": mask, "double": True}, {"mask": 2 * mask}]
    for inputs in (*forms, *forms):
        assert_shares(supernet, x, **inputs)
    assert_same(sharing.outputs(supernet, x, list(supernet.space)), before)


def test_gradients_with_inputs_by_name() -> None:
    supernet = Supernet(stir(Masked())).double()
    x, mask = noise(4, 3).double(), noise(4, 3, seed=1).double()
    assert_same_gradients(supernet, x, list(supernet.space), mask=mask)


def test_inputs_get_their_gradients() -> None:
    supernet, x = Supernet(stir(Masked())).double(), noise(4, 3).double()
    archs = list(supernet.space)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.stack(sharing.outputs(supernet, ours, archs)).square().sum().backward()
    torch.stack([supernet(theirs, arch) for arch in archs]).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


class Pair(NamedTuple):
    new: Tensor
    old: Tensor


class Structured(nn.Module):
    """Takes a dict with a tuple inside, and returns whatever it is told to."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.a = Depth("a", [nn.Linear(3, 3) for _ in range(2)])
        self.b = Depth("b", [nn.Tanh()], shortest=0)

    def forward(self, inputs: dict[str, Any]) -> Any:
        first, second = inputs["pair"]
        a, b = self.a(first), self.b(second) * inputs["factor"]
        forms = {
            "tuple": (a, b),
            "list": [a, [b]],
            "dict": {"a": a, "b": (b, None), "c": 3},
            "named tuple": Pair(a, b),
            "same twice": (a, a),
            "input": (first, a),
            "one": a + b,
        }
        return forms[self.form]


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "named tuple", "same twice", "one"])
@pytest.mark.parametrize("inside", [False, True])
def test_inputs_and_outputs_of_any_form(form: str, inside: bool) -> None:
    net = Structured(form)
    supernet = Supernet(stir(nn.Sequential(net) if inside else net))
    x = {"pair": (noise(4, 3), noise(4, 3, seed=1)), "factor": 2.0}
    assert_shares(supernet, x)
    assert_shares(supernet, {**x, "factor": noise(4, 3, seed=2)})
    assert_shares(supernet, {**x, "factor": 3.0})
    supernet.double()
    x = {"pair": (noise(4, 3).double(), noise(4, 3, seed=1).double()), "factor": 2.0}
    assert_same_gradients(supernet, x, list(supernet.space))


def test_an_input_that_is_returned() -> None:
    supernet = Supernet(stir(Structured("input")))
    assert_shares(supernet, {"pair": (noise(4, 3), noise(4, 3, seed=1)), "factor": 2.0})


class Generic(nn.Module):
    """Hands everything over as it comes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def test_a_forward_of_any_arguments() -> None:
    supernet = Supernet(stir(Generic(Masked())))
    assert_shares(supernet, noise(4, 3))
    assert_shares(supernet, noise(4, 3), mask=noise(4, 3, seed=1), double=True)


def test_lists_and_integer_tensors_go_through() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)
            self.body = Depth("d", [nn.Linear(3, 3) for _ in range(2)])

        def forward(self, tokens: list[Tensor]) -> Tensor:
            y: Tensor = self.body(self.table(tokens[0])) + self.table(tokens[1])
            return y

    supernet = Supernet(stir(Embedded()))
    assert_shares(supernet, [torch.tensor([0, 1, 4]), torch.tensor([2, 2, 3])])


# -- programs -------------------------------------------------------------------------------------


def test_the_same_program_is_used_again() -> None:
    supernet, x = Supernet(stir(Masked())), noise(4, 3)
    archs = list(supernet.space)
    program, _ = sharing.prepare(supernet, x, archs)
    assert sharing.prepare(supernet, noise(7, 3, seed=5), archs)[0] is program
    sharing.run(supernet, x, archs)
    assert sharing.prepare(supernet, x, archs)[0] is program
    other, _ = sharing.prepare(supernet, x, archs[:2])
    assert other is not program
    assert sharing.prepare(supernet, x, archs, mask=x)[0] is not program
    assert sharing.prepare(supernet, x, archs)[0] is program


def test_training_and_weights_do_not_make_it_write_another() -> None:
    supernet, x = nine(), noise(4, 1, 8, 8)
    archs = list(supernet.space)
    program, _ = sharing.prepare(supernet, x, archs)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
    torch.stack(sharing.outputs(supernet, x, archs)).sum().backward()
    optimizer.step()
    assert sharing.prepare(supernet, x, archs)[0] is program
    assert_shares(supernet, x)


def test_few_programs_are_kept() -> None:
    supernet, x = nine(), noise(2, 1, 8, 8)
    archs = list(supernet.space)
    program, _ = sharing.prepare(supernet, x, archs)
    for first in archs:
        for second in archs:
            sharing.prepare(supernet, x, [first, second])
    assert sharing.prepare(supernet, x, archs)[0] is not program
