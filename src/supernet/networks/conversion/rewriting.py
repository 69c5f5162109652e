"""Putting choice modules in the places of a model's own, with the very same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.networks.conversion.groups import Label
from supernet.networks.conversion.narrowing import Narrowed, Parts, SplitNorm, is_plain_norm
from supernet.networks.conversion.planning import Plan, is_regular
from supernet.networks.conversion.rules import Role
from supernet.networks.conversion.stacks import Stack
from supernet.nn.choices import Depth
from supernet.nn.elastic import (
    ElasticBatchNorm,
    ElasticConv2d,
    ElasticLayerNorm,
    ElasticLinear,
    Size,
)

Layer = TypeVar("Layer", bound=nn.Module)


def rewrite(model: nn.Module, plan: Plan) -> nn.Module:
    """Carry out a plan on a model, in place, and return it: another one if it was one layer."""
    # The containers are found by name before anything moves.
    stacks = [(name, model.get_submodule(s.container), s) for name, s in plan.depths]
    new: dict[nn.Module, nn.Module] = {}
    for name, module in model.named_modules():
        role = plan.roles.get(name, Role(None, None))
        if name in plan.kernels or plan.choices_along(role.inp) or plan.choices_along(role.out):
            new[module] = _make_elastic(name, module, role, plan)
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child in new:
                module._modules[name] = new[child]
    for name, container, stack in stacks:
        _put_depth(name, container, stack)
    return new.get(model, model)


def _put_depth(name: str, container: nn.Module, stack: Stack) -> None:
    blocks = [container.get_submodule(block) for block in stack.blocks]
    depth = Depth(name, blocks, shortest=stack.shortest).train(container.training)
    children = dict(container._modules)
    container._modules.clear()
    for child, module in children.items():
        if child == stack.blocks[0]:
            container._modules[child] = depth
        elif child not in stack.blocks:
            container._modules[child] = module
        elif not stack.compact:
            container._modules[child] = nn.Identity()


def _make_elastic(name: str, module: nn.Module, role: Role, plan: Plan) -> nn.Module:
    """Return what takes a layer's place."""
    if isinstance(module, nn.Conv2d):
        return _conv(name, module, role, plan)
    if isinstance(module, nn.Linear):
        return _linear(module, role, plan)
    if isinstance(module, _BatchNorm):
        return _batch_norm(module, role, plan)
    assert isinstance(module, nn.LayerNorm)
    return _layer_norm(module, role, plan)


def _parts(label: Label | None, count: int, plan: Plan) -> Parts:
    """Return the segments of an axis: of each how much is used, and how much there is."""
    if not plan.choices_along(label):
        return ((Size((count,)), count),)
    return tuple((Size((plan.widths.get(s.width, s.count), s.repeat)), s.size) for s in label or ())


def _taking_over(build: Callable[[], Layer], layer: nn.Module) -> Layer:
    """Build a layer with the parameters of another, the very same objects."""
    with torch.device("meta"):  # no numbers are drawn
        elastic = build()
    for name, parameter in layer._parameters.items():
        elastic._parameters[name] = parameter
    return elastic.train(layer.training)


def _conv(name: str, conv: nn.Conv2d, role: Role, plan: Plan) -> nn.Module:
    inp = _parts(role.inp, conv.in_channels, plan)
    out = inp if role.block else _parts(role.out, conv.out_channels, plan)
    if role.block:  # it keeps its channels; the number of groups follows
        groups = tuple((Size((size,), role.block), count // role.block) for size, count in inp)
    else:
        groups = ((Size((conv.groups,)), conv.groups),)
    kernel = plan.kernels.get(name)
    if len(inp) == len(out) == 1 and is_regular(conv):
        return _taking_over(
            lambda: ElasticConv2d(
                inp[0][0],
                out[0][0],
                kernel or conv.kernel_size[0],
                stride=conv.stride[0],
                groups=inp[0][0] if role.block == 1 else groups[0][0],
                dilation=conv.dilation[0],
                bias=conv.bias is not None,
            ),
            conv,
        )
    attributes = {"in_channels": inp, "out_channels": out, "groups": groups}
    return Narrowed(conv, None if role.block else inp, out, attributes)


def _linear(linear: nn.Linear, role: Role, plan: Plan) -> nn.Module:
    inp = _parts(role.inp, linear.in_features, plan)
    out = _parts(role.out, linear.out_features, plan)
    if len(inp) == len(out) == 1 and type(linear) is nn.Linear and "forward" not in vars(linear):
        return _taking_over(
            lambda: ElasticLinear(inp[0][0], out[0][0], bias=linear.bias is not None), linear
        )
    return Narrowed(linear, inp, out, {"in_features": inp, "out_features": out})


def _layer_norm(norm: nn.LayerNorm, role: Role, plan: Plan) -> nn.Module:
    parts = _parts(role.out, norm.normalized_shape[0], plan)
    whole = norm._parameters.get("weight") is not None and norm._parameters.get("bias") is not None
    if type(norm) is nn.LayerNorm and "forward" not in vars(norm) and whole and len(parts) == 1:
        return _taking_over(lambda: ElasticLayerNorm(parts[0][0], eps=norm.eps), norm)
    return Narrowed(norm, None, parts, {"normalized_shape": parts})


def _batch_norm(norm: _BatchNorm, role: Role, plan: Plan) -> nn.Module:
    parts, norms, start = _parts(role.out, norm.num_features, plan), [], 0
    for size, count in parts:
        norms.append(_part_of_norm(norm, size, start, count))
        start += count
    whole = norms[0] if len(norms) == 1 else SplitNorm(norms).train(norm.training)
    if is_plain_norm(norm):
        return whole
    return nn.Sequential(whole, *norm.children()).train(norm.training)


def _part_of_norm(norm: _BatchNorm, size: Size, start: int, count: int) -> ElasticBatchNorm:
    """Return an elastic norm with some channels of a given one, or all."""
    dims = 1 if isinstance(norm, nn.BatchNorm1d) else 2 if isinstance(norm, nn.BatchNorm2d) else 3
    part = _taking_over(
        lambda: ElasticBatchNorm(
            size, dims=dims, eps=norm.eps, momentum=norm.momentum, affine=norm.affine
        ),
        norm,
    )
    part.track_running_stats = norm.track_running_stats
    for name, buffer in norm._buffers.items():
        cut = buffer is not None and buffer.ndim > 0
        part._buffers[name] = (
            buffer[start : start + count].clone() if buffer is not None and cut else buffer
        )
    if count < norm.num_features:
        for name, parameter in norm.named_parameters(recurse=False):
            piece = parameter.detach()[start : start + count].clone()
            part._parameters[name] = nn.Parameter(piece, parameter.requires_grad)
    return part
