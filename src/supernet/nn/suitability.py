"""Detection of modules that can't serve several architectures.

Each would end in an error that names neither the module nor the way out, or in wrong numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm

from supernet.errors import SpaceError


def require_suitable(net: nn.Module) -> None:
    """Raise `SpaceError` if a module of a network can't serve several architectures.

    Args:
        net: The network; it is not changed.
    """
    for name, module in net.named_modules():
        if (reason := _objection(module)) is not None:
            raise SpaceError(f"{_shown(name, module)} {reason}")
    for name, norm in _frozen_norms(net):
        raise SpaceError(
            f"{_shown(name, norm)} stays in evaluation mode when the network is put in training "
            "mode (its `train`, or that of a module around it, sees to it), but a supernet keeps "
            "no batch-norm statistics, so it would run with those of each batch; let it train "
            "like the others, or put a module without statistics of batches in its place, such as "
            "torchvision.ops.FrozenBatchNorm2d"
        )


def _objection(module: nn.Module) -> str | None:
    """Return why a module can't be used, and what can be done; None if it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return (
            "is a TorchScript module, whose layers can't be seen; use the Python module that it "
            "was made from"
        )
    # By its name, because its class takes seconds to import.
    if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:
        return (
            "is compiled; use the module that was given to torch.compile, and compile extracted "
            "networks, or all architectures of a step with supernet.sharing.Compiled"
        )
    if _is_wrapper(module):
        return (
            "spreads a network over devices; make a Supernet of the network inside, and let that "
            "be trained in several processes"
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return (
            "is lazy: its parameters have no shape yet; give it its sizes, or run it once by "
            "itself before it goes into the network"
        )
    if isinstance(module, _InstanceNorm) and module.track_running_stats:
        return (
            "is an instance norm that keeps running statistics, which would be those of many "
            "architectures; build it with track_running_stats=False"
        )
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            return (
                "is pruned by a hook, so it can't be copied; make it final with "
                f"torch.nn.utils.prune.remove(module, {hook._tensor_name!r})"
            )
        if isinstance(hook, SpectralNorm) or type(hook).__name__ == "WeightNorm":
            kind = "spectral_norm" if isinstance(hook, SpectralNorm) else "weight_norm"
            return (
                f"has the old torch.nn.utils.{kind}, a hook, so it can't be copied; remove it with "
                f"torch.nn.utils.remove_{kind}, and use torch.nn.utils.parametrizations.{kind}"
            )
    return None


def _is_wrapper(module: nn.Module) -> bool:
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return isinstance(module, wrappers) or any(
        cls.__module__.startswith("torch.distributed.") for cls in type(module).__mro__
    )


def _frozen_norms(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the batch norms that stay in evaluation mode when the network is to train.

    Found out by doing so, if some module has a `train` of its own; everything is put back.
    """
    norms = [(name, m) for name, m in net.named_modules() if isinstance(m, _BatchNorm)]
    if not norms or not any(map(_has_own_train, net.modules())):
        return
    modes = {module: module.training for module in net.modules()}
    trained = {parameter: parameter.requires_grad for parameter in net.parameters()}
    try:
        net.train()
        frozen = [(name, norm) for name, norm in norms if not norm.training]
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, wanted in trained.items():
            parameter.requires_grad_(wanted)
    yield from frozen


def _has_own_train(module: nn.Module) -> bool:
    return type(module).train is not nn.Module.train or "train" in vars(module)


def _shown(name: str, module: nn.Module) -> str:
    return f"module {name!r} ({type(module).__name__})" if name else f"the {type(module).__name__}"
