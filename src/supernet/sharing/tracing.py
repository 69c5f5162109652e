"""Graph of a module's calls to its children, or why there is none.

The graph is made by `torch.fx`, which runs `forward` once on stand-ins for its inputs. What Python
decides meanwhile is decided for good, so a forward whose course may change from call to call must
not be traced: it is refused here, or found out by `supernet.sharing.checking`.
"""

from __future__ import annotations

import collections
import copy
import operator
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument

from supernet.nn.tracing import ONE_AT_A_TIME, LockedTracer
from supernet.sharing.module_state import Reads, own_attributes, reads_watched
from supernet.sharing.structure import Ref, Structure, key, replace

#: `x += y` and its like, as the module `operator` calls them.
IN_PLACE_OPERATORS = frozenset(
    f"i{name}"
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
        *("and", "or", "xor", "lshift", "rshift"),
    )
)


class Untraceable(Exception):
    """Why a module's forward has no graph; ends as text in a warning."""


def trace(module: nn.Module, args: Structure, kwargs: Structure) -> tuple[fx.Graph, Reads]:
    """Return the graph of `module(*args, **kwargs)`, in which every call of a child is one node.

    Each `Ref` among the arguments is an input of the graph, from left to right. Constants among
    them, and arguments left to their defaults, are part of it. The module is not changed.

    Returns:
        The graph, and the attributes that were read for it: it holds as long as these stay.

    Raises:
        Untraceable: If there is none, or it would not stay true.
    """
    if "forward" in vars(module):
        raise Untraceable("its forward was replaced on this object")
    if isinstance(module, fx.GraphModule) and not _runs_its_graph(module):
        raise Untraceable("its forward is not that of its graph; call its `recompile()`")
    # The graph is for all architectures, so none is active.
    active = {m: vars(m).pop("_active") for m in module.modules() if "_active" in vars(m)}
    # `forward` may set attributes, here or further inside; what it sets must show, and not stay.
    shadow = copy.copy(module)
    shadow.__dict__.update(_with_own_containers(own_attributes(module)))
    inside = [inner for inner in module.modules() if inner is not module]
    before = {
        inner: (own_attributes(inner), _with_own_containers(own_attributes(inner)))
        for inner in inside
    }
    try:
        with ONE_AT_A_TIME, _no_draws(module), reads_watched(shadow, module) as reads:
            graph = _Tracer(args, kwargs).trace(shadow)
    except Untraceable:
        raise
    except Exception as error:  # whatever a user's forward raises when it meets a stand-in
        raise Untraceable(f"{type(error).__name__}: {' '.join(str(error).split())}") from None
    finally:
        changed = _changes(own_attributes(module), own_attributes(shadow))
        for inner, (own, contents) in before.items():
            if more := _changes(contents, own_attributes(inner)):
                changed += [f"{type(inner).__name__}.{name}" for name in more]
                _put_back(inner, own, contents)
        for inner, arch in active.items():
            vars(inner)["_active"] = arch
    if changed:
        raise Untraceable(f"its forward changes {', '.join(changed)}")
    return graph, reads


def own_graph(
    module: nn.Module, args: Structure, kwargs: Structure
) -> tuple[fx.Graph, Reads] | None:
    """Return a copy of the graph that a module's forward was generated from, or None.

    It is what `trace` would find, sooner, and needs no proof. Taken are graphs that do nothing but
    call children and Python's operators, where every argument is a value.
    """
    if not isinstance(module, fx.GraphModule) or not _runs_its_graph(module):
        return None
    graph = module.graph
    inputs = [node.target for node in graph.nodes if node.op == "placeholder"]
    plain = len(inputs) == len(args) and not kwargs and all(isinstance(arg, Ref) for arg in args)
    if not plain or any(name.startswith("*") for name in inputs):
        return None
    if not all(map(_is_call, graph.nodes)):
        return None
    reads = Reads()
    reads.add(module, "_code")  # new whenever the forward is generated again
    return copy.deepcopy(graph), reads


def _runs_its_graph(module: fx.GraphModule) -> bool:
    """Say whether a module's forward is the one that is generated from its graph."""
    code = getattr(module.forward, "__code__", None)
    generated = code is not None and "eval_with_key" in code.co_filename
    return generated and module.graph.python_code("self").src == module.code


def _is_call(node: fx.Node) -> bool:
    if node.op == "call_function":
        return getattr(node.target, "__module__", "") == "_operator"
    return node.op in ("placeholder", "call_module", "output")


