"""Layers that can't be replaced, and why."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized

from supernet.networks.conversion.norms import is_known_norm
from supernet.networks.conversion.tracing import LAYERS
from supernet.sharing.module_state import has_hooks


def find_refusals(model: nn.Module) -> dict[str, str]:
    """Return, by the names of layers that can't be replaced, why."""
    holders = holders_of(model)
    found = {
        name: _why_not(name, module, holders)
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    }
    return {name: why for name, why in found.items() if why}


def holders_of(model: nn.Module) -> dict[int, list[str]]:
    """Return, by the identity of a parameter or buffer, the names of the modules that hold it."""
    found: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                found.setdefault(id(tensor), []).append(name)
    return found


def _why_not(name: str, module: nn.Module, holders: Mapping[int, list[str]]) -> str:
    if has_hooks(module):
        return "it has hooks, which would be lost"
    if is_parametrized(module) or module._parameters.keys() - {"weight", "bias"}:
        return "its weight is computed from other parameters"
    if isinstance(module, _BatchNorm) and not is_known_norm(module):
        return "its class does something else than a batch norm followed by what it holds"
    if isinstance(module, _InstanceNorm) and module.track_running_stats:
        return "it keeps statistics of its own"
    for parameter in module._parameters.values():
        others = [other for other in holders.get(id(parameter), ()) if other != name]
        if others:
            return f"it shares its weight with {others[0]!r}"
    return ""
