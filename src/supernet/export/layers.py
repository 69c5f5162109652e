"""PyTorch's own layers, with the arguments that make them again.

A layer is its class's name and its constructor's arguments, read off its attributes. Only the
classes listed in `KINDS` can be described or built, so a description from a stranger builds layers
and nothing else. Every description is tried: the layer is built from it, without numbers, and must
print and be shaped like the one described.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from supernet.errors import ExportError

#: A value of an argument: a number, a text, None, or a tuple of such.
Value = Any

_NOT_LAYERS = {"Module", "Container", "Sequential", "ModuleList", "ModuleDict", "ParameterList"}
_NOT_LAYERS |= {"ParameterDict", "DataParallel", "Transformer", "AdaptiveLogSoftmaxWithLoss"}
_NOT_LAYERS |= {"SyncBatchNorm", "RNNBase", "RNNCellBase", "NLLLoss2d"}
_NOT_LAYERS |= {"TransformerEncoder", "TransformerDecoder", "TransformerDecoderLayer"}


def _find_kinds() -> dict[str, type[nn.Module]]:
    """Return the layers of `torch.nn`, by name: no containers, no losses, nothing lazy."""
    found = {}
    for name in dir(nn):
        kind = getattr(nn, name)
        if name in _NOT_LAYERS or name.startswith("Lazy") or name.endswith("Loss"):
            continue
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            found[name] = kind
    return found


#: The classes of `torch.nn` that can be described and built.
KINDS: Mapping[str, type[nn.Module]] = _find_kinds()

#: Arguments that say where and how numbers are kept, which the weights' file says too.
_LEFT_OUT = {"device", "dtype", "args", "kwargs", "min_value", "max_value", "init"}

_RECURRENT = ("RNN", "LSTM", "GRU")

#: A recurrent layer consists of no more than this: unlike sizes, they take memory at once.
MOST_LAYERS = 1000


def kind_of(module: nn.Module) -> str | None:
    """Return the name of a layer's class in `torch.nn`; None for any other module."""
    name = type(module).__name__
    return name if KINDS.get(name) is type(module) else None


def arguments_of(module: nn.Module, where: str) -> dict[str, Value]:
    """Return all constructor arguments of a layer of `torch.nn`, those with defaults included.

    Args:
        module: The layer.
        where: Its name in the network, for errors.

    Raises:
        ExportError: If they can't be read off it, or make something else.
    """
    kind = kind_of(module)
    assert kind is not None
    arguments: dict[str, Value] = {}
    for name in parameters_of(kind):
        try:
            arguments[name] = _plain(_argument(module, name))
        except AttributeError:
            raise ExportError(_indescribable(module, where, f"its {name!r} is not known")) from None
    if "Pool" in kind and arguments.get("stride") == arguments.get("kernel_size"):
        arguments.pop("stride", None)  # the default
    # As people write it: 3 for (3, 3), where that makes the same.
    short = {name: _single(value) for name, value in arguments.items()}
    for written in (short, arguments):
        if _is_like(build(kind, written), module):
            return written
    raise ExportError(_indescribable(module, where, "it was changed after it was made"))


def parameters_of(kind: str) -> dict[str, inspect.Parameter]:
    """Return the constructor parameters of a layer that a description may give, by name."""
    if kind in _RECURRENT:
        signature = dict(inspect.signature(nn.RNNBase.__init__).parameters)
        signature.pop("mode")
        if kind != "LSTM":
            signature.pop("proj_size")
        if kind == "RNN":
            keyword = inspect.Parameter.KEYWORD_ONLY
            signature["nonlinearity"] = inspect.Parameter("nonlinearity", keyword, default="tanh")
    else:
        signature = dict(inspect.signature(KINDS[kind].__init__).parameters)
    signature.pop("self")
    return {
        name: parameter
        for name, parameter in signature.items()
        if name not in _LEFT_OUT and not name.startswith("_")
    }


def given(kind: str, arguments: Mapping[str, Value]) -> dict[str, Value]:
    """Return the arguments that have to be given: those that are not the defaults."""
    return {
        name: arguments[name]
        for name, parameter in parameters_of(kind).items()
        if name in arguments and not _same(arguments[name], parameter.default)
    }


def build(kind: str, arguments: Mapping[str, Value]) -> nn.Module:
    """Return a layer without numbers, on the `meta` device.

    Raises:
        ExportError: If there is no such layer, or it can't be made with these arguments.
    """
    if kind not in KINDS:
        raise ExportError(f"{kind!r} is no layer of torch.nn that a model folder may hold")
    known = parameters_of(kind)
    if strange := sorted(arguments.keys() - known.keys()):
        raise ExportError(f"nn.{kind} has no argument {strange[0]!r} that may be given")
    if (layers := arguments.get("num_layers")) is not None and not 1 <= layers <= MOST_LAYERS:
        raise ExportError(f"nn.{kind} has {layers!r} layers; it must be 1 to {MOST_LAYERS}")
    try:
        with torch.device("meta"):
            return KINDS[kind](**arguments)
    except Exception as error:  # whatever PyTorch says to impossible arguments
        raise ExportError(f"nn.{kind} can't be made with {dict(arguments)}: {error}") from None


def _argument(module: nn.Module, name: str) -> Value:
    if isinstance(module, nn.TransformerEncoderLayer):
        return _encoder_argument(module, name)
    if isinstance(module, nn.MultiheadAttention):
        if name == "bias":
            return module.in_proj_bias is not None
        if name == "add_bias_kv":
            return module.bias_k is not None
        if name in ("kdim", "vdim"):
            width = getattr(module, name)
            return None if width == module.embed_dim else width
    if name == "bias" and not isinstance(getattr(module, "bias", None), bool):
        affine = getattr(module, "affine", getattr(module, "elementwise_affine", True))
        # Without scale and shift there is no bias to be had, whatever was asked for.
        return getattr(module, "bias", None) is not None or not affine
    return getattr(module, name)


def _encoder_argument(layer: nn.TransformerEncoderLayer, name: str) -> Value:
    attention = layer.self_attn
    values = {
        "d_model": attention.embed_dim,
        "nhead": attention.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": {1: "relu", 2: "gelu"}.get(layer.activation_relu_or_gelu),
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": attention.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }
    if values[name] is None:
        raise AttributeError(name)
    return values[name]


def _plain(value: Value) -> Value:
    """Return a value with tuples for lists, if it is one that can be written down."""
    if isinstance(value, list | tuple):
        return tuple(_plain(part) for part in value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise AttributeError("no plain value")


def _single(value: Value) -> Value:
    alike = isinstance(value, tuple) and len(value) in (1, 2, 3) and len(set(value)) == 1
    return value[0] if alike and type(value[0]) is int else value


def _same(value: Value, default: object) -> bool:
    return type(value) is type(default) and value == default


def _is_like(built: nn.Module, module: nn.Module) -> bool:
    """Whether a layer that was built has the shapes and settings of another."""
    if str(built) != str(module):
        return False
    if _shapes(built) != _shapes(module):
        return False
    settings = {name: v for name, v in vars(built).items() if _is_setting(name, v)}
    return all(vars(module).get(name) == value for name, value in settings.items())


def _is_setting(name: str, value: object) -> bool:
    plain = value is None or isinstance(value, bool | int | float | str | tuple)
    return plain and name != "training" and not name.startswith("_")


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _indescribable(module: nn.Module, where: str, why: str) -> str:
    return (
        f"{where or 'the network'} is an nn.{type(module).__name__} that can't be written as code: "
        f"{why}; put it in a module of your own class"
    )
