"""Record of active architectures, for forward passes that are run twice.

Gradient checkpointing (`torch.utils.checkpoint`) runs parts of a network again during the backward
pass, when no architecture is active any more, or another one. What the second run is for is told by
the autograd node that asks for it: nodes are numbered in the order in which they are made.
"""

from __future__ import annotations

import bisect
from typing import final

import torch

from supernet.space import Architecture

#: Changes of architecture that are remembered. A shared pass makes two per module and group.
_MOST = 100_000


@final
class Runs:
    """The architectures that a supernet ran, by the numbers of the nodes made meanwhile.

    Forward passes that are to be run again must have been made in one thread.
    """

    __slots__ = ("_archs", "_starts", "_task", "current")

    def __init__(self) -> None:
        self.current: Architecture | None = None
        self._task = -1  # the backward pass inside which the current one was activated, if any
        self._starts: list[int] = []
        self._archs: list[Architecture | None] = []

    def switch(self, arch: Architecture | None) -> None:
        """Take note that another architecture is run from here on, or none."""
        if torch.compiler.is_compiling():
            return  # what is compiled holds for one architecture, its backward pass included
        self.current = arch
        self._task = torch._C._current_graph_task_id() if arch is not None else -1
        number: int = torch._C._autograd._get_sequence_nr()
        if self._starts and self._starts[-1] >= number:
            self._archs[-1] = arch  # no node was made since the last change
            return
        self._starts.append(number)
        self._archs.append(arch)
        if len(self._starts) > _MOST:
            del self._starts[: _MOST // 2], self._archs[: _MOST // 2]

    @property
    def recomputing(self) -> bool:
        """Whether a backward pass runs a forward again, which began before it."""
        task = torch._C._current_graph_task_id()
        return task not in (-1, self._task)

    def recomputed(self) -> Architecture | None:
        """Return the architecture that ran when the current autograd node was made."""
        node = torch._C._current_autograd_node()
        place = bisect.bisect_right(self._starts, node._sequence_nr()) - 1
        return self._archs[place] if place >= 0 else None

    def __reduce__(self) -> tuple[type[Runs], tuple[()]]:
        return Runs, ()  # of a copy, nothing has run
