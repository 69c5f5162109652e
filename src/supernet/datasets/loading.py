"""Loading of data files, split for the experiment."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from supernet.datasets.arrays import read_npz
from supernet.datasets.cifar import read_cifar
from supernet.datasets.folders import Scaling, read_image_folder
from supernet.datasets.idx import read_idx_folder
from supernet.datasets.image_data import DataSplit, ImageData
from supernet.datasets.kinds import find_kind
from supernet.datasets.mnist import SHA256, load_packaged_mnist
from supernet.datasets.raw import Bytes, Labeled, RawData
from supernet.datasets.splits import (
    default_aside,
    describe_missing,
    divide,
    divide_by_class,
    missing_classes,
    spread,
)
from supernet.errors import DataError, DataWarning
from supernet.text import show


def load_mnist(*, validation: int = 5000) -> ImageData:
    """Return MNIST, from the package: 55,000 training, 5,000 validation, 10,000 test images.

    Which images are set aside for validation was drawn once, regardless of their labels, and is a
    part of the experiment: it stays so, wherever MNIST's files lie.

    Raises:
        DataError: If the files in the package are damaged.
    """
    return _split(load_packaged_mnist(), validation)


def load_idx(folder: Path, *, validation: int | None = None) -> ImageData:
    """Return the data of a folder with four IDX files named as MNIST's, packed or not.

    Args:
        folder: Where they are.
        validation: How many training images to set aside; as in `load_folder`.

    Raises:
        DataError: If a file is missing, damaged or does not fit the others.
    """
    return _split(read_idx_folder(folder), validation)


def load_folder(
    path: str | Path,
    *,
    validation: int | None = None,
    resize: int | None = None,
    resize_by: Literal["crop", "pad"] = "crop",
) -> ImageData:
    """Return the data at `path`, of whichever kind they are.

    * Four IDX files named as MNIST's, packed or not; see `supernet.datasets.idx`.
    * The binary version of CIFAR-10 or CIFAR-100; see `supernet.datasets.cifar`.
    * A `.npz` file, or a folder with just one; see `supernet.datasets.arrays`.
    * One subfolder of pictures per class, or `train` with `test`, `val` or both, with such
      subfolders; see `supernet.datasets.folders`.

    Training and validation images are put into a fixed order of which any beginning holds every
    class, in proportion; see `supernet.datasets.splits`.

    Args:
        path: The folder, or the `.npz` file.
        validation: How many training images to set aside, class by class in proportion; by default
            one in twelve, at least one of each class, at most 5,000; or, where there are validation
            images already, those.
        resize: Scale pictures to so many pixels in height and width, however large they are.
        resize_by: What becomes of a picture that is no square: `crop` cuts off the ends of the
            longer side, `pad` adds black along the shorter one.

    Raises:
        DataError: If nothing of these kinds is there, or more than one, or it is damaged, too
            large for memory, or does not fit together.

    Warns:
        DataWarning: If a class has too few images to be in every split.
    """
    path = Path(path).absolute()
    if resize is not None and not 1 <= resize <= 4096:
        raise DataError(f"resize is {resize}; choose 1 to 4096 pixels")
    return _split(_read(path, None if resize is None else Scaling(resize, resize_by)), validation)


def _read(path: Path, scaling: Scaling | None) -> RawData:
    kind = find_kind(path)
    if kind == "pictures":
        return read_image_folder(path, scaling)
    if scaling:
        raise DataError(f"{show(path)} holds no pictures, which alone are scaled; leave out resize")
    if kind == "idx":
        return read_idx_folder(path)
    if kind == "cifar":
        return read_cifar(path)
    return read_npz(path if kind == "npz" else next(path.glob("*.npz")))


def _split(data: RawData, validation: int | None) -> ImageData:
    train, held = _hold_out(data, validation)
    channels = [_pixel_statistics(train.images[:, c]) for c in range(train.images.shape[1])]

    def split(part: Labeled) -> DataSplit:
        return DataSplit(
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
        class_names=data.class_names,
    )


def _hold_out(data: RawData, validation: int | None) -> tuple[Labeled, Labeled]:
    """Return what to learn from and what to choose by."""
    train, held = data.train, data.validation
    if held is not None:
        if validation is not None:
            raise DataError(
                f"{validation} training images were to be set aside for validation, but "
                f"{data.name} has {len(held.labels)} validation images of its own; leave that out"
            )
        return train.take(spread(train.labels)), held.take(spread(held.labels))
    if set(data.sha256.values()) == set(SHA256.values()):  # MNIST has a split of its own
        total = len(train.labels)
        kept, aside = divide(total, default_aside(total) if validation is None else validation)
    else:
        kept, aside = divide_by_class(train.labels, validation)
    held, train = train.take(aside), train.take(kept)
    if missing := missing_classes(held.labels, data.classes):
        sentence = describe_missing(missing, data.name, len(held.labels))
        warnings.warn(sentence, DataWarning, stacklevel=4)
    return train, held


def _pixel_statistics(images: Bytes) -> tuple[float, float]:
    """Return mean and standard deviation of pixels scaled to 0..1, from exact integer sums."""
    total = squares = 0
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.uint32)
        total += int(part.sum(dtype=np.uint64))
        squares += int((part**2).sum(dtype=np.uint64))
    mean = total / images.size
    return mean / 255, (squares / images.size - mean**2) ** 0.5 / 255
