"""1x1 convolutions that take every other pixel, without the kernel that writes where it must not.

On processors, PyTorch hands convolutions to oneDNN. Of a 1x1 convolution with a stride, channels
last, fewer of them than a block of the kernel, its gradient by the weights writes past the end of
its workspace (oneDNN 3.12 of PyTorch 2.13; https://github.com/uxlfoundation/oneDNN/issues/6035):
the process ends, hangs, or goes on with wrong numbers. On the pixels that it takes, the same
convolution with a stride of 1 has the gradient that is right. Narrow layers of elastic width are
where this is met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_BLOCK: Final = 16
"""How many channels a block has at most: 8 with AVX2, 16 with AVX-512."""


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Do what `torch.nn.functional.conv2d` does, with gradients that can be trusted."""
    if not _is_risky(x, weight, stride, padding):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    down, right = _pair(stride)
    layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
    taken = x[..., ::down, ::right].contiguous(memory_format=layout)
    return F.conv2d(taken, weight, bias, 1, 0, 1, groups)


def strided_convolutions(device: torch.device) -> AbstractContextManager[object]:
    """Inside the block, `StridedConvolutions` are at work, if a device has need of them."""
    return StridedConvolutions() if device.type == "cpu" else nullcontext()


class StridedConvolutions(TorchFunctionMode):
    """Inside the block, every `torch.nn.functional.conv2d` is the one of this module.

    So whatever module calls it, nothing in a network is replaced. A `backward` in the block leaves
    it before it begins, unless it is `supernet.training.synchronized.pull_back`.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            named = dict(kwargs or {})
            first = [named.pop("input")] if "input" in named else []
            return conv2d(*first, *args, **named)
        return func(*args, **(kwargs or {}))


def _is_risky(
    x: Tensor, weight: Tensor, stride: int | Sequence[int], padding: int | Sequence[int] | str
) -> bool:
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and tuple(weight.shape[2:]) == (1, 1)
        and weight.shape[1] < _BLOCK
        and (_is_channels_last(x) or _is_channels_last(weight))
        and max(_pair(stride)) > 1
        and (padding == "valid" if isinstance(padding, str) else max(_pair(padding)) == 0)
    )


def _is_channels_last(x: Tensor) -> bool:
    """Return whether neighbors in memory are channels; if there are several."""
    return x.ndim == 4 and x.stride(1) == 1 < x.stride(3)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return a size by rows and by columns, given as PyTorch takes it: one number may be both."""
    if isinstance(size, int):
        return size, size
    return size[0], size[-1]
