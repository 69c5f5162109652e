"""Images from a user's own `Dataset` or `DataLoader`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from supernet.datasets.raw import Numbers, check_classes, check_labels
from supernet.datasets.splits import (
    default_aside,
    describe_missing,
    divide,
    divide_by_class,
    missing_classes,
)
from supernet.errors import DataError, DataWarning
from supernet.reading import find_memory
from supernet.text import show

Source = Dataset[Any] | DataLoader[Any]

#: How many images are read twice, to see whether they come out the same.
_PROBES: Final = 8
_SEEDS: Final = 2**62


@dataclass(frozen=True)
class WrappedSplit:
    """Images of one purpose, each read when its turn comes.

    Attributes:
        what: The name of the split in messages.
        source: The dataset, with the random changes that training wants, if any.
        plain: The same images without them.
        positions: Which images of these, in which order, (N,).
        shape: Of one image: channels, height, width.
        classes: How many there are; None while that isn't known.
    """

    what: str
    source: Dataset[Any]
    plain: Dataset[Any]
    positions: Tensor
    shape: tuple[int, int, int]
    classes: int | None

    def __len__(self) -> int:
        return len(self.positions)

    def first(self, count: int) -> WrappedSplit:
        """Return the first `count` images.

        Raises:
            DataError: If there are not that many, or `count` is below one.
        """
        if not 1 <= count <= len(self):
            raise DataError(f"{count} images were asked for; there are 1 to {len(self)} to have")
        return replace(self, positions=self.positions[:count])

    def items(self) -> Iterator[tuple[Tensor, int]]:
        """Yield all images in order, as they are, each with its label."""
        for position in self.positions.tolist():
            yield self._item(self.plain, position, seed=position)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in order, `size` at a time, the last batch being what is left."""
        for positions in self.positions.split(size):
            yield self._batch(self.plain, positions, seeds=positions)

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, without labels."""
        return (x for x, _ in self.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches; the order is a function of seed and epoch alone.

        So are random changes, as far as the dataset draws them from torch's global generator.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = self.positions[torch.randperm(len(self), generator=generator)]
        seeds = torch.randint(_SEEDS, (len(self),), generator=generator)
        for start in range(0, len(self) - batch_size + 1, batch_size):
            part = slice(start, start + batch_size)
            yield self._batch(self.source, order[part], seeds[part])

    def _batch(
        self, source: Dataset[Any], positions: Tensor, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        pairs = zip(positions.tolist(), seeds.tolist(), strict=True)
        items = [self._item(source, position, seed) for position, seed in pairs]
        return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items])

    def _item(self, source: Dataset[Any], position: int, seed: int) -> tuple[Tensor, int]:
        """Return one image and its label, if they are what they should be."""
        where = f"{self.what}[{position}]"
        x, y = _checked_item(_draw_item(source, position, seed), where)
        if x.shape != self.shape:
            raise DataError(
                f"{where} has an image of shape {tuple(x.shape)}, and the first training image has "
                f"{self.shape}; let the dataset scale or crop all to one size"
            )
        if self.classes is not None and not 0 <= y < self.classes:
            raise DataError(
                f"{where} has the label {y}, but with {self.classes} classes they run from 0 to "
                f"{self.classes - 1}; give the right number of classes, or other labels"
            )
        return x, y


@dataclass(frozen=True)
class WrappedData:
    """A classification task whose images somebody's own datasets read."""

    name: str
    classes: int
    shape: tuple[int, int, int]
    train: WrappedSplit
    validation: WrappedSplit
    test: WrappedSplit
    sha256: Mapping[str, str]


