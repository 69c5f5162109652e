"""Checks of a program before it is used.

* Traced graphs do what their modules do: both are run once, and compared.
* A chain that checks what it hands from one module to the next (`ChoiceChain.check`) has nothing
  to object to: shared execution doesn't call that check, so the chain is tried beforehand.
* What must be copied for changes in place, for those who can't watch values while they run.

All of it happens on copies of the network, so nobody notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, fx, nn

from supernet.errors import SharingError, SpaceError
from supernet.nn.choices import ChoiceChain
from supernet.nn.supernet import Supernet
from supernet.sharing.cache import Cache, split_inputs
from supernet.sharing.execution import execute, interpret, run_plainly
from supernet.sharing.guard import Copies, Guard, Recorder
from supernet.sharing.programs import Program
from supernet.sharing.structure import Structure, replace
from supernet.sharing.tracing import form_of
from supernet.sharing.twins import twin_of
from supernet.space import Architecture

#: With how many architectures graphs are checked, besides those that are needed to reach them all.
_MOST_CHECKED = 8

#: Of so many samples, for those.
_FEW = 2

#: Graphs of a module that differ in constant numbers only are checked so often: a temperature that
#: is lowered in every step makes a new one each time.
_ENOUGH_PROOFS = 4

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
    new = {g: use for g, use in program.graphs.items() if _needs_proof(cache, g, use[0])}
    if not new or any(tensor.is_meta for tensor in split_inputs(args, kwargs)[0]):
        return True
    cover = _cover([users for _, users in new.values()])
    others = [arch for arch in _spread(program.archs) if arch not in cover]

    def agree(whole: Collection[nn.Module]) -> bool:
        pair = _Pair(supernet, *twin_of(supernet, whole=whole))
        # A forward may look at how many samples there are, so every graph is run on all of them.
        # It may also look at what the architecture has made of them, for which a few will do.
        return all(pair.agrees(arch, args, kwargs) for arch in cover) and all(
            pair.agrees_on_few(arch, args, kwargs) for arch in others
        )

    cache.checked.update(new)
    cache.proofs.update(_skeleton(graph, owner) for graph, (owner, _) in new.items())
    if agree(()):
        return True
    owners = list(dict.fromkeys(owner for owner, _ in new.values()))
    culprits = next(([owner] for owner in owners if agree([owner])), owners)
    for module in culprits:
        cache.run_whole(supernet, module, _REASON)
    return False


def _needs_proof(cache: Cache, graph: fx.Graph, owner: nn.Module) -> bool:
    if graph in cache.checked or vars(type(owner)).get("has_fixed_forward", False):
        return False
    return cache.proofs[_skeleton(graph, owner)] < _ENOUGH_PROOFS


def _skeleton(graph: fx.Graph, owner: nn.Module) -> object:
    """Return what is equal for graphs of a module that differ in constant numbers only."""
    return owner, form_of(graph, numbers_count=False)


def _cover(users: Sequence[Sequence[Architecture]]) -> list[Architecture]:
    """Return a few architectures so that some of the users of every graph are among them."""
    todo = [set(archs) for archs in users]
    found: list[Architecture] = []
    while todo:
        counts = Counter(arch for archs in todo for arch in archs)
        found.append(counts.most_common(1)[0][0])
        todo = [archs for archs in todo if found[-1] not in archs]
    return found


def _spread(archs: Sequence[Architecture]) -> Sequence[Architecture]:
    """Return at most so many of them, first and last included, evenly spaced."""
    steps = min(len(archs), _MOST_CHECKED) - 1
    return [archs[(len(archs) - 1) * step // max(steps, 1)] for step in range(steps + 1)]


def _few_samples(args: Structure, kwargs: Structure) -> tuple[Structure, Structure] | None:
    """Return the first samples of a batch; None if it has few, or is not clearly a batch."""
    lengths = {len(t) if t.ndim else 0 for t in split_inputs(args, kwargs)[0]}
    if len(lengths) != 1 or min(lengths) <= _FEW:
        return None
    few: tuple[Structure, Structure] = replace((args, kwargs), Tensor, lambda t: t[:_FEW])
    return few


@final
@dataclass(frozen=True)
class _Pair:
    """A network, and its twin on which it is tried."""

    supernet: Supernet
    twin: Supernet
    cache: Cache

    def agrees_on_few(self, arch: Architecture, args: Structure, kwargs: Structure) -> bool:
        """Do what `agrees` does, with few samples if the network can run on few."""
        few = _few_samples(args, kwargs)
        if few is not None:
            try:
                return self.agrees(arch, *few)
            except Exception:  # whatever a forward raises then, it may not on all
                pass
        return self.agrees(arch, args, kwargs)

    @torch.no_grad()
    def agrees(self, arch: Architecture, args: Structure, kwargs: Structure) -> bool:
        """Say whether an architecture makes the same of its inputs with and without graphs."""
        tensors, *form = split_inputs(args, kwargs)
        program = self.cache.program(self.twin, [arch], *form)
        # A forward that was replaced on an object may still call the original's modules.
        with self.supernet.activate(arch):
            with _draws_kept(tensors):
                args, kwargs = replace((args, kwargs), Tensor, Tensor.clone)
                expected = self.twin(args[0], arch, **kwargs)
            with _draws_kept(tensors):
                (group,) = execute(program, self.twin, [tensor.clone() for tensor in tensors])
        return _same(group.value, expected)


def find_copies(
    supernet: Supernet, archs: Sequence[Architecture], args: Structure, kwargs: Structure
) -> Copies:
    """Return which values instructions must be given copies of, to run `archs` together.

    Found out with a copy of the network that has no hooks, on the `meta` device; with numbers only
    if the network looks at them.

    Raises:
        SharingError: If a change in place stands in the way.
    """
    try:
        return _find_copies(supernet, archs, args, kwargs, meta=True)
    except SharingError:
        raise
    except Exception:  # whatever a forward raises when there are no numbers
        return _find_copies(supernet, archs, args, kwargs, meta=False)


def _find_copies(
    supernet: Supernet,
    archs: Sequence[Architecture],
    args: Structure,
    kwargs: Structure,
    *,
    meta: bool,
) -> Copies:
    twin, cache = twin_of(supernet, meta=meta)
    tensors, *form = split_inputs(args, kwargs)
    program = cache.program(twin, archs, *form)
    found: list[Recorder] = []

    def record(program: Program, values: list[Any]) -> Recorder:
        found.append(Recorder(Guard(program, values)))
        return found[0]

    inputs = [tensor.to("meta") if meta else tensor.clone() for tensor in tensors]
    with _draws_kept(tensors):
        for _ in interpret(program, inputs, partial(run_plainly, twin), watching=record):
            pass
    return found[0].copies if found else {}


def _draws_kept(tensors: Sequence[Tensor]) -> AbstractContextManager[None]:
    """Return what puts PyTorch's generators back afterwards."""
    devices = list({tensor.device for tensor in tensors if tensor.is_cuda})
    manager: AbstractContextManager[None] = torch.random.fork_rng(devices)
    return manager


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


