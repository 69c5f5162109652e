"""Time, samples and multiply-adds of a training, by kind of work."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from supernet.evaluation.batches import planner_for
from supernet.nn.supernet import Supernet
from supernet.records import Phase
from supernet.runs.checkpoints import State
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, training_macs
from supernet.training.steps import Step, Steps

Kind = Literal["training", "recalibration", "scoring"]
Subject = Literal["supernet", "standalone", "longer"]

#: Different draws whose work is counted; from then on, a step is taken to be the mean of these.
COUNTED_DRAWS: Final = 64


@dataclass
class Entry:
    """What one kind of work has taken so far."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    images: int = 0
    macs: int = 0


@final
class Ledger:
    """Adds up time, samples and multiply-adds by kind of work.

    Multiply-adds are counted exactly for the first 64 different draws of a training; counting takes
    longer than small steps do, and a large space never draws the same twice. Any other step is
    entered with the mean of those.

    Args:
        supernet: What is trained.
        inputs: Inputs as large as a step's, without content: what has to be done in parts depends
            on it.
        recipe: How it is trained.
        subject: Under which heading the entries go.
        seed: For the entries too.
        ranks: Who trains it. Samples and multiply-adds are those of all together, and so are CPU
            seconds as soon as they leave here; time passes for all at once.
    """

    def __init__(
        self,
        supernet: Supernet,
        inputs: Any,
        recipe: Recipe,
        subject: Subject,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._planner = planner_for(supernet, inputs)
        self._max_bytes = recipe.max_bytes
        self._subject, self._seed = subject, seed
        self._entries: dict[Kind, Entry] = {}
        self._known: dict[Draw, int] = {}

    def next_step(self, steps: Iterator[Step]) -> Step:
        """Do a step, and enter it."""
        with self._clock("training") as entry:
            step = next(steps)
        entry.images += step.samples
        entry.macs += step.samples * self._macs_of(step.draw)
        return step

    def measure(self, steps: Steps) -> None:
        """Let steps find out how many of them a budget is; the time that takes is training's."""
        with self._clock("training"):
            steps.measure()

    @contextmanager
    def entering(self, kind: Kind) -> Iterator[Entry]:
        """Enter the time that the block takes; it adds what it went through (see `passed`)."""
        with self._clock(kind) as entry:
            yield entry

    def passed(self, entry: Entry, archs: Sequence[Architecture], samples: int) -> None:
        """Enter that so many samples passed through some architectures together."""
        entry.images += samples
        plan = self._planner.plan(archs)
        entry.macs += samples * (plan.macs // plan.samples)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Forget what is entered inside the block if it raises."""
        before = copy.deepcopy(self._entries)
        try:
            yield
        except BaseException:
            self._entries = before
            raise

    def state(self) -> State:
        """Return what is entered, as data."""
        cpu_s = self._ranks.total(*(entry.cpu_s for entry in self._entries.values()))
        return {
            kind: {**vars(entry), "cpu_s": seconds}
            for (kind, entry), seconds in zip(self._entries.items(), cpu_s, strict=True)
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._entries = {kind: Entry(**entry) for kind, entry in state.items()}
        for entry in self._entries.values() if not self._ranks.first else ():
            entry.cpu_s = 0.0  # the first one has it

    def phases(self) -> tuple[Phase, ...]:
        """Return the entries as records."""
        return tuple(
            Phase(
                name=f"{self._subject} {kind}",
                kind=kind,
                subject=self._subject,
                seed=self._seed,
                arch=None,
                **entry,
            )
            for kind, entry in self.state().items()
        )

    @contextmanager
    def _clock(self, kind: Kind) -> Iterator[Entry]:
        entry = self._entries.setdefault(kind, Entry())
        wall, cpu = time.perf_counter(), time.process_time()
        yield entry
        entry.wall_s += time.perf_counter() - wall
        entry.cpu_s += time.process_time() - cpu

    def _macs_of(self, drawn: Draw) -> int:
        draw = drawn.work
        if draw in self._known:
            return self._known[draw]
        if len(self._known) >= COUNTED_DRAWS:
            return sum(self._known.values()) // len(self._known)
        self._known[draw] = training_macs(draw, self._planner, self._max_bytes)
        return self._known[draw]