def wrap_datasets(
    train: Source,
    test: Source,
    validation: Source | int | None = None,
    *,
    name: str,
    classes: int | None = None,
    plain: Source | None = None,
    look: bool = True,
) -> WrappedData:
    """Make a task of datasets or loaders of your own.

    An item is an image, float32, (C, H, W), normalized as you like, and its label, a whole number
    from 0 on. What is used of what you give:

    * A dataset with `len` and indices: its items, read in this process when their turn comes, in
      an order of ours, which is a function of seed and epoch.
    * A `DataLoader` over one, with the usual collation and in order or shuffled: its dataset,
      likewise. Its batch size, shuffling and workers are not used.
    * Any other `DataLoader`, and an `IterableDataset`: these can't be asked for an order. They are
      gone through once, now, and what came is kept in memory and then treated as a dataset. So
      random changes that they make are made once, not again in every epoch.

    Random changes in a dataset are functions of seed and epoch too if it draws them from torch's
    global generator, as torchvision's transformations do: while an item is read, that generator
    is in a state of ours, and then in its own again. Changes drawn from elsewhere would make a run
    that nobody can repeat. A few items are read several times to find them; rare ones may pass.

    Args:
        train: To learn from.
        test: To judge by, once. No random changes.
        validation: To choose by, no random changes; or how many training images to set aside for
            it, by default one in twelve, at most 5,000, by the same rule as for all data; class by
            class in proportion, if there is a look.
        name: What to call the data.
        classes: How many there are; by default one more than the largest training label.
        plain: The training images without random changes, if `train` makes any, in the same order:
            for the statistics of batch norms, and the validation images set aside.
        look: Whether to read every image once now, to check it and its label and to record the
            SHA-256 of each split. If not, `classes` must be given; a wrong item is then found when
            its turn comes, and results say nothing about what they were computed from.

    Raises:
        DataError: If an item is not what it should be, items can't be read the same way twice,
            there are too few, or more than memory holds of what must be kept there.
    """
    if classes is None and not look:
        raise DataError("the number of classes is not known without a look; give classes=")
    learn = _split(
        "train",
        _as_map(train, "train"),
        None if plain is None else _as_map(plain, "plain"),
    )
    _check_same_images(learn)
    own = (
        None
        if validation is None or isinstance(validation, int)
        else _split("validation", _as_map(validation, "validation"))
    )
    judge = _split("test", _as_map(test, "test"))
    seen: dict[str, _Seen] = {}
    if look:
        wholes = [learn, judge] if own is None else [learn, own, judge]
        seen = {s.what: _look(replace(s, shape=learn.shape, classes=classes)) for s in wholes}
        classes = _count_classes(seen, classes)
    assert classes is not None
    if own is None:
        labels = seen["train"].labels if look else None
        kept, aside = _divide(len(learn), labels, cast(int | None, validation))
        held = replace(learn, source=learn.plain, positions=aside)
        learn = replace(learn, positions=kept)
    else:
        held = own
    splits = {"train": learn, "validation": held, "test": judge}
    if look and (missing := missing_classes(seen[held.what].at(held.positions), classes)):
        warnings.warn(describe_missing(missing, name, len(held)), DataWarning, stacklevel=2)
    learn, held, judge = (
        replace(split, shape=learn.shape, classes=classes) for split in splits.values()
    )
    sha256 = {key: seen[s.what].sha256(s.positions) for key, s in splits.items()} if look else {}
    return WrappedData(show(name, 100), classes, learn.shape, learn, held, judge, sha256)


def _count_classes(seen: Mapping[str, _Seen], classes: int | None) -> int:
    """Return how many classes there are, if all labels are of them and all are learned."""
    learned = seen["train"].labels
    classes = max(int(learned.max()) + 1, 1) if classes is None else classes
    check_labels("train", learned, classes)
    check_classes("train", learned, classes)
    for where, those in seen.items():
        check_labels(where, those.labels, classes)
    return classes


def _divide(total: int, labels: Numbers | None, aside: int | None) -> tuple[Tensor, Tensor]:
    """Divide training images by class, or, where nobody looked at them, without."""
    if labels is None:
        kept, held = divide(total, default_aside(total) if aside is None else aside)
    else:
        kept, held = divide_by_class(labels, aside)
    return torch.from_numpy(kept), torch.from_numpy(held)


