"""What the outputs of a network say, by its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.errors import ModelFolderError
from supernet.tasks import describe, tensors_in

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Reader:
    """How outputs are read.

    Attributes:
        task: The task's name; None or `other` for one that nobody here knows.
        top: How many of the likeliest classes or tokens are named.
        threshold: From which probability on a label is taken to hold.
    """

    task: str | None
    top: int = 3
    threshold: float = 0.5

    def read(self, outputs: Any) -> Arrays:
        """Return what outputs say, by name; the first axis of each array is that of the samples.

        `classes` and `probabilities`, (N, top), the likeliest first, of a classifier; `labels` and
        `probabilities`, (N, L), of several labels at once; `values` of a regression; `classes`,
        (N, H, W), of a dense prediction; `tokens` and `probabilities`, (N, top), of what comes
        after the last token; else `outputs`, numbered if there are several.

        Raises:
            ModelFolderError: If outputs are not those of such a task, or not finite numbers.
        """
        tensors = list(tensors_in(outputs))
        if not tensors or any(not t.ndim or len(t) != len(tensors[0]) for t in tensors):
            raise ModelFolderError(
                f"the network puts out {describe(outputs)}; there must be one entry per sample "
                "along the first axis"
            )
        for tensor in tensors:
            _check_finite(tensor)
        rules = _RULES.get(self.task or "")
        if rules is None:
            several = len(tensors) > 1
            return {
                f"outputs{place}" if several else "outputs": _array(tensor)
                for place, tensor in enumerate(tensors)
            }
        fits, read = rules
        if len(tensors) != 1 or not fits(tensors[0]):
            raise ModelFolderError(
                f"the network puts out {describe(outputs)}, which is not what networks for the "
                f"task {self.task} do; its config.json is of another network"
            )
        return {name: _array(tensor) for name, tensor in read(self, tensors[0].float()).items()}

    def best(self, logits: Tensor, name: str) -> dict[str, Tensor]:
        """Return the numbers and probabilities of the largest logits, (N, C)."""
        found = logits.softmax(1).topk(min(self.top, logits.shape[1]), 1)
        return {name: found.indices, "probabilities": found.values}


def _check_finite(tensor: Tensor) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        rows = ~torch.isfinite(tensor).reshape(len(tensor), -1).all(dim=1)
        raise ModelFolderError(
            "the network puts out numbers that are NaN or infinite, of the samples given here "
            f"first for sample {int(rows.int().argmax())}; look at that one"
        )


def _array(tensor: Tensor) -> NDArray[Any]:
    plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array: NDArray[Any] = plain.detach().cpu().numpy()
    return array


def _labels(reader: Reader, logits: Tensor) -> dict[str, Tensor]:
    likely = logits.sigmoid()
    return {"labels": likely > reader.threshold, "probabilities": likely}


_Rules = tuple[Callable[[Tensor], bool], Callable[[Reader, Tensor], dict[str, Tensor]]]

_RULES: Final[Mapping[str, _Rules]] = {
    "classification": (lambda t: t.ndim == 2, lambda reader, t: reader.best(t, "classes")),
    "multi-label": (lambda t: t.ndim == 2, _labels),
    "regression": (lambda t: True, lambda reader, t: {"values": t}),
    "dense": (lambda t: t.ndim >= 3, lambda reader, t: {"classes": t.argmax(dim=1)}),
    "next token": (lambda t: t.ndim == 3, lambda reader, t: reader.best(t[:, -1], "tokens")),
}


def named(
    arrays: Mapping[str, NDArray[Any]], key: str, names: Sequence[str] | None
) -> tuple[tuple[str, float], ...]:
    """Return the names of one sample's likeliest classes or tokens, with their probabilities."""
    if key not in arrays or "probabilities" not in arrays:
        return ()
    numbers, likely = arrays[key], arrays["probabilities"]
    words = [str(n) if names is None else names[int(n)] for n in numbers]
    return tuple(zip(words, map(float, likely), strict=True))
