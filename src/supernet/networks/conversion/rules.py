"""How widths pass through operations: which axes of a result have the width of which layer.

A rule is about one kind of operation. What has no rule fixes the widths it is given: better a
choice less than a network whose parts don't fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.networks.conversion.groups import Groups, Label, Segment
from supernet.networks.conversion.tracing import Trace
from supernet.sharing.tracing import has_hooks

#: A label for every axis of a tensor; None where no layer's width lies.
Labels = tuple[Label | None, ...]


@dataclass
class Role:
    """Of which widths a layer is.

    Attributes:
        inp: Its input width; None if no layer makes it.
        out: Its output width.
        block: How many channels a group of a grouped convolution has; 0 for all other layers.
    """

    inp: Label | None
    out: Label | None
    block: int = 0


def label_graph(trace: Trace, modules: Mapping[str, nn.Module]) -> Labelling:
    """Return which widths the layers of a traced model have."""
    labelling = Labelling(modules)
    for node in trace.graph.nodes:
        labelling.visit(node)
    return labelling


@final
class Labelling:
    """The widths of a model, found by walking along its graph.

    Attributes:
        groups: Which of them must be equal, and which can't change.
        roles: By the name of a layer, of which widths it is.
        labels: By node, one label per axis of its value.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self.groups = Groups()
        self.roles: dict[str, Role] = {}
        self.labels: dict[fx.Node, Labels] = {}

    def of(self, node: fx.Node) -> Labels:
        """Return the labels of a node; all None if there are none."""
        value = node.meta.get("value")
        return self.labels.get(node, (None,) * (value.ndim if isinstance(value, Tensor) else 0))

    def visit(self, node: fx.Node) -> None:
        """Label the result of an operation, all those before it being labelled."""
        if node.op == "output":
            for source in node.all_input_nodes:
                self._fix(source, "the model returns it")
            return
        if node.op in ("placeholder", "get_attr"):
            return
        given = [n for n in node.all_input_nodes if any(self.of(n))]
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if not given and not isinstance(module, nn.Conv2d | nn.Linear):
                return
            rule = _rule_of(module)
            what = f"{type(module).__name__} {str(node.target)!r}"
        else:
            if not given:
                return
            name = _name_of(node)
            rule, what = _FUNCTIONS.get(name), f"the function {name}"
        value = node.meta["value"]
        if node.op != "call_module" and not _holds_tensor(value):
            return  # a size, which passes on by itself
        labels = None
        single = bool(node.args) and isinstance(node.args[0], fx.Node)
        if rule is not None and isinstance(value, Tensor) and (single or rule is _elementwise):
            labels = rule(self, node)
        elif _name_of(node) in ("cat", "concat", "concatenate") and isinstance(value, Tensor):
            labels = _concatenate(self, node)
        if labels is None:
            for source in given:
                self._fix(source, f"{what} needs it as it is")
        else:
            self.labels[node] = labels

    def _fix(self, node: fx.Node, why: str, axes: Sequence[int] | None = None) -> None:
        for axis, label in enumerate(self.of(node)):
            if axes is None or axis in axes:
                self.groups.fix(label, why)

    def play(self, node: fx.Node, role: Role) -> Role:
        """Write down a layer's role; one that runs twice has one role."""
        name = str(node.target)
        known = self.roles.setdefault(name, role)
        if known is role:
            return role
        for first, second in ((known.inp, role.inp), (known.out, role.out)):
            if first is not None and second is not None:
                self.groups.join(first, second)
            else:
                self.groups.fix(first or second, f"{name!r} also runs where the width is fixed")
        return known


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)


def _name_of(node: fx.Node) -> str:
    if node.op == "call_module":
        return ""
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return name.strip("_")


def _value(node: fx.Node) -> Tensor:
    value = node.meta["value"]
    assert isinstance(value, Tensor)
    return value


