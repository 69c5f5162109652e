from typing import Any

import pytest

from supernet.errors import SettingsError
from supernet.strategies import Problem, Strategy, search_space
from supernet.strategies.optuna_sampler import OptunaStrategy
from supernet.testing import StrategyContract
from tests.strategies.problems import NESTED, PLAIN, scores, size

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestOptunaStrategy(StrategyContract):
    count = 4

    def make(self, problem: Problem, seed: int) -> Strategy:
        return OptunaStrategy(problem, seed)


def test_it_is_resumed_exactly() -> None:
    def run(earlier: Any = ()) -> Any:
        return list(
            search_space(
                PLAIN, scores, budget=24, generation=4, strategy=OptunaStrategy, earlier=earlier
            )
        )

    whole = run()
    assert run(whole[:13]) == whole


def test_every_evaluation_is_a_trial_of_the_study() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    made = lambda problem, seed: OptunaStrategy(  # noqa: E731
        problem, seed, lambda seed: optuna.samplers.RandomSampler(seed=seed), study
    )
    found = list(
        search_space(
            PLAIN,
            scores,
            budget=12,
            objectives=("score", "size"),
            costs={"size": size},
            limits="size <= 40",
            strategy=made,
        )
    )
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert [t.values for t in complete] == [list(one.values.values()) for one in found]
    with pytest.raises(SettingsError, match="a search needs a new one"):
        OptunaStrategy(Problem(NESTED), 0, study=study)
