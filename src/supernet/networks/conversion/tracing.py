"""What a given model does: one run on an example, and a graph of its operations if it has one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.errors import SpaceError

#: Layers that are one operation also where somebody's subclass of them is used.
LAYERS = (nn.Conv2d, nn.Linear, nn.LayerNorm, _BatchNorm)


@dataclass(frozen=True)
class Call:
    """A module at work in the graph.

    Attributes:
        inputs: The values it was given.
        output: The value it returned; None if that was not a single one.
        before: How many operations come before its own.
        after: How many there are when it returns.
    """

    inputs: tuple[fx.Node, ...]
    output: fx.Node | None
    before: int
    after: int


@dataclass
class Trace:
    """A graph of a whole model. Each node's `meta["value"]` is what it was on the example, empty.

    Attributes:
        graph: The operations; the layers and what belongs to PyTorch are one each.
        calls: By the module's name, all its calls.
    """

    graph: fx.Graph
    calls: Mapping[str, list[Call]]


@dataclass
class Observed:
    """What was seen of a model.

    Attributes:
        trace: Its graph, or the reason why there is none.
        shapes: By the name of a module that took and returned one tensor each time it ran: the
            shapes of these, once per run.
    """

    trace: Trace | str
    shapes: dict[str, list[tuple[torch.Size, torch.Size]]] = field(default_factory=dict)


def observe(model: nn.Module, example: Tensor) -> Observed:
    """Run a copy of a model on an example in evaluation mode, and trace it.

    Raises:
        SpaceError: If the model can't run on the example.
    """
    # Without a random number drawn: a dropout in evaluation mode draws none.
    model = copy.deepcopy(model).eval()
    shapes = _run(model, example)
    try:
        tracer = _Tracer()
        graph = tracer.trace(model)
        with torch.no_grad():
            _Shapes(fx.GraphModule(model, graph)).run(example)
    except Exception as error:  # whatever a user's forward raises when it meets a stand-in
        reason = " ".join(str(error).split())
        return Observed(f"{type(error).__name__}: {reason[:200]}", shapes)
    calls: dict[str, list[Call]] = {}
    for name, call in tracer.calls:
        calls.setdefault(name, []).append(call)
    return Observed(Trace(graph, calls), shapes)


@torch.no_grad()
def _run(model: nn.Module, example: Tensor) -> dict[str, list[tuple[torch.Size, torch.Size]]]:
    names = {module: name for name, module in model.named_modules()}
    seen: dict[nn.Module, list[tuple[torch.Size, torch.Size] | None]] = {m: [] for m in names}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Any) -> None:
        single = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        whole = single and isinstance(y, Tensor)
        seen[module].append((args[0].shape, y.shape) if whole else None)

    hooks = [m.register_forward_hook(look, with_kwargs=True) for m in names]
    try:
        model(example)
    except Exception as error:  # whatever a user's model raises
        raise SpaceError(
            f"the model can't run on the example, of shape {tuple(example.shape)}: "
            f"{type(error).__name__}: {error}; give a batch such as it is trained with"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return {
        names[module]: [shapes for shapes in runs if shapes is not None]
        for module, runs in seen.items()
        if runs and None not in runs
    }


@final
class _Tracer(fx.Tracer):
    """Looks into every module that is not PyTorch's, and writes down where each begins and ends."""

    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Call]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        name, before = self.path_of_module(m), len(self.graph.nodes)
        y = super().call_module(m, forward, args, kwargs)
        given = (*args, *kwargs.values())
        inputs = tuple(a.node for a in given if isinstance(a, fx.Proxy))
        output = y.node if isinstance(y, fx.Proxy) else None
        whole = len(inputs) == len(given)
        call = Call(inputs if whole else (), output, before, len(self.graph.nodes))
        self.calls.append((name, call))
        return y


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps of every value what it was, of a tensor only its shape."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["value"] = fx.node.map_aggregate(
            value, lambda part: part.to("meta") if isinstance(part, Tensor) else part
        )
        return value
