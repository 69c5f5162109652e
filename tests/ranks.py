"""Ranks as threads of one process: what they do together is what processes do, without the start.

Each has a gloo group of its own, which meets the others' in memory. Threads share PyTorch's random
numbers, so networks are made before they begin.
"""

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from torch._C._distributed_c10d import HashStore, PrefixStore
from torch.distributed import ProcessGroupGloo

from supernet.runs.ranks import Group, Ranks
from tests.limits import HANG_S

_T = TypeVar("_T")

_store = HashStore()
_calls = itertools.count()


def together(size: int, work: Callable[[Ranks], _T], *, wait_s: float = HANG_S) -> list[_T]:
    """Return what each of several ranks returns; raise what the first that failed raised."""
    found = outcomes(size, work, wait_s=wait_s)
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    return found


def outcomes(size: int, work: Callable[[Ranks], _T], *, wait_s: float = HANG_S) -> list[Any]:
    """Return what each of several ranks returned, or raised."""
    store = PrefixStore(f"test {next(_calls)}", _store)
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        group = ProcessGroupGloo(store, rank, size, timedelta(seconds=wait_s))
        ranks = Ranks(rank, size, cast(Group, group), store)
        try:
            found[rank] = work(ranks)
        except BaseException as error:
            ranks.leave(error)
            found[rank] = error.with_traceback(None)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    return found
