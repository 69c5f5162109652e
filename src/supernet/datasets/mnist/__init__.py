"""The packaged MNIST of LeCun, Cortes and Burges: four IDX files, verified."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Final

from supernet.datasets.idx import read_idx_folder
from supernet.datasets.raw import RawData

SHA256: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def load_packaged_mnist() -> RawData:
    """Read the 60,000 training and 10,000 test images, 28 x 28, that come with the package.

    Raises:
        DataError: If a file is missing, damaged, or not the one that was published.
    """
    return replace(read_idx_folder(files(__name__), expected=SHA256), name="MNIST")
