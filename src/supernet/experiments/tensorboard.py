"""Curves of a run for TensorBoard, written while it trains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from supernet.errors import RunFolderError
from supernet.experiments.execution import Progressed, RunEvent, Trained
from supernet.experiments.planning import RunPlan
from supernet.records import Epoch, Measure, Progress
from supernet.runs import files

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: The folder within a run's.
FOLDER = "tensorboard"

#: Of so many architectures each has a curve of its own.
_CURVES = 16


class Curves:
    """Curves of a run under way: the folder of each training is a run in TensorBoard's words.

    Args:
        root: The run's folder.
        plan: What is trained.
    """

    def __init__(self, root: Path, plan: RunPlan) -> None:
        self._root, self._measure = root, plan.measure
        self._folders = {job.name: root / FOLDER / job.folder_name for job in plan.jobs}
        scored = [arch.label for arch in plan.archs]
        # Of a network trained alone there is one score, and its curve needs no label.
        self._labels = {job.name: scored if job.arch is None else [] for job in plan.jobs}
        self._writers: dict[str, SummaryWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._writers):
            self._end(name)

    def note(self, event: RunEvent) -> None:
        """Write down what happened, if there is a point for a curve in it.

        Raises:
            RunFolderError: If that fails.
        """
        if isinstance(event, Trained):
            self._end(event.job)
        elif isinstance(event, Progressed) and event.progress.loss is not None:
            try:
                self._add(event.job, event.progress)
            except OSError as error:
                raise RunFolderError(files.unwritable(self._folders[event.job], error)) from error

    def _add(self, name: str, progress: Progress) -> None:
        writer = self._writers.get(name) or self._begin(name, progress.step)
        if progress.ended is None and not progress.saved:
            writer.add_scalar("loss/step", progress.loss, progress.step)
        elif progress.ended is not None:
            for tag, value in curves_of(progress.ended, self._measure, self._labels[name]):
                writer.add_scalar(tag, value, progress.step)
            writer.flush()

    def _begin(self, name: str, step: int) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folders[name]
        files.make_folder(folder, self._root)
        # Of a run that was killed, what lies behind the step it goes on from is no more.
        writer = SummaryWriter(str(folder), purge_step=step)
        self._writers[name] = writer
        return writer

    def _end(self, name: str) -> None:
        if writer := self._writers.pop(name, None):
            writer.close()


def curves_of(epoch: Epoch, measure: Measure, labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield name and value of every curve at the end of an epoch; scores as tables show them.

    Args:
        epoch: The epoch.
        measure: What its scores are.
        labels: Of the architectures that were scored; where they are few, each has a curve.
    """
    yield "loss/epoch", epoch.loss
    unit = f" ({measure.unit})" if measure.unit else ""
    heading = f"validation {measure.name}{unit}"
    sound = [measure.shown(score) for score in epoch.validation if not math.isnan(score)]
    if sound:
        yield f"{heading}/mean", sum(sound) / len(sound)
    if len(sound) > 1:
        yield f"{heading}/lowest", min(sound)
        yield f"{heading}/highest", max(sound)
    if 1 < len(labels) <= _CURVES:
        for label, score in zip(labels, epoch.validation, strict=True):
            yield f"each {heading}/{label}", measure.shown(score)
