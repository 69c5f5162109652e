"""Conversion of users' data: datasets and loaders, for training, validation and the test.

Nothing is assumed of inputs and targets, but that they are tensors, or tuples, lists and dicts of
them, with one entry per sample. `supernet.datasets.wrap_datasets` is the stricter way for labeled
images: it looks at every one, and records what a run was computed from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from supernet.datasets.image_data import table_of
from supernet.datasets.loaders import Drawing
from supernet.datasets.splits import default_aside, divide, divide_by_class
from supernet.errors import DataError
from supernet.evaluation.batches import samples_in
from supernet.sharing.structure import replace as replace_in
from supernet.tasks import describe
from supernet.training.data import Samples, SplitData

_SEEDS: Final = 2**62

_FORMS: Final = (
    "give data such as load_folder returns, or (train, validation, test), each a Dataset or a "
    "DataLoader of inputs and targets; validation may be None, to be set aside from train, and so "
    "may test"
)


@final
@dataclass(frozen=True, repr=False)
class SampleData:
    """Training, validation and test samples of somebody's own."""

    train: Samples
    validation: Samples
    test: Samples | None

    def __repr__(self) -> str:
        counts = [f"{len(self.train):,} to learn from", f"{len(self.validation):,} to choose by"]
        counts += [f"{len(self.test):,} to judge by"] if self.test is not None else []
        return f"SampleData({', '.join(counts)})"

    def _repr_html_(self) -> str:
        """Return a table of the splits, for notebooks."""
        return table_of(self)


def as_data(source: Any) -> SplitData:
    """Return data that can be trained on.

    Args:
        source: Data already; or `(train, validation, test)`, each a `Dataset` with length and
            indices, a `DataLoader`, or a pair of tensors. Without validation data, one in twelve of
            a training `Dataset` is set aside, by class where labels are at hand (`targets`, or a
            `TensorDataset`). Without test data nothing is scored on any.

    Raises:
        DataError: If it is something else, with what to give.
    """
    if hasattr(source, "train") and hasattr(source, "validation"):
        found: SplitData = source
        return found
    if not isinstance(source, tuple | list):
        raise DataError(f"data are a {type(source).__name__}; {_FORMS}")
    if not 2 <= len(source) <= 3:
        raise DataError(f"data are {len(source)} parts; {_FORMS}")
    train, validation, test = (*source, None)[:3]
    learn = _as_samples(train, "train")
    if validation is not None:
        held = _as_samples(validation, "validation")
    elif isinstance(learn, DatasetSamples):
        kept, aside = map(torch.from_numpy, _divided(learn.source))
        learn, held = replace(learn, positions=kept), replace(learn, positions=aside)
    else:
        raise DataError(
            "a training DataLoader can't be divided; give validation data too, or the Dataset "
            "instead of its loader"
        )
    return SampleData(learn, held, None if test is None else _as_samples(test, "test"))


def _as_samples(source: Any, what: str) -> DatasetSamples | LoaderSamples:
    if isinstance(source, tuple | list) and len(source) == 2:
        tensors = [torch.as_tensor(part) for part in source if not isinstance(part, tuple | list)]
        if len(tensors) != 2 or len(tensors[0]) != len(tensors[1]):
            raise DataError(
                f"{what} is {describe(source)}; a pair must be inputs and as many targets, as "
                "tensors"
            )
        source = TensorDataset(*tensors)
    if isinstance(source, DataLoader):
        return LoaderSamples(what, source, _length_of(source, what))
    if isinstance(source, IterableDataset):
        raise DataError(
            f"{what} is an IterableDataset, which has no order to choose; give a DataLoader over it"
        )
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise DataError(f"{what} is a {type(source).__name__}; {_FORMS}")
    if not len(source):
        raise DataError(f"{what} holds no samples; give at least one")
    return DatasetSamples(what, source, torch.arange(len(source)))


@final
@dataclass(frozen=True)
class DatasetSamples:
    """Samples of a dataset that can be asked for any, read in this process as their turn comes.

    What a dataset draws from torch's global generator, as torchvision's transformations do, is a
    function of seed, epoch and batch in training, and of the batch elsewhere.
    """

    what: str
    source: Dataset[Any]
    positions: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def first(self, count: int) -> DatasetSamples:
        """Return the first `count` samples.

        Raises:
            DataError: If there are not that many, or `count` is below one.
        """
        _check_count(count, len(self))
        return replace(self, positions=self.positions[:count])

    def batches(self, size: int) -> Iterator[tuple[Any, Any]]:
        """Yield inputs and targets of all samples in order, `size` at a time."""
        for positions in self.positions.split(size):
            yield self._batch(positions, seed=int(positions[0]))

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield full batches; order and random changes are functions of seed and epoch."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = self.positions[torch.randperm(len(self), generator=generator)]
        for start in range(0, len(self) - batch_size + 1, batch_size):
            seed = int(torch.randint(_SEEDS, (), generator=generator))
            yield self._batch(order[start : start + batch_size], seed)

    def _batch(self, positions: Tensor, seed: int) -> tuple[Any, Any]:
        if type(self.source) is TensorDataset and len(self.source.tensors) == 2:
            x, y = self.source.tensors
            return x[positions], y[positions]  # what follows would give, at once
        # Not for each item: to set the generator takes longer than to read many a sample.
        with Drawing(seed):
            items = [self._item(position) for position in positions.tolist()]
        where = f"{self.what}[{positions[0]}]"
        try:
            batch = default_collate(items)
        except (RuntimeError, TypeError, KeyError) as error:
            raise DataError(
                f"samples of {self.what} can't be put into one batch, from {where} on: "
                f"{str(error).splitlines()[0]}; make them alike, or give a DataLoader with a "
                "collate_fn"
            ) from error
        return _pair(batch, where)

    def _item(self, position: int) -> Any:
        try:
            return self.source[position]
        except Exception as error:  # whatever a user's data set raises
            raise DataError(
                f"{self.what}[{position}] can't be read: {type(error).__name__}: {error}"
            ) from error


