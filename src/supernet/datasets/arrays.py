"""Reader of `.npz` files with images and labels; runs no code in them."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from supernet.datasets.raw import (
    Bytes,
    Labeled,
    Numbers,
    RawData,
    check_arrays,
    check_fits,
    name_of,
    opened,
)
from supernet.errors import DataError
from supernet.reading import find_memory, read_up_to
from supernet.text import show

#: What the arrays may be called, split by split: as in Keras's files, or as in MedMNIST's.
NAMES: Final = (
    {
        "train": ("x_train", "y_train"),
        "test": ("x_test", "y_test"),
        "validation": ("x_val", "y_val"),
    },
    {
        "train": ("train_images", "train_labels"),
        "test": ("test_images", "test_labels"),
        "validation": ("val_images", "val_labels"),
    },
)
#: No image has more channels, which tells the axis of channels from those of height and width.
_MOST_CHANNELS: Final = 4
#: Bytes. numpy itself refuses longer ones.
_LONGEST_HEADER: Final = 10_000 + 12
_CHUNK: Final = 2**20
#: A file that is read as a whole holds no more arrays.
_MOST_ARRAYS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Header:
    """What an array says of itself, before its numbers, which begin at byte `start`."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def size(self) -> int:
        """Of its numbers, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(file: Path) -> RawData:
    """Read a `.npz` file, packed or not, and believe nothing that it says about itself.

    It holds these arrays, by these names or those in brackets; all others are left unread:

        x_train (train_images)    y_train (train_labels)
        x_test  (test_images)     y_test  (test_labels)
        x_val   (val_images)      y_val   (val_labels)      if it has validation images of its own

    Images are uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with at most 4 channels. Labels are
    integers, (N,) or (N, 1), from 0 on without gaps. Python objects, which are stored as pickles
    and could run code, are refused by their header. No array is unpacked further than one byte past
    what its header promises, and no numbers are read before all headers are known to fit memory.

    Args:
        file: The file.

    Raises:
        DataError: If the file or an array is missing, unreadable, damaged or of the wrong kind, or
            the arrays don't fit together. The message says which, and what to do.
    """
    file = file.absolute()
    with _archive(file) as archive:
        names = _find(file, archive)
        headers: dict[str, _Header] = {}
        for name in (name for pair in names.values() for name in pair):
            headers[name] = _read_header(file, name, archive)
        for images, labels in names.values():
            _check_kind(file, images, labels, headers)
        _check_memory(file, names.values(), headers)
        sha256 = {f"{name}.npy": _digest(file, archive, name, headers[name]) for name in headers}
        read = {name: _read(file, archive, name) for name in headers}
    splits = {
        split: Labeled(
            _channels_first(file, images, read.pop(images)), _flat(file, labels, read[labels])
        )
        for split, (images, labels) in names.items()
    }
    named = {split: (f"{file}: {names[split][0]}", f"{file}: {names[split][1]}") for split in names}
    others = {named[split]: part for split, part in splits.items() if split != "train"}
    classes = check_arrays({named["train"]: splits["train"]}, others)
    return RawData(
        name_of(file), splits["train"], splits["test"], classes, sha256, splits.get("validation")
    )


def is_arrays(file: Path) -> bool:
    """Return whether a file's name says that it holds arrays."""
    return file.suffix in (".npy", ".npz")


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz` file, or the one of a `.npy` file, which has the name `x`.

    As `read_npz` does, it believes nothing that the file says about itself, and runs no code.

    Raises:
        DataError: If the file is missing, unreadable, damaged, empty, larger than memory, or holds
            Python objects.
    """
    if file.suffix == ".npz":
        with _archive(file) as archive:
            return _read_all(file, archive)
    with opened(file) as stream:
        content = read_up_to(stream, find_memory() // 4)
    # As the only one of an archive, so that it is looked at in the same way.
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        archive.writestr("x.npy", content)
        return _read_all(file, archive)


def _read_all(file: Path, archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise DataError(f"{show(file)} holds no array; save some with numpy.savez(file, x=...)")
    if len(set(names)) < len(names) or len(names) > _MOST_ARRAYS:
        raise DataError(
            f"{show(file)} holds {len(names)} arrays, more than {_MOST_ARRAYS} or some twice; save "
            "it again with numpy.savez"
        )
    headers = {name: _read_header(file, name, archive) for name in names}
    needed, there = sum(header.size for header in headers.values()), find_memory()
    if 2 * needed > there:
        raise DataError(
            f"{show(file)} holds {needed / 2**30:.1f} GiB, and there are {there / 2**30:.1f} GiB "
            "of memory; give it in several files"
        )
    for name, header in headers.items():
        _check_no_objects(file, name, header)
        _digest(file, archive, name, header)
    return {name: _read(file, archive, name) for name in names}


@contextmanager
def _archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open the file as the zip archive it is; whatever goes wrong with that is our error."""
    with opened(file) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError) as error:
            raise DataError(
                f"{show(file)} is not a sound .npz file ({show(error)}); save it again with "
                "numpy.savez_compressed, or fetch it again"
            ) from error
        except (NotImplementedError, RuntimeError) as error:  # a packing that we lack; a password
            raise DataError(
                f"{show(file)} can't be unpacked ({show(error)}); save it again with "
                "numpy.savez_compressed"
            ) from error


def _find(file: Path, archive: zipfile.ZipFile) -> dict[str, tuple[str, str]]:
    """Say which arrays play which role."""
    members = archive.namelist()
    there = {name.removesuffix(".npy") for name in members if name.endswith(".npy")}
    known = NAMES[0] if NAMES[0]["train"][0] in there else NAMES[1]
    names = {
        split: pair
        for split, pair in known.items()
        if split != "validation" or there.intersection(pair)
    }
    missing = [name for pair in names.values() for name in pair if name not in there]
    if missing:
        first, second = (", ".join((*by["train"], *by["test"])) for by in NAMES)
        if known is NAMES[1] and not there.intersection(*[known["train"]]):
            missing = [first]
        raise DataError(
            f"{show(file)} holds no array {', '.join(missing)}; it must hold {first}, or {second}, "
            f"and holds {_listed(there)}"
        )
    for name in (name for pair in names.values() for name in pair):
        if members.count(f"{name}.npy") > 1:
            raise DataError(f"{show(file)} holds the array {name} twice; save it again")
    return names


def _listed(names: set[str]) -> str:
    """Return some of the names that are there, none of which needs to be a sane one."""
    shown = [repr(show(name, 40)) for name in sorted(names)[:8]]
    return ", ".join(shown + ["..."] * (len(names) > 8)) or "none"


def _read_header(file: Path, name: str, archive: zipfile.ZipFile) -> _Header:
    """Return what an array says of itself. Python literals only: nothing is run."""
    with archive.open(f"{name}.npy") as stream:
        head = io.BytesIO(read_up_to(stream, _LONGEST_HEADER))
    try:
        version = npy.read_magic(head)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return _Header(*read(head), start=head.tell())
    except Exception as error:  # the parser may raise anything on damaged text
        raise DataError(
            f"{show(file)}: {name} doesn't begin as an array does; save it again with "
            "numpy.savez_compressed, or fetch it again"
        ) from error


def _check_kind(file: Path, images: str, labels: str, headers: dict[str, _Header]) -> None:
    """Images are bytes with three or four axes, labels are integers with one."""
    for name in (images, labels):
        _check_no_objects(file, name, headers[name])
        if min(headers[name].shape, default=1) < 1:
            raise DataError(f"{show(file)}: {name} is empty, of shape {headers[name].shape}")
    x, y = headers[images], headers[labels]
    if x.dtype != np.uint8:
        raise DataError(
            f"{show(file)}: {images} holds {x.dtype}; images must be uint8, from 0 to 255: save "
            f"them so (numbers from 0 to 1 as (255 * x).round().astype(numpy.uint8))"
        )
    if len(x.shape) not in (3, 4):
        raise DataError(
            f"{show(file)}: {images} has shape {x.shape}; images must have axes (N, H, W), "
            "(N, H, W, C) or (N, C, H, W)"
        )
    if y.dtype.kind not in "iu":
        raise DataError(
            f"{show(file)}: {labels} holds {y.dtype}; labels must be whole numbers from 0 on: save "
            "them with .astype(numpy.int64)"
        )
    if not y.shape or y.shape[1:] not in ((), (1,)):
        raise DataError(
            f"{show(file)}: {labels} has shape {y.shape}; labels must have one number per image, "
            "(N,): save one-hot labels as y.argmax(axis=1)"
        )


def _check_no_objects(file: Path, name: str, header: _Header) -> None:
    if header.dtype.hasobject:
        raise DataError(
            f"{show(file)}: {show(name)} holds Python objects, which could run code when they are "
            f"read; save it as numbers, with {show(name)}=numpy.array(..., dtype=...)"
        )


def _check_memory(
    file: Path, pairs: Iterable[tuple[str, str]], headers: Mapping[str, _Header]
) -> None:
    """Refuse what would not fit memory, by what the headers promise."""
    held = [headers[name] for pair in pairs for name in pair]
    size = max(header.size // header.shape[0] for header in held[::2])
    label = max(header.dtype.itemsize for header in held[1::2])
    images = max(sum(header.shape[0] for header in those) for those in (held[::2], held[1::2]))
    check_fits(file, images, size, label)


def _digest(file: Path, archive: zipfile.ZipFile, name: str, header: _Header) -> str:
    """Return the SHA-256 of an array's file in the archive, if it is as long as it promises."""
    whole, digest, count = header.start + header.size, hashlib.sha256(), 0
    with archive.open(f"{name}.npy") as stream:
        while count <= whole and (chunk := stream.read(min(_CHUNK, whole + 1 - count))):
            digest.update(chunk)
            count += len(chunk)
    if count != whole:
        raise DataError(
            f"{show(file)}: {name} promises {header.size} bytes for shape {header.shape}, but "
            f"{'more follow' if count > whole else f'only {count - header.start} follow'}; "
            "the file is damaged: save it again, or fetch it again"
        )
    return digest.hexdigest()


def _read(file: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return one array; Python objects were refused by its header, and are here once more."""
    with archive.open(f"{name}.npy") as stream:
        try:
            array: NDArray[Any] = np.load(stream, allow_pickle=False)
        except ValueError as error:
            raise DataError(
                f"{show(file)}: {name} can't be read ({show(error)}); save it again with "
                "numpy.savez_compressed"
            ) from error
    return array


def _channels_first(file: Path, name: str, images: Bytes) -> Bytes:
    """Return images as (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    first, last = images.shape[1] <= _MOST_CHANNELS, images.shape[3] <= _MOST_CHANNELS
    if first == last:
        raise DataError(
            f"{show(file)}: {name} has shape {images.shape}, where "
            f"{'either axis 1 or axis 3' if first else 'neither axis 1 nor axis 3'} may be that of "
            f"at most {_MOST_CHANNELS} channels; store (N, H, W, C) or (N, C, H, W), with more "
            "pixels than channels"
        )
    return images if first else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _flat(file: Path, name: str, labels: NDArray[Any]) -> Numbers:
    """Return labels as (N,) of int64, if they are in its range."""
    if labels.dtype == np.uint64 and labels.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"{show(file)}: {name} holds the label {labels.max()}; number the classes from 0 on"
        )
    return labels.reshape(-1).astype(np.int64)
