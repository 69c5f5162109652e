"""Replacement of a model's modules by choice modules, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from supernet.networks.conversion.groups import Label
from supernet.networks.conversion.labeling import Role
from supernet.networks.conversion.norms import is_plain_norm
from supernet.networks.conversion.planning import ConversionPlan, is_regular
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic import (
    ElasticBatchNorm,
    ElasticConv2d,
    ElasticLayerNorm,
    ElasticLinear,
    Size,
    Zero,
)
from supernet.nn.elastic.narrowed import Cuts, Holding, Narrowed, Parts
from supernet.nn.skipping import Skippable
from supernet.space import Choice

Layer = TypeVar("Layer", bound=nn.Module)


def rewrite(model: nn.Module, plan: ConversionPlan) -> nn.Module:
    """Carry out a plan on a model, in place, and return it: another one if it was one layer."""
    new: dict[nn.Module, nn.Module] = {}
    for name, module in model.named_modules():
        role = plan.roles.get(name, Role(None, None))
        if name in plan.kernels or plan.choices_along(role.inp) or plan.choices_along(role.out):
            new[module] = _make_elastic(name, module, role, plan)
    # The modules of stacks and those with tensors are found by name before anything moves.
    steps = [
        (Choice(f"{name}.depth", stack.options), number, model.get_submodule(path), stack)
        for name, stack in plan.depths
        for number, path in enumerate(stack.paths)
        if number >= stack.shortest
    ]
    holders: dict[nn.Module, dict[str, Cuts]] = {}
    for name, labels in plan.tensors.items():
        owner, _, last = name.rpartition(".")
        cuts = {
            axis: _parts(label, 0, plan)
            for axis, label in enumerate(labels)
            if plan.choices_along(label)
        }
        holders.setdefault(model.get_submodule(owner), {})[last] = cuts
    _replace(model, new)
    wrapped: dict[nn.Module, nn.Module] = {}
    for module, tensors in holders.items():
        wrapped[module] = _holder(module, tensors)
    for choice, number, module, stack in steps:
        block = wrapped.get(module, new.get(module, module))
        otherwise = Zero() if stack.adds else None
        step = Skippable(choice, number, block, otherwise, more=stack.more)
        wrapped[module] = step.train(module.training)
    # From the inside out: a block that is wrapped may hold one that is.
    _replace(model, wrapped)
    return wrapped.get(model, new.get(model, model))


def _replace(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is not None and child in new:
                module._modules[name] = new[child]


def _holder(module: nn.Module, tensors: Mapping[str, Cuts]) -> nn.Module:
    """Return what takes the place of a module whose own code reads tensors that are cut."""
    alone = not any(isinstance(inner, ChoiceModule) for inner in module.modules())
    kind = Narrowed(module, tensors, {}) if alone else Holding(module, tensors)
    return kind.train(module.training)


def _make_elastic(name: str, module: nn.Module, role: Role, plan: ConversionPlan) -> nn.Module:
    """Return what takes a layer's place."""
    if isinstance(module, _ConvNd):
        return _conv(name, module, role, plan)
    if isinstance(module, nn.Linear):
        return _linear(module, role, plan)
    if isinstance(module, nn.Embedding):
        out = _parts(role.out, module.embedding_dim, plan)
        return _narrowed(module, {"weight": {1: out}}, {"embedding_dim": out})
    if isinstance(module, _BatchNorm | _InstanceNorm):
        return _batch_norm(module, role, plan)
    if isinstance(module, nn.GroupNorm):
        return _group_norm(module, role, plan)
    if isinstance(module, nn.PReLU):
        out = _parts(role.out, module.num_parameters, plan)
        return _narrowed(module, {"weight": {0: out}}, {"num_parameters": out})
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    return _layer_norm(module, role, plan)


def _parts(label: Label | None, count: int, plan: ConversionPlan) -> Parts:
    """Return the segments of an axis: of each how much is used, and how much there is."""
    if not plan.choices_along(label):
        return ((Size((count,)), count),)
    return tuple(
        (Size((plan.widths.get(s.width, s.count), s.repeat), plan.times.get(s.width, 1)), s.size)
        for s in label or ()
    )


