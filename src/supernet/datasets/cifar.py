"""Reader of binary CIFAR-10 and CIFAR-100: records of label bytes and 3,072 pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from supernet.datasets.raw import Labeled, RawData, check_arrays, check_fits, opened
from supernet.errors import DataError
from supernet.reading import read_up_to
from supernet.text import show

_SHAPE: Final = (3, 32, 32)
_PIXELS: Final = 3 * 32 * 32


@dataclass(frozen=True, slots=True)
class Layout:
    """Which files there are, how many images each holds, and what a record begins with."""

    name: str
    train: tuple[str, ...]
    test: str
    train_images: int
    test_images: int
    label_bytes: int
    classes: int

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.train, self.test)


LAYOUTS: Final = (
    Layout(
        name="CIFAR-10",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
        train_images=10_000,
        test_images=10_000,
        label_bytes=1,
        classes=10,
    ),
    Layout(
        name="CIFAR-100",
        train=("train.bin",),
        test="test.bin",
        train_images=50_000,
        test_images=10_000,
        label_bytes=2,  # one of 20 coarse classes, which we don't use, and one of 100 fine ones
        classes=100,
    ),
)


def read_cifar(folder: Path) -> RawData:
    """Read a folder of CIFAR-10 or CIFAR-100, in the binary version.

    CIFAR-10 is `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`; CIFAR-100, with its
    100 fine classes, `train.bin` and `test.bin`. Every file must have exactly the published number
    of images, so one that was cut short is never taken for a whole one. The Python version is
    pickles, which could run code; it isn't read.

    Args:
        folder: Where the files lie.

    Raises:
        DataError: If a file is missing, unreadable, too short or too long, or a label is none of
            the classes. The message says which, where, and what to do.
    """
    folder = folder.absolute()
    layout = _find(folder)
    images = len(layout.train) * layout.train_images + layout.test_images
    check_fits(folder, images, _PIXELS)
    sha256: dict[str, str] = {}
    read = {name: _read(folder / name, layout, sha256) for name in layout.files}
    train = Labeled(
        np.concatenate([read[name].images for name in layout.train]),
        np.concatenate([read[name].labels for name in layout.train]),
    )
    named = {name: (str(folder / name),) * 2 for name in layout.files}
    learned = {named[name]: read[name] for name in layout.train}
    check_arrays(learned, {named[layout.test]: read[layout.test]}, layout.classes)
    return RawData(layout.name, train, read[layout.test], layout.classes, sha256)


def _find(folder: Path) -> Layout:
    """Return the layout of which the most is there; it must be all."""
    missing = {
        layout: [name for name in layout.files if not (folder / name).exists()]
        for layout in LAYOUTS
    }
    layout = min(LAYOUTS, key=lambda layout: len(missing[layout]) / len(layout.files))
    if missing[layout]:
        raise DataError(
            f"{show(folder)} holds no file {', '.join(missing[layout])}; put all of "
            f"{', '.join(layout.files)} there, from the binary version of {layout.name}"
        )
    return layout


def _read(file: Path, layout: Layout, sha256: dict[str, str]) -> Labeled:
    """Return the images and labels of one file, and note its SHA-256."""
    images = layout.test_images if file.name == layout.test else layout.train_images
    record = layout.label_bytes + _PIXELS
    with opened(file) as stream:
        data = read_up_to(stream, images * record + 1)  # one more: is there something behind it?
    if len(data) != images * record:
        raise DataError(
            f"{show(file)} must have {images * record} bytes, {images} images of {record}, but "
            f"{'has more' if len(data) > images * record else f'has only {len(data)}'}; it is "
            "damaged or of another kind: fetch it again"
        )
    sha256[file.name] = hashlib.sha256(data).hexdigest()
    records = np.frombuffer(data, np.uint8).reshape(images, record)
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    return Labeled(records[:, layout.label_bytes :].reshape(images, *_SHAPE), labels)
