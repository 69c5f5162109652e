"""Common parts of the readers: what they return, and what they check.

Needs no torch.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from supernet.errors import DataError
from supernet.reading import find_memory, open_regular
from supernet.text import show

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Entry = Path | Traversable
Names = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Labeled:
    """Images, uint8, (N, C, H, W), and one label for each, int64, (N,)."""

    images: Bytes
    labels: Numbers

    def take(self, positions: Numbers) -> Labeled:
        """Return the images at some positions, with their labels."""
        return Labeled(self.images[positions], self.labels[positions])


@dataclass(frozen=True, slots=True, eq=False)
class RawData:
    """What a reader found.

    Labels run from 0 to `classes - 1`. `validation` is None where the files have none of their
    own. `sha256` is of what was read, by name. `class_names` are those of the labels, in order,
    where the files say them.
    """

    name: str
    train: Labeled
    test: Labeled
    classes: int
    sha256: dict[str, str]
    validation: Labeled | None = None
    class_names: tuple[str, ...] | None = None


def name_of(path: Path) -> str:
    """Return what to call the data in a folder or file."""
    return show(path.stem if path.suffix == ".npz" else path.name, 100) or "data"


@contextmanager
def opened(file: Entry, *, packed: bool = False) -> Iterator[BinaryIO]:
    """Open a regular file; whatever goes wrong while it is read is a `DataError`.

    Args:
        file: The file, which may be in a package.
        packed: Whether to unpack it with gzip.
    """
    try:
        raw = open_regular(file) if isinstance(file, Path) else cast(BinaryIO, file.open("rb"))
        with raw:
            if packed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                yield raw
    except EOFError as error:
        raise DataError(f"{show(file)} ends too early for a gzip file; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{show(file)} is not a sound gzip file ({show(error)}); fetch it again, "
            "or drop .gz from its name if it is unpacked already"
        ) from error
    except OSError as error:
        raise unreadable(file, error) from error


def unreadable(path: Entry, error: OSError) -> DataError:
    """Return the error for what the system won't let us read, or what is no file."""
    return DataError(
        f"{show(path)} can't be read ({error.strerror or error}); put a file there that may be read"
    )


def check_fits(where: object, images: int, size: int, labels: int = 8) -> None:
    """Refuse more than memory holds, before anything of it is read.

    Args:
        where: What the images are in.
        images: How many there are.
        size: Of one image, in bytes.
        labels: Of one label as it is stored, in bytes; in memory it has 8.
    """
    needed, there = images * (2 * size + labels + 16), find_memory()
    if needed > there:
        raise DataError(
            f"{show(where)} holds {images} images of {size} bytes, and dividing them takes twice "
            f"that, with labels {needed / 2**30:.1f} GiB, where {there / 2**30:.1f} GiB of memory "
            "are there; use fewer or smaller images, or give supernet.wrap_datasets a Dataset that "
            "reads them one by one"
        )


def check_arrays(
    train: Mapping[Names, Labeled], others: Mapping[Names, Labeled], classes: int | None = None
) -> int:
    """Check that what a reader found is a task: the same for all readers.

    Every image has a label; all images have one size; every label is one of the classes, of which
    there are two at least; and every class has a training image.

    Args:
        train: Training images, by the names of what holds images and labels, for messages.
        others: Test and validation images, likewise.
        classes: How many classes there are; by default one more than the largest training label.

    Returns:
        The number of classes.

    Raises:
        DataError: If it isn't so; says which, where, and what to do.
    """
    first = next(iter(train))
    size = train[first].images.shape[1:]
    for names, part in [*train.items(), *others.items()]:
        _check_shapes(names, part, size, first[0])
    learned = np.concatenate([part.labels for part in train.values()])
    classes = max(int(learned.max()) + 1, 1) if classes is None else classes
    for (_, where), part in train.items():
        check_labels(where, part.labels, classes)
    check_classes(first[1], learned, classes)
    for (_, where), part in others.items():
        check_labels(where, part.labels, classes)
    return classes


def _check_shapes(names: Names, part: Labeled, size: tuple[int, ...], first: str) -> None:
    """Every image has a label, and the size of the first ones."""
    images, labels = map(show, names)
    if len(part.images) != len(part.labels):
        raise DataError(
            f"{images} has {len(part.images)} image(s), but {labels} has {len(part.labels)} "
            "label(s); put together what belongs together"
        )
    if part.images.shape[1:] != size:
        raise DataError(
            f"images of {images} have shape {part.images.shape[1:]} and those of {show(first)} "
            f"{size} (channels, height, width); store all alike"
        )


def check_labels(where: object, labels: Numbers, classes: int) -> None:
    """Every label is one of `classes`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{show(where)}: label {wrong[0]} (counted from 0) is {labels[wrong[0]]}, but with "
            f"{classes} classes the largest is {classes - 1}, and they run from 0 to "
            f"{classes - 1}; number the classes of the training images from 0, and use no others"
        )


def check_classes(where: object, labels: Numbers, classes: int) -> None:
    """There are two classes at least, and every one has a training image."""
    if classes < 2:
        raise DataError(
            f"{show(where)} has {classes} class; there is nothing to learn with fewer than 2"
        )
    there = np.unique(labels)
    if len(there) < classes:
        missing = np.setdiff1d(np.arange(min(classes, len(there) + 6)), there)
        raise DataError(
            f"{show(where)} has no training image of {classes - len(there)} of {classes} classes: "
            f"number {', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}; "
            "add some, or number the classes from 0 without gaps (as a Dataset can that is given "
            "to supernet.wrap_datasets)"
        )
