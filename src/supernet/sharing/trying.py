"""What is wrong with a chain, found before it runs in company.

Alone, a chain checks what it hands from one module to the next (`ChoiceChain.check`). Shared
execution doesn't call it, so it is tried once beforehand, where nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceChain
from supernet.nn.supernet import Supernet
from supernet.sharing.cache import Cache
from supernet.sharing.structure import Structure, replace
from supernet.sharing.twins import twin_of
from supernet.space import Architecture


def try_out(
    cache: Cache,
    supernet: Supernet,
    archs: Sequence[Architecture],
    args: Structure,
    kwargs: Structure,
) -> None:
    """Run each chain that checks itself once, with its last options, and on the `meta` device.

    Works on a copy of the network that has no numbers and no hooks.

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


@torch.no_grad()
def _run(supernet: Supernet, arch: Architecture, args: Structure, kwargs: Structure) -> None:
    args, kwargs = replace((args, kwargs), Tensor, lambda tensor: tensor.to("meta"))
    try:
        twin, _ = twin_of(supernet, meta=True)
        with torch.random.fork_rng(devices=()):
            twin(args[0], arch, **kwargs)
    except SpaceError:
        raise
    except Exception:
        # Whatever else happens without numbers need not happen with them; if it does, it will
        # be raised when the network runs.
        return
