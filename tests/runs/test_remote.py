"""Tasks on a cluster: done like those of local workers, whatever becomes of the machines."""

from typing import Any

import pytest

from supernet.errors import DataError, Stopped, WorkerError
from supernet.runs import remote
from supernet.runs.remote import Kept, News, RemoteTask, run_remotely
from supernet.runs.workers import TRIES, TaskContext, WorkerMessage
from tests.runs.standin import Scripted, StandIn, never


def count(number: int, state: int | None, context: TaskContext) -> int:
    """Count up to a number from where it was left, and report each."""
    for n in range(state or 0, number):
        context.report(Kept(n + 1, f"counted to {n + 1}"))
    return number * number


def miss_data(state: Any, context: TaskContext) -> None:
    raise DataError("there is no data")


class Notes:
    """What is kept of a task."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def newest(self) -> Any:
        return self.states[-1] if self.states else None

    def task(self, name: str, *args: Any, function: Any = count) -> RemoteTask:
        return RemoteTask(name, function, args, state=self.newest, keep=self.states.append)


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_every_task_reports_in_order_and_ends_with_its_result(at_once: int | None) -> None:
    cluster = StandIn(at_once=at_once)
    found = list(run_remotely([Notes().task(f"{n}", n) for n in range(3)], cluster))
    for n in range(3):
        own = [(each.content, each.kind) for each in found if each.task == f"{n}"]
        assert own == [*((f"counted to {k + 1}", "said") for k in range(n)), (n * n, "done")]
    assert cluster.most == (at_once or 3)


def test_no_tasks_need_no_machines() -> None:
    assert list(run_remotely([], StandIn(lacking="8 GPU(s)"))) == []


def test_a_task_whose_machine_dies_goes_on_elsewhere_from_what_was_kept() -> None:
    notes, cluster = Notes(), StandIn({"a": [2, 1]})
    found = list(run_remotely([notes.task("a", 5), Notes().task("b", 1)], cluster))
    assert [each.kind for each in found if each.task == "a"].count("died") == 2
    assert "its machine is gone" in next(each.content for each in found if each.kind == "died")
    assert found[-1] == WorkerMessage("a", 25, "done") or found[-1].task == "b"
    assert cluster.states["a"] == [None, 2, 3]
    assert notes.states == [1, 2, 3, 4, 5, 25]
    assert cluster.begun == {"a": 3, "b": 1}


def test_a_task_that_always_dies_is_given_up() -> None:
    cluster = StandIn({"doomed": [0] * 99})
    with pytest.raises(WorkerError, match=rf"'doomed' died {TRIES} times .*machine is gone"):
        list(run_remotely([Notes().task("doomed", 5)], cluster))
    assert cluster.begun["doomed"] == TRIES


def test_an_error_of_a_task_ends_the_others() -> None:
    cluster = StandIn()
    tasks = [Notes().task("a training", function=miss_data), Notes().task("other", 3)]
    with pytest.raises(DataError, match=r"^in 'a training': there is no data$"):
        list(run_remotely(tasks, cluster))
    assert cluster.stopping


def test_news_of_a_call_that_was_taken_for_dead_count_no_more() -> None:
    notes, cluster = Notes(), Scripted()
    cluster.script.extend(
        [
            lambda: [News(0, "began"), News(0, "died", "silence")],
            lambda: [News(0, "said", "I am alive"), News(0, "done", 1), News(1, "done", 2)],
        ]
    )
    found = list(run_remotely([notes.task("a", function=never)], cluster))
    assert [each.content for each in found if each.kind != "died"] == [2]
    assert notes.states == [2]


@pytest.mark.parametrize("how", ["closing", "an exception"])
def test_calls_are_asked_to_stop_and_what_they_save_is_kept(how: str) -> None:
    notes, cluster = Notes(), Scripted()
    cluster.script.extend(
        [
            lambda: [News(0, "began"), News(0, "said", "at work")],
            lambda: [News(0, "said", Kept(7, "saved"))],
            lambda: [cluster.stopped("a")],
        ]
    )
    messages = run_remotely([notes.task(name, function=never) for name in "ab"], cluster)
    assert next(messages).content == "at work"
    if how == "closing":
        messages.close()
    else:
        said = [messages.throw(Stopped("by a signal")).content]
        with pytest.raises(Stopped, match="by a signal"):
            said.extend(each.content for each in messages)
        assert said == ["saved"]
    assert notes.states == [7]
    assert cluster.given_up == [1]  # which hadn't begun


def test_a_call_that_does_not_stop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "GRACE_S", 0.05)
    cluster = Scripted()
    cluster.script.append(lambda: [News(0, "began"), News(0, "said", "at work")])
    messages = run_remotely([Notes().task("a", function=never)], cluster)
    next(messages)
    messages.close()
    assert cluster.given_up == [0]


def test_a_cluster_without_a_machine_that_is_large_enough_is_an_error() -> None:
    with pytest.raises(WorkerError, match=r"no machine of the cluster has 8 GPU\(s\); add one"):
        list(run_remotely([Notes().task("a", 1)], StandIn(lacking="8 GPU(s)")))


def test_a_cluster_may_grow_until_it_is_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_LOOK_S", 0.0)
    cluster = Scripted()
    cluster.patience_s = 60.0
    lacking = iter(["1 GPU(s)", "1 GPU(s)", None, None])
    monkeypatch.setattr(cluster, "lacks", lambda: next(lacking))
    cluster.script.extend([list, list, list, lambda: [News(0, "done", 9)]])
    assert [m.content for m in run_remotely([Notes().task("a", 1)], cluster)] == [9]
