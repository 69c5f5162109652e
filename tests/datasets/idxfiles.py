"""Writing IDX files, whole and broken, for tests."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from supernet.datasets import DataSplit

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
Bytes = NDArray[np.uint8]


def idx_bytes(array: Bytes) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return header + array.tobytes()


def sha256(array: Bytes) -> str:
    return hashlib.sha256(idx_bytes(array)).hexdigest()


def random_arrays(
    train: int = 12, test: int = 5, height: int = 3, width: int = 4, classes: int = 3, seed: int = 0
) -> list[Bytes]:
    """Training images, training labels, test images, test labels; every class is in training."""
    rng = np.random.default_rng(seed)
    train_labels = rng.integers(classes, size=train, dtype=np.uint8)
    train_labels[:classes] = np.arange(classes)
    return [
        rng.integers(256, size=(train, height, width), dtype=np.uint8),
        train_labels,
        rng.integers(256, size=(test, height, width), dtype=np.uint8),
        rng.integers(classes, size=test, dtype=np.uint8),
    ]


def write_bytes(folder: Path, name: str, data: bytes) -> Path:
    """Write one file, packed if its name ends in .gz."""
    path = folder / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    return path


def write_folder(
    folder: Path, arrays: list[Bytes], names: tuple[str, ...] = NAMES, suffix: str = ""
) -> Path:
    """Write the four files of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        write_bytes(folder, name + suffix, idx_bytes(array))
    return folder


def numbered(train: int = 30, test: int = 7) -> list[Bytes]:
    """Every image says which one it is."""
    arrays = random_arrays(train=train, test=test)
    arrays[0][:, 0, 0] = np.arange(train)
    arrays[2][:, 0, 0] = 100 + np.arange(test)
    return arrays


def numbers(split: DataSplit) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()
