"""Analysis of subclasses of batch norms."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_plain_norm(norm: _BatchNorm) -> bool:
    """Say whether a batch norm's code is PyTorch's."""
    return type(norm).forward is _BatchNorm.forward and "forward" not in vars(norm)


def is_known_norm(norm: _BatchNorm) -> bool:
    """Say whether a batch norm does nothing that can't be done with a part of its channels."""
    return isinstance(norm, nn.SyncBatchNorm) or is_plain_norm(norm) or is_norm_and_more(norm)


@torch.no_grad()
def is_norm_and_more(norm: _BatchNorm) -> bool:
    """Say whether a subclass normalizes and then runs its children in order; found by trying it."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    kind = next((kind for kind in kinds if isinstance(norm, kind)), None)
    if kind is None or norm.running_mean is None:
        return False
    like = norm.running_mean
    generator = torch.Generator().manual_seed(0)
    shape = (3, len(like), *(3 for _ in range(kinds.index(kind) + 1)))
    x = torch.randn(*shape, generator=generator).to(like)
    for training in (True, False):
        one, other = copy.deepcopy(norm).train(training), copy.deepcopy(norm).train(training)
        plain = kind(len(like), norm.eps, norm.momentum, norm.affine, device="meta").train(training)
        plain.track_running_stats = norm.track_running_stats
        plain._parameters, plain._buffers = other._parameters, other._buffers
        try:
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(0)
                expected = one(x.clone())
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(0)
                found = nn.Sequential(plain, *other.children())(x.clone())
        except Exception:  # whatever somebody's code raises: then it is something else
            return False
        if not torch.equal(expected, found):
            return False
    return True
