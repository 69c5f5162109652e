"""Graphs that look fine and lie: found out on real input, before anything relies on them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import Residual as ElasticResidual
from supernet.nn.supernet import Supernet
from supernet.sharing import cache, checking
from supernet.space import Architecture
from tests.conftest import Counted, Residual, noise, stir
from tests.sharing.networks import (
    Wrapper,
    assert_same,
    assert_same_gradients,
    assert_shares,
    one_by_one,
    sharing_warnings,
)

LIE = "its traced forward computes something else than its forward"


class IsTensor(Wrapper):
    def forward(self, x: Any) -> Tensor:
        x = self.first(x)
        y: Tensor = self.body(x * 2 if isinstance(x, Tensor) else x)
        return y


class TypeIs(Wrapper):
    def forward(self, x: Any) -> Tensor:
        x = self.first(x)
        y: Tensor = self.body(x * 2 if type(x) is Tensor else x)
        return y


class IsTorchTensor(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.body(x * 2 if torch.is_tensor(x) else x)  # type: ignore[redundant-expr]
        return y


class HasNoSuchThing(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.body(x * 2 if not hasattr(x, "no_such_thing") else x)
        return y


class Tries(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        try:
            shape = tuple(x.shape)
        except Exception:
            shape = ()
        y: Tensor = self.body(x * (1 + len(shape)))
        return y


LIARS = [IsTensor, TypeIs, IsTorchTensor, HasNoSuchThing, Tries]


@pytest.mark.parametrize("kind", LIARS)
@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential, Residual])
def test_graphs_that_lie_are_found_out(
    kind: type[Wrapper], wrap: Callable[[nn.Module], nn.Module]
) -> None:
    supernet, x = Supernet(stir(wrap(kind()))), noise(4, 3)
    archs = list(supernet.space)
    with pytest.warns(SharingWarning, match=LIE) as caught:
        ours = sharing.outputs(supernet, x, archs)
    assert len(caught) == 1
    assert_same(ours, one_by_one(supernet, x, archs))
    assert_shares(supernet, x)
    supernet.eval()
    assert_shares(supernet, x)
    assert_same_gradients(supernet.double(), x.double(), archs)


def test_only_the_liar_is_named_and_the_others_stay_shared() -> None:
    honest, liar = Counted(nn.Linear(3, 3)), IsTensor()
    inner = Residual(nn.Sequential(OneOf("o", {"a": nn.Tanh(), "b": nn.Linear(3, 3)}), honest))
    after = Counted(nn.Linear(3, 3))
    net = nn.Sequential(inner, liar, Residual(nn.Sequential(Depth("e", [after, nn.Tanh()]))))
    supernet, x = Supernet(stir(net)), noise(4, 3)
    with pytest.warns(SharingWarning, match=rf"inside '1' \(IsTensor\): {LIE}") as caught:
        sharing.run(supernet, x, supernet.space)
    assert len(caught) == 1
    assert honest.calls == 2
    assert liar.first.calls == 2 * 3
    assert after.calls == 2 * 3
    assert_shares(supernet, x)


def test_two_liars_are_both_run_whole() -> None:
    class Other(IsTensor):
        def __init__(self) -> None:
            super().__init__()
            self.body = Depth("other", [nn.Linear(3, 3), nn.Tanh()])

    supernet, x = Supernet(stir(nn.Sequential(IsTensor(), Other()))), noise(4, 3)
    with sharing_warnings() as messages:
        assert_shares(supernet, x)
    assert len(messages) == 2


def test_nobody_notices_the_check() -> None:
    class Honest(Wrapper):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(self.first(x)) + nn.functional.dropout(x, 0.5)
            return y

    honest = Honest()
    norm = nn.BatchNorm1d(3)
    supernet = Supernet(stir(Residual(nn.Sequential(norm, honest))))
    seen: list[Any] = []
    honest.first.register_forward_hook(lambda *_: seen.append("hook"))
    norm.register_forward_pre_hook(lambda *_: seen.append("before"))
    honest.body.blocks[0].register_full_backward_hook(lambda *_: seen.append("backward"))
    x = noise(4, 3)
    before, weights = x.clone(), [p.clone() for p in supernet.parameters()]
    state = torch.get_rng_state()
    sharing.prepare(supernet, x, supernet.space)
    assert seen == []
    assert honest.first.calls == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert all(map(torch.equal, weights, supernet.parameters()))
    assert all(parameter.grad is None for parameter in supernet.parameters())


@pytest.fixture(name="runs")
def checks_that_are_run(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """With what arguments a graph was held against its module, check by check."""
    runs: list[Any] = []
    agrees = checking._Pair.agrees

    def counted(*args: Any) -> bool:
        runs.append(args)
        return agrees(*args)

    monkeypatch.setattr(checking._Pair, "agrees", counted)
    return runs


def test_a_graph_is_checked_once(runs: list[Any]) -> None:
    supernet, x = Supernet(stir(Residual(Depth("d", [nn.Linear(3, 3)] * 3)))), noise(4, 3)
    archs = list(supernet.space)
    for part in (archs, archs, archs[:1], archs[1:]):
        sharing.run(supernet, x, part)
    assert len(runs) == 3  # architectures
    supernet.eval()
    sharing.run(supernet, x, archs)
    assert len(runs) == 6
    supernet.train()
    sharing.run(supernet, x, archs)
    assert len(runs) == 6


def test_a_counter_inside_does_not_have_it_checked_again(runs: list[Any]) -> None:
    depth = Depth("d", [Counted(nn.Linear(3, 3)), Counted(nn.Tanh())])
    supernet = Supernet(stir(Residual(depth)))
    sharing.run(supernet, noise(4, 3), supernet.space)
    once = len(runs)
    for _ in range(5):
        assert_shares(supernet, noise(4, 3))
    modes = 3  # with gradients, without, and for inference
    assert len(runs) == once * modes


def test_numbers_that_are_not_numbers_are_no_lie() -> None:
    supernet = Supernet(stir(Residual(Depth("d", [nn.Linear(3, 3) for _ in range(2)]))))
    x = noise(4, 3)
    x[0, 0] = float("nan")
    assert_shares(supernet, x)


def test_a_failing_network_fails_as_it_does_alone() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError("on its own")

    supernet = Supernet(Residual(Depth("d", [nn.Linear(3, 3), Fails()])))
    small, large = supernet.space
    with pytest.raises(ZeroDivisionError, match="on its own"):
        sharing.run(supernet, noise(4, 3), [large])
    assert_shares(supernet, noise(4, 3), [small])


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(x), x


class TakesEither(nn.Module):
    """What it does depends on what the choice before it made."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Depth("d", [nn.Linear(3, 3)], shortest=0)

    def forward(self, x: Any) -> Tensor:
        factor = 3.0 if isinstance(x, tuple) else 1.0
        y: Tensor = self.body(x[0]) * factor
        return y


