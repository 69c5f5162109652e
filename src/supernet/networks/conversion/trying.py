"""Trying out a converted model before it is handed over."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from supernet.errors import SpaceError
from supernet.evaluation.batchnorm import evaluating
from supernet.nn.supernet import Supernet
from supernet.space import Architecture


@torch.no_grad()
def find_failures(supernet: Supernet, example: Tensor) -> dict[str, str]:
    """Return choices with which the network can't run, or returns another shape; and what happens.

    Raises:
        SpaceError: If there are some, and no single choice is to blame; or if not even the largest
            architecture can run.
    """
    largest = supernet.space.largest
    try:
        expected = _form(supernet, example, largest)
    except Exception as error:  # whatever a user's forward raises
        raise SpaceError(
            "the model's own code does more with its layers than to call them, so they can't be "
            f"replaced ({type(error).__name__}: {error}); `exclude` choices"
        ) from error
    first = ""
    for arch in _mixed(supernet):
        if first := _failure(supernet, example, arch, expected):
            break
    if not first:
        return {}
    found = {}
    for choice in supernet.space.choices:
        arch = largest.but(**{choice.name: choice.options[0]})
        if why := _failure(supernet, example, arch, expected):
            found[choice.name] = why
    if not found:
        raise SpaceError(
            f"some choices don't go together, though each does alone ({first}); `exclude` some"
        )
    return found


def _mixed(supernet: Supernet) -> Iterator[Architecture]:
    """Yield few architectures, of which one tells any two choices apart."""
    choices, largest = supernet.space.choices, supernet.space.largest
    yield supernet.space.smallest
    for bit in range(len(choices).bit_length()):
        some = {c.name: c.options[0] for place, c in enumerate(choices, 1) if place >> bit & 1}
        yield largest.but(**some)
    inner = {c.name: c.options[0] for c in choices if not c.name.endswith(".depth")}
    yield largest.but(**inner)


def _failure(supernet: Supernet, example: Tensor, arch: Architecture, expected: object) -> str:
    try:
        found = _form(supernet, example, arch)
    except Exception as error:  # whatever a user's forward raises
        return f"the model can't run with less: {type(error).__name__}: {error}"
    return "" if found == expected else f"with less the model returns {found}, not {expected}"


def _form(supernet: Supernet, example: Tensor, arch: Architecture) -> object:
    with evaluating(supernet):
        y = supernet(example, arch)
    leaves, structure = tree_flatten(y)
    return structure, [tuple(p.shape) if isinstance(p, Tensor) else type(p) for p in leaves]


@torch.no_grad()
def require_same(supernet: Supernet, model: nn.Module, example: Tensor) -> None:
    """Raise `SpaceError` if the largest architecture computes something else than the model.

    Compared are copies of both, in training mode; not if the model is never the same itself.
    """
    first, second = (_outcome(copy.deepcopy(model), example) for _ in range(2))
    if _equal(first, second):
        arch = supernet.space.largest
        if not _equal(first, _outcome(copy.deepcopy(supernet), example, arch)):
            raise SpaceError(
                "the largest architecture would not compute what the model does, so the model's "
                "own code does more with its layers than to call them; `exclude` choices"
            )


def _outcome(net: nn.Module, *inputs: Any) -> list[Tensor]:
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        leaves, _ = tree_flatten(net.train()(*inputs))
    return [part for part in leaves if isinstance(part, Tensor)]


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
