"""Batch-norm statistics of each architecture's own.

Weights trained in a supernet saw the batch statistics of the architecture at hand. To evaluate one,
its batch norms need averages taken while *that* architecture runs; without them the experiment's
smallest network scored .664 instead of .965. `recalibrate` does it for a plain network, `calibrate`
for any number of a supernet's architectures in one shared pass. The arithmetic is the same code in
both, so both arrive at the same bits.

Every sample counts the same, however the samples are cut into batches: means and variances are
pooled by how many values they are of, the variance between batches included. For a single batch
norm any cut gives the statistics of all samples. In a network, every batch is normalized by itself
on its way to the norms further down, so batches should be of one size; see `evened`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from supernet import sharing
from supernet.errors import CalibrationError, DataError, SpaceError
from supernet.evaluation.batches import (
    Inputs,
    call,
    device_of,
    evened,
    inputs_of,
    moved,
    naming,
    not_finite,
    samples_in,
    split_inputs,
)
from supernet.nn.elastic.narrowed import Narrowed
from supernet.nn.elastic.norms import ElasticBatchNorm
from supernet.nn.extraction import UNUSABLE_VARIANCE
from supernet.nn.supernet import Supernet, fresh_statistics
from supernet.runs.ranks import ALONE, Ranks
from supernet.sharing import Group, Instruction
from supernet.space import Architecture

_Buffers = tuple[Tensor | None, Tensor | None, Tensor | None]


@torch.inference_mode(False)  # as for `extract`: the statistics stay in the network
@torch.no_grad()
def recalibrate(net: nn.Module, batches: Inputs) -> None:
    """Replace every batch norm's running statistics by those of `batches`, in place.

    Every sample counts the same, whatever the sizes of the batches. Only batch norms are put in
    training mode: unlike in `torch.optim.swa_utils.update_bn`, dropout stays off. Modes and momenta
    are put back, also if a batch raises; the norms then have no statistics: the network evaluates
    to NaN, and scoring refuses it. A compiled network runs without being compiled meanwhile.

    Args:
        net: A plain network, such as `extract` returns.
        batches: Samples of the training set: inputs, batches of inputs and targets, a loader or a
            split of the data; see `supernet.evaluation.batches.inputs_of`.

    Raises:
        CalibrationError: If `batches` is empty, or holds one sample, and there was something to
            recalibrate.
        DataError: If `batches` can't be gone through, holds something else, or holds a number that
            isn't finite and makes the statistics so.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(1))
        >>> recalibrate(net, [torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0], [8.0]])])
        >>> net[0].running_mean, net[0].running_var  # of all five samples
        (tensor([4.]), tensor([11.5000]))

    References:
        Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
        ECCV 2020, arXiv:1904.00420.
    """
    norms = _norms(net)
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
    pools, device = _Pools(), device_of(net)
    for norm in norms:
        if norm.running_mean is not None:
            pools.add(_installed(norm))
    try:
        with averaging(net), _eagerly(net), pools.filling():
            found = _Watched(_sized(evened(inputs_of(batches)), "recalibration"))
            for batch in found:
                call(net, moved(batch, device))
        found.blame(pools)
    except BaseException:
        for norm in norms:
            norm.reset_running_stats()
            if norm.running_var is not None:
                norm.running_var.fill_(UNUSABLE_VARIANCE)
        raise
    pools.write()


def has_batch_norms(net: nn.Module) -> bool:
    """Return whether a network has batch norms, to which a single sample is no batch."""
    return bool(_norms(net))


def require_statistics(net: nn.Module) -> None:
    """Raise `CalibrationError` if a batch norm of `net` never saw a batch, or too few."""
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            seen, var = module.num_batches_tracked, module.running_var
            # A network that was extracted has variances below zero to begin with.
            if (seen is not None and not seen) or (var is not None and bool((var < 0).any())):
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


def _sized(batches: Iterable[Any], what: str) -> Iterator[Any]:
    """Pass batches on, unless there are none, or the only one is of a single sample.

    Raises:
        CalibrationError: If so.
    """
    seen = 0
    for batch in batches:
        if not seen and samples_in(batch) == 1:
            raise CalibrationError(
                f"{what} was given one sample, which has no variance; give more, such as 1,000 "
                "samples of the training set"
            )
        seen += 1
        yield batch
    if not seen:
        raise CalibrationError(f"{what} needs at least one batch, and was given none")


class _Watched:
    """Inputs to take statistics of, which remember the first that is not a finite number."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self._fault: str | None = None

    def __iter__(self) -> Iterator[Any]:
        seen = 0
        for batch in self._batches:
            if self._fault is None:
                self._fault = not_finite(batch, "the inputs for calibration", before=seen)
            seen += samples_in(batch)
            yield batch

    def blame(self, pools: _Pools) -> None:
        """Raise `DataError` if the inputs are why statistics are not finite numbers."""
        if self._fault is not None and not pools.are_finite():
            raise DataError(self._fault)


