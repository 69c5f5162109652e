import math
from collections.abc import Sequence

import pytest

from supernet.errors import CalibrationError, DivergedError, LimitError, SettingsError
from supernet.space import Architecture
from supernet.strategies import (
    STRATEGIES,
    Evaluation,
    Failed,
    GuidedNsga2,
    Problem,
    make_strategy,
    search_space,
    select_best,
    select_front,
)
from tests.strategies.problems import NESTED, PLAIN, score, scores, size


def fit(archs: Sequence[Architecture]) -> dict[Architecture, float]:
    return {arch: float(len(repr(arch)) % 11) for arch in archs}


def test_every_architecture_that_fits_the_budget_is_evaluated() -> None:
    found = list(search_space(NESTED, fit, budget=1_000))
    assert [one.arch for one in found] == list(NESTED)
    assert [one.number for one in found] == list(range(NESTED.size))
    assert {name for one in found for name in one.values} == {"score"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"exhaustive"}))
def test_limits_hold_and_costs_are_told(strategy: str) -> None:
    found = list(
        search_space(
            PLAIN,
            scores,
            budget=96,
            objectives=("score", "size"),
            limits="size <= 12 and c03 == 2",
            costs={"size": size},
            strategy=strategy,
        )
    )
    assert len({one.arch for one in found}) == 96
    assert all(one.values == {"score": score(one.arch), "size": size(one.arch)} for one in found)
    assert all(one.values["size"] <= 12 and one.arch["c03"] == 2 for one in found)


def test_guided_search_finds_more_than_luck() -> None:
    def best(strategy: str) -> float:
        found = search_space(PLAIN, scores, budget=112, strategy=strategy, seed=1)
        return select_best(found, ["score"]).values["score"]

    assert best("guided") > best("random") + 1


def test_the_same_seed_gives_the_same_search_also_when_resumed() -> None:
    def run(earlier: Sequence[Evaluation] = ()) -> list[Evaluation]:
        return list(
            search_space(
                PLAIN,
                scores,
                budget=30,
                generation=8,
                strategy=lambda problem, seed: GuidedNsga2(
                    problem, seed, start=12, population=16, generations=3
                ),
                seed=3,
                earlier=earlier,
            )
        )

    whole = run()
    assert run() == whole
    for cut in (1, 14, 30):
        assert run(whole[:cut]) == whole
    with pytest.raises(SettingsError, match="not of this search"):
        run(whole[1:])


def test_what_raises_or_is_nan_is_recorded_and_never_selected() -> None:
    def sometimes(archs: Sequence[Architecture]) -> dict[Architecture, float | Failed]:
        if any(arch["depth"] == 2 for arch in archs):
            raise ZeroDivisionError("two blocks")
        return {a: math.nan if a["kernel1"] == 7 else 1.0 for a in archs if a["op"] == "conv"}

    def moody(arch: Architecture) -> float:
        if arch["op.width"] == 16:
            raise KeyError("wide")
        return math.inf if arch["kernel1"] == 5 else 2.0

    found = list(search_space(NESTED, sometimes, budget=500, functions={"moody": moody}))
    assert len(found) == NESTED.size
    for one in found:
        reasons = {
            "ZeroDivisionError: two blocks": one.arch["depth"] == 2,
            "it was not evaluated": one.arch["op"] == "skip",
            "moody raised KeyError: 'wide'": one.arch["op.width"] == 16,
            "moody is inf": one.arch["kernel1"] == 5,
            "score is not a finite number": one.arch["kernel1"] == 7,
        }
        expected = next((reason for reason, holds in reasons.items() if holds), None)
        assert one.error == expected
    assert all(one.error is None for one in select_front(found, ["score"]))
    with pytest.raises(SettingsError, match="no evaluation of the search succeeded"):
        select_best([one for one in found if one.error], ["score"])


def test_what_no_other_architecture_would_change_is_raised() -> None:
    def uncalibrated(archs: Sequence[Architecture]) -> dict[Architecture, float]:
        raise CalibrationError("no batch")

    with pytest.raises(CalibrationError):
        next(search_space(NESTED, uncalibrated, budget=3))

    def diverged(archs: Sequence[Architecture]) -> dict[Architecture, float]:
        raise DivergedError("NaN")

    assert all(one.error for one in search_space(NESTED, diverged, budget=3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "the budget is 0"),
        ({"generation": 0}, "a generation is 0"),
        ({"objectives": ()}, "at least one objective"),
        ({"objectives": ("score", "score")}, "given twice"),
        ({"strategy": "annealing"}, "unknown strategy 'annealing'; known are"),
        ({"limits": "size <= 3"}, "unknown name 'size'"),
        ({"limits": "depth == 9"}, "no option of 'depth' meets"),
        ({"costs": {"a": size}, "functions": {"a": size}}, "is a cost and a function"),
        ({"costs": {"a": len}, "limits": "a <= 1 and a >= 2"}, "contradict each other"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_evaluated(
    settings: dict[str, object], message: str
) -> None:
    def never(archs: Sequence[Architecture]) -> dict[Architecture, float]:
        raise AssertionError("something was evaluated")

    given: dict[str, object] = {"budget": 3} | settings
    with pytest.raises(SettingsError, match=message):
        search_space(NESTED, never, **given)  # type: ignore[arg-type]


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown objective 'speed'; known are \['score'\]"):
        list(search_space(NESTED, fit, budget=3, objectives=("score", "speed")))


def test_a_limit_that_nothing_meets_is_said_at_once() -> None:
    with pytest.raises(LimitError, match="the least size there is is 6"):
        search_space(NESTED, fit, budget=3, limits="size <= 5", costs={"size": len})


def test_the_front_is_in_order() -> None:
    found = list(
        search_space(PLAIN, scores, budget=64, objectives=("score", "size"), costs={"size": size})
    )
    front = select_front(found, ("score", "size"))
    values = [one.values["score"] for one in front]
    assert values == sorted(values, reverse=True)
    assert select_best(found, ("score", "size")) == front[0]
    assert select_front(found, "max:size")[0].values["size"] == max(
        map(size, (o.arch for o in found))
    )


def test_the_default_is_exhaustive_only_where_the_budget_suffices() -> None:
    problem = Problem(NESTED, limits="depth == 1")
    assert type(make_strategy(problem, None, budget=9, seed=0)).__name__ == "Exhaustive"
    assert type(make_strategy(problem, None, budget=8, seed=0)).__name__ == "GuidedNsga2"
    assert type(make_strategy(Problem(PLAIN), None, budget=8, seed=0)).__name__ == "GuidedNsga2"
    with pytest.raises(SettingsError, match="too large to look at each"):
        make_strategy(Problem(PLAIN), "exhaustive", budget=8, seed=0)
