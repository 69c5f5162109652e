"""Taking one architecture out of a supernet, as a network of its own."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.nn.choices import to_plain
from supernet.nn.supernet import Supernet, fresh_statistics
from supernet.space import Architecture


def extract(supernet: Supernet, arch: Architecture) -> nn.Module:
    """Return a plain network that computes what `supernet(x, arch)` computes.

    In the place of a `OneOf` is the chosen operation, in that of a `Depth` an `nn.Sequential` of
    the blocks that run, in that of an elastic layer PyTorch's own with the part of the weights that
    `arch` uses: every choice module says itself what takes its place. It shares no storage with the
    supernet and holds nothing of this package, so it can be saved, compiled, exported or trained on
    without it. Its batch norms have no statistics yet: `evaluate` refuses it until it went through
    `recalibrate` or has been trained.

    Raises:
        SpaceError: If `arch` is not in the supernet's space.
    """
    supernet.space.validate(arch)
    several = supernet.space.size > 1
    net = to_plain(copy.deepcopy(supernet.net), arch)
    for module in net.modules() if several else ():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = True
            mean, var, count = fresh_statistics(module, net)
            module.running_mean, module.running_var, module.num_batches_tracked = mean, var, count
    return net
