"""A Ray cluster as the place where tasks are done. Ray itself is imported only on request.

Tasks are Ray tasks. What they say on the way goes through one small actor, the mailbox, which lives
where the driver does (with `ray://`, on the head node): streams of results can do neither that with
a `ray://` address, nor be told to stop. Only the driver writes files; results travel through Ray.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import platform
import re
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final, final

from supernet.errors import SettingsError, SupernetError, WorkerError
from supernet.runs.environment import code_sha256, hardware, versions
from supernet.runs.remote import Kept, News, RemoteTask
from supernet.runs.workers import Task, attempt

#: What `--on` may be, for messages.
FORMS: Final = (
    "ray for a cluster of this machine's own (or the one that RAY_ADDRESS names), ray://HOST:PORT "
    "for a Ray client, or ray:HOST:PORT on a machine of the cluster"
)

_ADDRESS: Final = re.compile(r"ray:(//)?([^\s/:\[\]]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})")

#: So long may it take to reach a cluster, and to start one of our own, in seconds.
_REACH_S, _START_S = 25.0, 120.0

#: So long may a cluster that grows take to have machines that are large enough, in seconds.
_GROWING_S = 600.0

#: A mailbox holds so many messages; whoever has one more waits until some were taken.
_MOST_LETTERS = 1000

#: So long may it take to fetch the result of a call that has ended, in seconds.
_FETCH_S = 600.0


@dataclass(frozen=True)
class Place:
    """A Ray cluster.

    Attributes:
        address: As `ray.init` takes it; `local` for one that is started and ended with the run.
    """

    address: str

    @property
    def is_own(self) -> bool:
        """Whether the cluster is started and ended with the run."""
        return self.address == "local"

    @property
    def option(self) -> str:
        """What `--on` is for it."""
        if self.is_own:
            return "ray"
        return self.address if self.address.startswith("ray://") else f"ray:{self.address}"


def find_place(text: str) -> Place:
    """Return the cluster that `--on` names, once all is found out that can be without Ray.

    Raises:
        SettingsError: If it names none, or Ray or its client is not installed.
        WorkerError: If nobody answers at its address.
    """
    place = _parse(text)
    if find_spec("ray") is None:
        raise SettingsError(
            f"--on {text} needs Ray, which is not installed: pip install 'supernet[ray]'"
        )
    if place.address.startswith("ray://") and find_spec("grpc") is None:
        raise SettingsError(
            f"--on {text} needs the client of Ray, which is not installed with it: "
            "pip install 'supernet[ray]'"
        )
    if not place.is_own and place.address != "auto":
        host, _, port = place.address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
        except OSError as error:
            raise _unreachable(place, error.strerror or str(error)) from None
    return place


def _parse(text: str) -> Place:
    own = os.environ.get("RAY_ADDRESS", "")
    if text == "ray" and own in ("", "local"):
        return Place("local")
    wanted = text
    if text == "ray":
        wanted = own if own.startswith("ray:") else f"ray:{own}"
    if wanted == "ray:auto":
        return Place("auto")
    parts = _ADDRESS.fullmatch(wanted)
    if parts is None or not 0 < int(parts["port"]) < 1 << 16:
        what = f"RAY_ADDRESS is {own!r}" if text == "ray" else f"--on is {text!r}"
        raise SettingsError(f"{what}; --on takes {FORMS}")
    return Place(wanted if wanted.startswith("ray://") else wanted.removeprefix("ray:"))


def _unreachable(place: Place, reason: str) -> WorkerError:
    return WorkerError(
        f"there is no Ray cluster at {place.address} ({reason}); check the address, that the "
        "cluster runs, and that its port can be reached from here"
    )


def gpus_of(device: str) -> int | None:
    """Return how many GPUs a call needs for a device; None for one if there are any, else none.

    Raises:
        SettingsError: If the device is a certain one, which is for Ray to choose.
    """
    if device == "auto":
        return None
    kind, colon, _ = device.partition(":")
    if colon:
        raise SettingsError(
            f"device is {device!r}, but Ray chooses which {kind} device a training gets; say {kind}"
        )
    return int(kind == "cuda")


def surroundings() -> dict[str, str]:
    """Return what must be the same on all machines for results that are the same to the byte."""
    return {
        **{f"version of {name}": version for name, version in versions().items()},
        "the package's code": code_sha256()[:12],
        "vector instructions": hardware()["vector instructions"],
    }


@contextmanager
def connected(
    place: Place, *, cpus: int, gpus: int | None = 0, at_once: int | None = None
) -> Iterator[RayCluster]:
    """Connect to a cluster, or start one, inside the block.

    Args:
        place: Which.
        cpus: How many CPUs each call needs.
        gpus: How many GPUs; None for one if there are any.
        at_once: How many calls there may be at a time; by default, as many as there is room for.

    Raises:
        WorkerError: If that fails, or takes too long.
    """
    _set_up_ray(place)
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if place.is_own:
        options["num_cpus"] = max(cpus, (at_once or 0) * cpus or os.cpu_count() or 1)
        options["include_dashboard"] = False
    ended = threading.Event()
    try:
        _init(place, functools.partial(ray.init, place.address, **options), ended)
        _restore_handlers()
        yield RayCluster(ray, cpus, gpus, at_once, 0.0 if place.is_own else _GROWING_S)
    finally:
        with suppress(Exception):  # what is lost already need not be left
            ray.shutdown()
        ended.set()


def _restore_handlers() -> None:
    """Let signals do again what they did: Ray has put a handler of its own under Python's."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