def _source(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


# -- layers --------------------------------------------------------------------------------------


def _conv(own: Labelling, node: fx.Node) -> Labels | None:
    conv, x = own.modules[str(node.target)], _source(node)
    assert isinstance(conv, nn.Conv2d)
    labels = own.of(x)
    if len(labels) != 4 or has_hooks(conv):
        return None
    own._fix(x, f"it lies along the height or width of the images {node.target!r} is given", (2, 3))
    inp = labels[1]
    if conv.groups == 1:
        role = Role(inp, own.groups.new(conv.out_channels, str(node.target)))
        return None, own.play(node, role).out, None, None
    block = conv.in_channels // conv.groups
    role = Role(inp, inp, block)
    if inp is None:
        own.play(node, Role(None, None, block))
        return None, None, None, None
    if conv.in_channels != conv.out_channels or any(s.repeat > 1 for s in inp):
        own.groups.fix(inp, f"the groups of {node.target!r} have other widths in and out")
        role = Role(inp, None, block)
    elif block > 1 and len(inp) > 1:
        own.groups.fix(inp, f"the groups of {node.target!r} take channels of several layers")
    else:
        own.groups.keep_multiple(inp, block)
    own.play(node, role)
    return None, role.out, None, None


def _linear(own: Labelling, node: fx.Node) -> Labels | None:
    linear, labels = own.modules[str(node.target)], own.of(_source(node))
    assert isinstance(linear, nn.Linear)
    if not labels or has_hooks(linear):
        return None
    role = Role(labels[-1], own.groups.new(linear.out_features, str(node.target)))
    return *labels[:-1], own.play(node, role).out


def _batch_norm(own: Labelling, node: fx.Node) -> Labels | None:
    norm, labels = own.modules[str(node.target)], own.of(_source(node))
    if has_hooks(norm) or isinstance(norm, nn.SyncBatchNorm):
        return None
    own.play(node, Role(labels[1], labels[1]))
    return labels


def _layer_norm(own: Labelling, node: fx.Node) -> Labels | None:
    norm, x = own.modules[str(node.target)], _source(node)
    assert isinstance(norm, nn.LayerNorm)
    labels = own.of(x)
    if len(norm.normalized_shape) != 1 or has_hooks(norm):
        return None
    axis = len(labels) - 1
    if labels[axis] is None and type(norm).forward is not nn.LayerNorm.forward:
        # A subclass may normalise another axis: that which has the size and a label.
        axis = next((a for a, label in enumerate(labels) if label is not None), axis)
    if _value(x).shape[axis] != norm.normalized_shape[0]:
        return None
    own.play(node, Role(labels[axis], labels[axis]))
    return labels


# -- other operations ----------------------------------------------------------------------------


def _elementwise(own: Labelling, node: fx.Node) -> Labels | None:
    """Values are combined position by position, so what lies side by side must be equally wide."""
    shape, labels = _value(node).shape, [None] * _value(node).ndim
    operands = [n for n in node.all_input_nodes if isinstance(n.meta["value"], Tensor)]
    out: list[Label | None] = list(labels)
    for back in range(1, len(shape) + 1):
        wide = [
            n for n in operands if back <= _value(n).ndim and _value(n).shape[-back] == shape[-back]
        ]
        found = [label for n in wide if (label := own.of(n)[-back])]
        if not found:
            continue
        if shape[-back] == 1:
            own.groups.fix(found[0], "it is one channel that is spread over others")
            continue
        for n in wide:
            if own.of(n)[-back] is None:
                for label in found:
                    own.groups.fix(label, f"it is combined with {_described(n)}")
        for label in found[1:]:
            own.groups.join(found[0], label)
        out[-back] = found[0]
    return tuple(out)


def _described(node: fx.Node) -> str:
    if node.op == "get_attr":
        return f"the parameter {str(node.target)!r}"
    if node.op == "placeholder":
        return "the model's input"
    # A parameter that was only given another shape first.
    roots = {n for n in node.all_input_nodes if n.op == "get_attr"}
    return _described(min(roots, key=str)) if roots else f"{node.name!r}, whose width is fixed"


def _keep_channels(own: Labelling, node: fx.Node) -> Labels | None:
    """Only what lies behind the second axis changes its size: pooling, resizing, padding."""
    labels = own.of(_source(node))
    if len(labels) != _value(node).ndim:
        return None
    if any(labels[2:]) or _value(node).shape[:2] != _value(_source(node)).shape[:2]:
        return None
    return labels


def _reduce(own: Labelling, node: fx.Node) -> Labels | None:
    labels, dims = own.of(_source(node)), _argument(node, 1, "dim")
    gone = range(len(labels)) if dims is None else [dims] if isinstance(dims, int) else dims
    if not all(isinstance(dim, int) for dim in gone):
        return None
    axes = {dim % len(labels) for dim in gone}
    if _value(node).ndim == len(labels):
        return tuple(None if axis in axes else label for axis, label in enumerate(labels))
    return tuple(label for axis, label in enumerate(labels) if axis not in axes)


def _permute(own: Labelling, node: fx.Node) -> Labels | None:
    labels, order = own.of(_source(node)), _argument(node, 1, "dims")
    order = list(node.args[1:]) if isinstance(order, int) else order
    if not isinstance(order, tuple | list) or not all(isinstance(dim, int) for dim in order):
        return None
    return tuple(labels[dim] for dim in order)


def _transpose(own: Labelling, node: fx.Node) -> Labels | None:
    labels = list(own.of(_source(node)))
    a, b = _argument(node, 1, "dim0"), _argument(node, 2, "dim1")
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    labels[a], labels[b] = labels[b], labels[a]
    return tuple(labels)


def _unsqueeze(own: Labelling, node: fx.Node) -> Labels | None:
    labels, dim = list(own.of(_source(node))), _argument(node, 1, "dim")
    if not isinstance(dim, int):
        return None
    labels.insert(dim % (len(labels) + 1), None)
    return tuple(labels)


def _reshape(own: Labelling, node: fx.Node) -> Labels | None:
    asked: Any = list(node.args[1:]) or node.kwargs.get("shape")
    if isinstance(asked, list) and len(asked) == 1 and isinstance(asked[0], tuple | list):
        asked = list(asked[0])
    if not isinstance(asked, tuple | list) or len(asked) != _value(node).ndim:
        return None
    return _reshaped(own, node, asked)


def _flatten(own: Labelling, node: fx.Node) -> Labels | None:
    return _reshaped(own, node, [None] * _value(node).ndim)


def _reshaped(own: Labelling, node: fx.Node, asked: Sequence[Any]) -> Labels | None:
    """Find each labelled axis again by what lies before it. Axes behind it may join it.

    Args:
        own: The labels so far.
        node: The operation.
        asked: The sizes its result is asked to have. A number written into the code is a width
            that can't change; a size that was read from a tensor, or is left open, can.
    """
    before, after = _value(_source(node)).shape, _value(node).shape
    out: list[Label | None] = [None] * len(after)
    for axis, label in enumerate(own.of(_source(node))):
        if label is None:
            continue
        found = _find_axis(before, after, axis)
        if found is None:
            return None
        place, repeat = found
        if isinstance(asked[place], int) and asked[place] != -1:
            own.groups.fix(label, f"it is reshaped to {asked[place]}, a number in the model's code")
        out[place] = tuple(Segment(s.width, s.count, s.repeat * repeat) for s in label)
    return tuple(out)


def _find_axis(before: Sequence[int], after: Sequence[int], axis: int) -> tuple[int, int] | None:
    """Return which axis of the new shape begins with that of the old, and how often it repeats."""
    for place, size in enumerate(after):
        if math.prod(after[:place]) != math.prod(before[:axis]) or size % before[axis]:
            continue
        for end in range(axis + 1, len(before) + 1):
            if math.prod(before[axis:end]) == size:
                return place, size // before[axis]
    return None


def _expand(own: Labelling, node: fx.Node) -> Labels | None:
    labels, shape = own.of(_source(node)), _value(node).shape
    asked: Any = list(node.args[1:])
    if len(asked) == 1 and isinstance(asked[0], tuple | list):
        asked = list(asked[0])
    if len(asked) != len(shape) or len(labels) != len(shape):
        return None
    for label, size in zip(labels, asked, strict=True):
        if isinstance(size, int) and size != -1:
            own.groups.fix(label, f"it is expanded to {size}, a number in the model's code")
    return labels


def _index(own: Labelling, node: fx.Node) -> Labels | None:
    labels, index = list(own.of(_source(node))), node.args[1]
    parts = list(index) if isinstance(index, tuple | list) else [index]
    if not all(p is None or p is ... or isinstance(p, int | slice) for p in parts):
        return None
    if ... in parts:
        at = parts.index(...)
        named = sum(p is not None and p is not ... for p in parts)
        parts[at : at + 1] = [slice(None)] * (len(labels) - named)
    out: list[Label | None] = []
    for part in parts:
        if part is None:
            out.append(None)
            continue
        label = labels.pop(0)
        if part != slice(None):
            own.groups.fix(label, "the model takes a part of it")
        if isinstance(part, slice):
            out.append(label if part == slice(None) else None)
    return *out, *labels


def _concatenate(own: Labelling, node: fx.Node) -> Labels | None:
    parts = _argument(node, 0, "tensors")
    dim = _argument(node, 1, "dim", node.kwargs.get("axis", 0))
    if not isinstance(parts, tuple | list) or not isinstance(dim, int):
        return None
    nodes = [part for part in parts if isinstance(part, fx.Node)]
    rank = _value(node).ndim
    out: list[Label | None] = []
    for axis in range(rank):
        labels = [own.of(n)[axis] for n in nodes]
        if axis == dim % rank:
            if any(labels):
                whole = [
                    own.groups.new(_value(n).shape[axis]) if label is None else label
                    for n, label in zip(nodes, labels, strict=True)
                ]
                out.append(tuple(segment for label in whole for segment in label))
            else:
                out.append(None)
            continue
        found = [label for label in labels if label is not None]
        for label in found:
            own.groups.join(found[0], label)
            if len(found) < len(labels):
                own.groups.fix(label, "it lies beside a width that no layer makes")
        out.append(found[0] if found else None)
    return tuple(out)


_Rule = Callable[[Labelling, fx.Node], Labels | None]

_FUNCTIONS: dict[str, _Rule] = {
    **dict.fromkeys(
        (
            *("add", "sub", "mul", "div", "truediv", "true_divide", "rsub", "neg", "pow"),
            *("iadd", "isub", "imul", "itruediv", "maximum", "minimum", "where", "masked_fill"),
            *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
            *("hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "softplus", "softsign"),
            *("logsigmoid", "softmax", "log_softmax", "abs", "exp", "log", "sqrt", "rsqrt"),
            *("clamp", "clip", "square", "reciprocal", "erf", "sin", "cos", "dropout"),
            *("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"),
            *("contiguous", "clone", "detach", "to", "float", "double", "half", "type_as"),
            *("expand_as", "stochastic_depth", "identity"),
        ),
        _elementwise,
    ),
    **dict.fromkeys(
        (
            *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
            *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
            *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
            *("interpolate", "upsample", "pad"),
        ),
        _keep_channels,
    ),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "var", "std"), _reduce),
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transpose),
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(("flatten", "squeeze"), _flatten),
    **dict.fromkeys(("reshape", "view"), _reshape),
    "expand": _expand,
    "getitem": _index,
}

_SHAPELESS = ("dropout", "activation")
_CHANNELWISE = ("pooling", "upsampling", "padding")
_MIXING = (nn.MultiheadAttention, nn.GLU, nn.PReLU)


def _rule_of(module: nn.Module) -> _Rule | None:
    """Return the rule for a module; by the file of PyTorch it comes from, if it has no weights."""
    for kind, rule in (
        (nn.Conv2d, _conv),
        (nn.Linear, _linear),
        (_BatchNorm, _batch_norm),
        (nn.LayerNorm, _layer_norm),
        (nn.Flatten, _flatten),
        (nn.Identity, _elementwise),
    ):
        if isinstance(module, kind):
            return rule
    home = type(module).__module__.rpartition(".")
    if home[0] != "torch.nn.modules" or isinstance(module, _MIXING):
        return None
    if home[2] in _SHAPELESS:
        return _elementwise
    return _keep_channels if home[2] in _CHANNELWISE else None
