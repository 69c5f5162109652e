"""Data that several tests look at."""

from pathlib import Path

import pytest

from supernet.datasets import ImageData, load_idx, load_mnist
from tests.datasets.idxfiles import Bytes, numbered, write_folder


@pytest.fixture
def arrays() -> list[Bytes]:
    return numbered()


@pytest.fixture
def data(tmp_path: Path, arrays: list[Bytes]) -> ImageData:
    return load_idx(write_folder(tmp_path / "numbers", arrays, suffix=".gz"), validation=8)


@pytest.fixture(scope="session")
def mnist() -> ImageData:
    return load_mnist()
