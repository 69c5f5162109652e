"""Protocols of training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from supernet.evaluation.batches import samples_in
from supernet.evaluation.cost import empty_batch


class TrainingData(Protocol):
    """Samples that can be gone through in an order that depends on seed and epoch.

    Those that give batches of sizes of their own have a method `count_batches(batch_size)` too,
    which says how many they give in an epoch.
    """

    def __len__(self) -> int:
        """How many samples there are."""

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield full batches of inputs and targets; what is left over is left out."""


class Samples(TrainingData, Protocol):
    """Samples that can also be gone through in order."""

    def batches(self, size: int) -> Iterable[tuple[Any, Any]]:
        """Yield inputs and targets in order."""

    def first(self, count: int) -> Samples:
        """Return the first `count` samples."""


class SplitData(Protocol):
    """What a training with scores needs of its data."""

    @property
    def train(self) -> Samples:
        """To learn from."""

    @property
    def validation(self) -> Samples:
        """To follow the training and to rank by."""

    @property
    def test(self) -> Samples | None:
        """To judge by, once; None if there is none."""


class Data(SplitData, Protocol):
    """Images with a test split; see `supernet.datasets.ImageData`."""

    @property
    def test(self) -> Samples:
        """To judge by, once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""


def count_batches(data: TrainingData, batch_size: int) -> int:
    """Return how many batches data give in an epoch."""
    counts = getattr(data, "count_batches", None)
    return int(counts(batch_size)) if counts else len(data) // batch_size


def empty_inputs(data: SplitData, samples: int) -> Any:
    """Return inputs without content (on the `meta` device), to plan and count with."""
    form = form_of_samples(data)
    if form is None:
        form, _ = next(iter(data.train.first(1).batches(1)))
    return empty_batch(form, samples)


def form_of_samples(data: Any) -> Any:
    """Return what one sample of data is, as `empty_batch` takes it; None if they don't say.

    Args:
        data: With an `example`, a batch of inputs of any form; or else with a `shape`.
    """
    example = getattr(data, "example", None)
    return getattr(data, "shape", None) if example is None else example


def draw_example(data: TrainingData, batch_size: int, seed: int) -> Any:
    """Return inputs such as the first step gets, without content."""
    x, _ = next(iter(data.shuffled(batch_size, seed=seed, epoch=1)))
    return empty_batch(x, samples_in(x))