#: Where the arguments of the functions that normalize stand.
_NORMALIZING: Final[dict[Callable[..., Any], tuple[str, ...]]] = {
    F.batch_norm: (
        *("input", "running_mean", "running_var", "weight", "bias", "training", "momentum"),
        "eps",
    ),
    torch.batch_norm: (
        *("input", "weight", "bias", "running_mean", "running_var", "training", "momentum"),
        *("eps", "cudnn_enabled"),
    ),
}


def norm_by_batch(
    func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the arguments by name, if a call normalizes by the statistics of its batch."""
    if func not in _NORMALIZING:
        return None
    given = dict(zip(_NORMALIZING[func], args, strict=False)) | (kwargs or {})
    return given if given.get("training") else None


def _eagerly(net: nn.Module) -> AbstractContextManager[object]:
    """Inside the block, compiled modules run as they are written, so that norms can be watched."""
    compiled = (hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in net.modules())
    return torch.compiler.set_stance("force_eager") if any(compiled) else nullcontext()


@final
class _Pool:
    """The statistics of all values that a batch norm has seen, from those of each batch.

    Count, mean and sum of squared deviations are added up in float64 by the formula of Chan, Golub
    and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979),
    which, unlike the difference of two means, loses no digits.
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self.mean, self.variance = mean, variance  # the norm's own, which hold those of a batch
        self._count = 0
        # On the processor where the device has no float64.
        device = "cpu" if mean.device.type == "mps" else mean.device
        self._mean = torch.zeros(mean.shape, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self._mean)

    def take_in(self, count: int) -> None:
        """Add what the norm's own buffers hold: the statistics of a batch of so many values."""
        total = self._count + count
        away = self.mean.to(self._mean) - self._mean
        self._squares += self.variance.to(self._mean) * (count - 1)
        self._squares += away.square() * (self._count * count / total)
        self._mean += away * (count / total)
        self._count = total

    def forget(self) -> None:
        """Forget what it was given."""
        self._count = 0
        self._mean.zero_()
        self._squares.zero_()

    def sums(self) -> Tensor:
        """Return count, and the sum of all values per channel: what adds up over ranks."""
        return torch.cat([self._mean.new_tensor([self._count]), self._mean * self._count])

    def squares_around(self, sums: Tensor) -> Tensor:
        """Return the sum of squared deviations per channel from the mean of all ranks' values."""
        away = self._mean - sums[1:] / sums[0].clamp(min=1)
        return self._squares + away.square() * self._count

    def take_over(self, sums: Tensor, squares: Tensor) -> None:
        """Go on with what all ranks together have seen."""
        self._count = int(sums[0])
        self._mean, self._squares = sums[1:] / sums[0].clamp(min=1), squares

    def is_finite(self) -> bool:
        """Return whether all that the norm saw were finite numbers."""
        return bool(torch.isfinite(self._mean).all() and torch.isfinite(self._squares).all())

    def write(self) -> None:
        """Put the statistics of all batches into the norm's buffers, if it saw any."""
        if self._count:
            self.mean.copy_(self._mean)
            self.variance.copy_(self._squares / (self._count - 1))


