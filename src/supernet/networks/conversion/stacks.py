"""Stacks of repeated blocks that keep the shape of their input."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from supernet.networks.conversion.layer_rules import MAKERS
from supernet.networks.conversion.tracing import LAYERS, Call, Observed, Trace
from supernet.sharing.module_state import plainly_runs


@dataclass(frozen=True)
class Stack:
    """Blocks that may be left out, from the last one on.

    Attributes:
        container: The name of the module they are in.
        blocks: Their names in it, without the container's.
        shortest: The least number of them that may run.
        adds: Whether what a block returns is added to what it was given, by the code that runs it.
        more: Whether the blocks are given more than the value that goes through them.
    """

    container: str
    blocks: tuple[str, ...]
    shortest: int
    adds: bool = False
    more: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The blocks' names in the whole model."""
        return tuple(join(self.container, block) for block in self.blocks)

    @property
    def options(self) -> tuple[int, ...]:
        """How many of them may run."""
        return tuple(range(self.shortest, len(self.blocks) + 1))


def join(container: str, name: str) -> str:
    """Return the name that a module has in the whole model."""
    return f"{container}.{name}" if container else name


def find_stacks(
    model: nn.Module, observed: Sequence[Observed], least: int
) -> tuple[list[Stack], dict[str, str]]:
    """Return the stacks of a model, and why other modules in a container are in none.

    Args:
        model: The model.
        observed: What was seen of it in each mode.
        least: How many blocks of a stage have to run. A first block of the same kind that changes
            the shape is one of them.
    """
    stacks: list[Stack] = []
    reasons: dict[str, str] = {}
    for name, container in model.named_modules():
        listed = isinstance(container, nn.Sequential | nn.ModuleList)
        if not listed and _is_torch(container):
            continue
        in_order = plainly_runs(container, nn.Sequential.forward)
        once = in_order and all(len(_runs(seen, name)) <= 1 for seen in observed)
        for run in _alike(container):
            # Among PyTorch's own, such as `Sequential`, one that changes the shape is no kin.
            kin = not _is_torch(run[0][1])
            if not listed and not (kin and _is_block(run[0][1], name)):
                continue
            paths = [join(name, block) for block, _ in run]
            why = [_why_not(observed, path) for path in paths]
            if not listed and any(reason.startswith("it never runs") for reason in why):
                continue
            reasons |= {path: reason for path, reason in zip(paths, why, strict=True) if reason}
            for begin, end in _kept(why, kin):
                chain, adds = ("", False) if once else _chain(observed, paths[begin:end])
                if chain:
                    reasons |= dict.fromkeys(paths[begin:end], chain)
                    continue
                blocks = tuple(block for block, _ in run[begin:end])
                first = kin and begin > 0
                shortest = max(0, least - first)
                if shortest >= len(blocks):
                    reason = f"at least {least} blocks of {len(blocks) + first} have to run"
                    reasons |= dict.fromkeys(paths[begin:end], reason)
                else:
                    more = not once and _takes_more(observed, paths[begin:end])
                    stacks.append(Stack(name, blocks, shortest, adds, more))
    return stacks, reasons


def _is_block(module: nn.Module, inside: str) -> bool:
    """Say whether an attribute is a block, and not one of the layers that a block is made of.

    Directly in the model any module of somebody's own is; further inside, one with several layers.
    """
    makers = [m for m in module.modules() if isinstance(m, MAKERS)]
    return len(makers) > 1 or (not inside and bool(makers))


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _alike(container: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """Yield neighbors of one kind that have weights, two or more."""
    for _, run in itertools.groupby(container._modules.items(), lambda item: _kind(item[1])):
        blocks = [(name, block) for name, block in run if block is not None]
        small = isinstance(blocks[0][1], LAYERS) and not isinstance(blocks[0][1], MAKERS)
        if len(blocks) > 1 and not small and next(blocks[0][1].parameters(), None) is not None:
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
    """Yield where neighbors without a reason against them begin and end.

    Args:
        why: The reasons.
        kin: Whether a neighbor with a reason is a block of the same stage.
    """
    place = 0
    for fits, run in itertools.groupby(why, lambda reason: not reason):
        length = len(list(run))
        # A single one repeats something only if one of its kind comes before it.
        if fits and (length > 1 or (kin and place > 0)):
            yield place, place + length
        place += length


def _runs(observed: Observed, path: str) -> Sequence[tuple[torch.Size, torch.Size]]:
    return observed.shapes.get(path, ())


def _why_not(observed: Sequence[Observed], path: str) -> str:
    """Return why a module can't be left out; empty if it can."""
    modes = [runs for seen in observed if (runs := _runs(seen, path))]
    if not modes or len(modes) < len(observed):
        return "it never runs on one tensor that gives another, so it can't be left out"
    for runs in modes:
        if len(runs) > 1:
            return f"it runs {len(runs)} times; a block that may be left out has to run once"
        before, after = runs[0]
        if before != after:
            return f"it changes the shape, from {tuple(before)} to {tuple(after)}"
    return ""


def _chain(observed: Sequence[Observed], paths: Sequence[str]) -> tuple[str, bool]:
    """Return why blocks that the model's own code runs are no chain, and whether it adds them."""
    found = set()
    for seen in observed:
        if isinstance(seen.trace, str):
            return "the model's own code runs it, and the model can't be traced", False
        why = _why_no_chain(seen.trace, paths, adds=False)
        adds = bool(why) and not _why_no_chain(seen.trace, paths, adds=True)
        if why and not adds:
            return why, False
        found.add(adds)
    return ("", found.pop()) if len(found) == 1 else ("it runs otherwise in training mode", False)


def _takes_more(observed: Sequence[Observed], paths: Sequence[str]) -> bool:
    traces = [seen.trace for seen in observed if not isinstance(seen.trace, str)]
    return any(call.more for trace in traces for path in paths for call in trace.calls[path])


def _why_no_chain(trace: Trace, paths: Sequence[str], *, adds: bool) -> str:
    """Return why blocks do not run one after the other, or are not each added to what it is given.

    Args:
        trace: What the model does.
        paths: The blocks' names.
        adds: Whether each is expected to be added to what it is given.
    """
    calls: list[Call] = []
    for path in paths:
        found = trace.calls.get(path, [])
        if len(found) != 1 or found[0].source is None or found[0].output is None:
            return "it does not take a value and return one"
        calls += found
    ends: list[fx.Node] = []
    for call in calls:
        assert call.output is not None
        end = _sum_with(call) if adds else call.output
        if end is None:
            return "what it returns is not added to what it is given"
        ends.append(end)
    places = {node: place for place, node in enumerate(trace.graph.nodes)}
    for end, call in zip(ends, calls[1:], strict=False):
        if call.source is not end:
            return "the blocks do not run in order, each on what the last one returned"
        after = call.after + adds
        if any(not call.before <= places[user] < after for user in end.users):
            return "what it returns is used by others than the next block"
    return ""


def _sum_with(call: Call) -> fx.Node | None:
    """Return the sum of what a block is given and returns, if that is all it is used for."""
    assert call.output is not None
    users = list(call.output.users)
    if len(users) != 1 or users[0].op == "call_module":
        return None
    name = users[0].target if isinstance(users[0].target, str) else users[0].target.__name__
    added = [a for a in users[0].args if isinstance(a, fx.Node)]
    plain = name.strip("_") in ("add", "iadd") and len(users[0].args) == 2 and not users[0].kwargs
    both = {call.source, call.output}
    return users[0] if plain and len(added) == 2 and set(added) == both else None
