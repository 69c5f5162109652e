"""One training of a run, on another machine, which shares no disk with the run's folder.

It trains in a temporary folder there. Checkpoints travel to whoever gave the task, who keeps them,
and back to the machine on which it is begun again; its result is the last of them.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from supernet.errors import DataError, RunFolderError
from supernet.experiments.components import build_named, example_of, load_data, sources_of
from supernet.experiments.planning import Job
from supernet.experiments.settings import Settings
from supernet.experiments.worker import do_job
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.remote import Kept
from supernet.runs.workers import TaskContext

#: Sending checkpoints may take this share of the time: after a slow one, the next waits for longer.
_SHARE = 0.01


@dataclass(frozen=True)
class Ingredients:
    """What a run is made of besides its settings, by content.

    Attributes:
        data_sha256: Of the data, by name.
        sources_sha256: Of the user's own source files, by name.
    """

    data_sha256: tuple[tuple[str, str], ...]
    sources_sha256: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, data: Mapping[str, str], sources: Mapping[str, str]) -> Ingredients:
        """Return these, in a form that can be compared and hashed."""
        return cls(tuple(sorted(data.items())), tuple(sorted(sources.items())))


def do_job_elsewhere(
    settings: Settings,
    job: Job,
    ingredients: Ingredients,
    every_s: float,
    restart: bool,
    state: bytes | None,
    context: TaskContext,
) -> bytes:
    """Do one training, or go on with it.

    Args:
        settings: Of the run.
        job: The training.
        ingredients: What data and sources must be.
        every_s: How many seconds lie between two checkpoints, at least.
        restart: Whether a state of another plan is begun again, instead of raising.
        state: The checkpoint to go on from, if there is one.
        context: Told how it goes; gets every checkpoint that is worth sending, as `Kept`.

    Returns:
        The last checkpoint, in which the result is.

    Raises:
        DataError: If data or sources here are not those of the run.
    """
    check_ingredients(settings, ingredients)
    with TemporaryDirectory(prefix="supernet-") as folder:
        checkpoints = Checkpoints(Path(folder))
        if state is not None:
            checkpoints.take(state)
        do_job(settings, job, Path(folder), every_s, restart, Sending(context, checkpoints))
        return _content(checkpoints)


@functools.cache
def check_ingredients(settings: Settings, wanted: Ingredients) -> None:
    """Compare what is here, once per process, with what the run was begun with."""
    data = load_data(settings.data)
    named = build_named(
        settings, shape=data.shape, classes=data.classes, seed=0, example=example_of(data)
    )
    found = Ingredients.of(data.sha256, {**named.sources, **sources_of(settings)})
    for what, here, there in (
        ("data", found.data_sha256, wanted.data_sha256),
        ("source file", found.sources_sha256, wanted.sources_sha256),
    ):
        if wrong := sorted({name for name, _ in {*here} ^ {*there}}):
            raise DataError(
                f"on the node {platform.node()}, the {what} {', '.join(wrong)} is not what the run "
                "was begun with; copy the same to every node, under the same path"
            )


class Sending:
    """A context that sends a checkpoint along whenever one was saved; see `TaskContext`."""

    def __init__(self, context: TaskContext, checkpoints: Checkpoints) -> None:
        self._context = context
        self._checkpoints = checkpoints
        self._next = 0.0

    def report(self, content: Any) -> None:
        if not (isinstance(content, Progress) and content.saved):
            self._context.report(content)
            return
        start = time.monotonic()
        if start < self._next and not self.asked_to_stop():
            self._context.report(content.model_copy(update={"saved": False}))
            return
        self._context.report(Kept(_content(self._checkpoints), content))
        now = time.monotonic()
        self._next = now + (now - start) / _SHARE

    def asked_to_stop(self) -> bool:
        return self._context.asked_to_stop()


def _content(checkpoints: Checkpoints) -> bytes:
    content = checkpoints.newest_bytes()
    if content is None:
        raise RunFolderError(f"the checkpoint in {checkpoints.folder} is gone; was it removed?")
    return content