def _set_up_ray(place: Place) -> None:
    """Say how Ray is to work, before it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if place.is_own:
        # Ray listens on all of a machine's addresses: nobody may use it without the token.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Ray's workers are nice by 15, and would get next to nothing beside anything else.
        os.environ.setdefault("RAY_worker_niceness", "0")


def _init(place: Place, init: Callable[[], Any], ended: threading.Event) -> None:
    """Call `ray.init` in a thread, which lasts until all has ended.

    So it takes no longer than it may, and lets the handlers of signals alone. The kernel ends the
    processes that a thread has started when the thread ends.
    """
    failures: list[Exception] = []
    tried = threading.Event()

    def call() -> None:
        try:
            init()
        except Exception as error:  # of many classes
            failures.append(error)
        tried.set()
        ended.wait()

    seconds = _START_S if place.is_own else _REACH_S
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that a thread can't handle signals is what it is for
    try:
        threading.Thread(target=call, daemon=True).start()
        in_time = tried.wait(seconds)
    finally:
        logging.disable(before)
    if not in_time:
        what = f"not within {seconds:.0f} seconds"
    elif failures:
        what = " ".join(str(failures[0]).split())[:300] or type(failures[0]).__name__
    else:
        return
    raise (
        WorkerError(f"Ray can't start here: {what}") if place.is_own else _unreachable(place, what)
    )


@final
class RayCluster:
    """A cluster that this process is connected to; see `supernet.runs.remote.Cluster`."""

    def __init__(
        self, ray: Any, cpus: int, gpus: int | None, at_once: int | None, patience_s: float
    ) -> None:
        self._ray = ray
        if gpus is None:
            gpus = int(any(node.get("GPU") for node in self._nodes()))
        self._needs = {"CPU": cpus, "GPU": gpus}
        self.at_once = at_once
        self.patience_s = patience_s
        self._expected = surroundings()
        self._serve = ray.remote(_serve)
        self._mailbox = self._open_mailbox()
        self._calls: dict[Any, int] = {}
        self._letters: Any = None
        self._news: deque[News] = deque()

    def describe(self) -> str:
        """Return its size in words."""
        nodes = self._nodes()
        counts = {name: sum(int(node.get(name, 0)) for node in nodes) for name in ("CPU", "GPU")}
        parts = [f"{len(nodes)} node(s)", f"{counts['CPU']} CPU(s)"]
        if counts["GPU"]:
            parts.append(f"{counts['GPU']} GPU(s)")
        return f"Ray {self._ray.__version__}: {', '.join(parts)}"

    def slots(self) -> int:
        """Return how many calls there is room for at a time, now; at least 1."""
        needs = {name: need for name, need in self._needs.items() if need}
        room = sum(
            min(int(node.get(name, 0)) // need for name, need in needs.items())
            for node in self._nodes()
        )
        return max(1, room if self.at_once is None else min(room, self.at_once))

    def share(self, value: Any) -> Any:
        return self._ray.put(value)

    def begin(self, call: int, task: RemoteTask) -> None:
        parcel = (task.name, task.function, task.args, task.state())
        ref = self._serve.options(
            name=task.name, num_cpus=self._needs["CPU"], num_gpus=self._needs["GPU"], max_retries=0
        ).remote(
            call,
            self._expected,
            os.getcwd(),
            self._ray.cloudpickle.dumps(parcel),  # opened only where the package is the same
            self._mailbox,
            *task.shared,  # which Ray replaces by the values
        )
        self._calls[ref] = call

    def listen(self, seconds: float) -> Sequence[News]:
        ray, errors = self._ray, self._ray.exceptions
        if self._letters is None:
            self._letters = self._mailbox.take.remote(seconds)
        waited = [self._letters, *self._calls]
        ray.wait(waited, num_returns=1, timeout=seconds, fetch_local=False)
        ready, _ = ray.wait(waited, num_returns=len(waited), timeout=0, fetch_local=False)
        ended = [ref for ref in ready if ref in self._calls]
        if ended:  # what they said was said before
            self._mailbox.wake.remote()
        if ended or self._letters in ready:
            try:
                letters = ray.get(self._letters, timeout=_FETCH_S)
            except errors.RayError:  # it is started again, empty
                time.sleep(min(seconds, 0.5))
                letters = []
            for letter in letters:
                self._news.extend(self._opened(News(*letter)))
            self._letters = None
        found = [*self._news, *(self._end_of(ref) for ref in ended)]
        self._news.clear()
        return found

    def _end_of(self, ref: Any) -> News:
        call, errors = self._calls[ref], self._ray.exceptions
        try:
            kind, content = self._ray.get(ref, timeout=_FETCH_S)
        except errors.RayTaskError as error:  # not even `_serve` could be called
            reason = " ".join(str(error.cause or error).split())[-300:]
            return News(call, "error", WorkerError(f"a node can't do its task: {reason}"))
        except errors.RayError as error:
            first = str(error).strip().partition("\n")[0].partition(". ")[0]
            return News(call, "died", f"{type(error).__name__}: {first}")
        return News(call, kind, content)

    def forget(self, call: int) -> None:
        self._calls = {ref: number for ref, number in self._calls.items() if number != call}

    def ask_to_stop(self) -> None:
        self._mailbox.stop.remote()

    def give_up(self, call: int) -> None:
        for ref in [ref for ref, number in self._calls.items() if number == call]:
            with suppress(Exception):  # it may have ended
                self._ray.cancel(ref, force=True)
        self.forget(call)

    def lacks(self) -> str | None:
        nodes = self._nodes()
        for name, need in self._needs.items():
            if need > max((node.get(name, 0) for node in nodes), default=0):
                return f"{need} {name}(s)"
        return None

    def _opened(self, news: News) -> Iterator[News]:
        """Fetch what travels on its own, unless its sender died meanwhile."""
        if isinstance(news.content, Kept):
            try:
                (state,) = self._ray.get(news.content.state, timeout=_FETCH_S)
            except self._ray.exceptions.RayError:
                return
            news = replace(news, content=replace(news.content, state=state))
        yield news

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _open_mailbox(self) -> Any:
        """Return an actor where the driver is, or on the head node: if that dies, all has ended."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self._ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(here, soft=False)
        mailbox = (
            self._ray.remote(Mailbox)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=strategy)
            .remote()
        )
        try:
            self._ray.get(mailbox.wake.remote(), timeout=_START_S)
        except self._ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[-300:]
            raise WorkerError(
                f"the cluster can't run this package ({reason}); install supernet "
                f"{self._expected['version of supernet']} on every node"
            ) from None
        return mailbox


