"""Reasons why models or layers can't be converted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from supernet.errors import SpaceError
from supernet.networks.conversion.inputs import twin_of
from supernet.networks.conversion.norms import is_known_norm
from supernet.networks.conversion.tracing import LAYERS
from supernet.nn.choices import ChoiceModule
from supernet.nn.supernet import Supernet
from supernet.sharing.module_state import has_hooks


def check_model(model: nn.Module) -> None:
    """Raise `SpaceError` if a module stands in the way of a conversion, and say what to do."""
    for name, module in model.named_modules():
        if why := _obstacle(module):
            where = f"{name!r}" if name else "the model"
            raise SpaceError(f"{where} {why}")
    frozen = [m for m in twin_of(model).train().modules() if isinstance(m, _BatchNorm)]
    names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    for name, norm in zip(names, frozen, strict=True):
        if not norm.training:
            raise SpaceError(
                f"the batch norm {name!r} stays in evaluation mode when the model is put in "
                "training mode, but a supernet keeps no statistics for it; let it train, or put a "
                "fixed scale and shift in its place"
            )


def _obstacle(module: nn.Module) -> str:
    """Return why no model with such a module can be converted; empty if it is none."""
    kind = type(module).__name__
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return (
            f"is wrapped in {kind}; give the network inside, its `.module`, and wrap what comes out"
        )
    if isinstance(module, ChoiceModule | Supernet):
        return (
            f"is a {kind}, so the model holds choices already; give the plain network, or make the "
            "supernet by hand"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return "is compiled by TorchScript; give the module that it was made of"
    if "_orig_mod" in module._modules:
        return (
            "is compiled by torch.compile; give the network inside, its `._orig_mod`, and compile "
            "what comes out"
        )
    if any(isinstance(p, UninitializedParameter) for p in module._parameters.values()):
        return f"is a {kind} that never ran, so its weight has no shape; run the model once before"
    for name, value in vars(module).items():
        if isinstance(value, Tensor) and not value.is_leaf:
            return (
                f"keeps a computed tensor, `{name}`, so it can't be copied; if that is due to "
                "`weight_norm`, `spectral_norm` or `prune`, undo it by `remove_weight_norm`, "
                "`remove_spectral_norm` or `prune.remove`, or use `torch.nn.utils.parametrizations`"
            )
    return ""


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