def _as_map(source: Source, what: str) -> Dataset[Any]:
    """Return a dataset that has a length and can be asked for any item."""
    if isinstance(source, DataLoader):
        if not _is_usual(source):
            return _keep(source, what)
        source = source.dataset
    if isinstance(source, IterableDataset):
        return _keep(DataLoader(source, batch_size=None), what)
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise DataError(
            f"{what} is a {type(source).__name__}; give a torch Dataset with len and indices, or a "
            "DataLoader"
        )
    if len(source) < 1:
        raise DataError(f"{what} holds no images; give at least one")
    return source


def _is_usual(loader: DataLoader[Any]) -> bool:
    """Return whether a loader only goes through all of a dataset, in order or shuffled."""
    sampler = loader.sampler
    return (
        not isinstance(loader.dataset, IterableDataset)
        and loader.collate_fn is default_collate
        and loader.batch_size is not None  # else items are its batches, or it got a batch_sampler
        and (
            type(sampler) is SequentialSampler
            or (
                type(sampler) is RandomSampler
                and not sampler.replacement
                and len(sampler) == len(sampler.data_source)
            )
        )
    )


def _keep(loader: DataLoader[Any], what: str) -> Dataset[Any]:
    """Go through a loader once, and keep what it gives in memory, as long as that suffices."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    size, most = 0, find_memory()
    with Drawing(0):
        batches = iter(loader)
    while (batch := _next(batches, seed=len(images))) is not None:
        where = f"batch {len(images)} of {what}"
        if not (isinstance(batch, list | tuple) and len(batch) == 2):
            raise DataError(f"{where} is not a pair of images and labels; let the loader give that")
        x, y = torch.as_tensor(batch[0]), torch.as_tensor(batch[1])
        if x.ndim == 3 and y.ndim == 0:  # of a loader that makes no batches
            x, y = x[None], y[None]
        alike = not images or x.shape[1:] == images[0].shape[1:]
        if x.ndim != 4 or y.shape != x.shape[:1] or not alike:
            raise DataError(
                f"{where} has images of shape {tuple(x.shape)} and labels of shape "
                f"{tuple(y.shape)}; they must be (N, C, H, W), all of one size, and (N,)"
            )
        if x.dtype != torch.float32 or y.dtype not in _WHOLE:
            raise DataError(f"{where} holds {x.dtype} and {y.dtype}; {_RIGHT_KIND}")
        _check_finite(x, where)
        size += x.nbytes
        if 2 * size > most:
            raise DataError(
                f"{what} can't be read in any order, so it must be kept in memory, and has given "
                f"{size / 2**30:.1f} GiB of the {most / 2**30:.1f} GiB there are, with no end; "
                "give a Dataset with len and indices"
            )
        images.append(x)
        labels.append(y)
    if not images:
        raise DataError(f"{what} gave no images; a loader must give at least one batch")
    return TensorDataset(torch.cat(images), torch.cat(labels))


def _next(batches: Iterator[Any], seed: int) -> Any:
    with Drawing(seed):
        return next(batches, None)


_WHOLE: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_RIGHT_KIND: Final = (
    "images must be float32 tensors, normalized, and labels whole numbers: let the dataset convert "
    "them"
)


class Drawing:
    """While entered, torch's global generator is in the state that `seed` gives it."""

    def __init__(self, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()

    def __enter__(self) -> None:
        self.before = torch.get_rng_state()
        torch.set_rng_state(self.state)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.before)


def _draw_item(source: Dataset[Any], position: int, seed: int) -> Any:
    with Drawing(seed):
        return source[position]


def _checked_item(item: Any, where: str) -> tuple[Tensor, int]:
    """Return an item as image and label, if it is a pair of them."""
    if not (isinstance(item, list | tuple) and len(item) == 2):
        raise DataError(f"{where} is a {type(item).__name__}; it must be a pair, (image, label)")
    x, y = item
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"{where} has an image of {kind}; {_RIGHT_KIND}")
    _check_finite(x, where)
    if x.ndim != 3:
        raise DataError(
            f"{where} has an image of shape {tuple(x.shape)}; it must be (channels, height, width)"
        )
    if isinstance(y, Tensor) and y.ndim == 0 and y.dtype in _WHOLE:
        return x, int(y)
    if isinstance(y, int | np.integer) and not isinstance(y, bool):
        return x, int(y)
    kind = f"{y.dtype}, {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
    raise DataError(f"{where} has a label of {kind}; it must be one whole number")


