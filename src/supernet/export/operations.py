"""Functions that a described network may call, and their allowed arguments.

A model folder may come from anybody, and names functions. What isn't in these lists is neither
written nor run: they hold arithmetic on tensors, and nothing that reads, writes, imports or calls
what it is given.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from supernet.errors import ExportError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPERATOR = _words(
    """
    add sub mul truediv floordiv mod pow matmul neg pos abs getitem eq ne lt le gt ge and_ or_ xor
    not_ iadd isub imul itruediv
    """
)

_TORCH = _words(
    """
    abs add addcmul addmm all amax amin any arange argmax argmin atan2 baddbmm bmm broadcast_to cat
    ceil chunk clamp clip clone concat concatenate conj cos cosh cross cummax cumprod cumsum diag
    diagonal diff div dot einsum empty_like eq erf exp expm1 eye flatten flip floor floor_divide
    fmod full full_like gather ge gt hstack index_select isfinite isnan le lerp linspace log log1p
    log2 log10 logical_and logical_not logical_or logsumexp lt masked_fill matmul max maximum mean
    min minimum mm movedim mul narrow ne neg norm ones ones_like outer permute pow prod reciprocal
    relu remainder repeat_interleave reshape roll round rsqrt scalar_tensor select sigmoid sign sin
    sinh softmax log_softmax sort split sqrt square squeeze stack std sub sum swapaxes t tan tanh
    tensor_split tile topk transpose tril triu trunc unbind unflatten unsqueeze var vstack where
    zeros zeros_like rms_norm layer_norm group_norm
    """
)

_FUNCTIONAL = _words(
    """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear celu
    channel_shuffle conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    cosine_similarity dropout dropout1d dropout2d dropout3d elu embedding fold gelu glu group_norm
    hardshrink hardsigmoid hardswish hardtanh instance_norm interpolate layer_norm leaky_relu linear
    local_response_norm log_softmax logsigmoid lp_pool2d max_pool1d max_pool2d max_pool3d mish
    normalize one_hot pad pixel_shuffle pixel_unshuffle prelu relu relu6 rms_norm
    scaled_dot_product_attention selu sigmoid silu softmax softmin softplus softshrink softsign tanh
    tanhshrink threshold unfold
    """
)

#: Methods of a tensor.
METHODS = _words(
    """
    abs add add_ addcmul all amax amin any argmax argmin bmm bool broadcast_to ceil chunk clamp
    clamp_ clip clone contiguous cos cumsum detach diagonal dim div div_ double eq exp expand
    expand_as fill_ flatten flip float floor fmod gather ge gt half index_select int le lerp log
    log_softmax logsumexp long lt masked_fill masked_fill_ matmul max maximum mean min minimum mm
    movedim mul mul_ narrow ne neg new_full new_ones new_zeros norm numel permute pow prod
    reciprocal relu relu_ repeat repeat_interleave reshape roll round rsqrt select sigmoid sigmoid_
    sign sin size softmax split split_with_sizes sqrt square squeeze std sub sub_ sum swapaxes t
    tanh tanh_ tile to topk transpose tril triu type_as unbind unflatten unfold unsqueeze var view
    view_as where zero_
    """
)

#: Attributes of a tensor.
ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device", "T", "mT"})

_TYPES = _words(
    """
    float16 bfloat16 float32 float64 uint8 int8 int16 int32 int64 bool
    """
)
_DEVICES = ("cpu", "cuda", "mps", "meta")


def _find_functions() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {"getattr": getattr, "math.sqrt": math.sqrt}
    for prefix, module, names in (
        ("operator", operator, _OPERATOR),
        ("F", F, _FUNCTIONAL),
        ("torch", torch, _TORCH),
    ):
        for name in sorted(names):
            if hasattr(module, name):  # some are newer than the oldest PyTorch we work with
                found[f"{prefix}.{name}"] = getattr(module, name)
    return found


#: Functions by the name they have in a description: `torch.cat`, `F.relu`, `operator.add`.
FUNCTIONS: Mapping[str, Callable[..., Any]] = _find_functions()

_NAMES = {function: name for name, function in reversed(list(FUNCTIONS.items()))}


def name_of(function: object) -> str | None:
    """Return the name a function has in descriptions; None if it may not be in one."""
    try:
        return _NAMES.get(function)
    except TypeError:  # what can't be hashed is no function
        return None


def to_json(value: Any) -> Any:
    """Return an argument of a graph's node as JSON; earlier results are named.

    Raises:
        ExportError: If it is no number, text, type, slice, earlier result, or a collection of such.
    """
    if value is None or type(value) in (bool, int, float, str):
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        return value
    if isinstance(value, fx.Node):
        return {"result": value.name}
    if isinstance(value, list):
        return [to_json(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [to_json(part) for part in value]}
    if isinstance(value, slice):
        return {"slice": [to_json(part) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype) and (name := str(value).removeprefix("torch.")) in _TYPES:
        return {"dtype": name}
    if isinstance(value, torch.device) and str(value) in _DEVICES:
        return {"device": str(value)}
    raise ExportError(f"{value!r} is a {type(value).__name__}, which can't be written down")


def from_json(value: Any, results: Mapping[str, Any]) -> Any:
    """Return what `to_json` was given.

    Args:
        value: What it returned.
        results: Earlier results by name.

    Raises:
        ExportError: If it returned nothing such.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [from_json(part, results) for part in value]
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "result" and isinstance(content, str) and content in results:
            return results[content]
        if kind == "tuple" and isinstance(content, list):
            return tuple(from_json(part, results) for part in content)
        if kind == "slice" and isinstance(content, list) and len(content) == 3:
            return slice(*(from_json(part, results) for part in content))
        if kind == "ellipsis":
            return ...
        if kind == "dtype" and content in _TYPES:
            return getattr(torch, content)
        if kind == "device" and content in _DEVICES:
            return torch.device(content)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
    raise ExportError(f"{value!r} is no argument that a described network may give a function")


def results_in(value: Any) -> list[str]:
    """Return the names of the earlier results in an argument, in the order they are read.

    >>> results_in([{"result": "x"}, {"tuple": [1, {"result": "y"}]}])
    ['x', 'y']
    """
    if isinstance(value, list):
        return [name for part in value for name in results_in(part)]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return [content] if kind == "result" else results_in(content)
    return []
