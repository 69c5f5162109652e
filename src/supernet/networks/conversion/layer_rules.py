"""Rules for layers: which widths they make, read and keep.

A rule returns the labels of the result, or None where it can't tell; then what is given is fixed.
"""

from __future__ import annotations

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from supernet.networks.conversion.labeling import (
    Labeling,
    Labels,
    Role,
    source_of,
    value_of,
)
from supernet.sharing.module_state import has_hooks

#: Layers that make a width whatever they are given.
MAKERS = (_ConvNd, nn.Linear, nn.Embedding)


def convolution(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a convolution over any number of axes, transposed or not."""
    conv, x = labeling.modules[str(node.target)], source_of(node)
    assert isinstance(conv, _ConvNd)
    labels, name = labeling.of(x), str(node.target)
    if len(labels) != len(conv.kernel_size) + 2 or has_hooks(conv):
        return None
    behind = range(2, len(labels))
    labeling.fix(x, f"it lies along an axis over which {name!r} moves its kernel", behind)
    rest = (None,) * len(behind)
    inp = labels[1]
    if conv.groups == 1:
        out = labeling.groups.new(conv.out_channels, name)
        return None, labeling.play(node, Role(inp, out)).out, *rest
    block = conv.in_channels // conv.groups
    if inp is None:
        labeling.play(node, Role(None, None, block))
        return None, None, *rest
    several = any(segment.repeat > 1 for segment in labeling.groups.resolve(inp))
    if conv.in_channels != conv.out_channels:
        if block > 1 or several:
            why = f"the groups of {name!r} have other widths in and out"
            labeling.groups.fix(inp, why)
            labeling.play(node, Role(inp, None, block))
            return None, None, *rest
        # One channel in and several out per group: those follow, side by side.
        out = tuple(
            type(s)(s.width, s.count, s.repeat * (conv.out_channels // conv.in_channels))
            for s in inp
        )
        return None, labeling.play(node, Role(inp, out, block)).out, *rest
    labeling.groups.keep_multiple(inp, block)
    return None, labeling.play(node, Role(inp, inp, block)).out, *rest


def linear(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a linear layer."""
    layer, labels = labeling.modules[str(node.target)], labeling.of(source_of(node))
    assert isinstance(layer, nn.Linear)
    if not labels or has_hooks(layer):
        return None
    role = Role(labels[-1], labeling.groups.new(layer.out_features, str(node.target)))
    return *labels[:-1], labeling.play(node, role).out


def embedding(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label what an embedding makes of numbers."""
    layer, labels = labeling.modules[str(node.target)], labeling.of(source_of(node))
    assert isinstance(layer, nn.Embedding)
    if has_hooks(layer) or layer.max_norm is not None:
        return None
    role = Role(None, labeling.groups.new(layer.embedding_dim, str(node.target)))
    return *labels, labeling.play(node, role).out


def batch_norm(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a batch norm."""
    norm, labels = labeling.modules[str(node.target)], labeling.of(source_of(node))
    if has_hooks(norm):
        return None
    labeling.play(node, Role(labels[1], labels[1]))
    return labels


def group_norm(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a group norm; its groups keep their size, a single one keeps all."""
    norm, labels = labeling.modules[str(node.target)], labeling.of(source_of(node))
    assert isinstance(norm, nn.GroupNorm)
    if has_hooks(norm):
        return None
    block = norm.num_channels // norm.num_groups if norm.num_groups > 1 else 0
    if labels[1] is not None and block:
        labeling.groups.keep_multiple(labels[1], block)
    labeling.play(node, Role(labels[1], labels[1], block))
    return labels


def layer_norm(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a layer norm or RMS norm."""
    norm, x = labeling.modules[str(node.target)], source_of(node)
    assert isinstance(norm, nn.LayerNorm | nn.RMSNorm)
    labels = labeling.of(x)
    if len(norm.normalized_shape) != 1 or has_hooks(norm):
        return None
    axis = len(labels) - 1
    if labels[axis] is None and type(norm).forward not in (
        nn.LayerNorm.forward,
        nn.RMSNorm.forward,
    ):
        # A subclass may normalize another axis: that which has the size and a label.
        axis = next((a for a, label in enumerate(labels) if label is not None), axis)
    if value_of(x).shape[axis] != norm.normalized_shape[0]:
        return None
    labeling.play(node, Role(labels[axis], labels[axis]))
    return labels


def prelu(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Label the result of a PReLU, which has a slope for each channel, or one for all."""
    layer, labels = labeling.modules[str(node.target)], labeling.of(source_of(node))
    assert isinstance(layer, nn.PReLU)
    if has_hooks(layer):
        return None
    if layer.num_parameters > 1:
        labeling.play(node, Role(labels[1], labels[1]))
    return labels


LAYER_RULES = (
    (_ConvTransposeNd, convolution),
    (_ConvNd, convolution),
    (nn.Linear, linear),
    (nn.Embedding, embedding),
    (_BatchNorm | _InstanceNorm, batch_norm),
    (nn.GroupNorm, group_norm),
    (nn.LayerNorm | nn.RMSNorm, layer_norm),
    (nn.PReLU, prelu),
)
