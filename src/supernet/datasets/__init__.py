"""Images and labels in memory, split for the experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.datasets.idx import IdxData, read_idx_folder
from supernet.datasets.mnist import load_packaged_mnist
from supernet.errors import DataError

#: Of the permutation that divides training images into train and validation. Never change it:
#: results would no longer be comparable.
_SPLIT_SEED = 1904


@dataclass(frozen=True)
class Split:
    """Images of one purpose, kept as bytes and normalised batch by batch.

    Attributes:
        images: uint8, images x channels x height x width.
        labels: int64, one class number per image.
        mean: What to subtract from a pixel scaled to 0..1.
        std: What to divide it by then.
    """

    images: Tensor
    labels: Tensor
    mean: float
    std: float

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """Return the first `count` images.

        Raises:
            DataError: If there are not that many, or `count` is below one.
        """
        if not 1 <= count <= len(self):
            raise DataError(f"{count} images were asked for; there are 1 to {len(self)} to have")
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in order, `size` at a time, the last batch being what is left."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self._normalised(self.images[part]), self.labels[part]

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, without labels."""
        return (x for x, _ in self.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches in an order that is a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, len(self) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield self._normalised(self.images[chosen]), self.labels[chosen]

    def _normalised(self, images: Tensor) -> Tensor:
        return images.float().div_(255).sub_(self.mean).div_(self.std)


@dataclass(frozen=True)
class ImageData:
    """A classification task: train to learn from, validation to choose by, test to judge once."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    sha256: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def limit(self, *, train: int | None = None, validation: int | None = None) -> ImageData:
        """Return the same task with the first so many images of a split only.

        Raises:
            DataError: If there are not that many.
        """
        return replace(
            self,
            train=self.train if train is None else self.train.first(train),
            validation=self.validation if validation is None else self.validation.first(validation),
        )


def load_mnist(*, validation: int = 5000) -> ImageData:
    """Return MNIST, from the package: 55,000 training, 5,000 validation, 10,000 test images.

    Raises:
        DataError: If the files in the package are damaged.
    """
    return _divide("MNIST", load_packaged_mnist(), validation)


def load_idx(folder: Path, *, validation: int | None = None) -> ImageData:
    """Return the data of a folder with four IDX files named as MNIST's, packed or not.

    Args:
        folder: Where they are.
        validation: How many training images to set aside; by default one in twelve, at most 5,000,
            which for a folder of MNIST's size are the same as MNIST's.

    Raises:
        DataError: If a file is missing, damaged or does not fit the others.
    """
    data = read_idx_folder(folder)
    aside = min(5000, max(1, len(data.train_labels) // 12)) if validation is None else validation
    return _divide(folder.resolve().name, data, aside)


def _divide(name: str, data: IdxData, validation: int) -> ImageData:
    total = len(data.train_labels)
    if not 1 <= validation < total:
        raise DataError(
            f"{validation} of {total} training images can't be set aside for validation; "
            f"choose 1 to {total - 1}"
        )
    order = np.random.Generator(np.random.PCG64(_SPLIT_SEED)).random(total).argsort(kind="stable")
    train = order[: total - validation]
    mean, std = _pixel_statistics(data.train_images[train])

    def split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
        return Split(
            torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1),
            torch.from_numpy(labels.astype(np.int64)),
            mean,
            std or 1.0,
        )

    held = order[total - validation :]
    return ImageData(
        name=name,
        classes=data.classes,
        train=split(data.train_images[train], data.train_labels[train]),
        validation=split(data.train_images[held], data.train_labels[held]),
        test=split(data.test_images, data.test_labels),
        sha256=dict(data.sha256),
    )


def _pixel_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of pixels scaled to 0..1, from exact integer sums."""
    total = squares = 0
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.uint32)
        total += int(part.sum(dtype=np.uint64))
        squares += int((part**2).sum(dtype=np.uint64))
    mean = total / images.size
    return mean / 255, (squares / images.size - mean**2) ** 0.5 / 255
