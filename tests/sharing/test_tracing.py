"""Modules with choices inside whose forward can't be written down: right, once per restriction."""

import collections
import random
import re
import threading
import time
import types
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing.structure import Ref
from supernet.sharing.tracing import Untraceable, trace
from tests.conftest import noise, stir
from tests.limits import HANG_S
from tests.sharing.networks import (
    ByContent,
    ByShape,
    Wrapper,
    assert_same,
    assert_same_gradients,
    assert_shares,
    one_by_one,
    sharing_warnings,
)

Net = TypeVar("Net", bound=nn.Module)


class CountsCalls(Wrapper):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.body(self.first(x))
        return y


class Logs(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.log.append(1)
        y: Tensor = self.body(self.first(x))
        return y


class LogsDeep(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.log = {"calls": [0], "last": collections.deque([0], maxlen=2), "who": {"me"}}

    def forward(self, x: Tensor) -> Tensor:
        self.log["last"].append(1)  # type: ignore[attr-defined]
        y: Tensor = self.body(self.first(x))
        return y


class Remembers(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, Any] = {"x": torch.zeros(1)}

    def forward(self, x: Tensor) -> Tensor:
        self.last["x"] = x
        y: Tensor = self.body(self.first(x))
        return y


class RemembersInChild(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        self.first.last = x
        y: Tensor = self.body(self.first(x))
        return y


class SetsChild(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        self.first.calls = 7
        y: Tensor = self.body(self.first(x))
        return y


class SetsAttributeOfValue(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x))
        y.data = y.data * 2
        return y


class OwnTensor(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x)) + torch.arange(3.0)
        return y


class OwnRandomTensor(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x)) + 0 * torch.randn(3)
        return y


class WithoutGradients(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.first(x)
        y: Tensor = self.body(x)
        return y


class Autocasts(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.first(x)
        y: Tensor = self.body(x.float())
        return y


class AsksForTheArchitecture(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x)) * int(self.body.active["d.depth"])
        return y


class ByLength(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(len(x)):
            x = x + 1
        y: Tensor = self.body(self.first(x))
        return y


class ByParameter(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x)) * self.gain
        return y * 2 if self.gain[0] > 0 else y


class ByItem(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x))
        return y * float(x.detach().abs().max())


class ThroughNumpy(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.first(x)) * float(np.asarray(x.detach()).max())
        return y


class Writes(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x[0] = 3.0
        y: Tensor = self.body(x)
        return y


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


class OwnGradient(Wrapper):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(_Doubled.apply(self.first(x)))  # type: ignore[no-untyped-call]
        return y


class Unregistered(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Linear(3, 3).requires_grad_(False)]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.hidden[0](self.first(x)))
        return y


UNTRACEABLE: dict[type[Wrapper], str] = {
    CountsCalls: "changes calls",
    Logs: "changes log",
    LogsDeep: "changes log",
    Remembers: "changes last",
    RemembersInChild: r"changes Counted\.last",
    SetsChild: r"changes Counted\.calls",
    SetsAttributeOfValue: "sets `data` of a value",
    OwnTensor: "makes a tensor",
    OwnRandomTensor: "makes a tensor|random",
    WithoutGradients: "switches gradients",
    Autocasts: "switches gradients or autocast",
    AsksForTheArchitecture: "NoArchitectureError",
    ByLength: "len",
    ByParameter: "TraceError",
    ByItem: "float",
    ThroughNumpy: "Error",
    Writes: "TypeError",
    OwnGradient: "switches gradients",
    Unregistered: "Error|tensor|module",
}


def private(net: nn.Module) -> dict[str, Any]:
    """Everything a user could find in the modules, in copies of the containers."""
    return {
        f"{name}.{key}": (repr(value), id(value))
        for name, module in net.named_modules()
        for key, value in vars(module).items()
        if key != "_active"
    }


def random_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]  # noqa: NPY002


