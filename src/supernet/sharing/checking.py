"""Proof that traced graphs do what their modules do: both are run once, and compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from supernet.nn.supernet import Supernet
from supernet.sharing.cache import Cache, split_inputs
from supernet.sharing.execution import execute
from supernet.sharing.programs import Program
from supernet.sharing.structure import Structure, replace
from supernet.sharing.twins import twin_of
from supernet.space import Architecture

#: With how many architectures a graph is checked.
_MOST_CHECKED = 8

_REASON = "its traced forward computes something else than its forward"


def check(
    cache: Cache, supernet: Supernet, program: Program, args: Structure, kwargs: Structure
) -> bool:
    """Say whether a program's graphs can be trusted; run whole, from now on, what can't be.

    Works on a copy of the network, without its hooks, so nobody notices.

    Args:
        cache: What is remembered of the supernet; what was checked before is not checked again.
        supernet: The network the program was written for.
        program: What is about to run.
        args: What the network is given.
        kwargs: The same, by name.
    """
    new = {g: use for g, use in program.graphs.items() if g not in cache.checked}
    if not new or any(tensor.is_meta for tensor in split_inputs(args, kwargs)[0]):
        return True
    archs = list(dict.fromkeys(arch for _, users in new.values() for arch in _spread(users)))

    def agree(whole: Collection[nn.Module]) -> bool:
        return all(_agrees(supernet, arch, args, kwargs, whole) for arch in archs)

    cache.checked.update(new)
    if agree(()):
        return True
    owners = list(dict.fromkeys(owner for owner, _ in new.values()))
    culprits = next(([owner] for owner in owners if agree([owner])), owners)
    for module in culprits:
        cache.run_whole(supernet, module, _REASON)
    return False


def _spread(archs: Sequence[Architecture]) -> Sequence[Architecture]:
    """Return at most so many of them, first and last included, evenly spaced."""
    steps = min(len(archs), _MOST_CHECKED) - 1
    return [archs[(len(archs) - 1) * step // max(steps, 1)] for step in range(steps + 1)]


@torch.no_grad()
def _agrees(
    supernet: Supernet,
    arch: Architecture,
    args: Structure,
    kwargs: Structure,
    whole: Collection[nn.Module],
) -> bool:
    twin, cache = twin_of(supernet, whole=whole)
    tensors, *form = split_inputs(args, kwargs)
    program = cache.program(twin, [arch], *form)
    devices = list({tensor.device for tensor in tensors if tensor.is_cuda})
    # A forward that was replaced on an object may still call the original's modules.
    with supernet.activate(arch):
        with torch.random.fork_rng(devices):
            args, kwargs = replace((args, kwargs), Tensor, Tensor.clone)
            expected = twin(args[0], arch, **kwargs)
        with torch.random.fork_rng(devices):
            (group,) = execute(program, twin, [tensor.clone() for tensor in tensors])
    return _same(group.value, expected)


def require_shareable(
    supernet: Supernet, archs: Sequence[Architecture], args: Structure, kwargs: Structure
) -> None:
    """Raise `SharingError` if a change in place stands in the way of running `archs` together.

    Found out on the `meta` device, with a copy of the network that has no numbers and no hooks.
    """
    twin, cache = twin_of(supernet, meta=True)
    tensors, *form = split_inputs(args, kwargs)
    program = cache.program(twin, archs, *form)
    for _ in execute(program, twin, [tensor.to("meta") for tensor in tensors]):
        pass


def _same(a: Structure, b: Structure) -> bool:
    """Say whether two results are equal, NaN for NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.is_cuda:  # whose kernels may add up in another order
            return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, equal_nan=True)
        return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, 0, 0, True)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)
