"""Ranks: the processes of one data-parallel training, and how they add up and agree.

Everything they tell one another is a sum of tensors over all ranks, in place. A rank that fails
leaves a sentence where the ranks met; the others find it when their next sum fails.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor

from supernet.errors import RankError, SettingsError
from supernet.runs.launch import Launched, find_launch
from supernet.runs.meeting import meet

#: So long may a rank take to come, and to get to where the others are waiting for it.
WAIT_S: Final = 300.0

#: Where a rank that fails leaves its sentence; its number follows.
_LEFT: Final = "supernet/left/"

#: Characters of a fact, or of a sentence, that other ranks are told.
_MOST_TOLD: Final = 300


class Group(Protocol):
    """What adds tensors up: a process group of `torch.distributed`."""

    def allreduce(self, tensors: list[Tensor]) -> Any:
        """Replace tensors by their sums over all ranks; returns what can be waited for."""


@final
@dataclass(frozen=True)
class Ranks:
    """This process among those that train one network together. Alone by default, at no cost.

    Every method but `part` and `takes` is to be called by all ranks, in the same order.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        group: What adds up.
        store: Where they met, and leave a word; None if somebody else brought them together.
    """

    rank: int = 0
    size: int = 1
    group: Group | None = field(default=None, repr=False)
    store: Any = field(default=None, repr=False, compare=False)

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and shows."""
        return self.rank == 0

    def part(self, count: int) -> range:
        """Return which of `count` things are this rank's: neighbors, as evenly as can be."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def takes(self, number: int) -> bool:
        """Return whether one of many things, by its number, is this rank's: they take turns."""
        return number % self.size == self.rank

    def add(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all ranks, to the same bits on each, and return it.

        Raises:
            RankError: If another rank is gone, or didn't come within the time the group allows.
        """
        if self.group is not None:
            try:
                self.group.allreduce([tensor]).wait()
            except RuntimeError as error:
                raise self._lost(error) from None
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all ranks, which must be alike, as one with an axis for ranks."""
        found = tensor.new_zeros((self.size, *tensor.shape))
        found[self.rank] = tensor
        return self.add(found)

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Return sums over all ranks."""
        if not self.several:
            return numbers
        found: list[float] = self.add(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return tuple(found)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return, of each flag, whether it is up on some rank."""
        return tuple(bool(count) for count in self.total(*flags))

    def tell(self, content: bytes | None) -> bytes | None:
        """Return what the first rank was given; what others are given doesn't matter."""
        if not self.several:
            return content
        content = content if self.first else None
        (length,) = self.total(0.0 if content is None else len(content) + 1)
        if not length:
            return None
        told = torch.zeros(int(length) - 1, dtype=torch.uint8)
        if content:
            told.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        return self.add(told).numpy().tobytes() if len(told) else b""

    def texts(self, text: str) -> list[str]:
        """Return the texts of all ranks."""
        content = text.encode(errors="backslashreplace")
        lengths = self.gather(torch.tensor(len(content))).tolist()
        own = torch.zeros(max(lengths), dtype=torch.uint8)
        if content:
            own[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        rows = self.gather(own) if len(own) else own.new_zeros((self.size, 0))
        pairs = zip(rows, lengths, strict=True)
        return [row[:length].numpy().tobytes().decode() for row, length in pairs]

    def require_same(self, facts: Mapping[str, object]) -> None:
        """See that all ranks have the same facts, by their `repr`.

        Raises:
            RankError: If not: on all ranks, with the first fact that differs.
        """
        if not self.several:
            return
        told = {name: repr(value) for name, value in facts.items()}
        digest = hashlib.sha256(json.dumps(told).encode()).digest()
        own = torch.frombuffer(bytearray(digest[:8]), dtype=torch.int64)
        if bool((self.gather(own) == own).all()):
            return
        raise RankError(_difference([json.loads(text) for text in self.texts(json.dumps(told))]))

    def _lost(self, error: RuntimeError) -> RankError:
        """Return what to say where a sum failed: what another rank said, if it did."""
        for other in range(self.size):
            if other != self.rank and (sentence := self._left(other)):
                return RankError(f"rank {other} stopped: {sentence}")
        return RankError(
            f"rank {self.rank} of {self.size} can't go on, because another rank {_why(error)}; see "
            "what that one said, and start all of them again"
        )

    def _left(self, other: int) -> str:
        key = f"{_LEFT}{other}"
        with suppress(RuntimeError, ValueError, AttributeError):  # the store may be gone as well
            if self.store.check([key]):
                return bytes(self.store.get(key)).decode(errors="replace")
        return ""

    def leave(self, error: BaseException) -> None:
        """Leave a sentence for the others, who will miss this rank."""
        if isinstance(error, RankError) or not self.several:
            return  # that another one is gone is what they notice themselves
        sentence = str(error) or type(error).__name__
        with suppress(RuntimeError, ValueError, AttributeError):
            self.store.set(f"{_LEFT}{self.rank}", sentence[:_MOST_TOLD].encode())


#: One process, as always.
ALONE: Final = Ranks()


@contextmanager
def join_ranks(*, timeout_s: float = WAIT_S) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, and part from them at the end of the block.

    Where the script has a default process group already, that one is used, and left as it is.
    Otherwise there is one inside the block: gloo between processors, and nccl between NVIDIA GPUs.

    Args:
        timeout_s: How many seconds to wait for the others, here and whenever they are needed.

    Raises:
        RankError: If they don't come in time, or not to one place.
        SettingsError: If this process was not started as one of several.

    Example:
        with sn.join_ranks() as ranks:  # torchrun --nproc-per-node 2 my_training.py
            sn.train(supernet, data, distributed=ranks)
    """
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():
        ranks = Ranks(dist.get_rank(), dist.get_world_size(), dist.group.WORLD)
        if "gloo" not in str(dist.get_backend_config()):
            raise SettingsError(
                f"the default process group is {dist.get_backend_config()}, which can't add up on "
                'processors; begin it with init_process_group("cpu:gloo,cuda:nccl")'
            )
        yield ranks
        return
    launched = find_launch()
    if launched is None:
        raise SettingsError(
            "this process was started alone: RANK and WORLD_SIZE are not set; start the program "
            "with torchrun, as in `torchrun --nproc-per-node 2 my_training.py`"
        )
    if launched.size == 1:
        yield ALONE
        return
    wait = timedelta(seconds=timeout_s)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        whole, rank, size = next(iter(rendezvous("env://", timeout=wait)))
        store = PrefixStore(meet(whole, rank, size, timeout_s), whole)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unmet(launched, timeout_s, error) from None
    held = _Held(dist.group.WORLD)
    ranks = Ranks(rank, size, held, store)
    try:
        ranks.add(torch.zeros(1))  # so that whoever is missing is missed here
        yield ranks
    except BaseException as error:
        ranks.leave(error)
        raise
    finally:
        held.let_go()
        dist.destroy_process_group()


@final
class _Held:
    """A process group that is let go of at the end, whoever still has this.

    One that is held until the interpreter ends takes the process with it: gloo's threads are not
    joined then, and C++ aborts.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def allreduce(self, tensors: list[Tensor]) -> Any:
        if self._group is None:
            raise RuntimeError("the ranks have parted")
        return self._group.allreduce(tensors)

    def let_go(self) -> None:
        self._group = None


def _unmet(launched: Launched, timeout_s: float, error: Exception) -> RankError:
    reason = " ".join(str(error).split())
    return RankError(
        f"rank {launched.rank} of {launched.size} did not meet the others within {timeout_s:g} "
        f"seconds at MASTER_ADDR and MASTER_PORT; start all of them, with one address "
        f"({reason[:_MOST_TOLD]})"
    )


def _why(error: RuntimeError) -> str:
    """Return what is wrong with another rank, by how gloo or nccl say it."""
    reason = " ".join(str(error).split())
    if late := re.search(r"timed out|timeout", reason, re.IGNORECASE):
        after = re.search(r"\b(\d+) ?ms\b", reason[late.start() :])
        return f"did not come within {int(after[1]) / 1000:g} seconds" if after else "did not come"
    closed = re.search(r"connection (closed|reset) by peer", reason, re.IGNORECASE)
    return "is gone" if closed else f"is gone ({reason[:_MOST_TOLD]})"


def _difference(told: list[dict[str, str]]) -> str:
    """Return the sentence for ranks that don't have the same facts."""
    for name in dict.fromkeys(name for facts in told for name in facts):
        values = [facts.get(name, "nothing") for facts in told]
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            return (
                f"ranks disagree on {name}: {values[0][:_MOST_TOLD]} on rank 0, "
                f"{values[other][:_MOST_TOLD]} on rank {other}; all must run the same program, "
                "with the same versions, data and seeds"
            )
    return "ranks disagree on what they have to agree on; all must run the same program"
