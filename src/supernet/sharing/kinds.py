"""Kinds of work: what says what a call costs, so that equal ones are measured once in a process."""

from __future__ import annotations

from typing import Generic, TypeVar, final

import torch
from torch import Tensor, nn

from supernet.sharing.module_state import settings_of
from supernet.sharing.structure import Same

Cost = TypeVar("Cost")


def kind_of(module: nn.Module) -> object | None:
    """Return what a module does, but for the numbers it holds, or None if that can't be told.

    It can of PyTorch's own modules; what is returned is hashable.
    """
    parts = list(module.modules())
    return tuple(map(_settings, parts)) if all(map(_is_plain, parts)) else None


def form_of(tensor: Tensor) -> object:
    """Return all that a tensor is, but for its numbers."""
    return tensor.shape, tensor.dtype, tensor.stride(), tensor.requires_grad


def modes() -> object:
    """Return what else decides what autograd does, and in which precision."""
    kinds = ("cpu", "cuda")
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        *((torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds),
    )


def without_graph(tensor: Tensor) -> Tensor:
    """Return the same values, without what keeps the network alive that made them."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


@final
class Remembered(Generic[Cost]):
    """What calls have cost, by what says by itself what they are.

    What holds an object is not remembered: it could stand for something else once that was changed,
    and would keep it.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._found: dict[object, Cost] = {}

    def get(self, what: object) -> Cost | None:
        """Return what it has cost, if that is known."""
        return self._found.get(what) if _is_lasting(what) else None

    def keep(self, what: object, cost: Cost) -> None:
        """Remember what it has cost, if that will stay so."""
        if not _is_lasting(what):
            return
        if len(self._found) >= self._most:
            self._found.clear()
        self._found[what] = cost


def _is_plain(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and "forward" not in vars(module)


def _settings(module: nn.Module) -> object:
    """Return what one of PyTorch's modules does, but for the numbers it holds."""
    own = {**module._parameters, **module._buffers}
    forms = tuple((name, None if t is None else form_of(t)) for name, t in own.items())
    return type(module), module.training, settings_of(module), tuple(module._modules), forms


def _is_lasting(what: object) -> bool:
    if isinstance(what, tuple):
        return all(map(_is_lasting, what))
    if isinstance(what, Same):
        return isinstance(what.what, torch.dtype)
    return isinstance(what, type | str | bytes | int | float | complex | torch.dtype | None)
