"""Giving an architecture batch-norm statistics of its own.

Weights trained in a supernet saw the batch statistics of the architecture at hand. To evaluate one,
its batch norms need averages taken while *that* architecture runs; without them the experiment's
smallest network scored .664 instead of .965. `recalibrate` does it for a plain network, `calibrate`
for any number of a supernet's architectures in one shared pass. The arithmetic is PyTorch's own in
both, so both arrive at the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet import sharing
from supernet.errors import CalibrationError
from supernet.nn.elastic.norms import ElasticBatchNorm
from supernet.nn.supernet import Supernet, fresh_statistics
from supernet.sharing import Group, Instruction
from supernet.space import Architecture

_Buffers = tuple[Tensor | None, Tensor | None, Tensor | None]


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace every batch norm's running statistics by the average over `batches`, in place.

    Batches count equally, whatever their size. Only batch norms are put in training mode: unlike in
    `torch.optim.swa_utils.update_bn`, dropout stays off. Modes and momenta are put back, also if a
    batch raises.

    Args:
        net: A plain network, such as `extract` returns.
        batches: Inputs, without labels, of the training set.

    Raises:
        CalibrationError: If `batches` is empty and there was something to recalibrate.

    References:
        Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
        ECCV 2020, arXiv:1904.00420.
    """
    if not _norms(net):
        return
    for norm in _norms(net):
        norm.reset_running_stats()
    seen = 0
    with averaging(net):
        for batch in batches:
            net(batch)
            seen += 1
    if not seen:
        raise CalibrationError("recalibration needs at least one batch, and was given none")


def require_statistics(net: nn.Module) -> None:
    """Raise `CalibrationError` if a batch norm of `net` never saw a batch."""
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            seen = module.num_batches_tracked
            if seen is not None and not seen:
                raise CalibrationError(
                    f"batch norm {name!r} has no statistics yet, so a score would mean nothing; "
                    "call `recalibrate(net, batches)` first"
                )


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside the block, `net` is in evaluation mode; every module's own mode comes back."""
    modes = {module: module.training for module in net.modules()}
    try:
        net.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def averaging(net: nn.Module) -> Iterator[None]:
    """Inside the block, `net` evaluates, but its batch norms average what they see, plainly."""
    norms = _norms(net)
    momenta = {norm: norm.momentum for norm in norms}
    with evaluating(net):
        try:
            for norm in norms:
                norm.momentum = None  # a plain average over batches, not an exponential one
                norm.train()
            yield
        finally:
            for norm, momentum in momenta.items():
                norm.momentum = momentum


@final
class Statistics:
    """Batch-norm statistics of many architectures, one set per computation they share.

    They fit the supernet, its weights, and exactly the architectures they were made for.
    """

    def __init__(self, supernet: Supernet, archs: Iterable[Architecture]) -> None:
        self.supernet = supernet
        self.archs = tuple(dict.fromkeys(archs))
        # A plain network's batch norm that keeps no statistics keeps none here either.
        self._several = supernet.space.size > 1
        self._buffers: dict[tuple[_BatchNorm, tuple[Architecture, ...]], _Buffers] = {}
        self._place: dict[tuple[_BatchNorm, Architecture], tuple[Architecture, ...]] = {}

    def run(self, x: Any) -> Iterator[Group]:
        """Run all architectures on `x`, each under its own statistics; see `sharing.stream`.

        Raises:
            CalibrationError: If there are none for some batch norm, and it isn't averaging.
        """
        program, tensors = sharing.prepare(self.supernet, x, self.archs)
        return sharing.execute(program, self.supernet, tensors, self._carry_out)

    def _carry_out(
        self, instruction: Instruction, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        module = instruction.operation.module
        norms = [n for n in _norms(module) if self._several or n.track_running_stats]
        before = [_installed(norm) for norm in norms]
        try:
            for norm in norms:
                _install(norm, self._of(norm, instruction.archs))
            return instruction.operation(self.supernet, args, kwargs)
        finally:
            for norm, buffers in zip(norms, before, strict=True):
                _install(norm, buffers)

    def _of(self, norm: _BatchNorm, archs: tuple[Architecture, ...]) -> _Buffers:
        """Return the buffers of a norm in one group; one that averages updates them in place."""
        key = norm, archs
        if key not in self._buffers:
            if not norm.training:
                raise CalibrationError(
                    "these architectures were not calibrated together; call `calibrate` for them"
                )
            for arch in archs:
                if self._place.setdefault((norm, arch), archs) != archs:
                    raise CalibrationError(
                        f"one batch norm ({norm}) runs at two places of architecture {arch.label}; "
                        "give each place a batch norm of its own"
                    )
            # As wide as the norm is for these architectures, which agree on it.
            own = norm.plain(archs[0]) if isinstance(norm, ElasticBatchNorm) else norm
            self._buffers[key] = fresh_statistics(own, self.supernet)
        return self._buffers[key]


@torch.no_grad()
def calibrate(
    supernet: Supernet, archs: Sequence[Architecture], batches: Iterable[Tensor]
) -> Statistics:
    """Return statistics for every one of `archs`, from one shared pass over `batches`.

    They equal, bit for bit, those of `recalibrate(extract(supernet, arch), batches)` for each. The
    supernet itself is not changed.

    Raises:
        CalibrationError: If `batches` is empty and there are batch norms, or if one batch norm
            is used at two places of the network.
    """
    statistics = Statistics(supernet, archs)
    seen = 0
    with averaging(supernet):
        for batch in batches:
            for _ in statistics.run(batch):
                pass
            seen += 1
    if not seen and _norms(supernet):
        raise CalibrationError("calibration needs at least one batch, and was given none")
    return statistics


def _norms(module: nn.Module | None) -> list[_BatchNorm]:
    return [] if module is None else [m for m in module.modules() if isinstance(m, _BatchNorm)]


def _installed(norm: _BatchNorm) -> _Buffers:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked


def _install(norm: _BatchNorm, buffers: _Buffers) -> None:
    norm.running_mean, norm.running_var, norm.num_batches_tracked = buffers
    norm.track_running_stats = buffers[0] is not None
