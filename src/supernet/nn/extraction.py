"""Extraction of one architecture as a plain network."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.nn.choices import to_plain
from supernet.nn.supernet import Supernet, fresh_statistics, require_supernet
from supernet.space import Architecture


@torch.inference_mode(False)  # tensors made in inference mode break exporters and training on
def extract(supernet: Supernet, arch: Architecture) -> nn.Module:
    """Return a plain network that computes what `supernet(x, arch)` computes.

    This is `sn.extract` without `calibration`; see there.

    Raises:
        SpaceError: If `arch` is not in the supernet's space, or `supernet` is no `Supernet`.
    """
    require_supernet(supernet, "extract")
    supernet.space.validate(arch)
    several = supernet.space.size > 1
    net = to_plain(copy.deepcopy(supernet.net), arch)
    for module in net.modules() if several else ():
        if isinstance(module, _BatchNorm):
            _give_unusable_statistics(module, net)
    return net


#: A variance that is none: whatever is divided by its root is NaN. A mean of many batches forgets
#: it, as it forgets PyTorch's own first value, 1, so that a network can be trained from here as any
#: other is; NaN would stay. It is large enough for no single batch to hide it, and fits 16 bits.
UNUSABLE_VARIANCE = -1e4


def _give_unusable_statistics(norm: _BatchNorm, net: nn.Module) -> None:
    norm.track_running_stats = True
    mean, var, count = fresh_statistics(norm, net)
    var.fill_(UNUSABLE_VARIANCE)
    norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, var, count
