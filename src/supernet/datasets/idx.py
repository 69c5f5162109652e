"""Reading the four IDX files in which MNIST, Fashion-MNIST, KMNIST and EMNIST are published."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import numpy as np

from supernet.datasets.raw import Bytes, Stream, read_up_to
from supernet.errors import DataError

LARGEST_FILE: Final = 2**30
"""No file may unpack to more bytes than this (1 GiB); EMNIST's largest has 547 million."""

_NAME: Final = re.compile(
    r"(?P<prefix>[^.].*)?(?P<split>train|t10k|test)-(?P<kind>images-idx3|labels-idx1)-ubyte(\.gz)?"
)
_DIMENSIONS: Final = {"images-idx3": 3, "labels-idx1": 1}
_ROLES: Final = [(split, kind) for split in ("train", "test") for kind in _DIMENSIONS]

Entry = Path | Traversable


@dataclass(frozen=True, slots=True, eq=False)
class IdxData:
    """What the four files hold.

    Images are (N, H, W) and labels (N,), all uint8 and writable. `classes` is how many there are:
    labels run from 0 to `classes - 1`. `sha256` is of the unpacked bytes, by file name without
    `.gz`.
    """

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    classes: int
    sha256: dict[str, str]


def read_idx_folder(
    folder: Entry, *, classes: int | None = None, expected: Mapping[str, str] | None = None
) -> IdxData:
    """Read a folder of IDX files, and believe nothing that they say about themselves.

    The four files may be plain or packed, and may have a common prefix, as EMNIST's do; where a
    file lies there both plain and packed, the plain one is read:

        [prefix]train-images-idx3-ubyte[.gz]    [prefix]train-labels-idx1-ubyte[.gz]
        [prefix]t10k-images-idx3-ubyte[.gz]     [prefix]t10k-labels-idx1-ubyte[.gz]

    with `test` in place of `t10k` if you like. Images are returned as they are stored (EMNIST
    stores them transposed). No file is unpacked further than one byte past what its header
    promises, and a header that promises more than `LARGEST_FILE` is refused before its payload is
    touched, so a crafted file costs neither memory nor time.

    Args:
        folder: Where the files lie: a path, or a folder inside a package.
        classes: How many classes there are; by default one more than the largest training label.
        expected: SHA-256 in hex of unpacked files, by file name without `.gz`. Files that it
            doesn't name are not checked.

    Raises:
        DataError: If a file is missing, ambiguous, unreadable, damaged or not the expected one, or
            if the four do not fit together. The message says which, where, and what to do.
    """
    if isinstance(folder, Path):
        folder = folder.absolute()
    found = _find(folder)
    arrays: dict[tuple[str, str], Bytes] = {}
    digests: dict[str, str] = {}
    for (split, kind), file in found.items():
        arrays[split, kind], digests[_unpacked(file.name)] = _read(file, _DIMENSIONS[kind])
    _check_digests(folder, digests, expected or {})
    for split in ("train", "test"):
        _check_counts(found[split, "images-idx3"], arrays[split, "images-idx3"],
                      found[split, "labels-idx1"], arrays[split, "labels-idx1"])  # fmt: skip
    train, test = arrays["train", "images-idx3"], arrays["test", "images-idx3"]
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{folder}: training images are {_size(train)} pixels and test images {_size(test)}; "
            "put the four files of one data set there"
        )
    labels = arrays["train", "labels-idx1"]
    classes = _count_classes(found["train", "labels-idx1"], labels, classes)
    for split in ("train", "test"):
        _check_labels(found[split, "labels-idx1"], arrays[split, "labels-idx1"], classes)
    return IdxData(train, labels, test, arrays["test", "labels-idx1"], classes, digests)


def is_idx_name(name: str) -> bool:
    """Return whether a file of that name would be read."""
    return _NAME.fullmatch(name) is not None


def _find(folder: Entry) -> dict[tuple[str, str], Entry]:
    """Say which file plays which role."""
    matches = [(match, entry) for entry in _list(folder) if (match := _NAME.fullmatch(entry.name))]
    found: dict[tuple[str, str], Entry] = {}
    prefixes = set()
    for split, kind in _ROLES:
        candidates: dict[str, Entry] = {}
        for match, entry in sorted(matches, key=lambda pair: pair[1].name):
            if match["kind"] == kind and (match["split"] == "train") == (split == "train"):
                candidates.setdefault(_unpacked(entry.name), entry)
                prefixes.add(match["prefix"] or "")
        if not candidates:
            wanted = f"{'train' if split == 'train' else 't10k'}-{kind}-ubyte"
            raise DataError(
                f"{folder} holds no file {wanted} or {wanted}.gz (a prefix is allowed); "
                "put the four IDX files of the data set there"
            )
        if len(candidates) > 1:
            raise DataError(
                f"{folder} holds more than one file of {split} {kind.split('-')[0]}: "
                f"{', '.join(candidates)}; put the four that you mean into a folder of their own"
            )
        (found[split, kind],) = candidates.values()
    if len(prefixes) > 1:
        raise DataError(
            f"{folder} mixes data sets: its files begin with {sorted(prefixes)}; "
            "put the four that belong together into a folder of their own"
        )
    return found


