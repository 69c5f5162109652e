"""What a network costs: parameters and multiply-adds, counted while it runs.

The work is counted by PyTorch's own counter on the `meta` device, where nothing is computed.
1 MAC = 2 FLOPs; only convolutions and matrix products count, as is usual.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet import sharing
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture

Shape = Sequence[int]


def empty_batch(shape: Shape, images: int = 2) -> Tensor:
    """Return images without content, to plan and count with.

    Two by default: batch norms in training mode need more than one value per channel.
    """
    return torch.empty(images, *shape, device="meta")


def count_params(net: nn.Module) -> int:
    """Return how many trainable numbers `net` holds."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_layers(net: nn.Module) -> int:
    """Return how many layers a plain network has whose weights multiply what they are given.

    Convolutions, linear layers and the like: modules without children that hold a weight of two or
    more axes. Norms and scales don't count.
    """
    return sum(
        any(p.ndim > 1 for p in module.parameters(recurse=False))
        for module in net.modules()
        if not any(True for _ in module.children())
    )


def count_macs(supernet: Supernet, arch: Architecture, shape: Shape) -> int:
    """Return the multiply-adds of one image, forward, of the extracted `arch`.

    Args:
        supernet: The network that holds `arch`.
        arch: Which architecture.
        shape: Of one image: channels, height, width.
    """
    net = extract(supernet, arch).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        net(x := empty_batch(shape))
    return int(counter.get_total_flops()) // (2 * len(x))


def count_shared_macs(
    supernet: Supernet, archs: Sequence[Architecture], shape: Shape, *, backward: bool = False
) -> int:
    """Return the multiply-adds of one image through all `archs` in one shared pass.

    Args:
        supernet: The network that holds them.
        archs: Architectures; what they have in common counts once.
        shape: Of one image: channels, height, width.
        backward: Count the gradients too, as a training step computes them.
    """
    plan = sharing.plan(supernet, archs, empty_batch(shape))
    return (plan.training_macs if backward else plan.macs) // plan.samples
