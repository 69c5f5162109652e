"""Extraction of an architecture, with batch-norm statistics of its own."""

from __future__ import annotations

from torch import nn

from supernet.evaluation.batches import Inputs
from supernet.evaluation.batchnorm import recalibrate
from supernet.nn import extraction
from supernet.nn.supernet import Supernet
from supernet.space import Architecture


def extract(
    supernet: Supernet, arch: Architecture, *, calibration: Inputs | None = None
) -> nn.Module:
    """Return a plain network that computes what `supernet(x, arch)` computes.

    In the place of a `OneOf` is the chosen operation, in that of a `Depth` an `nn.Sequential` of
    the blocks that run, in that of an elastic layer PyTorch's own with the part of the weights that
    `arch` uses: every choice module says itself what takes its place. The network shares no storage
    with the supernet and holds nothing of this package, so it can be saved, compiled, exported or
    trained on without it.

    A supernet keeps no batch-norm statistics, so an architecture needs its own. They are taken from
    `calibration`. Without it the network can be trained like any other; in evaluation mode its
    batch norms return NaN until it went through `recalibrate`, or was trained for some hundred
    steps, and scoring refuses it.

    Args:
        supernet: What it is taken out of; it is not changed.
        arch: The architecture.
        calibration: Samples of the training set, as for `recalibrate`; a thousand are enough.

    Raises:
        SpaceError: If `arch` is not in the supernet's space, or `supernet` is no `Supernet`.
        CalibrationError: If `calibration` is empty, and there are batch norms.

    Example:
        >>> import torch
        >>> from supernet.nn.choices import Depth
        >>> blocks = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(3)]
        >>> supernet = Supernet(nn.Sequential(Depth("body", blocks), nn.Linear(4, 2)))
        >>> arch = Architecture({"body.depth": 2})
        >>> model = extract(supernet, arch, calibration=[torch.randn(64, 4)]).eval()
        >>> model(torch.randn(5, 4)).shape
        torch.Size([5, 2])
    """
    net = extraction.extract(supernet, arch)
    if calibration is not None:
        recalibrate(net, calibration)
    return net
