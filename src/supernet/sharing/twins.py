"""Copies of a supernet for trial runs."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import fx, nn

from supernet.nn.supernet import Supernet
from supernet.sharing.cache import Cache, cache_of
from supernet.sharing.module_state import has_hooks, hooks_of


def twin_of(
    supernet: Supernet, *, whole: Collection[nn.Module] = (), meta: bool = False
) -> tuple[Supernet, Cache]:
    """Return a copy of a supernet, and a cache with which it is run as the original would be.

    The copy has no hooks: they would do again whatever they do besides. What it finds it must run
    whole is noted for the original, which says so if it hasn't before.

    Args:
        supernet: The original.
        whole: Modules of it to run whole, besides those it runs whole anyway.
        meta: Whether the copy is to have no numbers.
    """
    known = cache_of(supernet)
    marked = {m for m in supernet.modules_with_choices if m in known.whole or has_hooks(m)}
    marked.update(whole)
    memo: dict[int, Any] = _empties(supernet.net) if meta else {}
    _copy_graph_modules(supernet.net, memo)
    net = copy.deepcopy(supernet.net, memo)
    for module in net.modules():
        for hooks in hooks_of(module):
            hooks.clear()
    originals = dict(zip(net.modules(), supernet.net.modules(), strict=True))

    def note(module: nn.Module, reason: str) -> None:
        known.run_whole(supernet, originals[module], reason)

    return Supernet(net.to("meta") if meta else net), Cache(
        whole=(m for m, original in originals.items() if original in marked), note=note
    )


def _copy_graph_modules(net: nn.Module, memo: dict[int, Any]) -> None:
    """Copy the graph modules of a network as other modules are copied, for `copy.deepcopy`.

    By themselves they would generate the code of their forward again, for every copy.
    """
    for module in reversed(list(net.modules())):  # those inside first
        if isinstance(module, fx.GraphModule):
            twin = memo[id(module)] = object.__new__(type(module))
            memo[id(module.graph)] = module.graph
            vars(twin).update(copy.deepcopy(vars(module), memo))


def _empties(net: nn.Module) -> dict[int, Any]:
    """Return, for `copy.deepcopy`, tensors without content to put in the place of the net's."""
    empties: dict[int, Any] = {}
    for parameter in net.parameters():
        empty = torch.empty_like(parameter, device="meta")
        empties[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in net.buffers():
        empties[id(buffer)] = torch.empty_like(buffer, device="meta")
    return empties