def form_of(graph: fx.Graph, *, numbers_count: bool = True) -> object:
    """Return something hashable that is equal for graphs that do the same.

    Args:
        graph: The graph.
        numbers_count: Whether graphs that differ in constant numbers only are different.
    """

    def shown(structure: Structure) -> object:
        if not numbers_count:
            structure = replace(structure, float, lambda _: "a number")
        return key(replace(structure, fx.Node, numbers.get))

    numbers = {node: Ref(number) for number, node in enumerate(graph.nodes)}
    return tuple(
        (
            node.op,
            key(node.target),
            shown((node.args, dict(node.kwargs))),
        )
        for node in graph.nodes
    )


@final
class _Tracer(LockedTracer):
    """Refuses what `torch.fx` would quietly write down as a constant, or leave out."""

    proxy_buffer_attributes = True  # a buffer is read when the graph runs, not now

    def __init__(self, args: Structure, kwargs: Structure) -> None:
        super().__init__()
        self.arguments = args, kwargs
        self.surroundings = surroundings()

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        def stand_in(_: Ref) -> fx.Proxy:
            return self.create_proxy("placeholder", "input", (), {})

        args, kwargs = replace(self.arguments, Ref, stand_in)

        def forward() -> Any:
            return root_fn(self.root, *args, **kwargs)

        return forward, []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _StandIn(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if surroundings() != self.surroundings:
            raise Untraceable("it switches gradients or autocast on or off")
        return super().create_node(*args, **kwargs)

    def create_arg(self, a: Any) -> Argument:
        if isinstance(a, Tensor) and not self._belongs_to_root(a):
            raise Untraceable("it makes a tensor that does not depend on its input")
        return super().create_arg(a)

    def _belongs_to_root(self, tensor: Tensor) -> bool:
        owned = (*self.root.parameters(), *self.root.buffers(), *vars(self.root).values())
        return any(tensor is known for known in owned)


def surroundings() -> tuple[bool, ...]:
    """Return what PyTorch is set to do around a forward: a graph holds for one setting only."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


class _StandIn(fx.Proxy):
    """Stands for a value; `x += y` is written down as what it is, not as `x = x + y`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("node", "tracer"):  # what every stand-in has
            raise Untraceable(f"it sets `{name}` of a value")
        super().__setattr__(name, value)


def _in_place(change: Callable[..., Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    def write_down(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", change, (self, other), {})

    return write_down


for _name in IN_PLACE_OPERATORS:
    setattr(_StandIn, f"__{_name}__", _in_place(getattr(operator, _name)))


_Draws = tuple[Callable[[], Any], Callable[[Any], object]]  # how to read a state, and put it back


def _generators_of(module: nn.Module) -> Iterator[_Draws]:
    for inner in module.modules():
        for value in vars(inner).values():
            if isinstance(value, random.Random):
                yield value.getstate, value.setstate
            elif isinstance(value, torch.Generator):
                yield value.get_state, value.set_state
            elif isinstance(value, np.random.Generator):
                bits = value.bit_generator
                yield partial(getattr, bits, "state"), partial(setattr, bits, "state")


@contextmanager
def _no_draws(module: nn.Module) -> Iterator[None]:
    """Raise `Untraceable` if the block draws random numbers, and put the generators back."""
    draws: list[_Draws] = [
        (torch.get_rng_state, torch.set_rng_state),
        (random.getstate, random.setstate),
        (lambda: np.random.get_state(legacy=False), np.random.set_state),  # noqa: NPY002
        *_generators_of(module),
    ]
    before = [get() for get, _ in draws]
    try:
        yield
    finally:
        after = [get() for get, _ in draws]
        for (_, put_back), state in zip(draws, before, strict=True):
            put_back(state)
    if not all(map(_equal, before, after)):
        raise Untraceable("it draws random numbers to decide what to do")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_equal(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b)) if hasattr(a, "__array__") else bool(a == b)


def _with_own_containers(value: Any) -> Any:
    """Return the same, in containers of its own all the way down."""
    if not isinstance(value, list | collections.deque | dict | set):
        return value
    copied: Any = copy.copy(value)
    if not isinstance(value, set):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            copied[name] = _with_own_containers(part)
    return copied


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    return [n for n in names if not _unchanged(before.get(n, ...), after.get(n, ...))]


def _unchanged(a: Any, b: Any) -> bool:
    """Say whether two values are the same object, or containers of the same objects."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, list | collections.deque):
        return len(a) == len(b) and all(map(_unchanged, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_unchanged(a[name], b[name]) for name in a)
    return isinstance(a, set) and len(a) == len(b) and {*map(id, a)} == {*map(id, b)}


def _put_back(module: nn.Module, own: dict[str, Any], contents: dict[str, Any]) -> None:
    """Give a module its attributes back, and containers their contents."""
    for name in own_attributes(module).keys() - own.keys():
        del module.__dict__[name]
    for name, value in own.items():
        if isinstance(value, list | collections.deque | dict | set):
            value.clear()
            (value.extend if isinstance(value, list | collections.deque) else value.update)(
                contents[name]
            )
        module.__dict__[name] = value
