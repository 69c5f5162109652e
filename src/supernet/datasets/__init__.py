"""Data sets in memory, split for the experiment."""

from __future__ import annotations

import warnings
from typing import Any

from supernet.datasets.image_data import DataSplit, ImageData
from supernet.datasets.loaders import wrap_datasets
from supernet.datasets.loading import load_folder, load_idx, load_mnist

__all__ = ["DataSplit", "ImageData", "load_folder", "load_idx", "load_mnist", "wrap_datasets"]


def __getattr__(name: str) -> Any:
    if name == "Split":
        warnings.warn(
            "supernet.datasets.Split is called DataSplit now", DeprecationWarning, stacklevel=2
        )
        return DataSplit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
