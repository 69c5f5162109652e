"""The table of rules by which widths pass through a model.

A rule is about one kind of operation. What has no rule fixes the widths it is given: better a
choice less than a network whose parts don't fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from supernet.networks.conversion import operation_rules as operations
from supernet.networks.conversion.labeling import (
    Labeling as Labeling,
    Labels as Labels,
    Role as Role,
)
from supernet.networks.conversion.layer_rules import LAYER_RULES, MAKERS
from supernet.networks.conversion.operation_rules import RULES, Rule
from supernet.networks.conversion.tracing import LAYERS, Trace


def label_graphs(traces: Sequence[Trace], modules: Mapping[str, nn.Module]) -> Labeling:
    """Return which widths the layers of a traced model have, in all its modes together."""
    labeling = Labeling(modules)
    for trace in traces:
        for node in trace.graph.nodes:
            _visit(labeling, node)
    return labeling


def _visit(labeling: Labeling, node: fx.Node) -> None:
    """Label the result of an operation, all those before it being labeled."""
    if node.op == "placeholder":
        return
    if node.op == "get_attr":
        _read(labeling, node)
        return
    given = [n for n in node.all_input_nodes if labeling.all_of(n)]
    if node.op == "output" or "value" not in node.meta:  # or a named tuple, to be returned
        for source in given:
            labeling.fix(source, "the model returns it")
        return
    rule, what = _rule_of(labeling, node)
    makes = node.op == "call_module" and isinstance(labeling.modules[str(node.target)], MAKERS)
    if not given and not makes:
        return
    name = _name_of(node)
    value = node.meta["value"]
    if not _holds_tensor(value) and name != "setitem":
        return  # a size or a type
    labels = None
    single = bool(node.args) and isinstance(node.args[0], fx.Node)
    if rule is not None and (single or rule in _OF_SEVERAL):
        labels = rule(labeling, node)
    if labels is None:
        for source in given:
            labeling.fix(source, f"{what} needs it as it is")
    elif isinstance(labels, list):
        labeling.several[node] = labels
    else:
        labeling.labels[node] = labels


#: Rules that don't begin with one value.
_OF_SEVERAL = (
    operations.elementwise,
    operations.concatenate,
    operations.stack,
    operations.sum_of_products,
)


def _read(labeling: Labeling, node: fx.Node) -> None:
    """Label a parameter or buffer that the model's own code reads."""
    name = str(node.target)
    owner, _, last = name.rpartition(".")
    value = node.meta.get("value")
    if not isinstance(value, Tensor) or last.startswith("_tensor_constant"):
        return
    module = labeling.modules.get(owner)
    if module is None or isinstance(module, LAYERS):
        labeling.read_layers.add(owner)
        return
    if name not in labeling.tensors:
        labeling.tensors[name] = tuple(
            labeling.groups.new(size) if size > 1 else None for size in value.shape
        )
    labeling.labels[node] = labeling.tensors[name]


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)


def _name_of(node: fx.Node) -> str:
    if node.op == "call_module":
        return ""
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return name.strip("_")


_SHAPELESS = ("dropout", "activation")
_CHANNELWISE = ("pooling", "upsampling", "padding")
_MODULE_RULES: dict[type[nn.Module], Rule] = {
    nn.Flatten: operations.flatten,
    nn.Unflatten: operations.same,
    nn.Identity: operations.elementwise,
    nn.GLU: operations.glu,
    nn.ChannelShuffle: operations.shuffle,
    nn.PixelShuffle: operations.pixel_shuffle,
    nn.PixelUnshuffle: operations.pixel_unshuffle,
    nn.LocalResponseNorm: operations.elementwise,
}
_MIXING = (nn.MultiheadAttention, nn.Unflatten)


def _rule_of(labeling: Labeling, node: fx.Node) -> tuple[Rule | None, str]:
    """Return the rule for a node, and what the node is; by the file of PyTorch a module is from."""
    if node.op != "call_module":
        name = _name_of(node)
        return RULES.get(name), f"the function {name}"
    module = labeling.modules[str(node.target)]
    what = f"{type(module).__name__} {str(node.target)!r}"
    for kind, rule in LAYER_RULES:
        if isinstance(module, kind):
            return rule, what
    if isinstance(module, _MIXING):
        return None, what
    if type(module) in _MODULE_RULES:
        return _MODULE_RULES[type(module)], what
    home = type(module).__module__.rpartition(".")
    if home[0] != "torch.nn.modules":
        return None, what
    if home[2] in _SHAPELESS:
        return operations.elementwise, what
    return (operations.keep_channels if home[2] in _CHANNELWISE else None), what
