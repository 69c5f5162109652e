import numpy as np

from supernet.strategies.guided import GuidedNsga2, pick
from supernet.strategies.problem import Evaluation, Problem
from tests.strategies.problems import PLAIN, score, size


def test_what_adds_most_to_the_front_is_picked_first() -> None:
    known = np.array([[0.0, 1.0], [1.0, 0.0]])
    points = np.array([[0.9, 0.9], [0.3, 0.3], [0.1, 0.8], [0.3, 0.31]])
    assert pick(points, known, 2).tolist() == [1, 2]
    assert len(set(pick(points, known, 4).tolist())) == 4


def test_what_adds_nothing_is_picked_last() -> None:
    known = np.array([[0.0, 0.0]])
    points = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]])
    assert pick(points, known, 2).tolist() == [1, 2]
    assert pick(points[:0], known, 2).tolist() == []


def test_one_objective_is_simply_ordered_and_three_by_fronts() -> None:
    assert pick(np.array([[3.0], [1.0], [2.0]]), np.zeros((1, 1)), 2).tolist() == [1, 2]
    points = np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, 3.0, 3.0]])
    assert set(pick(points, points[:1], 2).tolist()) == {1, 2}


def test_costs_are_never_predicted() -> None:
    problem = Problem(PLAIN, ("score", "size"), costs={"size": size})
    strategy = GuidedNsga2(problem, 0, start=12, population=16, generations=3)
    for _ in range(3):
        archs = strategy.ask(12)
        strategy.tell([Evaluation(a, {"score": score(a), "size": size(a)}) for a in archs])
    assert set(strategy._models()) == {"score"}
    assert [one.name for one in problem.predicted] == ["score"]
