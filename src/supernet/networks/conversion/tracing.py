"""Observation of a model: runs on an example, and graphs of its operations if it has any.

The graphs are made by `torch.fx` on stand-ins that hold their values: the model really runs. So its
code may ask for shapes, types and dimensions, and loop, branch and assert on them. What it does is
written down for the example; that other sizes do as well is tried out later. Only code that decides
by the numbers in a tensor has no graph.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument, map_aggregate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from supernet.errors import SpaceError
from supernet.networks.conversion.inputs import Inputs, twin_of
from supernet.networks.conversion.numbers import Root, Sized
from supernet.nn.tracing import LockedTracer

#: Layers that are one operation also where somebody's subclass of them is used.
LAYERS = (
    *(_ConvNd, nn.Linear, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(_BatchNorm, _InstanceNorm, nn.PReLU),
)

#: PyTorch's own modules that run others, which are worth looking into.
_LOOKED_INTO = (nn.TransformerEncoder, nn.TransformerDecoder)


@dataclass(frozen=True)
class Call:
    """A module at work in the graph.

    Attributes:
        source: The value it was given first; None if that is no tensor.
        more: Whether it was given more than that.
        output: The value it returned; None if that was not a single one.
        before: How many operations come before its own.
        after: How many there are when it returns.
    """

    source: fx.Node | None
    more: bool
    output: fx.Node | None
    before: int
    after: int


@dataclass
class Trace:
    """A graph of a whole model. Each node's `meta["value"]` is what it was on the example, empty.

    Attributes:
        graph: The operations; the layers and what belongs to PyTorch are one each.
        calls: By the module's name, all its calls.
        decided: The sizes by which the model's code decides what to do.
    """

    graph: fx.Graph
    calls: Mapping[str, list[Call]]
    decided: frozenset[Root]


Shapes = Mapping[str, list[tuple[torch.Size, torch.Size]]]


@dataclass
class Observed:
    """What was seen of a model in one mode.

    Attributes:
        trace: Its graph, or the reason why there is none.
        shapes: By the name of a module that took a tensor first, and returned one, each time it
            ran: the shapes of these, once per run.
    """

    trace: Trace | str
    shapes: Shapes = field(default_factory=dict)


def observe(model: nn.Module, inputs: Inputs) -> tuple[Observed, ...]:
    """Run copies of a model on an example in evaluation and in training mode, and trace them.

    A model that can't run in training mode, perhaps because it wants targets then, is looked at in
    evaluation mode only.

    Raises:
        SpaceError: If the model can't run on the example in evaluation mode.
    """
    evaluated = _observe(twin_of(model).eval(), inputs)
    try:
        with torch.random.fork_rng(devices=()):
            trained = _observe(twin_of(model).train(), inputs.at_least_two())
    except SpaceError:
        return (evaluated,)
    # Drawing lots in training mode is no reason against a model that has a graph otherwise.
    untraced = isinstance(trained.trace, str) and not isinstance(evaluated.trace, str)
    return (evaluated,) if untraced else (evaluated, trained)


def _observe(model: nn.Module, inputs: Inputs) -> Observed:
    shapes = _run(twin_of(model), inputs)
    try:
        tracer = _Tracer(inputs, model)
        with torch.no_grad():
            graph = tracer.trace(model)
    except Exception as error:  # whatever a user's forward raises when it meets a stand-in
        reason = " ".join(str(error).split())
        return Observed(f"{type(error).__name__}: {reason[:200]}", shapes)
    calls: dict[str, list[Call]] = {}
    for name, call in tracer.calls:
        calls.setdefault(name, []).append(call)
    return Observed(Trace(graph, calls, frozenset(tracer.decided)), shapes)


@torch.no_grad()
def _run(model: nn.Module, inputs: Inputs) -> Shapes:
    names = {module: name for name, module in model.named_modules()}
    seen: dict[nn.Module, list[tuple[torch.Size, torch.Size] | None]] = {m: [] for m in names}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Any) -> None:
        whole = bool(args) and isinstance(args[0], Tensor) and isinstance(y, Tensor)
        seen[module].append((args[0].shape, y.shape) if whole else None)

    running: list[nn.Module] = []

    def enter(module: nn.Module, args: Any) -> None:
        running.append(module)

    def leave(module: nn.Module, args: Any, y: Any) -> None:
        running.pop()

    hooks = [m.register_forward_hook(look, with_kwargs=True) for m in names]
    hooks += [m.register_forward_pre_hook(enter) for m in names]
    hooks += [m.register_forward_hook(leave) for m in names]
    try:
        inputs.run(model)
    except Exception as error:  # whatever a user's model raises
        raise SpaceError(
            f"the model can't run on the example, {inputs}: "
            f"{_where(running, names)}{type(error).__name__}: {error}; "
            "give a batch such as it is trained with"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return {
        names[module]: [shapes for shapes in runs if shapes is not None]
        for module, runs in seen.items()
        if runs and None not in runs
    }


def _where(running: Sequence[nn.Module], names: Mapping[nn.Module, str]) -> str:
    """Return, for an error, which layer was at work."""
    if not running or not names[running[-1]]:
        return ""
    return f"in {names[running[-1]]!r} ({running[-1]}), "


# -- stand-ins -----------------------------------------------------------------------------------

#: What can be asked of a tensor without looking at the numbers in it, by method or function.
_ABOUT = frozenset(
    (
        *("dim", "ndimension", "stride", "is_contiguous", "is_floating_point", "is_complex"),
        *("is_tensor", "is_signed", "is_inference", "get_device", "element_size"),
        *("storage_offset", "__len__"),
    )
)


@final
class _StandIn(fx.Proxy):
    """Stands for a value, which it holds. Whatever is done with it is written down, and done."""

    value: Any

    @property  # type: ignore[misc]  # typeshed has it writable
    def __class__(self) -> Any:  # so that `isinstance(x, torch.Tensor)` is true
        value = self.__dict__.get("value")
        return type(value) if isinstance(value, Tensor) else _StandIn

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__["value"]
        if not isinstance(value, Tensor):
            return super().__getattr__(name)
        if name == "shape":
            return self._size()
        if name == "size":
            return self._size
        if name in ("numel", "nelement"):
            return lambda: functools.reduce(lambda a, b: a * b, self._size(), 1)
        found = getattr(value, name)
        if isinstance(found, Tensor):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        if name in _ABOUT or not callable(found):
            return found

        def method(*args: Any, **kwargs: Any) -> Any:
            return self.tracer.create_proxy("call_method", name, (self, *args), kwargs)

        return method

    def _size(self, dim: int | None = None) -> Any:
        decided = self.tracer.decided  # type: ignore[attr-defined]
        shape = torch.Size(
            Sized.of(size, frozenset({(self.node, axis)}), decided)
            for axis, size in enumerate(self.value.shape)
        )
        return shape if dim is None else shape[dim]

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        def part(place: int) -> Any:
            return self.tracer.create_proxy("call_function", operator.getitem, (self, place), {})

        return map(part, range(len(self.value)))

    def __setitem__(self, place: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, place, value), {})

    def __contains__(self, other: object) -> bool:
        raise fx.proxy.TraceError("the model's code looks for a number in a tensor")

    def __index__(self) -> int:
        raise fx.proxy.TraceError("the model's code decides by the numbers in a tensor")

    __int__ = __index__

    def __float__(self) -> float:
        raise fx.proxy.TraceError("the model's code decides by the numbers in a tensor")

    @classmethod
    def __torch_function__(
        cls,
        orig_method: Any,
        types: tuple[type, ...],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(orig_method, "__name__", "") in _ABOUT:
            return orig_method(*_values(args or ()), **_values(kwargs or {}))
        return super().__torch_function__(orig_method, types, args, kwargs)


def _values(structure: Any) -> Any:
    """Return the same with values in place of stand-ins, and plain numbers."""
    if type(structure) is _StandIn:
        return structure.value
    if type(structure) is Sized:
        return int(structure)
    if isinstance(structure, dict):
        return {name: _values(part) for name, part in structure.items()}
    if isinstance(structure, slice):
        return slice(*map(_values, (structure.start, structure.stop, structure.step)))
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*map(_values, structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map(_values, structure))
    return structure


@final
class _Tracer(LockedTracer):
    """Looks into every module that is not PyTorch's, and writes down where each begins and ends."""

    def __init__(self, inputs: Inputs, model: nn.Module) -> None:
        super().__init__()
        self._names = {
            id(tensor): name for name, tensor in (*model.named_buffers(), *model.named_parameters())
        }
        self.inputs = inputs
        self.calls: list[tuple[str, Call]] = []
        self.decided: set[Root] = set()
        self._working = False

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        def stand_in(tensor: Tensor) -> Any:
            node = self.create_node("placeholder", "input", (), {})
            return self._stand_in(node, tensor)

        inputs = self.inputs.map(stand_in)
        return lambda: root_fn(self.root, *inputs.args, **inputs.kwargs), []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, _LOOKED_INTO):
            return False
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Argument:
        if type(a) is _StandIn:
            return a.node
        return super().create_arg(a)

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        if kind == "get_attr":
            with self._at_work():
                node.meta["value"] = _empty(functools.reduce(getattr, target.split("."), self.root))
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._working or not self.is_own_call() or not isinstance(attr_val, Tensor):
            return attr_val
        name = self._names.get(id(attr_val))
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *_: Any,
        **__: Any,
    ) -> Any:
        """Write an operation down, and return what comes of it, with stand-ins for tensors."""
        given, named = _values(args), _values(kwargs)
        with self._at_work():
            if kind == "get_attr":
                value = functools.reduce(getattr, target.split("."), self.root)
            elif kind == "call_module":
                value = self.root.get_submodule(target)(*given, **named)
            elif kind == "call_method":
                value = getattr(given[0], target)(*given[1:], **named)
            else:
                value = target(*given, **named)
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs))
        return self._stand_in(node, value)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Inside the block, modules run on values, and nothing is written down."""
        before, self._working = self._working, True
        try:
            yield
        finally:
            self._working = before

    def _stand_in(self, node: fx.Node, value: Any) -> Any:
        node.meta["value"] = _empty(value)
        if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
            parts = [
                self._stand_in(
                    self.create_node("call_function", operator.getitem, (node, n), {}), v
                )
                for n, v in enumerate(value)
            ]
            return _like(value, parts)
        if value is None or isinstance(value, str | torch.dtype | torch.device):
            return value
        proxy = _StandIn(node, self)
        proxy.value = value
        return proxy

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._working or not self.is_own_call():
            return forward(*args, **kwargs)
        name, before = self.path_of_module(m), len(self.graph.nodes)
        y = super().call_module(m, forward, args, kwargs)
        source = args[0].node if args and type(args[0]) is _StandIn else None
        more = len(args) + len(kwargs) > 1
        output = y.node if type(y) is _StandIn else None
        call = Call(source, more, output, before, len(self.graph.nodes))
        self.calls.append((name, call))
        return y


def _empty(value: Any) -> Any:
    """Return a value with tensors that have no numbers in the places of its tensors."""
    return map_aggregate(value, lambda part: part.to("meta") if isinstance(part, Tensor) else part)


def _like(value: Any, parts: Sequence[Any]) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*parts)
    return type(value)(parts)