@final
class _Pools:
    """The pools of some batch norms, known by their running means."""

    def __init__(self) -> None:
        self._pools: dict[int, _Pool] = {}

    def add(self, buffers: _Buffers) -> None:
        mean, variance, _ = buffers
        assert mean is not None
        assert variance is not None
        self._pools[id(mean)] = _Pool(mean, variance)

    def filling(self) -> AbstractContextManager[object]:
        """Inside the block, what these norms see in training mode goes into the pools.

        It is the functions behind norms that are watched, not modules: a hook on a module would
        change how it is run, and tells nothing of norms that other modules run.
        """
        return _Watching(self._pools)

    def merge(self, ranks: Ranks, *, forget: bool) -> None:
        """Put together what the norms have seen on all ranks.

        Args:
            ranks: Who they are. All have the same pools, in the same order.
            forget: Whether what was seen here doesn't count.
        """
        pools = list(self._pools.values())
        if not ranks.several or not pools:
            return
        for pool in pools if forget else ():
            pool.forget()
        sizes = [1 + len(pool.mean) for pool in pools]
        sums = ranks.add(torch.cat([pool.sums() for pool in pools])).split(sizes)
        around = [pool.squares_around(those) for pool, those in zip(pools, sums, strict=True)]
        squares = ranks.add(torch.cat(around)).split([size - 1 for size in sizes])
        for pool, those, deviations in zip(pools, sums, squares, strict=True):
            pool.take_over(those, deviations)

    def are_finite(self) -> bool:
        """Return whether all that all norms saw were finite numbers."""
        return all(pool.is_finite() for pool in self._pools.values())

    def write(self) -> None:
        for pool in self._pools.values():
            pool.write()
        self._pools.clear()


