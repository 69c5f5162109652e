"""Batch norms whose batch is that of all ranks together.

PyTorch's own `SyncBatchNorm` is a module, for GPUs only. Here it is the functions behind norms that
are watched, as for calibration: so whatever module runs them, on whatever device, and nothing in a
network is replaced. Each rank sends two numbers per channel forward, and two backward.

References:
    Peng et al., "MegDet: A Large Mini-Batch Object Detector", CVPR 2018, arXiv:1711.07240.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from supernet.evaluation.batchnorm import norm_by_batch
from supernet.runs.ranks import Ranks

#: What the functions behind norms add to a variance if nobody says.
_EPS: Final = 1e-5


def synchronized(ranks: Ranks) -> AbstractContextManager[object]:
    """Inside the block, batch norms in training mode normalize by the samples of all ranks.

    All ranks must run the same norms, in the same order, forward and backward.
    """
    return _Synchronizing(ranks) if ranks.several else nullcontext()


def pull_back(loss: Tensor) -> None:
    """Do what `loss.backward()` does, but stay in the block around it.

    Blocks that run again on the way back, to save memory, have norms too, and the method would
    leave the block before it begins.
    """
    torch.autograd.Variable._execution_engine.run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


class _Synchronizing(TorchFunctionMode):
    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = norm_by_batch(func, args, kwargs)
        if given is None:
            return func(*args, **(kwargs or {}))
        return _normalize(self._ranks, given)


def _normalize(ranks: Ranks, given: dict[str, Any]) -> Tensor:
    """Do what `batch_norm` does in training mode, with the statistics of all ranks."""
    x, weight, bias = given["input"], given.get("weight"), given.get("bias")
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    mean, variance, count = _statistics(ranks, wide.detach())
    _update(given, mean, variance, count)
    eps = given.get("eps", _EPS)
    y: Tensor = _Normalized.apply(  # type: ignore[no-untyped-call]
        wide, weight, bias, mean, variance, count, eps, ranks
    )
    return y.to(x.dtype)


@torch.no_grad()
def _statistics(ranks: Ranks, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance per channel, over the values of all ranks, and their number.

    As each of several ranks has a sample, there are two values at least. Their number stays where
    it is, so that nobody waits for a GPU.

    Sums of squares are added up in float64, where the difference of two loses nothing that float32
    could hold.
    """
    count = x.numel() // x.shape[1]
    mean, variance = (part.double() for part in torch.batch_norm_update_stats(x, None, None, 0.0))
    squares = variance + mean.square()
    sums = ranks.add(torch.cat([mean * count, squares * count, mean.new_tensor([count])]))
    total = sums[-1]
    mean, squares = (sums[:-1] / total).chunk(2)
    variance = (squares - mean.square()).clamp_(min=0)
    return mean.to(x.dtype), variance.to(x.dtype), total


@torch.no_grad()
def _update(given: dict[str, Any], mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Take a batch into the averages that a norm keeps, if it keeps any."""
    momentum = given.get("momentum", 0.1)
    unbiased = variance * (count / (count - 1))
    for name, value in (("running_mean", mean), ("running_var", unbiased)):
        kept = given.get(name)
        if kept is not None:
            kept.lerp_(value.to(kept.dtype), momentum)


class _Normalized(Function):
    """Normalization by given statistics, which depend on the inputs of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count.to(x.dtype))
        ctx.eps, ctx.ranks = eps, ranks
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        # Of normalization by given statistics: sums over this rank's samples, per channel. They are
        # given in both forms: processors read the first two, GPUs the other two.
        given = (mean, variance, mean, torch.rsqrt(variance + ctx.eps))
        like = torch.ones_like(mean) if weight is None else weight  # GPUs ask for its type
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, like, *given, False, ctx.eps, [False, True, True]
        )
        of_x = None
        if needs_x:
            means = ctx.ranks.add(torch.cat([of_weight, of_bias])) / count
            of_x = _gradient(ctx, gradient, x, weight, mean, variance, means)
        nothing = (None,) * 5
        return of_x, of_weight if needs_weight else None, of_bias if needs_bias else None, *nothing


def _gradient(
    ctx: Any,
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    means: Tensor,
) -> Tensor:
    """Return the gradient of the input: scale * (gradient - its mean - normalized * their mean).

    What doesn't depend on the gradient is a normalization itself, so it is done in one pass.
    """
    along, of_gradient = means.chunk(2)
    scale = torch.rsqrt(variance + ctx.eps)
    scale = scale if weight is None else scale * weight
    rest = torch.batch_norm(
        x, -scale * along, -scale * of_gradient, mean, variance, False, 0.0, ctx.eps, False
    )
    return rest.addcmul_(gradient, scale.reshape(1, -1, *[1] * (x.ndim - 2)))