def try_out(
    cache: Cache,
    supernet: Supernet,
    archs: Sequence[Architecture],
    args: Structure,
    kwargs: Structure,
) -> None:
    """Run each chain that checks itself once, with its last options, on a few samples.

    Works on a copy of the network, without its hooks, so nobody notices. Not on the `meta` device:
    PyTorch takes seconds to load what that needs.

    Args:
        cache: What is remembered of the supernet; what was tried before is not tried again.
        supernet: The network.
        archs: Which architectures are about to run; what none of them reaches is left for later.
        args: What the network is given.
        kwargs: The same, by name.

    Raises:
        SpaceError: If a chain does.
    """
    new = [m for m in _checking(supernet) if m not in cache.tried]
    if not new or any("forward" in vars(m) for m in supernet.net.modules()):
        return  # a forward that was replaced on an object may call modules that are not of the copy
    for arch in archs:
        reached = supernet.space.active(arch)
        here = [m for m in new if all(choice.name in reached for choice in m.choices)]
        if here:
            last = {choice.name: choice.options[-1] for m in here for choice in m.choices}
            _run(supernet, arch.but(**last), args, kwargs)
            cache.tried.update(here)
            new = [m for m in new if m not in cache.tried]
        if not new:
            return


def _checking(supernet: Supernet) -> Iterator[ChoiceChain]:
    for module in supernet.modules_with_choices:
        if isinstance(module, ChoiceChain) and module.checks:
            yield module


def _run(supernet: Supernet, arch: Architecture, args: Structure, kwargs: Structure) -> None:
    if few := _few_samples(args, kwargs):
        try:
            _run_twin(supernet, arch, *few)
        except SpaceError:
            pass  # run on all, it names the shape that the user knows
        else:
            return
    _run_twin(supernet, arch, args, kwargs)


@torch.no_grad()
def _run_twin(supernet: Supernet, arch: Architecture, args: Structure, kwargs: Structure) -> None:
    tensors, *_ = split_inputs(args, kwargs)
    try:
        twin, _ = twin_of(supernet, meta=any(tensor.is_meta for tensor in tensors))
        with _draws_kept(tensors):
            args, kwargs = replace((args, kwargs), Tensor, Tensor.clone)
            twin(args[0], arch, **kwargs)
    except SpaceError:
        raise
    except Exception:
        # Whatever else happens here will be raised when the network runs.
        return