class _Watching(TorchFunctionMode):
    def __init__(self, pools: dict[int, _Pool]) -> None:
        super().__init__()
        self._pools = pools

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = norm_by_batch(func, args, kwargs)
        pool = None if given is None else self._pools.get(id(given.get("running_mean")))
        if given is None or pool is None:
            return func(*args, **(kwargs or {}))
        count = given["input"].numel() // len(pool.mean)
        if count < 2:
            raise CalibrationError(
                f"a batch norm is given {tuple(given['input'].shape)}, one value per channel, "
                "which has no variance; calibrate with batches of more samples"
            )
        result = func(**given | {"momentum": 1.0})  # so that its buffers hold this batch alone
        pool.take_in(count)
        return result


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
        self._pools = _Pools()
        self._place: dict[tuple[_BatchNorm, Architecture], tuple[Architecture, ...]] = {}

    def run(self, x: Any) -> Iterator[Group]:
        """Run all architectures on `x`, each under its own statistics; see `sharing.stream`.

        Raises:
            CalibrationError: If there are none for some batch norm, and it isn't averaging.
        """
        first, others = split_inputs(self.supernet.net, x)
        with naming(x):
            program, tensors = sharing.prepare(self.supernet, first, self.archs, **others)
            yield from sharing.execute(program, self.supernet, tensors, self._carry_out)

    def fill(self, x: Any) -> None:
        """Run all architectures on `x` for the sake of their statistics."""
        for _ in self.run(x):
            pass

    def _carry_out(
        self, instruction: Instruction, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        module = instruction.operation.module
        norms = [n for n in _norms(module) if self._several or n.track_running_stats]
        before = [_installed(norm) for norm in norms]
        try:
            for norm in norms:
                _install(norm, self._of(norm, module, instruction.archs))
            fills = any(norm.training for norm in norms)
            with self._pools.filling() if fills else nullcontext():
                return instruction.operation(self.supernet, args, kwargs)
        finally:
            for norm, buffers in zip(norms, before, strict=True):
                _install(norm, buffers)

    def _of(
        self, norm: _BatchNorm, module: nn.Module | None, archs: tuple[Architecture, ...]
    ) -> _Buffers:
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
            own = _as_used(norm, module, archs[0])
            self._buffers[key] = fresh_statistics(own, self.supernet)
            self._pools.add(self._buffers[key])
        return self._buffers[key]

    def settle(self, found: _Watched, ranks: Ranks, *, idle: bool) -> None:
        """Keep the statistics of all batches, instead of the last one's; see `calibrate`.

        Args:
            found: What was gone through.
            ranks: Who did.
            idle: Whether what this one ran doesn't count.

        Raises:
            DataError: If some are not finite, because an input isn't.
        """
        self._pools.merge(ranks, forget=idle)
        found.blame(self._pools)
        self._pools.write()


@torch.no_grad()
def calibrate(
    supernet: Supernet,
    archs: Iterable[Architecture] | Architecture,
    batches: Inputs,
    *,
    ranks: Ranks = ALONE,
) -> Statistics:
    """Return statistics for every one of `archs`, from one shared pass over `batches`.

    They equal, bit for bit, those of `recalibrate(extract(supernet, arch), batches)` for each, with
    the same `batches`. The supernet itself is not changed.

    Args:
        supernet: The network that holds them.
        archs: Architectures, or one.
        batches: Samples of the training set, as for `recalibrate`.
        ranks: Who does it together, with the same batches: they take turns, and all get the
            statistics of all, which equal those of one process to rounding.

    Raises:
        CalibrationError: If `batches` is empty, or holds one sample, and there are batch norms; or
            if one batch norm is used at two places of the network.
        DataError: If `batches` can't be gone through, holds something else, or holds a number that
            isn't finite and makes the statistics so.
        SpaceError: If `supernet` is no `Supernet`.
    """
    if not isinstance(supernet, Supernet):
        raise SpaceError(
            f"calibration takes a Supernet, and was given a {type(supernet).__name__}; wrap a "
            "network, Supernet(net), or use `recalibrate(net, batches)` for a plain one"
        )
    statistics = Statistics(supernet, [archs] if isinstance(archs, Architecture) else archs)
    given, device = evened(inputs_of(batches)), device_of(supernet)
    found = _Watched(_sized(given, "calibration") if _norms(supernet) else given)
    idle, first = True, None
    with averaging(supernet):
        for number, batch in enumerate(found):
            first = batch if first is None else first
            if ranks.takes(number):
                statistics.fill(moved(batch, device))
                idle = False
        if idle and first is not None:  # for the form of the statistics, which those of others have
            statistics.fill(moved(first, device))
    statistics.settle(found, ranks, idle=idle)
    return statistics


def _as_used(norm: _BatchNorm, module: nn.Module | None, arch: Architecture) -> _BatchNorm:
    """Return a norm as wide as an architecture has it inside a module."""
    if isinstance(norm, ElasticBatchNorm):
        return norm.plain(arch)
    for inner in module.modules() if module is not None else ():
        if isinstance(inner, Narrowed) and inner.layer is norm:
            narrow = inner.narrow(arch)
            assert isinstance(narrow, _BatchNorm)
            return narrow
    return norm


def _norms(module: nn.Module | None) -> list[_BatchNorm]:
    return [] if module is None else [m for m in module.modules() if isinstance(m, _BatchNorm)]


def _installed(norm: _BatchNorm) -> _Buffers:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked


def _install(norm: _BatchNorm, buffers: _Buffers) -> None:
    norm.running_mean, norm.running_var, norm.num_batches_tracked = buffers
    norm.track_running_stats = buffers[0] is not None
