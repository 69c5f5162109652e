"""Repeated blocks that keep the shape of what they are given, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from supernet.networks.conversion.tracing import LAYERS, Call, Observed
from supernet.sharing.tracing import plainly_runs


@dataclass(frozen=True)
class Stack:
    """Blocks that may be left out, from the last one on.

    Attributes:
        container: The name of the `Sequential` or `ModuleList` they are in.
        blocks: Their names in it, without the container's.
        shortest: The least number of them that may run.
        compact: Whether the places of the blocks may go. If not, all but one are kept by modules
            that do nothing, because the model's own code may count on them.
    """

    container: str
    blocks: tuple[str, ...]
    shortest: int
    compact: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """The blocks' names in the whole model."""
        return tuple(join(self.container, block) for block in self.blocks)


def join(container: str, name: str) -> str:
    """Return the name that a module has in the whole model."""
    return f"{container}.{name}" if container else name


def find_stacks(
    model: nn.Module, observed: Observed, least: int
) -> tuple[list[Stack], dict[str, str]]:
    """Return the stacks of a model, and why other modules in a container are in none.

    Args:
        model: The model.
        observed: What was seen of it.
        least: How many blocks of a stage have to run. A first block of the same kind that changes
            the shape is one of them.
    """
    stacks: list[Stack] = []
    reasons: dict[str, str] = {}
    for name, container in model.named_modules():
        if not isinstance(container, nn.Sequential | nn.ModuleList):
            continue
        once = plainly_runs(container, nn.Sequential.forward) and len(_runs(observed, name)) == 1
        for run in _alike(container):
            paths = [join(name, block) for block, _ in run]
            why = [_why_not(observed, path) for path in paths]
            reasons |= {path: reason for path, reason in zip(paths, why, strict=True) if reason}
            # Among PyTorch's own, such as `Sequential`, one that changes the shape is no kin.
            kin = not type(run[0][1]).__module__.startswith("torch.nn.")
            for begin, end in _kept(why, kin):
                if not once and (reason := _why_no_chain(observed, paths[begin:end])):
                    reasons |= dict.fromkeys(paths[begin:end], reason)
                    continue
                blocks = tuple(block for block, _ in run[begin:end])
                first = kin and begin > 0
                shortest = max(0, least - first)
                if shortest >= len(blocks):
                    reason = f"at least {least} blocks of {len(blocks) + first} have to run"
                    reasons |= dict.fromkeys(paths[begin:end], reason)
                else:
                    stacks.append(Stack(name, blocks, shortest, once))
    return stacks, reasons


def _alike(container: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """Yield neighbours of one kind that have weights, two or more."""
    for _, run in itertools.groupby(container._modules.items(), lambda item: _kind(item[1])):
        blocks = [(name, block) for name, block in run if block is not None]
        if len(blocks) > 1 and next(blocks[0][1].parameters(), None) is not None:
            yield blocks


def _kind(module: nn.Module | None) -> object:
    """Return something equal for modules of one class that hold layers of the same kinds."""
    if module is None:
        return None
    listed = type(module) in (nn.Sequential, nn.ModuleList)
    chain = tuple(map(type, module._modules.values())) if listed else ()
    # A depthwise convolution repeats no ordinary one, though both may come in one class.
    layers = {
        (type(m), isinstance(m, nn.Conv2d) and m.groups > 1)
        for m in module.modules()
        if isinstance(m, LAYERS)
    }
    return type(module), chain, frozenset(layers)


def _kept(why: Sequence[str], kin: bool) -> Iterator[tuple[int, int]]:
    """Yield where neighbours without a reason against them begin and end.

    Args:
        why: The reasons.
        kin: Whether a neighbour with a reason is a block of the same stage.
    """
    place = 0
    for fits, run in itertools.groupby(why, lambda reason: not reason):
        length = len(list(run))
        # A single one repeats something only if one of its kind comes before it.
        if fits and (length > 1 or (kin and place > 0)):
            yield place, place + length
        place += length


def _runs(observed: Observed, path: str) -> Sequence[object]:
    return observed.shapes.get(path, ())


def _why_not(observed: Observed, path: str) -> str:
    """Return why a module can't be left out; empty if it can."""
    runs = observed.shapes.get(path, [])
    if not runs:
        return "it never runs on one tensor that gives another, so it can't be left out"
    if len(runs) > 1:
        return f"it runs {len(runs)} times; a block that may be left out has to run once"
    before, after = runs[0]
    if before != after:
        return f"it changes the shape, from {tuple(before)} to {tuple(after)}"
    return ""


def _why_no_chain(observed: Observed, paths: Sequence[str]) -> str:
    """Return why blocks that the model's own code runs aren't known to be a chain."""
    if isinstance(observed.trace, str):
        return "the model's own code runs it, and the model can't be traced"
    calls: list[Call] = []
    for path in paths:
        found = observed.trace.calls.get(path, [])
        if len(found) != 1 or len(found[0].inputs) != 1 or found[0].output is None:
            return "it does not take one value and return one"
        calls += found
    places = {node: place for place, node in enumerate(observed.trace.graph.nodes)}
    for one, other in itertools.pairwise(calls):
        assert one.output is not None
        if other.inputs != (one.output,):
            return "the blocks do not run in order, each on what the last one returned"
        if any(not other.before <= places[user] < other.after for user in one.output.users):
            return "what it returns is used by others than the next block"
    return ""
