"""Preparation of a checked program for given architectures and inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from supernet.nn.supernet import Supernet, require_supernet
from supernet.sharing.cache import cache_of, split_inputs
from supernet.sharing.checking import check, try_out
from supernet.sharing.programs import Program
from supernet.space import Architecture


def prepare(
    supernet: Supernet, x: Any, archs: Iterable[Architecture], /, **inputs: Any
) -> tuple[Program, list[Tensor]]:
    """Return the program that `run` runs, and the values it starts from; see `execute`.

    For the same network in the same state, the same architectures and inputs of the same form, it
    is the same object. Before a traced module is first relied on, its graph is checked on `x`; and
    before a chain that checks what it hands on first runs for several architectures, it is tried.
    """
    require_supernet(supernet, "shared execution")
    wanted = tuple(dict.fromkeys(archs))
    for arch in wanted:
        supernet.space.validate(arch)
    cache = cache_of(supernet)
    try_out(cache, supernet, wanted, (x,), inputs)
    tensors, args, kwargs = split_inputs((x,), inputs)
    program = cache.program(supernet, wanted, args, kwargs)
    while not check(cache, supernet, program, (x,), inputs):
        program = cache.program(supernet, wanted, args, kwargs)
    return program, tensors