def _narrowed(
    layer: nn.Module, cuts: Mapping[str, Cuts], attributes: Mapping[str, Parts]
) -> nn.Module:
    """Return a layer of which the first of each segment is used."""
    there = {name: cut for name, cut in cuts.items() if getattr(layer, name, None) is not None}
    return Narrowed(layer, there, attributes).train(layer.training)


def _taking_over(build: Callable[[], Layer], layer: nn.Module) -> Layer:
    """Build a layer with the parameters of another, the very same objects."""
    with torch.device("meta"):  # no numbers are drawn
        elastic = build()
    for name, parameter in layer._parameters.items():
        elastic._parameters[name] = parameter
    return elastic.train(layer.training)


def _groups(parts: Parts, block: int) -> Parts:
    """Return how many groups of so many channels there are."""
    return tuple((Size((size,), block), count // block) for size, count in parts)


def _conv(name: str, conv: _ConvNd, role: Role, plan: ConversionPlan) -> nn.Module:
    inp = _parts(role.inp, conv.in_channels, plan)
    out = _parts(role.out, conv.out_channels, plan)
    groups: Parts = ((Size((conv.groups,)), conv.groups),)
    if role.block:  # it keeps the size of its groups; their number follows
        groups = _groups(inp, role.block)
    kernel = plan.kernels.get(name)
    same = inp == out or not role.block
    if isinstance(conv, nn.Conv2d) and len(inp) == len(out) == 1 and same and is_regular(conv):
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
    first, second = (inp, out) if isinstance(conv, _ConvTransposeNd) else (out, inp)
    weight = {0: first} if role.block else {0: first, 1: second}
    return _narrowed(
        conv,
        {"weight": weight, "bias": {0: out}},
        {"in_channels": inp, "out_channels": out, "groups": groups},
    )


def _linear(linear: nn.Linear, role: Role, plan: ConversionPlan) -> nn.Module:
    inp = _parts(role.inp, linear.in_features, plan)
    out = _parts(role.out, linear.out_features, plan)
    if len(inp) == len(out) == 1 and type(linear) is nn.Linear and "forward" not in vars(linear):
        return _taking_over(
            lambda: ElasticLinear(inp[0][0], out[0][0], bias=linear.bias is not None), linear
        )
    return _narrowed(
        linear,
        {"weight": {0: out, 1: inp}, "bias": {0: out}},
        {"in_features": inp, "out_features": out},
    )


def _layer_norm(norm: nn.LayerNorm | nn.RMSNorm, role: Role, plan: ConversionPlan) -> nn.Module:
    parts = _parts(role.out, norm.normalized_shape[0], plan)
    whole = norm._parameters.get("weight") is not None and norm._parameters.get("bias") is not None
    if type(norm) is nn.LayerNorm and "forward" not in vars(norm) and whole and len(parts) == 1:
        return _taking_over(lambda: ElasticLayerNorm(parts[0][0], eps=norm.eps), norm)
    return _narrowed(norm, {"weight": {0: parts}, "bias": {0: parts}}, {"normalized_shape": parts})


def _group_norm(norm: nn.GroupNorm, role: Role, plan: ConversionPlan) -> nn.Module:
    parts = _parts(role.out, norm.num_channels, plan)
    attributes = {"num_channels": parts}
    if role.block:
        attributes["num_groups"] = _groups(parts, role.block)
    return _narrowed(norm, {"weight": {0: parts}, "bias": {0: parts}}, attributes)


def _batch_norm(norm: _BatchNorm | _InstanceNorm, role: Role, plan: ConversionPlan) -> nn.Module:
    parts = _parts(role.out, norm.num_features, plan)
    if isinstance(norm, _BatchNorm) and is_plain_norm(norm) and len(parts) == 1:
        return _elastic_norm(norm, parts[0][0])
    return _narrowed(norm, {"weight": {0: parts}, "bias": {0: parts}}, {"num_features": parts})


def _elastic_norm(norm: _BatchNorm, size: Size) -> nn.Module:
    dims = 1 if isinstance(norm, nn.BatchNorm1d) else 2 if isinstance(norm, nn.BatchNorm2d) else 3
    elastic = _taking_over(
        lambda: ElasticBatchNorm(
            size, dims=dims, eps=norm.eps, momentum=norm.momentum, affine=norm.affine
        ),
        norm,
    )
    elastic.track_running_stats = norm.track_running_stats
    elastic._buffers.update(norm._buffers)
    return elastic
