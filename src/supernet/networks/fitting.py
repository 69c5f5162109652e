"""Checks that a network runs on samples of a given shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import NetworkError
from supernet.evaluation.batches import call
from supernet.evaluation.cost import Form, empty_batch
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.sharing.structure import replace

#: What PyTorch raises for an operation that needs numbers where there are none.
_NO_NUMBERS = ("meta", "aten::_local_scalar_dense", "data-dependent")


def require_fit(supernet: Supernet, shape: Form) -> None:
    """Run the smallest and the largest architecture on samples without numbers.

    A network that has to look at numbers is run on zeros instead.

    Args:
        supernet: The network; it is not changed.
        shape: Of one sample, such as channels, height, width; or samples of another form.

    Raises:
        NetworkError: If one can't take them, with the layer, what it was given, and why.
    """
    x = empty_batch(shape)
    for arch in dict.fromkeys([supernet.space.smallest, supernet.space.largest]):
        net = extract(supernet, arch).train()
        failure = _run(net.to("meta"), x)
        if failure and any(word in failure for word in _NO_NUMBERS):
            if any(parameter.is_meta for parameter in supernet.parameters()):
                return  # there are none to look at
            zeros = replace(x, Tensor, lambda tensor: torch.zeros_like(tensor, device="cpu"))
            failure = _run(extract(supernet, arch).train(), zeros)
        if failure:
            which = f" ({arch.label})" if supernet.space.size > 1 else ""
            raise NetworkError(
                f"the network{which} can't take samples of {word_form(x)}: {failure}; check "
                "its shape and arguments, or use other data"
            )


def word_form(batch: Any) -> str:
    """Return in words what one sample of a batch is.

    >>> word_form(torch.zeros(2, 1, 28, 28))
    '1 x 28 x 28'
    >>> word_form({"tokens": torch.zeros(2, 64, dtype=torch.int64), "age": torch.zeros(2)})
    'tokens: 64 (int64), age: 1'
    """
    if isinstance(batch, Tensor):
        sizes = " x ".join(map(str, batch.shape[1:])) or "1"
        kind = "" if batch.dtype == torch.float32 else f" ({str(batch.dtype).rpartition('.')[2]})"
        return sizes + kind
    if isinstance(batch, dict):
        return ", ".join(f"{name}: {word_form(part)}" for name, part in batch.items())
    if isinstance(batch, tuple | list):
        return ", ".join(map(word_form, batch))
    return type(batch).__name__


def _run(net: nn.Module, x: Any) -> str:
    """Return why a network can't be run, or nothing."""
    inside: list[tuple[str, nn.Module, str]] = []  # what is running, from the outside in
    handles = []

    def entered(name: str) -> object:
        def note(module: nn.Module, inputs: tuple[object, ...]) -> None:
            inside.append((name, module, ", ".join(map(_form, inputs))))

        return note

    def left(module: nn.Module, inputs: object, output: object) -> None:
        inside.pop()

    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(entered(name)))
        handles.append(module.register_forward_hook(left))
    try:
        with torch.no_grad():
            call(net, x)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if not inside:
            return reason
        name, module, given = inside[-1]
        what = f"layer {name!r}" if name else "the network itself"
        text = " ".join(repr(module).split())
        text = text if len(text) <= 70 else f"{type(module).__name__}"
        return f"{what}, {text}, was given {given}: {reason}"
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _form(value: object) -> str:
    if isinstance(value, Tensor):
        return f"({', '.join(map(str, value.shape))})"
    return type(value).__name__