@final
@dataclass(frozen=True)
class LoaderSamples:
    """Samples of somebody's own loader: its batches, its workers, its collation, its sampler.

    It is gone through as it is, so random changes that a training loader makes are in the samples
    that statistics are taken from too. While it begins, and while it gives a batch, torch's global
    generator is in a state that depends on seed and epoch, and so is the loader's own.

    Attributes:
        what: The name of the split in messages.
        loader: The loader.
        count: How many of its samples are used.
    """

    what: str
    loader: DataLoader[Any]
    count: int

    def __len__(self) -> int:
        return self.count

    def count_batches(self, batch_size: int) -> int:
        """Return how many batches the loader gives; `batch_size` is not used."""
        return len(self.loader)

    def first(self, count: int) -> LoaderSamples:
        """Return the first `count` samples, in the order of a pass that is always the same.

        Raises:
            DataError: If there are not that many, or `count` is below one.
        """
        _check_count(count, len(self))
        return replace(self, count=count)

    def batches(self, size: int) -> Iterator[tuple[Any, Any]]:
        """Yield inputs and targets as the loader gives them, the last cut; `size` isn't used."""
        left = self.count
        for x, y in self._pass(seed=0):
            samples = samples_in(x)
            if samples > left:
                x, y = (replace_in(part, Tensor, lambda t: t[:left]) for part in (x, y))  # noqa: B023 - run at once
            yield x, y
            left -= samples
            if left <= 0:
                return

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield all batches of the loader, an incomplete last one too."""
        return self._pass(seed * 1_000_003 + epoch)

    def _pass(self, seed: int) -> Iterator[tuple[Any, Any]]:
        own = self.loader.generator
        before = None if own is None else own.get_state()
        try:
            if own is not None:
                own.manual_seed(seed)
            with Drawing(seed):
                batches = iter(self.loader)
            for number in itertools.count():
                with Drawing(seed + (number << 32)):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield _pair(batch, f"batch {number} of {self.what}")
        finally:
            if own is not None and before is not None:
                own.set_state(before)


def _pair(batch: Any, where: str) -> tuple[Any, Any]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise DataError(
            f"{where} is {describe(batch)}; it must be a pair of inputs and targets, either of "
            "which may be a tuple or a dict of tensors"
        )
    x, y = batch
    # A collating function makes lists of tuples; several inputs are a tuple.
    return tuple(x) if isinstance(x, list) else x, y


def _length_of(loader: DataLoader[Any], what: str) -> int:
    """Return how many samples a loader gives in a pass.

    Raises:
        DataError: If nobody can tell, or it gives none.
    """
    try:
        batches = len(loader)
    except TypeError:
        raise DataError(
            f"the length of the {what} loader isn't known, so there is no telling where an epoch "
            "ends; give its dataset a __len__"
        ) from None
    if not batches:
        raise DataError(f"the {what} loader gives no batches; give at least one")
    sampler: Any = loader.sampler
    if loader.batch_size is None or not hasattr(sampler, "__len__"):
        dataset: Any = loader.dataset
        return len(dataset) if hasattr(dataset, "__len__") else batches * (loader.batch_size or 1)
    return batches * loader.batch_size if loader.drop_last else len(sampler)


def _divided(source: Dataset[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    count = len(source)  # type: ignore[arg-type]  # the check is in _as_samples
    labels = _labels_of(source)
    if labels is not None and len(labels) == count:
        return divide_by_class(labels)
    return divide(count, default_aside(count))


def _labels_of(source: Dataset[Any]) -> np.ndarray[Any, Any] | None:
    """Return the class numbers of a dataset, if it has them at hand."""
    given: Any = getattr(source, "targets", None)
    if isinstance(source, TensorDataset) and len(source.tensors) == 2:
        given = source.tensors[1]
    if given is None or not isinstance(given, Tensor | Sequence | np.ndarray):
        return None
    labels = np.asarray(given)
    return labels.astype(np.int64) if labels.ndim == 1 and labels.dtype.kind in "iu" else None


def _check_count(count: int, there: int) -> None:
    if not 1 <= count <= there:
        raise DataError(f"{count} samples were asked for; there are 1 to {there} to have")
