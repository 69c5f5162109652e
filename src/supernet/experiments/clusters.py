"""The cluster of a run or a search, connected to and told of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from rich.console import Console

from supernet.report.progress import waiting
from supernet.runs.ray import Place, RayCluster, connected, gpus_of


@contextmanager
def opened(
    on: Place | None,
    console: Console,
    *,
    threads: int,
    device: str,
    at_once: int | None = None,
    tasks: int | None = None,
) -> Iterator[RayCluster | None]:
    """Connect to a cluster inside the block, if there is to be one, and say how large it is.

    Args:
        on: Which; None for none.
        console: Where it is said.
        threads: CPUs of each task.
        device: What tasks compute on.
        at_once: How many tasks there may be at a time; by default, as many as there is room for.
        tasks: How many there will be, if that is known.
    """
    if on is None:
        yield None
        return
    with ExitStack() as stack:
        with waiting("starting Ray" if on.is_own else f"connecting to {on.address}", console):
            way = connected(on, cpus=threads, gpus=gpus_of(device), at_once=at_once)
            cluster = stack.enter_context(way)
        count = cluster.slots() if tasks is None else min(cluster.slots(), tasks)
        console.out(f"{cluster.describe()}; up to {count} task(s) at a time", highlight=False)
        # Ray tells of deaths on standard output, which is for results; they are noted anyway.
        stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        yield cluster
