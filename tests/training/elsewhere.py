"""A device that isn't there: its tensors lie in memory, and refuse to meet others, as on a GPU.

Every operation is computed as on the processor, so results can be compared bit for bit. What a GPU
does and this doesn't: time, streams, pinned memory, and arithmetic of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

#: Named like a device that PyTorch knows and no test machine has.
ELSEWHERE = torch.device("xpu:0")


#: Operations that take tensors of two devices: copying, and indices from the processor.
_MIXED = (
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
)


class Away(Tensor):
    """A tensor on the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            requires_grad=inner.requires_grad,
        )
        made.held = inner.detach()
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return ELSEWHERE

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Away({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # A number without axes may come from the processor, there too.
        strangers = [t for t in tensors if not isinstance(t, Away) and t.ndim]
        if strangers and func not in _MIXED:
            raise RuntimeError(f"expected all tensors to be on the same device, in {func}")
        inner = tree_map(lambda t: t.held if isinstance(t, Away) else t, (args, kwargs))
        found = func(*inner[0], **inner[1])
        wrapped = tree_map(lambda t: Away(t) if isinstance(t, Tensor) else t, found)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


class Elsewhere(TorchFunctionMode):
    """Inside the block, the device is there. Modules moved to it get new parameters."""

    def __enter__(self) -> Any:
        self.before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(self.before)
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            return self._moved(func, args, kwargs)
        if func is torch.Tensor.numpy and isinstance(args[0], Away):
            raise TypeError("can't convert a tensor of another device to numpy")
        if func is torch.Tensor.new_tensor and isinstance(args[0], Away):
            return Away(func(*args, **kwargs))
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted) == ELSEWHERE:
            kwargs["device"] = "cpu"
            found = func(*args, **kwargs)
            return found if isinstance(found, Away) else Away(found)
        return func(*args, **kwargs)

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, *rest = args
        named = [
            part
            for part in (*rest, *kwargs.values())
            if isinstance(part, str | torch.device | Tensor)
        ]
        target = named[0] if named else None
        if func is torch.Tensor.cpu:
            target = "cpu"
        if target is None:
            return func(*args, **kwargs)
        device = target.device if isinstance(target, Tensor) else torch.device(target)
        dtypes = [p for p in (*rest, *kwargs.values()) if isinstance(p, torch.dtype)]
        dtype = target.dtype if isinstance(target, Tensor) else (dtypes or [tensor.dtype])[0]
        here: Tensor = _Home.apply(tensor) if isinstance(tensor, Away) else tensor  # type: ignore[no-untyped-call]
        here = here.to(dtype=dtype)
        return _There.apply(here) if device == ELSEWHERE else here  # type: ignore[no-untyped-call]


class _There(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return Away(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.held if isinstance(grad, Away) else grad


class _Home(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Away) -> Tensor:
        return x.held.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Away(grad)
