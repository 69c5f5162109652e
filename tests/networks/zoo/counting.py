"""What the zoo's tests count with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from supernet.evaluation.cost import count_macs, count_params
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture


def countable(build: Callable[..., nn.Module], **settings: object) -> Supernet:
    """Return a network of full size without numbers, which takes no memory to count with."""
    with torch.device("meta"):
        return Supernet(build(seed=0, **settings))


def costs(supernet: Supernet, arch: Architecture, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the parameters of an architecture, and its multiply-adds for one image."""
    return count_params(extract(supernet, arch)), count_macs(supernet, arch, shape)
