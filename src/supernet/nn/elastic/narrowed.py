"""Existing modules, narrowed to the part that an architecture uses.

For what has no elastic layer of its own: layers of other kinds and subclasses of somebody's, layers
that read a concatenation, of which the channels that are used do not lie side by side, and modules
whose own code uses parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import packed
from supernet.nn.elastic.sizes import Size, choices_of
from supernet.space import Architecture, Choice

#: Of each segment of an axis: how much of it is used, and how much there is.
Parts = tuple[tuple[Size, int], ...]

#: Of a tensor, by its axes: the parts that are used. All of an axis that is not named is used.
Cuts = Mapping[int, Parts]


@final
class Narrowed(ChoiceModule):
    """A given module, of whose parameters the first of each segment is used.

    Args:
        layer: The module. It is taken over as it is.
        cuts: By the name of a parameter or buffer of its own, what is used of it.
        attributes: The sizes that the module's own code may read, under the names it has for them.
    """

    def __init__(
        self, layer: nn.Module, cuts: Mapping[str, Cuts], attributes: Mapping[str, Parts]
    ) -> None:
        super().__init__()
        self.layer, self.cuts, self.attributes = layer, cuts, attributes

    @property
    def choices(self) -> tuple[Choice, ...]:
        return _choices(*self.cuts.values(), dict(enumerate(self.attributes.values())))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "layer" or name in self.cuts or name in self.attributes:
                raise
            # Somebody's code that asks a layer for its stride, say.
            return getattr(self.layer, name)

    def narrow(self, arch: Architecture) -> nn.Module:
        """Return the module as `arch` uses it, with views of the weights where that is possible."""
        given = {
            name: take(getattr(self.layer, name), cuts, arch) for name, cuts in self.cuts.items()
        }
        narrow = _with(self.layer, given)
        for name, parts in self.attributes.items():
            value = sum(size.of(arch) for size, _ in parts)
            setattr(narrow, name, (value,) if name == "normalized_shape" else value)
        return narrow

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module of the active architecture makes of its arguments."""
        return self.narrow(self.active)(*args, **kwargs)

    def plain(self, arch: Architecture) -> nn.Module:
        return _as_own(self.narrow(arch), self.layer, self.cuts)


@final
class NarrowedTensor(ChoiceModule):
    """A parameter or buffer, of which the first of each segment is used; a part of `Holding`.

    Args:
        tensor: The tensor.
        cuts: What is used of it.
    """

    def __init__(self, tensor: Tensor, cuts: Cuts) -> None:
        super().__init__()
        self.cuts = cuts
        if isinstance(tensor, nn.Parameter):
            self.tensor = tensor
        else:
            self.register_buffer("tensor", tensor)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return _choices(self.cuts)

    def forward(self, like: Any) -> Tensor:
        """Return the part that the active architecture uses.

        Args:
            like: Anything; it says that the part is needed from here on.
        """
        return take(self.tensor, self.cuts, self.active)

    def plain(self, arch: Architecture) -> nn.Module:
        raise AssertionError("`Holding` puts it back into the module it is from")


@final
class Holding(ChoiceModule):
    """A module that uses parameters of its own beside modules with choices.

    Its code runs as it is; where it reads such a parameter, it gets the part that is used.

    Args:
        module: The module. It is taken over, and loses the tensors that are cut.
        cuts: By the name of a parameter or buffer of its own, what is used of it.
    """

    def __init__(self, module: nn.Module, cuts: Mapping[str, Cuts]) -> None:
        super().__init__()
        self.module, self.cuts = module, cuts
        # Not by their own names, which may be those of attributes of a module.
        self.names = tuple(cuts)
        self.tensors = nn.ModuleList(
            NarrowedTensor(getattr(module, name), cuts[name]) for name in self.names
        )
        for name in self.names:
            _put(module, name, None)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # somebody's code that asks the module for more than to be called
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module of the active architecture makes of its arguments."""
        like = next(iter((*args, *kwargs.values())), None)
        given = {name: part(like) for name, part in zip(self.names, self.tensors, strict=True)}
        return _with(self.module, given).forward(*args, **kwargs)

    def plain(self, arch: Architecture) -> nn.Module:
        plain = _with(self.module, dict.fromkeys(self.names))
        for name, part in zip(self.names, self.tensors, strict=True):
            whole = part.tensor
            assert isinstance(whole, Tensor)
            _put(plain, name, _own(take(whole, self.cuts[name], arch), whole))
        return plain


def take(whole: Tensor, cuts: Cuts, arch: Architecture) -> Tensor:
    """Return the part of a tensor that `arch` uses, as a view where that is possible."""
    part = whole
    for axis, parts in cuts.items():
        pieces, start = [], 0
        for size, count in parts:
            pieces.append(part.narrow(axis, start, size.of(arch)))
            start += count
        part = pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)
    return packed(part, whole)


def _choices(*cuts: Mapping[int, Parts]) -> tuple[Choice, ...]:
    return choices_of(*(size for cut in cuts for parts in cut.values() for size, _ in parts))


def _with(module: nn.Module, given: Mapping[str, Any]) -> nn.Module:
    """Return a copy of a module, with its children, that has other tensors."""
    changed = copy.copy(module)
    changed._parameters, changed._modules = dict(module._parameters), dict(module._modules)
    if not given.keys().isdisjoint(module._buffers):
        # Otherwise they stay the same dict, so that code which sets a buffer sets it here too.
        changed._buffers = dict(module._buffers)
    for name, tensor in given.items():
        _put(changed, name, tensor)
    return changed


def _put(module: nn.Module, name: str, tensor: Any) -> None:
    own = module._parameters if name in module._parameters else module._buffers
    own[name] = tensor


def _own(part: Tensor, whole: Tensor) -> Tensor:
    """Return a copy of a part, of the kind of the whole."""
    own = part.detach().clone()
    return nn.Parameter(own, whole.requires_grad) if isinstance(whole, nn.Parameter) else own


def _as_own(narrow: nn.Module, whole: nn.Module, cuts: Mapping[str, Cuts]) -> nn.Module:
    for name in cuts:
        _put(narrow, name, _own(getattr(narrow, name), getattr(whole, name)))
    for name, tensor in narrow._parameters.items():
        if name not in cuts and tensor is not None:
            narrow._parameters[name] = nn.Parameter(tensor.detach().clone(), tensor.requires_grad)
    narrow._buffers = {
        name: buffer if name in cuts or buffer is None else buffer.detach().clone()
        for name, buffer in narrow._buffers.items()
    }
    return narrow
