"""Given layers of which an architecture uses a part.

Where a layer of `supernet.nn.elastic` does what a given one does, that is used. These are for the
rest: convolutions with other paddings, subclasses, and layers that read a concatenation, of which
the channels that are used do not lie side by side.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic import ElasticBatchNorm, Size
from supernet.nn.elastic.parts import packed
from supernet.nn.elastic.sizes import choices_of
from supernet.space import Architecture, Choice

#: Of each segment of an axis: how much of it is used, and how much there is.
Parts = tuple[tuple[Size, int], ...]


@final
class Narrowed(ChoiceModule):
    """A given convolution, linear layer or layer norm, of which the first of each segment is used.

    Args:
        layer: The layer; its weight has the output width along its first axis, and the input width
            along the second, if there is one. It is taken over as it is.
        inp: The segments of the input width; None if the weight has no such axis.
        out: The segments of the output width.
        attributes: The sizes that the layer's own code may read, under the names it has for them.
    """

    def __init__(
        self, layer: nn.Module, inp: Parts | None, out: Parts, attributes: Mapping[str, Parts]
    ) -> None:
        super().__init__()
        self.layer, self.inp, self.out, self.attributes = layer, inp, out, attributes

    @property
    def choices(self) -> tuple[Choice, ...]:
        return choices_of(*(size for size, _ in (*(self.inp or ()), *self.out)))

    def narrow(self, arch: Architecture) -> nn.Module:
        """Return the layer as `arch` uses it, with views of the weights where that is possible."""
        narrow = copy.copy(self.layer)
        narrow._parameters = {}
        for name, whole in self.layer._parameters.items():
            if whole is not None:
                part = _take(whole, self.out, arch, 0)
                if whole.ndim > 1 and self.inp is not None:
                    part = _take(part, self.inp, arch, 1)
                narrow._parameters[name] = packed(part, whole)  # type: ignore[assignment]
            else:
                narrow._parameters[name] = None
        for name, parts in self.attributes.items():
            value = sum(size.of(arch) for size, _ in parts)
            setattr(narrow, name, (value,) if name == "normalized_shape" else value)
        return narrow

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer of the active architecture makes of `x`."""
        y: Tensor = self.narrow(self.active)(x)
        return y

    def plain(self, arch: Architecture) -> nn.Module:
        plain = self.narrow(arch)
        for name, part in plain._parameters.items():
            if part is not None:
                wanted = self.layer.get_parameter(name).requires_grad
                plain._parameters[name] = nn.Parameter(part.detach().clone(), wanted)
        return plain


def _take(whole: Tensor, parts: Parts, arch: Architecture, axis: int) -> Tensor:
    """Return the first of each segment along an axis."""
    pieces, start = [], 0
    for size, count in parts:
        pieces.append(whole.narrow(axis, start, size.of(arch)))
        start += count
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)


@final
class Taken(ChoiceModule):
    """Takes a segment of a concatenation; a part of `SplitNorm`, which says what is plain.

    Args:
        widths: Those of the segments up to this one.
    """

    def __init__(self, widths: tuple[Size, ...]) -> None:
        super().__init__()
        self.widths = widths

    @property
    def choices(self) -> tuple[Choice, ...]:
        return choices_of(*self.widths)

    def forward(self, x: Tensor) -> Tensor:
        """Return the segment of `x`, of shape (samples, its width, ...)."""
        *before, width = (size.of(self.active) for size in self.widths)
        # In memory of its own: a batch norm may add up what has gaps in another order.
        return x.narrow(1, sum(before), width).contiguous()


@final
class SplitNorm(ChoiceModule):
    """A batch norm over a concatenation: one of elastic width for each of its segments.

    A batch norm treats every channel by itself, so that is the same.

    Args:
        norms: One for each segment.
    """

    def __init__(self, norms: Sequence[ElasticBatchNorm]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms)
        widths = tuple(norm.width for norm in norms)
        self.parts = nn.ModuleList(Taken(widths[: place + 1]) for place in range(len(widths)))

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of shape (samples, all widths, ...), normalised."""
        pairs = zip(self.norms, self.parts, strict=True)
        return torch.cat([norm(part(x)) for norm, part in pairs], 1)

    def plain(self, arch: Architecture) -> nn.Module:
        # One batch norm again, of the parts of scale and shift that are used.
        norms = [norm.plain(arch) for norm in self.norms if isinstance(norm, ElasticBatchNorm)]
        width = sum(norm.num_features for norm in norms)
        first = norms[0]
        plain = type(first)(width, first.eps, first.momentum, first.affine, device="meta")
        plain.track_running_stats = first.track_running_stats
        for name in plain._buffers:
            plain._buffers[name] = None if first._buffers[name] is None else _joined(norms, name)
        for name, value in first.named_parameters():
            whole = torch.cat([norm.get_parameter(name) for norm in norms]).detach()
            setattr(plain, name, nn.Parameter(whole, requires_grad=value.requires_grad))
        return plain.train(self.training)


def _joined(norms: Sequence[_BatchNorm], name: str) -> Tensor:
    values = [norm.get_buffer(name) for norm in norms]
    return torch.cat(values) if values[0].ndim else values[0].clone()


def is_plain_norm(norm: _BatchNorm) -> bool:
    """Say whether a batch norm's code is PyTorch's."""
    return type(norm).forward is _BatchNorm.forward and "forward" not in vars(norm)


@torch.no_grad()
def is_norm_and_more(norm: _BatchNorm) -> bool:
    """Say whether a subclass normalises and then runs its children in order; found by trying it."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    kind = next((kind for kind in kinds if isinstance(norm, kind)), None)
    if kind is None or norm.running_mean is None:
        return False
    like = norm.running_mean
    generator = torch.Generator().manual_seed(0)
    shape = (3, len(like), *(3 for _ in range(kinds.index(kind) + 1)))
    x = torch.randn(*shape, generator=generator).to(like)
    for training in (True, False):
        one, other = copy.deepcopy(norm).train(training), copy.deepcopy(norm).train(training)
        plain = kind(len(like), norm.eps, norm.momentum, norm.affine, device="meta").train(training)
        plain.track_running_stats = norm.track_running_stats
        plain._parameters, plain._buffers = other._parameters, other._buffers
        try:
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(0)
                expected = one(x.clone())
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(0)
                found = nn.Sequential(plain, *other.children())(x.clone())
        except Exception:  # whatever somebody's code raises: then it is something else
            return False
        if not torch.equal(expected, found):
            return False
    return True
