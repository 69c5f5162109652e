"""Example inputs of a network: one tensor, several, or tensors by name."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from supernet.errors import SpaceError

Net = TypeVar("Net", bound=nn.Module)


def twin_of(net: Net) -> Net:
    """Return a copy of a network with the very same parameters, which a forward doesn't change."""
    return copy.deepcopy(net, {id(parameter): parameter for parameter in net.parameters()})


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call of a network.

    Attributes:
        args: By place.
        kwargs: By name.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @staticmethod
    def of(example: Any, model: nn.Module) -> Inputs:
        """Return how a model is called on an example.

        Args:
            example: A tensor; a tuple or list of what the model takes by place; or a dict of what
                it takes by name. If its `forward` can't be called so, it is given the tuple, list
                or dict as one argument.
            model: The model.

        Raises:
            SpaceError: If there is no tensor in the example.
        """
        found = _call(example, inspect.signature(model.forward))
        if not found._tensors():
            raise SpaceError(
                f"the example is {type(example).__name__} without a tensor in it; give a batch "
                "such as the model takes: a tensor, a tuple of arguments, or a dict of them by name"
            )
        return found

    def run(self, net: Callable[..., Any], *more: Any) -> Any:
        """Return what `net` makes of a copy of them, which it may change.

        Args:
            net: A network.
            *more: What it is given after the first argument, such as an architecture.
        """
        given = self.map(Tensor.clone)
        return net(*given.args[:1], *more, *given.args[1:], **given.kwargs)

    def map(self, change: Callable[[Tensor], Any]) -> Inputs:
        """Return the same with something else in the places of tensors."""
        args, kwargs = tree_map_only(Tensor, change, (self.args, dict(self.kwargs)))
        return Inputs(args, kwargs)

    def at_least_two(self) -> Inputs:
        """Return the same, or twice the same if it is one sample: batch norms need more."""
        tensors = self._tensors()
        single = all(tensor.ndim and len(tensor) == 1 for tensor in tensors)
        return self.map(lambda tensor: torch.cat([tensor] * 2)) if single else self

    def _tensors(self) -> list[Tensor]:
        return [p for p in tree_flatten((self.args, dict(self.kwargs)))[0] if isinstance(p, Tensor)]

    def __str__(self) -> str:
        return f"of shape {', '.join(str(tuple(tensor.shape)) for tensor in self._tensors())}"


def _call(example: Any, signature: inspect.Signature) -> Inputs:
    one = Inputs((example,), {})
    if isinstance(example, Mapping):
        by_name = {name: value for name, value in example.items() if isinstance(name, str)}
        call: tuple[tuple[Any, ...], dict[str, Any]] = ((), by_name)
        fits = len(by_name) == len(example)
    elif isinstance(example, tuple | list):
        call, fits = (tuple(example), {}), True
    else:
        return one
    try:
        bound = signature.bind(*call[0], **call[1])
    except TypeError:
        return one
    if not fits or not example:
        return one
    # The first by place, the others by name where they have one: as a supernet takes them.
    args, kwargs = list(bound.args), dict(bound.kwargs)
    names = list(bound.arguments)
    kinds = [signature.parameters[name].kind for name in names]
    if all(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds[: len(args)]):
        kwargs = dict(zip(names[1 : len(args)], args[1:], strict=True)) | kwargs
        args = args[:1]
    return Inputs(tuple(args), kwargs)
