"""Outline of a network in words, for drawings: made from the modules themselves."""

from __future__ import annotations

import re

from torch import nn

from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticBatchNorm, ElasticConv2d, ElasticLinear, Size
from supernet.nn.elastic.sizes import each
from supernet.nn.skipping import Skippable
from supernet.nn.supernet import Supernet
from supernet.records import Stage


def outline(supernet: Supernet) -> list[Stage]:
    """Return the stages of a supernet, in the order they run.

    Only a chain (`nn.Sequential`) has more than one; anything else is one stage with its type's
    name.
    """
    chain = supernet.net if isinstance(supernet.net, nn.Sequential) else [supernet.net]
    stages: list[Stage] = []
    for module in chain:
        if isinstance(module, Depth):
            blocks = [describe(block) for block in module.blocks]
            shortest = len(module.blocks) - len(module.depth.options) + 1
            stages.append(
                Stage(kind="depth", name=module.depth.name, blocks=blocks, shortest=shortest)
            )
        elif isinstance(module, OneOf):
            stages.append(Stage(kind="layer", name=module.op.name, blocks=[describe(module)]))
        elif text := describe(module):
            stages.append(Stage(kind="layer", name="", blocks=[text]))
    return stages


def describe(module: nn.Module) -> str:
    """Return what a module does in a few words; empty for what only changes the shape.

    A block of somebody's own is called by the name of its class, and its layers follow if it has
    nothing but layers.
    """
    if isinstance(module, Skippable):
        return describe(module.block)
    if isinstance(module, nn.Sequential):
        return ", ".join(text for text in map(describe, module) if text)
    if isinstance(module, OneOf):
        texts = map(describe, module.operations)
        known = (text or name for text, name in zip(texts, module.op.options, strict=True))
        return f"one of ({' | '.join(map(str, known))})"
    if isinstance(module, nn.Conv2d):
        kernel = "×".join(str(k) for k in module.kernel_size)  # noqa: RUF001 - a times sign is meant
        stride = f" /{module.stride[0]}" if module.stride[0] > 1 else ""
        return f"conv {kernel}{stride} {module.in_channels}→{module.out_channels}"
    if isinstance(module, nn.Linear):
        return f"linear {module.in_features}→{module.out_features}"
    if isinstance(module, nn.BatchNorm2d):
        return "bn"
    if isinstance(module, ElasticConv2d):
        kernel = _sizes(module.kernel_size)
        stride = f" /{module.stride}" if module.stride > 1 else ""
        widths = f"{_sizes(module.in_channels)}→{_sizes(module.out_channels)}"
        return f"conv {kernel}×{kernel}{stride} {widths}"  # noqa: RUF001 - as above
    if isinstance(module, ElasticLinear):
        return f"linear {_sizes(module.in_features)}→{_sizes(module.out_features)}"
    if isinstance(module, ElasticBatchNorm):
        return "bn"
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AvgPool2d):
        return "average pool"
    if isinstance(module, nn.Flatten | nn.Identity):
        return ""
    name = type(module).__name__
    layers = list(module.children())
    if layers and not any(list(layer.children()) for layer in layers):
        words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name).lower()
        return f"{words} ({', '.join(text for text in map(describe, layers) if text)})"
    return name.lower()


def _sizes(size: Size) -> str:
    """Return all that a size may be."""
    return "|".join(map(str, sorted({size.of(arch) for arch in each(size)})))
