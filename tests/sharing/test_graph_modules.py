"""Modules whose forward is a graph already: followed as it stands, without a trial."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.networks.zoo import build_nasbench201_net
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic.parts import as_graph
from supernet.nn.supernet import Supernet
from supernet.sharing import cache, checking
from supernet.sharing.structure import Ref
from supernet.sharing.tracing import form_of, own_graph, trace
from tests.conftest import noise, stir
from tests.sharing.networks import assert_same, assert_shares, one_by_one, some_archs


class Between(nn.Module):
    """Two values that meet, and a child that runs for all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.body = Depth("d", [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)])
        self.other = OneOf("o", {"a": nn.Sigmoid(), "b": nn.Linear(3, 3)})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x)
        return self.body(y) * self.other(y) + x  # type: ignore[no-any-return]


class Defaults(Between):
    def forward(self, x: Tensor, by: float = 2.0) -> Tensor:
        return super().forward(x) * by


class Attribute(Between):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Function(Between):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class Many(Between):
    def forward(self, *several: Tensor) -> Tensor:
        return super().forward(several[0])


@pytest.fixture(name="trials")
def counted_trials(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How often a module was traced, and a graph held against its module."""
    trials: list[Any] = []
    agrees = checking._Pair.agrees

    def traced(*args: Any) -> Any:
        trials.append("traced")
        return trace(*args)

    def tried(*args: Any) -> bool:
        trials.append("tried")
        return agrees(*args)

    monkeypatch.setattr(cache, "trace", traced)
    monkeypatch.setattr(checking._Pair, "agrees", tried)
    return trials


def multiply(graph: fx.Graph) -> None:
    """Let a graph multiply where it added."""
    next(node for node in graph.nodes if node.target is operator.add).target = operator.mul


def test_a_graph_is_followed_without_a_trial(trials: list[Any]) -> None:
    supernet, x = Supernet(stir(as_graph(Between()))), noise(4, 3)
    assert_shares(supernet, x)
    assert trials == []


def test_a_space_of_the_zoo_needs_no_trial(trials: list[Any]) -> None:
    net = build_nasbench201_net(seed=0, classes=3, shape=(1, 8, 8), width=2, cells=1)
    supernet, x = Supernet(net), noise(2, 1, 8, 8)
    archs = some_archs(supernet, 6)
    assert_same(sharing.outputs(supernet, x, archs), one_by_one(supernet, x, archs))
    assert trials == []


def test_it_is_what_tracing_finds() -> None:
    module = as_graph(Between())
    found = own_graph(module, (Ref(0),), {})
    assert found is not None
    traced, _ = trace(module, (Ref(0),), {})

    def shape(graph: fx.Graph) -> list[Any]:
        return [(op, target) for op, target, *_ in form_of(graph)][1:]  # type: ignore[attr-defined]

    assert shape(found[0]) == shape(traced)


@pytest.mark.parametrize("kind", [Defaults, Attribute, Function, Many])
def test_other_graphs_are_traced(kind: type[Between], trials: list[Any]) -> None:
    supernet, x = Supernet(stir(as_graph(kind()))), noise(4, 3)
    assert_shares(supernet, x)
    assert "traced" in trials


def test_constants_and_names_among_the_arguments_are_traced() -> None:
    module = as_graph(Between())
    assert own_graph(module, (1.0,), {}) is None
    assert own_graph(module, (), {"x": Ref(0)}) is None
    assert own_graph(module, ((Ref(0),),), {}) is None


def test_an_edited_graph_counts_when_its_forward_is_generated_again() -> None:
    module = as_graph(Between())
    supernet, x = Supernet(stir(nn.Sequential(module))), noise(4, 3)
    archs = list(supernet.space)
    before = sharing.outputs(supernet, x, archs)
    multiply(module.graph)
    assert_same(sharing.outputs(supernet, x, archs), before)
    module.recompile()
    after = sharing.outputs(supernet, x, archs)
    assert_same(after, one_by_one(supernet, x, archs))
    assert not torch.equal(before[0], after[0])


def only_the_body(self: Any, x: Tensor) -> Tensor:
    y: Tensor = self.body(x)
    return y


def not_generated_again(module: fx.GraphModule) -> str:
    multiply(module.graph)
    return "call its `recompile"


def replaced_in_the_class(module: fx.GraphModule) -> str:
    type(module).forward = only_the_body
    return "call its `recompile"


def replaced_on_the_object(module: fx.GraphModule) -> str:
    module.forward = only_the_body.__get__(module)
    return "replaced on this object"


@pytest.mark.parametrize(
    "change", [not_generated_again, replaced_in_the_class, replaced_on_the_object]
)
def test_a_forward_that_is_not_of_the_graph_is_what_runs(
    change: Callable[[fx.GraphModule], str],
) -> None:
    module = as_graph(Between())
    reason = change(module)
    supernet, x = Supernet(stir(nn.Sequential(module))), noise(4, 3)
    archs = list(supernet.space)
    with pytest.warns(SharingWarning, match=reason):
        ours = sharing.outputs(supernet, x, archs)
    assert_same(ours, one_by_one(supernet, x, archs))