def _check_finite(x: Tensor, where: str) -> None:
    """Refuse pixels that no network can make anything of, by their name."""
    if not bool(torch.isfinite(x).all()):
        nan, inf = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
        raise DataError(
            f"{where} has pixels that aren't finite ({nan:,} NaN, {inf:,} infinite); leave out "
            "that image, or mend how it is read (dividing by a deviation of 0 does this)"
        )


def _split(what: str, source: Dataset[Any], plain: Dataset[Any] | None = None) -> WrappedSplit:
    """Return a split of a whole dataset whose items, as far as can be seen, can be read again."""
    plain = source if plain is None else plain
    count = len(source)  # type: ignore[arg-type]  # the check is in _as_map
    for position in range(min(count, _PROBES)):
        where = f"{what}[{position}]"
        for each in (source, plain):
            once, again = (_checked_item(_draw_item(each, position, 0), where) for _ in range(2))
            if not _same(once, again):
                raise DataError(
                    f"{where} is another one each time it is read, by something that doesn't draw "
                    "from torch's generator, so no run could be repeated; let it draw with torch, "
                    "or take it out"
                )
        if not _same(once, _checked_item(_draw_item(plain, position, 1), where)):
            raise DataError(
                f"{where} changes at random, which only training wants; "
                + (
                    "give plain=, the same images without that"
                    if what == "train"
                    else "take that out"
                )
            )
    shape = tuple(_checked_item(_draw_item(plain, 0, 0), f"{what}[0]")[0].shape)
    channels, height, width = shape
    return WrappedSplit(
        what, source, plain, torch.arange(count), (channels, height, width), classes=None
    )


def _same(one: tuple[Tensor, int], other: tuple[Tensor, int]) -> bool:
    return torch.equal(one[0], other[0]) and one[1] == other[1]


def _check_same_images(train: WrappedSplit) -> None:
    """`plain` has as many images as `train`, with the same labels where we look."""
    counts = len(train), len(train.plain)  # type: ignore[arg-type]  # the check is in _as_map
    if counts[0] != counts[1]:
        raise DataError(
            f"train has {counts[0]} images and plain has {counts[1]}; plain must be the same images"
        )
    for position in range(min(len(train), _PROBES)):
        items = (_draw_item(source, position, 0) for source in (train.source, train.plain))
        labels = [_checked_item(item, f"train[{position}]")[1] for item in items]
        if labels[0] != labels[1]:
            raise DataError(
                f"train[{position}] has the label {labels[0]} and plain[{position}] {labels[1]}; "
                "plain must be the same images in the same order"
            )


@dataclass(frozen=True)
class _Seen:
    """What there was when all of a dataset was looked at: labels, and a digest of each item."""

    labels: Numbers
    digests: list[bytes]

    def at(self, positions: Tensor) -> Numbers:
        """Return some of the labels."""
        found: Numbers = self.labels[positions.numpy()]
        return found

    def sha256(self, positions: Tensor) -> str:
        """Return a digest over some items in their order."""
        digest = hashlib.sha256()
        for position in positions.tolist():
            digest.update(self.digests[position])
        return digest.hexdigest()


def _look(whole: WrappedSplit) -> _Seen:
    """Read, check and digest every item of a dataset, in its own order."""
    labels, digests = [], []
    for x, y in whole.items():
        content = x.cpu().contiguous().numpy().tobytes() + y.to_bytes(8, "little", signed=True)
        digests.append(hashlib.sha256(content).digest())
        labels.append(y)
    return _Seen(np.array(labels, np.int64), digests)
