"""Tests of the contract of strategies, for your own ones.

It needs no test framework; pytest finds and runs it where it is subclassed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.errors import LimitError
from supernet.space import Architecture, Choice, Condition, SearchSpace
from supernet.strategies.problem import Evaluation, Problem
from supernet.strategies.strategy import Strategy


class StrategyContract:
    """Tests of a strategy; subclass it and say which.

        class TestHillClimbing(StrategyContract):
            def make(self, problem: Problem, seed: int) -> Strategy:
                return HillClimbing(problem, seed)

    A broken claim is an `AssertionError`.
    """

    #: How many architectures are asked for at a time.
    count = 8

    def make(self, problem: Problem, seed: int) -> Strategy:
        """Return a new strategy for a problem."""
        raise NotImplementedError(f"{type(self).__name__} must say what to test: define `make`")

    # -- the claims -------------------------------------------------------------------------------

    def test_no_architecture_is_asked_for_twice(self) -> None:
        """All are distinct, canonical, and no more than were asked for."""
        problem = _problem()
        seen: set[Architecture] = set()
        strategy = self.make(problem, 0)
        for _ in range(10):
            archs = strategy.ask(self.count)
            _require(len(archs) <= self.count, f"{len(archs)} come where {self.count} were asked")
            for arch in archs:
                _require(arch == problem.space.canonical(arch), f"{arch} is not canonical")
                _require(arch not in seen, f"{arch} was asked for twice")
                seen.add(arch)
            strategy.tell(_evaluated(archs))

    def test_limits_are_kept(self) -> None:
        """Nothing breaks a limit, on a cost or on a choice."""
        problem = _problem("size <= 30 and a in (0, 2) and inner != 1")
        strategy = self.make(problem, 1)
        for _ in range(6):
            archs = strategy.ask(self.count)
            for arch in archs:
                _require(_size(arch) <= 30 and arch["a"] != 1, f"{arch} breaks a limit")
                counts = "inner" in problem.space.active(arch)
                _require(not counts or arch["inner"] != 1, f"{arch} breaks a limit")
            strategy.tell(_evaluated(archs))

    def test_it_ends_when_nothing_is_left(self) -> None:
        """All that meet the limits come, and then none."""
        problem = _problem("size <= 8")
        every = {arch for arch in problem.space if _size(arch) <= 8}
        strategy, found = self.make(problem, 2), set[Architecture]()
        for _ in range(10 * len(every)):
            archs = strategy.ask(self.count)
            if not archs:
                break
            found.update(archs)
            strategy.tell(_evaluated(archs))
        _require(found == every, f"{len(found)} of {len(every)} architectures came")
        _require(not strategy.ask(self.count), "more come when all were asked for")

    def test_the_same_seed_asks_the_same(self) -> None:
        """What is asked for follows from the seed and from what was told."""
        runs = []
        for _ in range(2):
            strategy, asked = self.make(_problem(), 3), list[Architecture]()
            for _ in range(8):
                archs = strategy.ask(self.count)
                asked += archs
                strategy.tell(_evaluated(archs))
            runs.append(asked)
        _require(runs[0] == runs[1], "the same seed asked for other architectures")

    def test_failures_do_not_end_it(self) -> None:
        """Evaluations that failed are no reason to stop, nor to ask for them again."""
        strategy, seen = self.make(_problem(), 4), set[Architecture]()
        for at in range(8):
            archs = strategy.ask(self.count)
            _require(bool(archs), "it stopped after evaluations that failed")
            _require(seen.isdisjoint(archs), "what failed was asked for again")
            seen.update(archs)
            strategy.tell(_failed(archs) if at % 2 == 0 else _evaluated(archs))

    def test_what_was_told_is_not_asked_for(self) -> None:
        """It may be told of architectures it never asked for, and takes them for known."""
        problem = _problem()
        strategy, told = self.make(problem, 5), list(problem.space)[:100]
        strategy.tell(_evaluated(told))
        asked = [arch for _ in range(4) for arch in strategy.ask(self.count)]
        _require(not set(told) & set(asked), "what was told already is asked for")

    def test_limits_that_nothing_meets_are_refused(self) -> None:
        """It is a `LimitError`, which says what there is."""
        try:
            self.make(_problem("size <= -1"), 6).ask(self.count)
        except LimitError as error:
            _require("size" in str(error), f"the error says nothing of the size: {error}")
        else:
            raise AssertionError("limits that nothing meets are not refused")


def _problem(limits: str = "") -> Problem:
    choices = (
        *(Choice(name, (0, 1, 2)) for name in "abcd"),
        Choice("outer", ("off", "on")),
        Choice("inner", (0, 1, 2, 3)),
    )
    space = SearchSpace(choices, (Condition("inner", (("outer", ("on",)),)),))
    return Problem(space, ("score", "size"), limits=limits, costs={"size": _size})


def _number(arch: Architecture, name: str) -> int:
    option = arch[name]
    assert isinstance(option, int)
    return option


def _size(arch: Architecture) -> float:
    inner = 5 * _number(arch, "inner") if arch["outer"] == "on" else 0
    return float(sum((at + 1) * _number(arch, name) for at, name in enumerate("abcd")) + inner + 5)


def _evaluated(archs: Sequence[Architecture]) -> list[Evaluation]:
    return [
        Evaluation(
            arch,
            {
                "score": math.sqrt(_size(arch)) - abs(_number(arch, "b") - 1),
                "size": _size(arch),
            },
        )
        for arch in archs
    ]


def _failed(archs: Sequence[Architecture]) -> list[Evaluation]:
    return [Evaluation(arch, {"score": math.nan}, "it failed") for arch in archs]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
