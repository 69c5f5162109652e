"""Every strategy keeps the contract; and the contract finds those that don't."""

from collections.abc import Sequence
from typing import final

import pytest

from supernet.space import Architecture
from supernet.strategies import (
    Evaluation,
    Exhaustive,
    GuidedNsga2,
    Nsga2,
    Problem,
    RandomSearch,
    RegularizedEvolution,
    Strategy,
)
from supernet.testing import StrategyContract


class TestExhaustive(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return Exhaustive(problem, seed)


class TestRandomSearch(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return RandomSearch(problem, seed)


class TestRegularizedEvolution(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return RegularizedEvolution(problem, seed, population=16, tournament=4)


class TestNsga2(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return Nsga2(problem, seed, population=8)


class TestGuidedNsga2(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return GuidedNsga2(problem, seed, start=12, population=16, generations=4)


@final
class Forgetful(Strategy):
    """Asks for the first architecture, always."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def ask(self, count: int) -> list[Architecture]:
        return [self._problem.space.smallest]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        pass


class Broken(StrategyContract):
    def make(self, problem: Problem, seed: int) -> Strategy:
        return Forgetful(problem)


def test_the_contract_finds_what_is_broken() -> None:
    for claim in (
        "test_no_architecture_is_asked_for_twice",
        "test_it_ends_when_nothing_is_left",
        "test_failures_do_not_end_it",
        "test_what_was_told_is_not_asked_for",
        "test_limits_that_nothing_meets_are_refused",
    ):
        with pytest.raises(AssertionError):
            getattr(Broken(), claim)()
    with pytest.raises(NotImplementedError, match="define `make`"):
        StrategyContract().test_limits_are_kept()
