"""Reader of four IDX files, as of MNIST, Fashion-MNIST, KMNIST and EMNIST."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from supernet.datasets.raw import (
    Bytes,
    Entry,
    Labeled,
    RawData,
    check_arrays,
    name_of,
    opened,
    unreadable,
)
from supernet.errors import DataError
from supernet.reading import read_up_to
from supernet.text import show

LARGEST_FILE: Final = 2**30
"""No file may unpack to more bytes than this (1 GiB); EMNIST's largest has 547 million."""

_NAME: Final = re.compile(
    r"(?P<prefix>[^.].*)?(?P<split>train|t10k|test)-(?P<kind>images-idx3|labels-idx1)-ubyte(\.gz)?"
)
_DIMENSIONS: Final = {"images-idx3": 3, "labels-idx1": 1}
_ROLES: Final = [(split, kind) for split in ("train", "test") for kind in _DIMENSIONS]


def read_idx_folder(folder: Entry, *, expected: Mapping[str, str] | None = None) -> RawData:
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
        expected: SHA-256 in hex of unpacked files, by file name without `.gz`. Files that it
            doesn't name are not checked.

    Returns:
        The data; `sha256` is of the unpacked bytes, by file name without `.gz`.

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
    train, test = (
        Labeled(
            arrays[split, "images-idx3"][:, None], arrays[split, "labels-idx1"].astype(np.int64)
        )
        for split in ("train", "test")
    )
    learned, tested = (
        (str(found[split, "images-idx3"]), str(found[split, "labels-idx1"]))
        for split in ("train", "test")
    )
    classes = check_arrays({learned: train}, {tested: test})
    name = name_of(folder.resolve()) if isinstance(folder, Path) else show(folder.name, 100)
    return RawData(name, train, test, classes, digests)


def read_idx_images(file: Path) -> Bytes:
    """Return the images of one IDX file, packed or not: images x height x width.

    Raises:
        DataError: If it is missing, damaged, or holds something else.
    """
    return _read(file, 3)[0]


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
                f"{show(folder)} holds no file {wanted} or {wanted}.gz (a prefix is allowed); "
                "put the four IDX files of the data set there"
            )
        if len(candidates) > 1:
            raise DataError(
                f"{show(folder)} holds more than one file of {split} {kind.split('-')[0]}: "
                f"{', '.join(candidates)}; put the four that you mean into a folder of their own"
            )
        (found[split, kind],) = candidates.values()
    if len(prefixes) > 1:
        raise DataError(
            f"{show(folder)} mixes data sets: its files begin with {sorted(prefixes)}; "
            "put the four that belong together into a folder of their own"
        )
    return found


def _list(folder: Entry) -> list[Entry]:
    """Return what lies in a folder."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        reason = "does not exist"
    except NotADirectoryError:
        reason = "is not a folder"
    except OSError as error:
        raise unreadable(folder, error) from error
    raise DataError(f"{show(folder)} {reason}; give the folder of the IDX files")


def _read(file: Entry, dimensions: int) -> tuple[Bytes, str]:
    """Return the array of one file, and the SHA-256 of its unpacked bytes."""
    with opened(file, packed=file.name.endswith(".gz")) as stream:
        header = read_up_to(stream, 4 + 4 * dimensions)
        shape = _parse_header(file, bytes(header), dimensions)
        promised = math.prod(shape)
        payload = read_up_to(stream, promised + 1)  # one more: is there something behind it?
    if len(payload) != promised:
        raise DataError(
            f"{show(file)}: its header promises {promised} bytes for shape {shape}, but "
            f"{'more follow' if len(payload) > promised else f'only {len(payload)} follow'}; "
            "the file is damaged: fetch it again"
        )
    digest = hashlib.sha256(header)
    digest.update(payload)
    return np.frombuffer(payload, np.uint8).reshape(shape), digest.hexdigest()


def _parse_header(file: Entry, header: bytes, dimensions: int) -> tuple[int, ...]:
    """Return the shape that a header promises, if it can be true."""
    if header[:2] == b"\x1f\x8b":
        raise DataError(
            f"{show(file)} is packed with gzip; let its name end in .gz, once, or unpack it"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{show(file)} has only {len(header)} bytes, too few for an IDX header; fetch it again"
        )
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != 0x800 + dimensions:
        raise DataError(
            f"{show(file)} begins with the number {magic}, where IDX files of bytes in "
            f"{dimensions} dimension(s) have {0x800 + dimensions}; it is damaged or of another kind"
        )
    if 0 in shape:
        raise DataError(
            f"{show(file)} is empty: its header says shape {tuple(shape)}; fetch it again"
        )
    if len(header) + math.prod(shape) > LARGEST_FILE:
        raise DataError(
            f"{show(file)}: its header says shape {tuple(shape)}, more than the {LARGEST_FILE} "
            "bytes allowed; it is damaged, or the data need another reader"
        )
    return tuple(shape)


def _unpacked(name: str) -> str:
    """Return the name that a file has once it is unpacked."""
    return name.removesuffix(".gz")


def _check_digests(folder: Entry, digests: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Compare the SHA-256 of what was read with what was expected."""
    for name, digest in expected.items():
        if name not in digests:
            raise DataError(
                f"{show(folder)}: a SHA-256 is expected of {name!r}, but the files read are "
                f"{', '.join(digests)}; name it without .gz, or leave it out"
            )
        if digests[name] != digest.lower():
            raise DataError(
                f"{show(folder)}: {name} has SHA-256 {digests[name]}, not {digest} as expected; "
                "it was changed or damaged: fetch it again"
            )
