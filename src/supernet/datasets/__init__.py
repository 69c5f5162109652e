"""Images and labels in memory, split for the experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from supernet.datasets.arrays import read_npz
from supernet.datasets.augmentations import Augmentation
from supernet.datasets.cifar import read_cifar
from supernet.datasets.folders import read_image_folder
from supernet.datasets.idx import IdxData, read_idx_folder
from supernet.datasets.kinds import find_kind
from supernet.datasets.loaders import wrap_datasets as wrap_datasets
from supernet.datasets.mnist import load_packaged_mnist
from supernet.datasets.raw import Bytes, Labelled, RawData, divide, name_of
from supernet.errors import DataError


@dataclass(frozen=True)
class Split:
    """Images of one purpose, kept as bytes and normalised batch by batch.

    Attributes:
        images: uint8, images x channels x height x width.
        labels: int64, one class number per image.
        mean: What to subtract from a pixel scaled to 0..1, channel by channel.
        std: What to divide it by then.
        augmentation: What happens to images in `shuffled`, and only there.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation | None = None

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
        """Yield full batches, augmented if the split says so.

        The order, and what happens to each image, are functions of seed and epoch alone.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(self), generator=generator)
        # Drawn for the whole epoch, and after the order: so what happens to an image doesn't depend
        # on the batch size, nor the order on what happens.
        change = self.augmentation
        drawn = change.draw(self.images.shape, generator) if change else order
        for start in range(0, len(self) - batch_size + 1, batch_size):
            part = slice(start, start + batch_size)
            x = self._normalised(self.images[order[part]])
            yield change.apply(x, drawn[part]) if change else x, self.labels[order[part]]

    def _normalised(self, images: Tensor) -> Tensor:
        x = images.float().div_(255)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            x[:, channel].sub_(mean).div_(std)
        return x


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

    def augmented(self, *, crop: int = 0, flip: bool = False, cutout: int = 0) -> ImageData:
        """Return the same task with training images that change at random in every epoch.

        Only what training goes through changes; statistics of batch norms, validation and test
        always see the images as they are.

        Args:
            crop: Pad each side by so many pixels and cut the image's size out again, anywhere.
            flip: Mirror, left to right, in half of the cases. Not for digits or letters.
            cutout: Blank a square of so many pixels' width, anywhere (arXiv:1708.04552).

        Raises:
            SettingsError: If `crop` or `cutout` is below 0, or not below height and width.
        """
        augmentation = Augmentation(crop=crop, flip=flip, cutout=cutout)
        augmentation.check(*self.shape[1:])
        return replace(self, train=replace(self.train, augmentation=augmentation))


def load_mnist(*, validation: int = 5000) -> ImageData:
    """Return MNIST, from the package: 55,000 training, 5,000 validation, 10,000 test images.

    Raises:
        DataError: If the files in the package are damaged.
    """
    return _divided(_as_raw("MNIST", load_packaged_mnist()), validation)


def load_idx(folder: Path, *, validation: int | None = None) -> ImageData:
    """Return the data of a folder with four IDX files named as MNIST's, packed or not.

    Args:
        folder: Where they are.
        validation: How many training images to set aside; by default one in twelve, at most 5,000,
            which for a folder of MNIST's size are the same as MNIST's.

    Raises:
        DataError: If a file is missing, damaged or does not fit the others.
    """
    return _divided(_as_raw(name_of(folder.resolve()), read_idx_folder(folder)), validation)


def load_folder(path: str | Path, *, validation: int | None = None) -> ImageData:
    """Return the data at `path`, of whichever kind they are.

    * Four IDX files named as MNIST's, packed or not; see `supernet.datasets.idx`.
    * The binary version of CIFAR-10 or CIFAR-100; see `supernet.datasets.cifar`.
    * A `.npz` file, or a folder with just one; see `supernet.datasets.arrays`.
    * One subfolder of pictures per class, or `train` and `test` with such subfolders; see
      `supernet.datasets.folders`.

    Args:
        path: The folder, or the `.npz` file.
        validation: How many training images to set aside; by default one in twelve, at most 5,000,
            or, where there are validation images already, those.

    Raises:
        DataError: If nothing of these kinds is there, or more than one, or it is damaged, too
            large for memory, or does not fit together.
    """
    path = Path(path).absolute()
    return _divided(_read(path), validation)


def _read(path: Path) -> RawData:
    kind = find_kind(path)
    if kind == "idx":
        return _as_raw(name_of(path.resolve()), read_idx_folder(path))
    if kind == "cifar":
        return read_cifar(path)
    if kind == "pictures":
        return read_image_folder(path)
    return read_npz(path if kind == "npz" else next(path.glob("*.npz")))


def _as_raw(name: str, data: IdxData) -> RawData:
    return RawData(
        name,
        Labelled(data.train_images[:, None], data.train_labels.astype(np.int64)),
        Labelled(data.test_images[:, None], data.test_labels.astype(np.int64)),
        data.classes,
        dict(data.sha256),
    )


def _divided(data: RawData, validation: int | None) -> ImageData:
    train, held = data.train, data.validation
    if held is None:
        kept, aside = divide(len(train.labels), validation)
        held = Labelled(train.images[aside], train.labels[aside])
        train = Labelled(train.images[kept], train.labels[kept])
    elif validation is not None:
        raise DataError(
            f"{validation} training images were to be set aside for validation, but {data.name} "
            f"has {len(held.labels)} validation images of its own; leave that out"
        )
    channels = [_pixel_statistics(train.images[:, c]) for c in range(train.images.shape[1])]

    def split(part: Labelled) -> Split:
        return Split(
            torch.from_numpy(np.ascontiguousarray(part.images)),
            torch.from_numpy(part.labels),
            mean=tuple(mean for mean, _ in channels),
            std=tuple(std or 1.0 for _, std in channels),
        )

    return ImageData(
        name=data.name,
        classes=data.classes,
        train=split(train),
        validation=split(held),
        test=split(data.test),
        sha256=data.sha256,
    )


def _pixel_statistics(images: Bytes) -> tuple[float, float]:
    """Return mean and standard deviation of pixels scaled to 0..1, from exact integer sums."""
    total = squares = 0
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.uint32)
        total += int(part.sum(dtype=np.uint64))
        squares += int((part**2).sum(dtype=np.uint64))
    mean = total / images.size
    return mean / 255, (squares / images.size - mean**2) ** 0.5 / 255