def test_a_graph_that_lies_for_some_architectures_only() -> None:
    before = OneOf("o", {"tensor": nn.Linear(3, 3), "pair": Pairs()})
    supernet = Supernet(stir(nn.Sequential(before, TakesEither())))
    with sharing_warnings():
        assert_shares(supernet, noise(4, 3))


class Annealed(nn.Module):
    """Has one attribute that its forward reads, and one that it doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Depth("d", [nn.Linear(3, 3), nn.Tanh()])
        self.temperature, self.step = 1.0, 0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) / self.temperature
        return y + getattr(self, "shift", 0.0)


def test_an_attribute_that_is_not_read_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Annealed()
    supernet, x = Supernet(stir(net)), noise(4, 3)
    first, _ = sharing.prepare(supernet, x, supernet.space)
    monkeypatch.setattr(cache, "trace", None)
    for step in range(3):
        net.step = step
        assert sharing.prepare(supernet, x, supernet.space)[0] is first


def test_an_attribute_that_is_read_counts_and_is_not_proved_forever(runs: list[Any]) -> None:
    net = Annealed()
    supernet, x = Supernet(stir(net)), noise(4, 3)
    archs = list(supernet.space)
    for step in range(20):
        net.temperature = 1 / (1 + step)
        assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))
    assert len(runs) == 4 * len(archs)
    vars(net)["shift"] = 2.0
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


def test_the_attributes_of_modules_inside_count_as_far_as_they_are_read() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Annealed()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner.body(x) * self.inner.temperature
            return y

    net = Reads()
    supernet, x = Supernet(stir(net)), noise(4, 3)
    archs = list(supernet.space)
    first, _ = sharing.prepare(supernet, x, archs)
    net.inner.step = 3
    assert sharing.prepare(supernet, x, archs)[0] is first
    net.inner.temperature = 3.0
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))


def test_watching_what_is_read_leaves_nothing_behind() -> None:
    sharing.prepare(Supernet(stir(Annealed())), noise(4, 3), [Architecture({"d.depth": 1})])
    assert "__getattribute__" not in vars(nn.Module)


def test_a_graph_is_held_against_its_module_on_the_whole_batch_and_the_others_on_few(
    runs: list[Any],
) -> None:
    supernet = Supernet(stir(Residual(Depth("d", [nn.Linear(3, 3)] * 5))))
    sharing.run(supernet, noise(6, 3), supernet.space)
    assert sorted(len(args[2][0]) for args in runs) == [2, 2, 2, 2, 6]


def test_a_class_that_says_its_forward_is_fixed_is_believed(runs: list[Any]) -> None:
    block = ElasticResidual(Depth("d", [nn.Linear(3, 3)] * 3))
    supernet = Supernet(stir(nn.Sequential(block, nn.Linear(3, 3))))
    assert_shares(supernet, noise(4, 3))
    assert not runs