@pytest.mark.parametrize("kind", UNTRACEABLE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_traced_runs_whole_with_one_warning(
    kind: type[Wrapper], inside: bool
) -> None:
    net: nn.Module = kind()
    whole = nn.Sequential(nn.Linear(3, 3), net, Depth("after", [nn.Linear(3, 3)] * 2))
    supernet = Supernet(stir(whole if inside else net))
    x, archs = noise(4, 3), list(supernet.space)
    with sharing_warnings() as messages:
        sharing.prepare(supernet, x, archs)
        ours = sharing.outputs(supernet, x, archs)
        again = sharing.outputs(supernet, x, archs)
        assert_shares(supernet, x)
        supernet.eval()
        assert_shares(supernet, x)
    supernet.train()
    expected = one_by_one(supernet, x, archs)
    assert_same(ours, expected)
    assert_same(again, expected)
    (message,) = messages
    name = f"'1' ({kind.__name__})" if inside else "the network"
    assert message.startswith(f"nothing is shared inside {name}: ")
    reason = message.removeprefix(f"nothing is shared inside {name}: ")
    assert re.match(f".*({UNTRACEABLE[kind]})", reason), reason


@pytest.mark.parametrize("kind", UNTRACEABLE, ids=lambda kind: kind.__name__)
def test_it_runs_once_per_restriction(kind: type[Wrapper]) -> None:
    net = kind()
    supernet = Supernet(stir(nn.Sequential(net, Depth("after", [nn.Linear(3, 3)] * 2))))
    runs: list[int] = []
    net.first.inner.register_forward_hook(lambda *_: runs.append(1))
    with sharing_warnings():
        sharing.prepare(supernet, noise(4, 3), supernet.space)
        assert runs == []  # neither tracing nor checking runs what the user would notice
        sharing.run(supernet, noise(4, 3), supernet.space)
    assert len(runs) == 3


@pytest.mark.parametrize(
    "kind", [kind for kind in UNTRACEABLE if kind is not Autocasts], ids=lambda kind: kind.__name__
)
def test_gradients_of_what_cannot_be_traced(kind: type[Wrapper]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        supernet, x = Supernet(stir(kind())), noise(4, 3)
        with sharing_warnings():
            assert_same_gradients(supernet, x, list(supernet.space))
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", UNTRACEABLE, ids=lambda kind: kind.__name__)
def test_tracing_leaves_no_trace(kind: type[Wrapper]) -> None:
    supernet = Supernet(stir(kind()))
    states, inside = random_states(), private(supernet.net)
    with sharing_warnings():
        sharing.prepare(supernet, noise(4, 3), supernet.space)
    assert private(supernet.net) == inside
    assert random_states() == states


def test_tracing_what_can_be_traced_leaves_no_trace_either() -> None:
    class Plain(Wrapper):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(self.first(x)) + F.dropout(x, 0.5, self.training)
            return y

    supernet = Supernet(stir(Plain()))
    states, inside = random_states(), private(supernet.net)
    sharing.prepare(supernet, noise(4, 3), supernet.space)
    assert private(supernet.net) == inside
    assert random_states() == states


def test_its_own_attributes_do_not_make_the_program_another() -> None:
    supernet, archs = Supernet(stir(CountsCalls())), list(Supernet(CountsCalls()).space)
    with pytest.warns(SharingWarning, match="its forward changes calls"):
        sharing.prepare(supernet, noise(4, 3), archs)
    program, _ = sharing.prepare(supernet, noise(4, 3), archs)
    sharing.run(supernet, noise(4, 3), archs)
    assert sharing.prepare(supernet, noise(4, 3), archs)[0] is program


# -- random decisions -----------------------------------------------------------------------------


class StochasticDepth(Wrapper):
    """Skips itself now and then, by a generator of some kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        generators: dict[str, Any] = {
            "own random": random.Random(0),
            "own torch": torch.Generator().manual_seed(0),
            "own numpy": np.random.default_rng(0),
        }
        self.kind = kind
        self.generator: Any = generators.get(kind)

    def drawn(self) -> float:
        draws: dict[str, Callable[[], float]] = {
            "torch": lambda: torch.rand(1).item(),
            "random": random.random,
            "numpy": np.random.rand,
            "own random": lambda: self.generator.random(),
            "own torch": lambda: torch.rand(1, generator=self.generator).item(),
            "own numpy": lambda: self.generator.random(),
        }
        return draws[self.kind]()

    def forward(self, x: Tensor) -> Tensor:
        if self.drawn() < 0.05:  # so seldom that comparing would not find out
            return x
        y: Tensor = x + self.body(self.first(x))
        return y


@pytest.mark.parametrize(
    "kind", ["torch", "random", "numpy", "own random", "own torch", "own numpy"]
)
def test_random_decisions_are_drawn_again(kind: str) -> None:
    supernet, x = Supernet(stir(StochasticDepth(kind))), noise(4, 3)
    archs = list(supernet.space)[:1]
    with pytest.warns(SharingWarning, match="it draws random numbers to decide what to do"):
        sharing.prepare(supernet, x, archs)
    skipped = [torch.equal(sharing.outputs(supernet, x, archs)[0], x) for _ in range(200)]
    assert 0 < sum(skipped) < 60


# -- what else may go wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [ByShape, ByContent])
def test_decisions_are_made_again_for_each_input(wrapper: type[nn.Module]) -> None:
    supernet = Supernet(stir(wrapper(Depth("d", [nn.Linear(3, 3) for _ in range(2)]))))
    with pytest.warns(SharingWarning, match="nothing is shared inside the network: "):
        sharing.prepare(supernet, noise(4, 3), supernet.space)
    for x in (noise(4, 3).abs(), -noise(4, 3).abs(), noise(1, 3), noise(3, 3)):
        assert_shares(supernet, x)


def test_a_forward_replaced_on_the_object() -> None:
    net = Wrapper()
    net.forward = lambda x: net.body(net.first(x)) / 2
    supernet = Supernet(stir(nn.Sequential(net)))
    with pytest.warns(SharingWarning, match="its forward was replaced on this object"):
        sharing.prepare(supernet, noise(4, 3), supernet.space)
    assert_shares(supernet, noise(4, 3))


@pytest.mark.parametrize("which", ["chain", "depth", "type"])
def test_a_forward_of_their_own_is_what_runs(which: str) -> None:
    class OwnForward(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return 2 * y

    depth = Depth("d", [nn.Linear(3, 3) for _ in range(3)])
    chain = (OwnForward if which == "type" else nn.Sequential)(nn.Linear(3, 3), depth)
    if which != "type":
        module = chain if which == "chain" else depth
        forward: Callable[[Tensor], Tensor] = module.forward
        module.forward = lambda x: forward(x) / 2  # type: ignore[method-assign]
    supernet = Supernet(stir(nn.Sequential(chain, nn.Tanh())))
    with sharing_warnings() as messages:
        assert_shares(supernet, noise(4, 3))
    assert len(messages) == (which != "type")


def test_a_child_that_is_not_registered_but_has_a_choice_is_not_part_of_the_network() -> None:
    class Hides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = OneOf("o", {"a": nn.Linear(3, 3), "b": nn.Tanh()})
            self.hidden = [nn.Linear(3, 3).requires_grad_(False)]

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.hidden[0](self.seen(x))
            return y

    with sharing_warnings():
        assert_shares(Supernet(stir(Hides())), noise(4, 3))


def test_warnings_name_each_module_once_for_all_programs() -> None:
    net = nn.Sequential(CountsCalls(), ByShape(OneOf("o", {"a": nn.Tanh(), "b": nn.Linear(3, 3)})))
    supernet = Supernet(stir(net))
    archs = list(supernet.space)
    with sharing_warnings() as messages:
        for part in (archs, archs[:2], archs[::-1]):
            sharing.run(supernet, noise(4, 3), part)
    assert len(messages) == 2
    assert "'0' (CountsCalls)" in messages[0]
    assert "'1' (ByShape)" in messages[1]


def test_what_is_active_outside_is_not_taken_down() -> None:
    supernet = Supernet(stir(AsksForTheArchitecture()))
    archs, x = list(supernet.space)[::-1], noise(4, 3)  # the check uses the first
    with sharing_warnings() as messages, supernet.activate(supernet.space.largest):
        ours = sharing.outputs(supernet, x, archs)
    assert len(messages) == 1
    assert_same(ours, one_by_one(supernet, x, archs))
    net = supernet.net
    with supernet.activate(archs[0]), pytest.raises(Untraceable, match="NoArchitectureError"):
        trace(net, (Ref(0),), {})


# -- graphs ---------------------------------------------------------------------------------------


def nodes(module: nn.Module, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    graph, _ = trace(module, args, kwargs)
    return [(n.op, getattr(n.target, "__name__", str(n.target))) for n in graph.nodes]


def test_every_call_of_a_child_is_one_node() -> None:
    class Plain(Wrapper):
        def forward(self, x: Tensor, by: float = 2.0) -> Tensor:
            y: Tensor = self.body(self.first(x)) * by
            y += x
            return F.relu(y, inplace=True)

    assert nodes(Plain(), Ref(0)) == [
        ("placeholder", "input"),
        ("call_module", "first"),
        ("call_module", "body"),
        ("call_function", "mul"),
        ("call_function", "iadd"),
        ("call_function", "relu"),
        ("output", "output"),
    ]


@pytest.mark.parametrize(
    "operator", ["+=", "-=", "*=", "/=", "//=", "%=", "**=", "@=", "&=", "|=", "^=", "<<=", ">>="]
)
def test_every_change_in_place_is_written_down_as_one(operator: str) -> None:
    class Changes(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            names = {"x": x, "y": y}
            exec(f"x {operator} y", names)
            return names["x"]

    kinds = nodes(Changes(), Ref(0), Ref(1))
    assert next(name for op, name in kinds if op == "call_function").startswith("i")


def test_references_inside_structures_are_inputs_from_left_to_right() -> None:
    class Takes(nn.Module):
        def forward(self, pair: tuple[Any, Any], *, named: dict[str, Any], flag: bool) -> Any:
            return (named["a"], pair[1], pair[0], flag)

    graph, _ = trace(Takes(), ((Ref(3), Ref(9)),), {"named": {"a": Ref(0)}, "flag": True})
    *inputs, output = graph.nodes
    (result,) = output.args
    assert result == (inputs[2], inputs[1], inputs[0], True)


def test_a_parameter_and_a_buffer_are_read_when_the_graph_runs() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.shift: Tensor
            self.register_buffer("shift", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x * self.scale + self.shift
            return y

    assert [name for op, name in nodes(Reads(), Ref(0)) if op == "get_attr"] == ["scale", "shift"]


def test_the_reason_is_in_one_line() -> None:
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("one\n  two")

    with pytest.raises(Untraceable, match=r"^ValueError: one two$"):
        trace(Raises(), (Ref(0),), {})


# -- state that decides, and lies further away ----------------------------------------------------


def assert_noticed(net: Net, change: Callable[[Net], object]) -> None:
    """What is shared after a change is what the changed network computes."""
    supernet = Supernet(stir(net))
    sharing.run(supernet, noise(4, 3), supernet.space)
    change(net)
    assert_shares(supernet, noise(4, 3))


def test_a_number_in_a_child_that_the_forward_reads() -> None:
    class ReadsChild(Wrapper):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(x) + F.dropout(x, 0.5, training=self.drop.training)
            return y

    assert_noticed(ReadsChild(), lambda net: net.drop.eval())


def test_settings_in_an_object_that_change() -> None:
    class Configured(Wrapper):
        def __init__(self) -> None:
            super().__init__()
            self.config = types.SimpleNamespace(scale=1.0)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(x) * self.config.scale
            return y

    def change(net: Configured) -> None:
        net.config.scale = 2.0

    assert_noticed(Configured(), change)


def test_a_plain_number_in_a_child_that_changes() -> None:
    class ReadsChild(Wrapper):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.LeakyReLU(0.5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = F.leaky_relu(self.body(x), self.act.negative_slope)
            return y

    def change(net: ReadsChild) -> None:
        net.act.negative_slope = 0.1

    assert_noticed(ReadsChild(), change)


def test_two_threads_at_once_leave_nothing_behind() -> None:
    """Neither in what looks up attributes of modules, nor in the random numbers of the second."""
    other = threading.Thread(target=lambda: trace(Waits(ended), (Ref(0),), {}))
    ended = threading.Event()

    class Starts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            other.start()
            time.sleep(0.3)  # the other is about to begin, or waits
            torch.rand(1)
            return x + 1

    class Waits(nn.Module):
        def __init__(self, until: threading.Event) -> None:
            super().__init__()
            self.until = until

        def forward(self, x: Tensor) -> Tensor:
            self.until.wait(HANG_S)
            return x + 1

    before = {name: vars(nn.Module).get(name) for name in ("__getattribute__", "__call__")}
    state = torch.get_rng_state()
    with pytest.raises(Untraceable, match="random numbers"):
        trace(Starts(), (Ref(0),), {})
    ended.set()
    other.join(HANG_S)
    assert {name: vars(nn.Module).get(name) for name in before} == before
    assert torch.equal(torch.get_rng_state(), state)