def _list(folder: Entry) -> list[Entry]:
    """Return what lies in a folder."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"{folder} does not exist; give the folder of the IDX files") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is not a folder; give the folder of the IDX files") from None
    except OSError as error:
        raise DataError(f"{folder} can't be read ({error}); see to its permissions") from error


def _read(file: Entry, dimensions: int) -> tuple[Bytes, str]:
    """Return the array of one file, and the SHA-256 of its unpacked bytes."""
    with _opened(file) as stream:
        header = read_up_to(stream, 4 + 4 * dimensions)
        shape = _parse_header(file, bytes(header), dimensions)
        promised = math.prod(shape)
        payload = read_up_to(stream, promised + 1)  # one more: is there something behind it?
    if len(payload) != promised:
        raise DataError(
            f"{file}: its header promises {promised} bytes for shape {shape}, but "
            f"{'more follow' if len(payload) > promised else f'only {len(payload)} follow'}; "
            "the file is damaged: fetch it again"
        )
    digest = hashlib.sha256(header)
    digest.update(payload)
    return np.frombuffer(payload, np.uint8).reshape(shape), digest.hexdigest()


def _parse_header(file: Entry, header: bytes, dimensions: int) -> tuple[int, ...]:
    """Return the shape that a header promises, if it can be true."""
    if header[:2] == b"\x1f\x8b":
        raise DataError(f"{file} is packed with gzip; let its name end in .gz, once, or unpack it")
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{file} has only {len(header)} bytes, too few for an IDX header; fetch it again"
        )
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != 0x800 + dimensions:
        raise DataError(
            f"{file} begins with the number {magic}, where IDX files of bytes in {dimensions} "
            f"dimension(s) have {0x800 + dimensions}; it is damaged or of another kind"
        )
    if 0 in shape:
        raise DataError(f"{file} is empty: its header says shape {tuple(shape)}; fetch it again")
    if len(header) + math.prod(shape) > LARGEST_FILE:
        raise DataError(
            f"{file}: its header says shape {tuple(shape)}, more than the {LARGEST_FILE} bytes "
            "that are allowed; it is damaged, or the data need another reader"
        )
    return tuple(shape)


@contextmanager
def _opened(file: Entry) -> Iterator[Stream]:
    """Open a plain or packed file for reading; whatever goes wrong while it is read is our error.

    Only regular files: a pipe could make us wait for ever.
    """
    try:
        if not file.is_file():
            raise DataError(f"{file} is not a file; put the IDX file itself there")
        with file.open("rb") as raw:
            if file.name.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked
            else:
                yield raw
    except EOFError as error:
        raise DataError(f"{file} ends too early for a gzip file; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{file} is not a sound gzip file ({error}); fetch it again, "
            "or drop .gz from its name if it is unpacked already"
        ) from error
    except OSError as error:
        raise DataError(f"{file} can't be read ({error}); see to its permissions") from error


def _unpacked(name: str) -> str:
    """Return the name that a file has once it is unpacked."""
    return name.removesuffix(".gz")


def _size(images: Bytes) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"


def _check_digests(folder: Entry, digests: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Compare the SHA-256 of what was read with what was expected."""
    for name, digest in expected.items():
        if name not in digests:
            raise DataError(
                f"{folder}: a SHA-256 is expected of {name!r}, but the files read are "
                f"{', '.join(digests)}; name it without .gz, or leave it out"
            )
        if digests[name] != digest.lower():
            raise DataError(
                f"{folder}: {name} has SHA-256 {digests[name]}, not {digest} as expected; "
                "it was changed or damaged: fetch it again"
            )


def _check_counts(images_file: Entry, images: Bytes, labels_file: Entry, labels: Bytes) -> None:
    """Every image has a label."""
    if len(images) != len(labels):
        raise DataError(
            f"{images_file} has {len(images)} image(s), but {labels_file} has {len(labels)} "
            "label(s); put files that belong together there"
        )


def _count_classes(file: Entry, labels: Bytes, classes: int | None) -> int:
    """Return the number of classes, given or found, of which there must be two in use."""
    if classes is not None and classes < 2:
        raise DataError(f"classes is {classes} for {file}; there must be at least 2")
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"{file}: every label is {labels[0]}; there is nothing to learn with fewer than 2 "
            "classes"
        )
    return int(labels.max()) + 1 if classes is None else classes


def _check_labels(file: Entry, labels: Bytes, classes: int) -> None:
    """Every label is below `classes`."""
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise DataError(
            f"{file}: label {wrong[0]} (counted from 0) is {labels[wrong[0]]}, but with "
            f"{classes} classes the largest is {classes - 1}; give the right number of classes, "
            "or other files"
        )
