"""Trial runs of a converted model before it is returned."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from supernet.errors import SpaceError
from supernet.evaluation.batchnorm import evaluating
from supernet.networks.conversion.inputs import Inputs, twin_of
from supernet.nn.supernet import Supernet
from supernet.space import Architecture


@dataclass(frozen=True)
class Trial:
    """A supernet, and what it is tried on.

    Attributes:
        supernet: The supernet.
        inputs: What a batch holds: at least two samples, if they can be told.
        modes: In which modes; training is true.
    """

    supernet: Supernet
    inputs: Inputs
    modes: tuple[bool, ...]

    @functools.cached_property
    def _trained(self) -> Supernet:
        """A copy in training mode: buffers may change then, of other modules than batch norms."""
        return twin_of(self.supernet).train()

    def failure(self, arch: Architecture, expected: Forms) -> str:
        """Return what happens with an architecture that should not; empty if nothing does."""
        for training in self.modes:
            try:
                found = self.form(arch, training)
            except Exception as error:  # whatever a user's forward raises
                return f"the model can't run with less: {type(error).__name__}: {error}"
            if found != expected[training]:
                return f"with less the model returns {found}, not {expected[training]}"
        return ""

    def form(self, arch: Architecture, training: bool) -> object:
        """Return how the output of an architecture is built, and the shapes of its tensors."""
        net = self._trained if training else self.supernet
        with torch.random.fork_rng(devices=()), nullcontext() if training else evaluating(net):
            y = self.inputs.run(net, arch)
        leaves, structure = tree_flatten(y)
        return structure, [tuple(p.shape) if isinstance(p, Tensor) else type(p) for p in leaves]


#: By mode, how an output is built.
Forms = Mapping[bool, object]


@torch.no_grad()
def find_failures(trial: Trial, decisive: Collection[str]) -> dict[str, str]:
    """Return choices with which the network can't run, or returns another shape; and what happens.

    Args:
        trial: What is tried.
        decisive: Names of choices of which every option is tried, because the model's code decides
            by them; of all others the extremes are.

    Raises:
        SpaceError: If there are some, and no single choice is to blame; or if not even the largest
            architecture can run.
    """
    space = trial.supernet.space
    try:
        expected = {training: trial.form(space.largest, training) for training in trial.modes}
    except Exception as error:  # whatever a user's forward raises
        raise SpaceError(
            "the model's own code does more with its layers than to call them, so they can't be "
            f"replaced ({type(error).__name__}: {error}); `exclude` choices"
        ) from error
    found: dict[str, str] = {}
    for choice in space.choices:
        for option in choice.options[1:-1] if choice.name in decisive else ():
            if why := trial.failure(space.largest.but(**{choice.name: option}), expected):
                found.setdefault(choice.name, why)
    if found:
        return found
    first = ""
    for arch in _mixed(trial.supernet):
        if first := trial.failure(arch, expected):
            break
    if not first:
        return {}
    for choice in space.choices:
        arch = space.largest.but(**{choice.name: choice.options[0]})
        if why := trial.failure(arch, expected):
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


@torch.no_grad()
def require_same(trial: Trial, model: nn.Module) -> None:
    """Raise `SpaceError` if the largest architecture computes something else than the model.

    Compared are copies of both, in training mode where the model has one, else in evaluation mode
    with batch norms as in training; not if the model is never the same itself.
    """
    training = trial.modes[-1]
    first, second = (_outcome(model, trial.inputs, training) for _ in range(2))
    if _equal(first, second):
        arch = trial.supernet.space.largest
        if not _equal(first, _outcome(trial.supernet, trial.inputs, training, arch)):
            raise SpaceError(
                "the largest architecture would not compute what the model does, so the model's "
                "own code does more with its layers than to call them; `exclude` choices"
            )


def _outcome(net: nn.Module, inputs: Inputs, training: bool, *arch: Architecture) -> list[Tensor]:
    net = twin_of(net).train(training)
    for module in net.modules():
        if isinstance(module, _BatchNorm):  # a supernet's has no statistics for evaluation
            module.train()
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        leaves, _ = tree_flatten(inputs.run(net, *arch))
    return [part for part in leaves if isinstance(part, Tensor)]


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
