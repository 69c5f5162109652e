"""Detection of the kind of data in a folder, by file names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from supernet.datasets.cifar import LAYOUTS
from supernet.datasets.folders import SUFFIXES, holds_pictures
from supernet.datasets.idx import is_idx_name
from supernet.datasets.raw import unreadable
from supernet.errors import DataError
from supernet.text import show

Kind = Literal["idx", "cifar", "npz", "npz in a folder", "pictures"]

_CIFAR = {name for layout in LAYOUTS for name in layout.files}


def find_kind(path: Path) -> Kind:
    """Return which of the readers is to read `path`.

    Raises:
        DataError: If it is for none of them, or for more than one; says what was looked for.
    """
    try:
        if path.is_file():
            if path.suffix == ".npz":
                return "npz"
            raise DataError(f"{show(path)} is a file, but not a .npz file; {_wanted()}")
        if not path.is_dir():
            raise DataError(f"{show(path)} is not there, or no file or folder; {_wanted()}")
        return _find(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _find(folder: Path) -> Kind:
    names = [entry.name for entry in folder.iterdir()]
    arrays = [name for name in names if name.endswith(".npz")]
    found: list[Kind] = []
    if any(map(is_idx_name, names)):
        found.append("idx")
    if _CIFAR.intersection(names):
        found.append("cifar")
    if arrays:
        found.append("npz in a folder")
    if len(found) > 1 or len(arrays) > 1:
        raise DataError(
            f"{show(folder)} holds more than one set of data "
            f"({', '.join(sorted(show(name, 40) for name in names)[:8])}); put the one that you "
            "mean into a folder of its own"
        )
    if found:
        return found[0]
    if holds_pictures(folder):
        return "pictures"
    if {"data_batch_1", "test_batch"}.intersection(names):
        raise DataError(
            f"{show(folder)} holds CIFAR-10 in its Python version, which is pickles and could run "
            "code; fetch the binary version instead"
        )
    raise DataError(f"{show(folder)} holds no data of a known kind; {_wanted()}")


def _wanted() -> str:
    ten, hundred = LAYOUTS
    return (
        "give a folder with IDX files (train-images-idx3-ubyte and the other three, plain or .gz), "
        f"with {ten.name} in the binary version ({ten.train[0]} to {ten.train[-1]}, {ten.test}), "
        f"with {hundred.name} ({hundred.train[0]}, {hundred.test}), with one .npz file, or with "
        f"pictures ({', '.join(SUFFIXES)}) in one subfolder per class, or give a .npz file"
    )