_Letter = tuple[int, str, Any]


@final
class Mailbox:
    """Messages of calls, kept until the driver takes them; and whether all calls are to stop."""

    def __init__(self) -> None:
        self._letters: list[_Letter] = []
        self._put = self._taken = 0
        self._stopping = False
        self._changed = asyncio.Condition()

    async def put(self, letter: _Letter) -> bool:
        """Keep a message, once there is room for it, and return whether to stop.

        Of a state to go on from it returns when the driver has taken it, so that a driver that
        can't follow slows down who sends them, and not memory fills up.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._letters) < _MOST_LETTERS)
            self._letters.append(letter)
            self._put += 1
            number = self._put
            self._changed.notify_all()
            if isinstance(letter[2], Kept):
                await self._changed.wait_for(lambda: self._taken >= number)
            return self._stopping

    async def take(self, seconds: float) -> list[_Letter]:
        """Return all messages; wait so long at most for the first, and until `wake`."""
        async with self._changed:
            if not self._letters:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), seconds)
            found, self._letters = self._letters, []
            self._taken += len(found)
            self._changed.notify_all()
            return found

    async def wake(self) -> None:
        """Let whoever takes messages wait no longer."""
        async with self._changed:
            self._changed.notify_all()

    async def stop(self) -> None:
        """Let all calls know that they are to stop, when they next say something."""
        self._stopping = True


def _serve(
    call: int, expected: Mapping[str, str], folder: str, parcel: bytes, mailbox: Any, *shared: Any
) -> tuple[str, Any]:
    """Do a task where Ray wants it, if this machine has what the driver has."""
    import ray

    context = RayContext(ray, call, mailbox)
    try:
        _check_same(expected)
        with suppress(OSError):  # files are named from there, where it is there
            os.chdir(folder)
        context.send("began", None)
        name, function, args, state = ray.cloudpickle.loads(parcel)
        return attempt(Task(name, function, (*args, *shared, state)), context)
    except SupernetError as error:
        return "error", error


def _check_same(expected: Mapping[str, str]) -> None:
    try:
        found = surroundings()
    except ImportError as error:  # of a package that is missing, too
        raise WorkerError(
            f"the node {platform.node()} lacks something ({error}); install the same on every node"
        ) from None
    wrong = [
        f"{name}: {found.get(name, 'none')} there, {wanted} here"
        for name, wanted in expected.items()
        if found.get(name) != wanted
    ]
    if wrong:
        raise WorkerError(
            f"the node {platform.node()} is not like this machine ({'; '.join(wrong)}), so its "
            "results would be others; install the same on every node"
        )


@final
class RayContext:
    """What a task's function is given on a node; see `TaskContext`."""

    def __init__(self, ray: Any, call: int, mailbox: Any) -> None:
        self._ray = ray
        self._call = call
        self._mailbox = mailbox
        self._stopping = False

    def report(self, content: Any) -> None:
        if isinstance(content, Kept):
            content = replace(content, state=[self._ray.put(content.state)])
        self.send("said", content)

    def asked_to_stop(self) -> bool:
        return self._stopping

    def send(self, kind: str, content: Any) -> None:
        """Put a message into the mailbox; if that is being started again, it is lost."""
        letter = (self._call, kind, content)
        with suppress(self._ray.exceptions.RayError):
            self._stopping |= self._ray.get(self._mailbox.put.remote(letter))
