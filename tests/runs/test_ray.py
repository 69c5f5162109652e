"""A Ray cluster: found, checked and listened to; with Ray itself only where that is installed."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import DataError, SettingsError, WorkerError
from supernet.runs import ray
from supernet.runs.ray import Mailbox, Place, RayCluster, connected, find_place, gpus_of
from supernet.runs.remote import Kept, RemoteTask, run_remotely
from supernet.runs.workers import TaskContext
from tests.limits import HANG_S
from tests.runs import workertasks
from tests.runs.fakeray import Death, RayTaskError, install

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray be there, and nobody answer or refuse at an address."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("supernet.runs.ray.find_spec", lambda name: name)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["ray://127.0.0.1:{}", "ray:127.0.0.1:{}", "ray://localhost:{}"])
def test_an_option_names_a_cluster_and_a_cluster_its_option(kind: str, port: int) -> None:
    option = kind.format(port)
    place = find_place(option)
    assert place.option == option
    assert not place.is_own
    assert place.address == option.removeprefix("ray:" if "//" not in option else "")


@pytest.mark.usefixtures("installed")
def test_ray_alone_is_a_cluster_of_this_machine_or_the_one_of_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_place("ray") == Place("local")
    assert find_place("ray").option == "ray"
    assert find_place("ray:auto") == Place("auto")
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "auto", "local"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert find_place("ray") == Place(address)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(SettingsError, match=r"^RAY_ADDRESS is 'http://127\.0\.0\.1:8265'"):
        find_place("ray")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "Ray", "ray:", "ray://", "ray://host", "ray:host", "ray://host:", "auto"),
        *("ray://host:0", "ray://host:65536", "ray://:10001", "ray://a b:1", "ray:a/b:1", "ray\n"),
        *("host:10001", "http://host:1", "ray://host:1/x", "ray:local", "dask://host:1"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--on takes ray for a cluster"):
        find_place(text)


def test_without_ray_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("supernet.runs.ray.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"not installed: pip install 'supernet\[ray\]'"):
        find_place("ray")


def test_without_its_client_too_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    missing = {"grpc"}
    monkeypatch.setattr("supernet.runs.ray.find_spec", lambda name: None if name in missing else 1)
    assert find_place(f"ray:127.0.0.1:{port}").address == f"127.0.0.1:{port}"
    said = r"--on ray://127\.0\.0\.1:\d+ needs the client of Ray, .*: pip install 'supernet\[ray\]'"
    with pytest.raises(SettingsError, match=said):
        find_place(f"ray://127.0.0.1:{port}")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_address_where_nobody_answers_is_an_error(host: str, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and doesn't listen
        place = f"ray://{host}:{taken.getsockname()[1]}"
        with pytest.raises(WorkerError, match=rf"no Ray cluster at {place} \(.+\); check"):
            find_place(place)


def test_the_device_says_how_many_gpus_a_training_needs() -> None:
    assert [gpus_of(device) for device in ("cpu", "mps", "cuda", "auto")] == [0, 0, 1, None]
    with pytest.raises(SettingsError, match="Ray chooses which cuda device"):
        gpus_of("cuda:1")


def test_a_connection_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "_REACH_S", 0.05)
    from threading import Event

    ended = Event()
    with pytest.raises(WorkerError, match=r"no Ray cluster at h:1 \(not within 0 seconds\)"):
        ray._init(Place("h:1"), ended.wait, ended)
    ended.set()


def test_a_connection_that_fails_is_an_error_with_its_reason() -> None:
    from threading import Event

    def fail() -> None:
        raise ValueError("the\nversions differ")

    ended = Event()
    ended.set()
    with pytest.raises(WorkerError, match=r"at h:1 \(the versions differ\)"):
        ray._init(Place("h:1"), fail, ended)
    with pytest.raises(WorkerError, match=r"Ray can't start here: the versions differ"):
        ray._init(Place("local"), fail, ended)


def test_a_node_that_is_not_like_the_driver_is_refused_by_name() -> None:
    here = ray.surroundings()
    ray._check_same(here)
    for name, wanted in (("version of torch", "1.0"), ("the package's code", "0" * 12)):
        pattern = rf"the node .+ is not like this machine \({name}: {here[name]} there, {wanted}"
        with pytest.raises(WorkerError, match=pattern.replace("+", r"\+").replace(r".\+", ".+")):
            ray._check_same({**here, name: wanted})


def test_a_node_without_torch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack() -> dict[str, str]:
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(ray, "surroundings", lack)
    with pytest.raises(WorkerError, match=r"the node .+ lacks something \(No module .*torch"):
        ray._check_same({})


def test_a_mailbox_hands_over_in_order_and_tells_whether_to_stop() -> None:
    async def talk() -> None:
        box = Mailbox()
        assert [await box.put((n, "said", n)) for n in range(2)] == [False, False]
        assert await box.take(0.0) == [(0, "said", 0), (1, "said", 1)]
        assert await box.take(0.001) == []
        await box.stop()
        assert await box.put((0, "said", 2))
        waiting = asyncio.create_task(box.take(HANG_S))
        assert await waiting == [(0, "said", 2)]
        waiting = asyncio.create_task(box.take(HANG_S))
        await asyncio.sleep(0)
        await box.wake()
        assert await waiting == []

    asyncio.run(talk())


def test_a_mailbox_lets_nobody_send_faster_than_the_driver_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "_MOST_LETTERS", 2)

    async def talk() -> None:
        box = Mailbox()
        state = asyncio.create_task(box.put((0, "said", Kept([b"large"], None))))
        await box.put((1, "said", "small"))
        third = asyncio.create_task(box.put((2, "said", "small")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not state.done()  # nobody has taken it
        assert not third.done()  # it is full
        assert len(await box.take(0.0)) == 2
        await state
        await third
        assert await box.take(0.0) == [(2, "said", "small")]

    asyncio.run(talk())


def report_and_die(path: Path, state: bytes | None, context: TaskContext) -> bytes | None:
    """Keep something, die once, and return what it went on from."""
    context.report(Kept(b"kept", "half of it"))
    workertasks.note(path, "begun", context)
    if path.read_text() == "begun\n":
        raise Death
    return state


def add(number: int, shared: int, state: None, context: TaskContext) -> int:
    return number + shared


def test_tasks_are_done_and_begun_again_with_what_ray_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = install(monkeypatch, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0})
    monkeypatch.chdir(tmp_path)
    cluster = RayCluster(fake, 3, None, None, 0.0)
    assert cluster.describe() == "Ray 0: 2 node(s), 12 CPU(s), 2 GPU(s)"
    assert cluster.slots() == 2  # a node has two GPUs, and the other none
    kept: list[bytes] = []
    dying = RemoteTask(
        "dying",
        report_and_die,
        (tmp_path / "tries",),
        state=lambda: kept[-1] if kept else None,
        keep=kept.append,
    )
    tasks = [dying, RemoteTask("sum", add, (1,), (cluster.share(2),))]
    found = list(run_remotely(tasks, cluster))
    done = {message.task: message.content for message in found if message.kind == "done"}
    assert done == {"dying": b"kept", "sum": 3}
    assert [m.content for m in found if m.kind == "said"] == ["half of it", "half of it"]
    (died,) = (m.content for m in found if m.kind == "died")
    assert died == "died on the cluster (RayError: The worker died unexpectedly); it is done again"
    mailbox, *calls = fake.asked
    assert mailbox["scheduling_strategy"] == ("here", False)
    assert {(c["num_cpus"], c["num_gpus"], c["max_retries"]) for c in calls} == {(3, 1, 0)}


def test_an_error_of_a_task_arrives_and_one_of_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, {"CPU": 2.0})
    cluster = RayCluster(fake, 1, 0, None, 0.0)
    with pytest.raises(DataError, match=r"^in 'a': there is no data$"):
        list(run_remotely([RemoteTask("a", miss_data)], cluster))

    def fail(*_: object) -> None:
        error = RayTaskError()
        error.cause = ModuleNotFoundError("No module named 'supernet'")
        raise error

    cluster._serve = fake.remote(fail)
    with pytest.raises(WorkerError, match="a node can't do its task: No module named 'supernet'"):
        list(run_remotely([RemoteTask("a", miss_data)], cluster))


def test_a_task_is_not_opened_where_anything_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, {"CPU": 2.0})
    cluster = RayCluster(fake, 1, 0, None, 0.0)
    cluster._expected = {**cluster._expected, "version of torch": "1.0"}
    fake.cloudpickle.loads = lambda _: pytest.fail("it was opened")
    with pytest.raises(WorkerError, match=r"version of torch: .* there, 1.0 here"):
        list(run_remotely([RemoteTask("a", miss_data)], cluster))


def test_a_call_that_is_given_up_is_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, {"CPU": 2.0})
    cluster = RayCluster(fake, 1, 0, None, 0.0)
    cluster.begin(0, RemoteTask("a", miss_data))
    cluster.give_up(0)
    assert len(fake.canceled) == 1
    assert cluster.lacks() is None
    assert RayCluster(fake, 4, 0, None, 0.0).lacks() == "4 CPU(s)"


# From here on, with Ray itself, which takes its time.

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")


def count_and_die(
    path: Path, state: bytes | None, context: TaskContext
) -> tuple[bytes | None, str]:
    """Die twice, each time after something was kept, then return what it went on from."""
    context.report(Kept(b"kept" + (state or b""), os.getpid()))
    tries = workertasks.die(path, 2, context)
    return state, f"try {tries}"


def square(number: int, state: None, context: TaskContext) -> int:
    return workertasks.square(number, context)


def miss_data(state: None, context: TaskContext) -> None:
    workertasks.miss_data(context)


def save_when_asked(path: Path, state: None, context: TaskContext) -> None:
    context.report(os.getpid())
    while not context.asked_to_stop():
        context.report("at work")
    workertasks.note(path, "saved", context)
    context.report(Kept(b"all of it", "saved"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected(Place("local"), cpus=1, at_once=2) as found:
            yield found


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tasks_on_a_cluster_of_this_machine(cluster: RayCluster, tmp_path: Path) -> None:
    assert cluster.slots() == 2
    assert "1 node(s), 2 CPU(s)" in cluster.describe()
    kept: list[bytes] = []

    def newest() -> bytes | None:
        return kept[-1] if kept else None

    tasks = [
        RemoteTask("dying", count_and_die, (tmp_path / "tries",), state=newest, keep=kept.append),
        *(RemoteTask(f"{n}", square, (n,)) for n in range(3)),
    ]
    found = list(run_remotely(tasks, cluster))
    results: dict[str, Any] = {each.task: each.content for each in found if each.kind == "done"}
    assert results == {"dying": (b"keptkept", "try 3"), "0": 0, "1": 1, "2": 4}
    assert [each.kind for each in found].count("died") == 2
    for n in range(3):
        own = [each.content for each in found if each.task == f"{n}"]
        assert own == [f"squaring {n}", "done soon", n * n]
    with pytest.raises(DataError, match="in 'a': there is no data"):
        list(run_remotely([RemoteTask("a", miss_data)], cluster))


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tasks_on_a_cluster_stop_when_they_are_asked_to(
    cluster: RayCluster, tmp_path: Path
) -> None:
    kept: list[bytes] = []
    task = RemoteTask("a", save_when_asked, (tmp_path / "saved",), keep=kept.append)
    messages = run_remotely([task], cluster)
    assert next(messages).content > 0
    messages.close()
    assert kept[:1] == [b"all of it"]
    assert (tmp_path / "saved").read_text() == "saved\n"


@needs_ray
@pytest.mark.slow
def test_a_silent_port_is_an_error_and_no_hang(port: int) -> None:
    code = (
        "import sys\n"
        "from supernet.errors import WorkerError\n"
        "from supernet.runs.ray import connected, Place\n"
        "try:\n"
        f"    with connected(Place('127.0.0.1:{port}'), cpus=1): pass\n"
        "except WorkerError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert "there is no Ray cluster" in done.stderr
    assert done.returncode == 1
