"""Workers: what they do does not depend on how many there are, and none outlives its parent."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from supernet.errors import DataError, Stopped, WorkerError
from supernet.runs import workers
from supernet.runs.workers import TRIES, Task, TaskContext, WorkerMessage, run_tasks
from tests.limits import HANG_S
from tests.runs import workertasks
from tests.runs.processes import is_gone, wait_until, workers as running_workers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def run(*tasks: Task, workers: int = 1) -> list[WorkerMessage]:
    return list(run_tasks(tasks, workers=workers))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_reports_in_order_and_ends_with_its_result(count: int) -> None:
    reports = run(*(Task(f"{n}", workertasks.square, (n,)) for n in range(4)), workers=count)
    for n in range(4):
        own = [(report.content, report.kind) for report in reports if report.task == f"{n}"]
        assert own == [
            (f"squaring {n}", "said"),
            ("done soon", "said"),
            (n * n, "done"),
        ]
    assert running_workers() == []


def test_tasks_are_done_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "order"
    run(*(Task(word, workertasks.note, (path, word)) for word in "abc"))
    assert path.read_text() == "a\nb\nc\n"


def test_no_tasks_need_no_workers() -> None:
    assert run() == []


@pytest.mark.parametrize("count", [1, 2])
def test_a_task_whose_worker_dies_is_done_again(count: int, tmp_path: Path) -> None:
    dying = Task("dying", workertasks.die, (tmp_path / "tries", TRIES - 1))
    other = Task("other", workertasks.square, (3,))
    results = {r.task: r.content for r in run(dying, other, workers=count) if r.kind == "done"}
    assert results == {"dying": TRIES, "other": 9}


def test_a_task_whose_worker_always_dies_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "tries"
    with pytest.raises(WorkerError, match=rf"'doomed' died {TRIES} times .*code -9.*fewer workers"):
        run(Task("doomed", workertasks.die, (path, 99)), Task("o", workertasks.square, (1,)))
    assert len(path.read_text().splitlines()) == TRIES
    assert running_workers() == []


def test_an_error_of_our_own_arrives_as_it_is_with_the_task() -> None:
    with pytest.raises(DataError, match=r"^in 'a training': there is no data$"):
        run(Task("a training", workertasks.miss_data))
    assert running_workers() == []


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no\nway"), EOFError("too early"), BrokenPipeError("a file's")]
)
def test_any_other_error_is_told_in_a_line_and_not_tried_again(
    error: Exception, tmp_path: Path
) -> None:
    path = tmp_path / "tries"
    with pytest.raises(WorkerError) as caught:
        run(Task("task", workertasks.fail, (path, error)))
    assert path.read_text() == "failing\n"
    assert re.fullmatch(r"'task' failed with \w+Error: \w.*", str(caught.value))
    assert "Traceback" in caught.value.__notes__[0]


def test_a_task_that_a_worker_cannot_import_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def local(context: TaskContext) -> None: ...

    local.__module__, local.__qualname__ = "__main__", "local"
    monkeypatch.setattr(sys.modules["__main__"], "local", local, raising=False)
    with pytest.raises(WorkerError, match="can't make out its task"):
        run(Task("task", local))


def test_closing_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_S", 0.3)  # they don't listen
    tasks = [Task("a", workertasks.hang), Task("b", workertasks.hang)]
    reports = run_tasks(tasks, workers=2)
    pids = [next(reports).content, next(reports).content]
    assert sorted(pids) == sorted(running_workers())
    reports.close()
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("how", ["closing", "an exception", "an error"])
def test_workers_are_asked_to_stop_first_and_can_save(how: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    tasks = [Task(name, workertasks.save_when_asked, (path, None)) for name in "ab"]
    if how != "an error":
        reports = run_tasks(tasks, workers=3)
        pids = {next(reports).content, next(reports).content}
        if how == "closing":
            reports.close()
        else:
            said = [reports.throw(Stopped("by a signal"))]
            with pytest.raises(Stopped, match="by a signal"):
                said.extend(reports)
            assert Counter(report.task for report in said) == {"a": 1000, "b": 1000}
        assert all(is_gone(pid) for pid in pids)
    else:
        after = Task("wrong", workertasks.miss_data_after, (path.with_name("begun"), 2))
        begun = [Task(t.name, t.function, (path, path.with_name("begun"))) for t in tasks]
        with pytest.raises(DataError):
            run(*begun, after, workers=3)
    assert path.read_text() == "saved\nsaved\n"
    assert running_workers() == []


def test_a_worker_that_somebody_else_asked_to_stop_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    reports = run_tasks([Task("a", workertasks.save_when_asked, (path, None))], workers=1)
    first = next(reports).content
    os.kill(first, signal.SIGTERM)
    cause, second = "", None
    for report in reports:
        if report.kind == "died":
            cause = report.content
        elif cause:
            second = report.content
            break
    assert "died" in cause
    assert second not in (None, first)
    reports.close()
    assert path.read_text() == "saved\nsaved\n"


def test_a_death_is_reported(tmp_path: Path) -> None:
    reports = run(Task("dying", workertasks.die, (tmp_path / "tries", 1)))
    assert [report.kind for report in reports] == ["died", "done"]
    assert "exit code -9" in reports[0].content


def test_workers_keep_open_what_they_inherit(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    reports = run_tasks([Task("a", workertasks.hang)], workers=1, inherit=[writing])
    pid = next(reports).content
    os.close(writing)
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):  # not at its end: somebody may still write
        os.read(reading, 1)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid))
    os.set_blocking(reading, True)  # the last of its threads may be a moment behind
    assert os.read(reading, 1) == b""
    os.close(reading)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "GRACE_S", 0.0)
        reports.close()


def test_ctrl_c_is_not_for_workers() -> None:
    assert run(Task("a", workertasks.take_ctrl_c))[-1].content == "still here"


def test_ctrl_c_does_not_hit_a_worker_that_has_just_been_started() -> None:
    worker = workers._Worker()
    try:
        os.kill(worker.process.pid, signal.SIGINT)
        worker.send_task(Task("a", workertasks.square, (3,)), attempt=1)
        assert [worker.listen() for _ in range(3)][-1] == WorkerMessage("a", 9, "done")
    finally:
        worker.end()


def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    reports = run_tasks([Task(w, workertasks.square, (2,)) for w in "ab"], workers=1)
    while next(reports).kind != "done":
        pass
    (pid,) = running_workers()
    os.kill(pid, signal.SIGKILL)
    assert [report.content for report in reports if report.kind == "done"] == [4]


def test_what_a_worker_prints_does_not_mix_with_results(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run(Task("a", workertasks.chatter))
    assert capfd.readouterr().out == ""


SCRIPT = """
import sys
from supernet.runs.workers import Task, run_tasks
from tests.runs import workertasks
for report in run_tasks([Task("a", workertasks.{task}, {args})], workers=1):
    print(report.content, flush=True)
"""


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}


@pytest.mark.parametrize("from_file", [True, False])
def test_a_script_needs_no_guard(from_file: bool, tmp_path: Path) -> None:
    """Neither in a file nor on standard input: workers do not run it again."""
    script = SCRIPT.format(task="square", args=(6,))
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py") if from_file else "-"],
        input=script,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=HANG_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["squaring 6", "done soon", "36"]


def test_workers_end_soon_after_their_parent_is_killed() -> None:
    script = SCRIPT.format(task="hang", args=())
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not is_gone(worker)
        parent.kill()
    wait_until(lambda: is_gone(worker), seconds=20)
