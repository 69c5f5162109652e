"""The search loop: ask, evaluate, tell, until the budget is spent. A generator.

    for evaluation in search(space, evaluate, objectives=("score", "macs"), budget=200):
        print(evaluation)

It evaluates a generation at a time, as shared execution is best used, and yields one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from supernet.errors import DivergedError, SettingsError, SupernetError
from supernet.space import Architecture, SearchSpace
from supernet.strategies.constraints import Limit
from supernet.strategies.costs import Cost
from supernet.strategies.evolution import Nsga2, RegularizedEvolution
from supernet.strategies.guided import GuidedNsga2
from supernet.strategies.pareto import find_front
from supernet.strategies.problem import (
    Evaluation,
    Failed,
    Objective,
    Problem,
    as_objectives,
    points_of,
)
from supernet.strategies.simple import Exhaustive, RandomSearch
from supernet.strategies.strategy import Strategy

#: What is measured of one architecture: the score alone, several values by name, or why there are
#: none.
Measured = float | Mapping[str, float] | Failed

#: Measures architectures, all of a generation at a time.
Evaluate = Callable[[Sequence[Architecture]], Mapping[Architecture, Measured]]

#: Makes a strategy for a problem, from a seed.
MakeStrategy = Callable[[Problem, int], Strategy]

STRATEGIES: Final[Mapping[str, MakeStrategy]] = {
    "exhaustive": Exhaustive,
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "nsga2": Nsga2,
    "guided": GuidedNsga2,
}

#: How many architectures are evaluated together, unless somebody says otherwise.
GENERATION: Final = 16


def search_space(
    space: SearchSpace,
    evaluate: Evaluate,
    *,
    budget: int,
    objectives: Iterable[str | Objective] = ("score",),
    limits: str | Limit | Iterable[str | Limit] = (),
    costs: Mapping[str, Cost] = {},
    functions: Mapping[str, Callable[[Architecture], float]] = {},
    strategy: str | MakeStrategy | None = None,
    generation: int = GENERATION,
    seed: int = 0,
    earlier: Iterable[Evaluation] = (),
) -> Iterator[Evaluation]:
    """Yield evaluations of architectures that meet the limits, each evaluated once.

    An evaluation that raises, or gives NaN, is yielded with its `error`, counts towards the budget,
    and is never selected; the search goes on.

    Example:
        >>> from supernet.space import Choice
        >>> space = SearchSpace((Choice("depth", (1, 2, 3)), Choice("width", (8, 16))))
        >>> found = search_space(
        ...     space,
        ...     lambda archs: {arch: float(arch["depth"]) for arch in archs},
        ...     costs={"size": lambda arch: arch["depth"] * arch["width"]},
        ...     limits="size <= 20",
        ...     budget=10,
        ... )
        >>> select_best(found, ["score"]).arch
        Architecture(depth=2, width=8)

    Args:
        space: What is searched.
        evaluate: Measures architectures, a generation at a time.
        budget: How many are evaluated at most. Fewer are, if there are no more.
        objectives: What is to be good: "score" large, all others small, "max:NAME" large too.
        limits: What must hold, such as "macs <= 5e6 and depth == 2"; see `parse_limits`. Nothing
            that breaks them is ever evaluated.
        costs: What is known of every architecture, by name; for objectives and limits. Never
            predicted, and called often.
        functions: More to be measured of each architecture evaluated, by name.
        strategy: A name in `STRATEGIES`, or something that makes one. By default all architectures
            are evaluated where the budget suffices for that, and a guided search is made otherwise.
        generation: How many are evaluated at a time.
        seed: Of all luck: the same, with the same values, gives the same search.
        earlier: Evaluations of the same search, from its beginning, that need not be made again.

    Raises:
        SettingsError: If a setting is unknown or impossible, before anything is evaluated; or
            if `earlier` is not from this search.
        LimitError: If nothing meets the limits.
    """
    problem = Problem(space, objectives, limits=limits, costs=costs)
    for name in functions:
        if name in costs:
            raise SettingsError(f"{name!r} is a cost and a function; give it once")
    if budget < 1:
        raise SettingsError(f"the budget is {budget}; a search needs at least 1 evaluation")
    if generation < 1:
        raise SettingsError(f"a generation is {generation}; it must be at least 1 architecture")
    asking = make_strategy(problem, strategy, budget=budget, seed=seed)
    return _run(problem, asking, evaluate, functions, budget, generation, list(earlier))


def make_strategy(
    problem: Problem, strategy: str | MakeStrategy | None, *, budget: int, seed: int
) -> Strategy:
    """Return a strategy by its name or maker; see `search_space` for the default.

    Raises:
        SettingsError: If there is none of that name.
        LimitError: If nothing meets the limits.
    """
    if strategy is None:
        listed = problem.listed
        strategy = "exhaustive" if listed is not None and len(listed) <= budget else "guided"
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise SettingsError(f"unknown strategy {strategy!r}; known are {sorted(STRATEGIES)}")
        strategy = STRATEGIES[strategy]
    return strategy(problem, seed)


def _run(
    problem: Problem,
    strategy: Strategy,
    evaluate: Evaluate,
    functions: Mapping[str, Callable[[Architecture], float]],
    budget: int,
    generation: int,
    earlier: list[Evaluation],
) -> Iterator[Evaluation]:
    done = 0
    while done < budget:
        archs = strategy.ask(min(generation, budget - done))
        if not archs:
            return
        known = earlier[done : done + len(archs)]
        if [evaluation.arch for evaluation in known] != archs[: len(known)]:
            raise SettingsError(
                "the earlier evaluations are not of this search: it asks for other architectures; "
                "start again, or give the same settings as then"
            )
        new = archs[len(known) :]
        found = [*known, *_evaluated(problem, evaluate, functions, new, done + len(known))]
        strategy.tell(found)
        done += len(found)
        yield from found


def _evaluated(
    problem: Problem,
    evaluate: Evaluate,
    functions: Mapping[str, Callable[[Architecture], float]],
    archs: Sequence[Architecture],
    first: int,
) -> list[Evaluation]:
    if not archs:
        return []
    measured = measure(evaluate, archs)
    rows = problem.encoded.encode(archs)
    costs = {name: problem.cost(name, rows) for name in problem.costs}
    found = []
    for at, arch in enumerate(archs):
        error, values = _taken(measured[arch])
        for name, function in functions.items():
            values[name], why = _called(name, function, arch)
            error = error or why
        values |= {name: float(column[at]) for name, column in costs.items()}
        for objective in problem.objectives:
            if objective.name not in values and error is None:
                raise SettingsError(
                    f"unknown objective {objective.name!r}; known are {sorted(values)}"
                )
            if not math.isfinite(values.setdefault(objective.name, math.nan)):
                error = error or f"{objective.name} is not a finite number"
        found.append(Evaluation(arch, values, error, first + at))
    return found


def _taken(measured: Measured) -> tuple[str | None, dict[str, float]]:
    """Return why there are no values, if so, and those there are."""
    if isinstance(measured, Failed):
        return measured.reason, dict(measured.values)
    if isinstance(measured, Mapping):
        return None, {name: float(value) for name, value in measured.items()}
    return None, {"score": float(measured)}


def measure(
    evaluate: Evaluate, archs: Sequence[Architecture]
) -> dict[Architecture, float | Mapping[str, float] | Failed]:
    """Measure architectures together; if that raises, one by one, to find out which of them do."""
    try:
        return _complete(evaluate(archs), archs)
    except Exception as error:
        no_fault_of_theirs = isinstance(error, SupernetError) and not isinstance(
            error, DivergedError
        )
        if no_fault_of_theirs or isinstance(error, Warning):
            raise  # nothing that another architecture would change; or a warning made an error
        if len(archs) == 1:
            return {archs[0]: Failed(f"{type(error).__name__}: {error}")}
    found: dict[Architecture, Measured] = {}
    for arch in archs:
        found |= measure(evaluate, [arch])
    return found


def _complete(
    found: Mapping[Architecture, Measured], archs: Sequence[Architecture]
) -> dict[Architecture, Measured]:
    return {arch: found.get(arch, Failed("it was not evaluated")) for arch in archs}


def _called(
    name: str, function: Callable[[Architecture], float], arch: Architecture
) -> tuple[float, str | None]:
    try:
        value = float(function(arch))
    except Exception as error:  # whatever a user's function raises
        return math.nan, f"{name} raised {type(error).__name__}: {error}"
    return value, None if math.isfinite(value) else f"{name} is {value}"


def select_front(
    evaluations: Iterable[Evaluation], objectives: Iterable[str | Objective]
) -> list[Evaluation]:
    """Return the sound evaluations that no other dominates, in the order of the first objective."""
    wanted = as_objectives(objectives)
    sound = [one for one in evaluations if one.error is None]
    if not sound:
        return []
    in_front = find_front(points_of(sound, wanted))
    front = [one for one, is_in in zip(sound, in_front, strict=True) if is_in]
    return sorted(front, key=lambda one: wanted[0].sign * one.values[wanted[0].name])


def select_best(
    evaluations: Iterable[Evaluation], objectives: Iterable[str | Objective]
) -> Evaluation:
    """Return the evaluation that is best in the first objective; of equals, in the next.

    Raises:
        SettingsError: If no evaluation succeeded.
    """
    front = select_front(evaluations, objectives)
    if not front:
        raise SettingsError("no evaluation of the search succeeded, so there is no best one")
    return front[0]
