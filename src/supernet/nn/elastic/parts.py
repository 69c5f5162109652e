"""Parts of weights, and plain modules that hold them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from supernet.nn.tracing import LockedTracer

#: Where the `meta` of a graph keeps the name of the class it was traced from.
CLASS = "class"

Plain = TypeVar("Plain", bound=nn.Module)


def packed(part: Tensor, whole: Tensor) -> Tensor:
    """Return a part of a weight without gaps, in the memory layout of the whole.

    What is multiplied must lie in memory alike in a supernet and in an extracted network, and must
    say alike that it wants a gradient, also where none is computed: PyTorch chooses its kernels by
    both, and others may add up in another order.
    """
    channels_last = whole.ndim == 4 and not whole.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    part = part.contiguous(memory_format=layout)
    if whole.requires_grad and not part.requires_grad and not torch.compiler.is_compiling():
        return part.detach().requires_grad_()
    return part


def first(vector: Tensor | None, count: int) -> Tensor | None:
    """Return the first so many numbers of a vector, as a view; None if there is none."""
    return None if vector is None else vector[:count]


def filled(plain: Plain, origin: nn.Module, /, **values: Tensor | None) -> Plain:
    """Give a plain module copies of tensors, and the mode and the frozenness of its origin.

    Args:
        plain: A module without numbers, on the `meta` device.
        origin: The module that has, under the same names, the parameters these are parts of.
        **values: The parameters.
    """
    for name, value in values.items():
        if value is not None:
            wanted = origin.get_parameter(name).requires_grad
            setattr(plain, name, nn.Parameter(value.detach().clone(), requires_grad=wanted))
    return plain.train(origin.training)


def as_graph(module: nn.Module) -> fx.GraphModule:
    """Return a module that computes the same with the same children, and whose class is PyTorch's.

    Its `forward` must not depend on the architecture; its children may.
    """

    # A local class is not written down in the graph, so that a saved one doesn't ask for it.
    class Tracer(LockedTracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return True

    name = type(module).__name__
    graph = fx.GraphModule(module, Tracer().trace(module), class_name=name)
    graph.meta[CLASS] = name  # unlike the name of its class, this is copied too
    return graph
