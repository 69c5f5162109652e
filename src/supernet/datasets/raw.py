"""What the readers of data files have in common: what they return, and what they check.

Needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from supernet.errors import DataError

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

_CHUNK: Final = 2**20
_GROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")

#: Of the permutation that divides training images into train and validation. Never change it:
#: results would no longer be comparable.
_SPLIT_SEED: Final = 1904


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Images, uint8, (N, C, H, W), and one label for each, int64, (N,)."""

    images: Bytes
    labels: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class RawData:
    """What a reader found.

    Labels run from 0 to `classes - 1`. `validation` is None where the files have none of their
    own. `sha256` is of what was read, by name.
    """

    name: str
    train: Labelled
    test: Labelled
    classes: int
    sha256: dict[str, str]
    validation: Labelled | None = None


class Stream(Protocol):
    """What can be read."""

    def read(self, size: int, /) -> bytes: ...


def show(name: object, most: int = 400) -> str:
    """Return a name or path on one line of at most `most` printable characters.

    Names come from disk: they may hold line ends, bytes that are no text, or 250 letters. Ordinary
    ones are returned as they are.
    """
    text = str(name)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= most else f"{text[: most // 2]}...{text[3 - most // 2 :]}"


def name_of(path: Path) -> str:
    """Return what to call the data in a folder or file."""
    return show(path.stem if path.suffix == ".npz" else path.name, 100) or "data"


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open a regular file; whatever the system refuses while it is read is a `DataError`.

    Only regular files: a pipe could make us wait for ever.
    """
    try:
        if not file.is_file():
            raise DataError(f"{show(file)} is missing, or not a file; put the file itself there")
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise unreadable(file, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for what the system won't let us read."""
    return DataError(
        f"{show(path)} can't be read ({error.strerror or error}); see to its permissions"
    )


def read_up_to(stream: Stream, count: int) -> bytearray:
    """Read `count` bytes, or what there is; memory grows with what came, not with `count`."""
    data = bytearray()
    while chunk := stream.read(min(_CHUNK, count - len(data))):
        data += chunk
    return data


def find_memory() -> int:
    """Return how many bytes of memory there are, for this machine or for its control group."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(_GROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # there is no group, or its limit is the word "max"
        return whole


def check_fits(where: object, images: int, size: int) -> None:
    """Refuse more than memory holds, before anything of it is read.

    Args:
        where: What the images are in.
        images: How many there are.
        size: Of one image, in bytes.
    """
    needed, there = 2 * images * size, find_memory()
    if needed > there:
        raise DataError(
            f"{show(where)} holds {images} images of {size} bytes, and dividing them takes twice "
            f"that, {needed / 2**30:.1f} GiB, where {there / 2**30:.1f} GiB of memory are there; "
            "use fewer or smaller images, or give supernet.wrap_datasets a Dataset that reads "
            "them one by one"
        )


def check_labels(where: object, labels: Numbers, classes: int) -> None:
    """Every label is one of `classes`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{show(where)}: label {wrong[0]} (counted from 0) is {labels[wrong[0]]}, but with "
            f"{classes} classes they run from 0 to {classes - 1}; the file is damaged, or has "
            "classes that the training images don't have"
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
            "add some, or number the classes from 0 without gaps"
        )


def divide(total: int, aside: int | None = None) -> tuple[Numbers, Numbers]:
    """Divide training images into those to learn from and those to choose by, always alike.

    Args:
        total: How many images there are.
        aside: How many to set aside; by default one in twelve, at least 1, at most 5,000.

    Returns:
        The positions of the images to learn from, and of those set aside.

    Raises:
        DataError: If that leaves none to learn from, or sets none aside.
    """
    if aside is None:
        aside = min(5000, max(1, total // 12))
    if not 1 <= aside < total:
        raise DataError(
            f"{aside} of {total} training images can't be set aside for validation; "
            + (f"choose 1 to {total - 1}" if total > 1 else "there must be 2 at least")
        )
    order = np.random.Generator(np.random.PCG64(_SPLIT_SEED)).random(total).argsort(kind="stable")
    return order[: total - aside], order[total - aside :]
