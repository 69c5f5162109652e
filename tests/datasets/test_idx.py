import gzip
import os
import re
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from supernet.datasets import idx
from supernet.datasets.idx import read_idx_folder
from supernet.datasets.mnist import SHA256, load_packaged_mnist
from supernet.datasets.raw import RawData
from supernet.errors import DataError
from tests.datasets.idxfiles import (
    NAMES,
    Bytes,
    idx_bytes,
    random_arrays,
    sha256,
    write_bytes,
    write_folder,
)

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder, for a test to spoil."""
    return write_folder(tmp_path / "data", random_arrays())


def arrays_of(data: RawData) -> list[Bytes]:
    """What the four files held."""
    parts = (data.train, data.test)
    return [a for p in parts for a in (p.images[:, 0], p.labels.astype(np.uint8))]


def refuses(folder: Path, *words: str, **arguments: dict[str, str]) -> None:
    """The folder is refused, in a sentence that has these words in this order."""
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder, **arguments)
    assert re.search(".*".join(map(re.escape, words)), str(caught.value)), caught.value


@given(
    train=st.integers(3, 20),
    test=st.integers(1, 20),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(2, 3),
    seed=st.integers(0, 2**32),
    suffix=st.sampled_from(["", ".gz"]),
    prefix=st.sampled_from(["", "emnist-letters-", "t10k-", "train-"]),
    held_out=st.sampled_from(["t10k", "test"]),
)
@settings(deadline=None, max_examples=60)
def test_what_was_written_is_read(
    train: int,
    test: int,
    height: int,
    width: int,
    classes: int,
    seed: int,
    suffix: str,
    prefix: str,
    held_out: str,
) -> None:
    arrays = random_arrays(train, test, height, width, classes, seed)
    names = tuple(
        prefix + (held_out + name.removeprefix("t10k") if name.startswith("t10k") else name)
        for name in NAMES
    )
    with tempfile.TemporaryDirectory() as scratch:
        data = read_idx_folder(write_folder(Path(scratch), arrays, names, suffix))
    for got, wanted in zip(arrays_of(data), arrays, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.flags.writeable
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert data.classes == classes
    assert data.sha256 == dict(zip(names, map(sha256, arrays), strict=True))


@given(
    name=st.sampled_from(NAMES),
    suffix=st.sampled_from(["", ".gz"]),
    keep=st.floats(0, 1, exclude_max=True),
)
@settings(deadline=None, max_examples=80)
def test_a_file_cut_short_is_a_data_error(name: str, suffix: str, keep: float) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = write_folder(Path(scratch), random_arrays(), suffix=suffix) / (name + suffix)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])
        with pytest.raises(DataError):
            read_idx_folder(Path(scratch))


@given(
    name=st.sampled_from(NAMES),
    suffix=st.sampled_from(["", ".gz"]),
    bits=st.sets(st.integers(0, 16 * 8 - 1), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=150)
def test_flipped_bits_in_a_header_are_a_data_error(name: str, suffix: str, bits: set[int]) -> None:
    """In the header of the IDX file or, if packed, of the gzip file, where some bits are idle."""
    size = 16 if suffix or "images" in name else 8
    with tempfile.TemporaryDirectory() as scratch:
        path = write_folder(Path(scratch), random_arrays(), suffix=suffix) / (name + suffix)
        data = bytearray(path.read_bytes())
        for byte, bit in {(bit // 8 % size, bit % 8) for bit in bits}:
            data[byte] ^= 1 << bit
        path.write_bytes(data)
        try:
            read_idx_folder(Path(scratch))
        except DataError:
            return
    assert suffix


def test_a_missing_folder_and_a_file_in_its_place(folder: Path) -> None:
    missing = folder / "nowhere"
    refuses(missing, str(missing), "does not exist; give the folder")
    file = folder / TRAIN_IMAGES
    refuses(file, str(file), "is not a folder; give the folder")


def test_a_relative_folder_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refuses(Path("nowhere"), str(tmp_path / "nowhere"))


def test_an_empty_folder(tmp_path: Path) -> None:
    refuses(tmp_path, str(tmp_path), "holds no file train-images-idx3-ubyte", "put the four")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refuses(folder, str(folder), f"holds no file {name} or {name}.gz", "put the four IDX files")


def test_two_files_for_one_role(folder: Path) -> None:
    write_bytes(folder, "emnist-letters-train-images-idx3-ubyte.gz", b"")
    refuses(
        folder,
        str(folder),
        "more than one file of train images: emnist-letters-train-images-idx3-ubyte, "
        "train-images-idx3-ubyte; put the four that you mean into a folder of their own",
    )


def test_t10k_beside_test(folder: Path) -> None:
    write_bytes(folder, "test-labels-idx1-ubyte", b"")
    refuses(folder, "more than one file of test labels")


def test_prefixes_must_agree(folder: Path) -> None:
    (folder / TRAIN_LABELS).rename(folder / f"emnist-{TRAIN_LABELS}")
    refuses(folder, str(folder), "mixes data sets", "'', 'emnist-'", "folder of their own")


def test_hidden_files_are_not_data(folder: Path) -> None:
    """Archives made on a Mac bring ._names along."""
    write_bytes(folder, f"._{TRAIN_IMAGES}", b"Mac OS X")
    read_idx_folder(folder)


def test_of_a_plain_and_a_packed_copy_the_plain_one_is_read(folder: Path) -> None:
    """Other libraries unpack beside the packed file."""
    write_bytes(folder, f"{TRAIN_IMAGES}.gz", b"not looked at")
    read_idx_folder(folder)


def test_a_folder_or_a_pipe_in_place_of_a_file(folder: Path) -> None:
    path = folder / TEST_LABELS
    path.unlink()
    path.mkdir()
    refuses(folder, str(path), "a folder, not a file")
    path.rmdir()
    os.mkfifo(path)
    refuses(folder, str(path), "a pipe, not a file")


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so permission is refused by hand."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    refuses(folder, str(folder / TRAIN_IMAGES), "can't be read", "Permission denied", "may be read")


def test_a_folder_that_may_not_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    refuses(folder, str(folder), "can't be read", "Permission denied", "may be read")


class TestGzip:
    @pytest.fixture
    def packed(self, tmp_path: Path) -> Path:
        """The packed training images of a sound folder, for a test to spoil."""
        return write_folder(tmp_path, random_arrays(), suffix=".gz") / f"{TRAIN_IMAGES}.gz"

    def test_a_plain_file_called_gz(self, packed: Path) -> None:
        packed.write_bytes(gzip.decompress(packed.read_bytes()))
        refuses(packed.parent, str(packed), "not a sound gzip", "drop .gz from its name")

    def test_a_packed_file_not_called_gz(self, packed: Path) -> None:
        plain = packed.rename(packed.with_suffix(""))
        refuses(plain.parent, str(plain), "is packed with gzip; let its name end in .gz")

    def test_a_wrong_checksum(self, packed: Path) -> None:
        data = bytearray(packed.read_bytes())
        data[-8] ^= 1
        packed.write_bytes(data)
        refuses(packed.parent, str(packed), "not a sound gzip", "CRC", "fetch it again")

    def test_a_damaged_block(self, packed: Path) -> None:
        data = bytearray(packed.read_bytes())
        data[10] |= 0b110  # a block type that deflate does not have
        packed.write_bytes(data)
        refuses(packed.parent, str(packed), "not a sound gzip", "fetch it again")

    def test_cut_short(self, packed: Path) -> None:
        packed.write_bytes(packed.read_bytes()[:-9])
        refuses(packed.parent, str(packed), "ends too early for a gzip file; fetch it again")

    def test_a_bomb_is_not_unpacked(self, packed: Path) -> None:
        """64 MiB of zeros behind what the header promises."""
        honest = gzip.decompress(packed.read_bytes())
        packed.write_bytes(gzip.compress(honest + bytes(2**26), 1))
        tracemalloc.start()
        refuses(packed.parent, str(packed), "but more follow")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**22


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_magic_number(folder: Path, name: str) -> None:
    right = 2051 if "images" in name else 2049
    data = bytearray((folder / name).read_bytes())
    data[2] = 0x0D  # floats
    (folder / name).write_bytes(data)
    refuses(folder, str(folder / name), f"begins with the number {right + 5 * 256}", f"{right};")


def test_labels_in_place_of_images(folder: Path) -> None:
    data = idx_bytes(np.zeros(100, np.uint8))
    write_bytes(folder, TRAIN_IMAGES, data)
    refuses(folder, str(folder / TRAIN_IMAGES), "begins with the number 2049", "2051;")


def test_too_short_for_a_header(folder: Path) -> None:
    write_bytes(folder, TRAIN_IMAGES, struct.pack(">I", 2051))
    refuses(folder, str(folder / TRAIN_IMAGES), "only 4 bytes, too few", "fetch it again")


@pytest.mark.parametrize("shape", [(0, 3, 4), (12, 0, 4), (12, 3, 0)])
def test_nothing_in_a_dimension(folder: Path, shape: tuple[int, int, int]) -> None:
    write_bytes(folder, TRAIN_IMAGES, idx_bytes(np.zeros(shape, np.uint8)))
    refuses(folder, str(folder / TRAIN_IMAGES), f"is empty: its header says shape {shape}")


@pytest.mark.parametrize("shape", [(2**20, 2**10, 1), (2**32 - 1,) * 3])
def test_a_header_that_promises_too_much(folder: Path, shape: tuple[int, int, int]) -> None:
    write_bytes(folder, TRAIN_IMAGES, struct.pack(">4I", 2051, *shape))
    refuses(folder, str(folder / TRAIN_IMAGES), f"says shape {shape}, more than the 1073741824")


def test_a_promise_just_below_the_cap_takes_no_memory(folder: Path) -> None:
    write_bytes(folder, TRAIN_IMAGES, struct.pack(">4I", 2051, 2**20, 2**10 - 1, 1))
    tracemalloc.start()
    refuses(folder, "promises 1072693248 bytes", "but only 0 follow")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_the_cap_counts_the_header(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "LARGEST_FILE", (folder / TRAIN_IMAGES).stat().st_size)
    read_idx_folder(folder)
    monkeypatch.setattr(idx, "LARGEST_FILE", (folder / TRAIN_IMAGES).stat().st_size - 1)
    refuses(folder, "more than the")


@pytest.mark.parametrize("name", NAMES)
def test_a_payload_too_short_or_too_long(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    promised = len(data) - (16 if "images" in name else 8)
    path.write_bytes(data[:-1])
    refuses(folder, str(path), f"promises {promised} bytes", f"only {promised - 1} follow", "again")
    path.write_bytes(data + b"\0")
    refuses(folder, str(path), f"promises {promised} bytes", "but more follow", "fetch it again")


@pytest.mark.parametrize("position", [0, 2])
def test_counts_that_differ(tmp_path: Path, position: int) -> None:
    arrays = random_arrays()
    count = len(arrays[position])
    arrays[position] = arrays[position][1:]
    write_folder(tmp_path, arrays)
    refuses(
        tmp_path,
        f"{tmp_path / NAMES[position]} has {count - 1} image(s), but ",
        f"{tmp_path / NAMES[position + 1]} has {count} label(s)",
        "belongs together",
    )


def test_image_sizes_that_differ(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays[2] = arrays[2].transpose(0, 2, 1)
    write_folder(tmp_path, arrays)
    refuses(tmp_path, "t10k-", "have shape (1, 4, 3)", "train-", "(1, 3, 4) (channels, height")


def test_a_test_label_that_training_never_had(tmp_path: Path) -> None:
    arrays = random_arrays(classes=3)
    arrays[3][2] = 3
    write_folder(tmp_path, arrays)
    refuses(tmp_path, str(tmp_path / TEST_LABELS), "label 2 (counted from 0) is 3, but with 3")


def test_labels_with_gaps_are_refused_as_in_other_kinds_of_data(tmp_path: Path) -> None:
    arrays = random_arrays(classes=3)
    arrays[1][arrays[1] == 2] = 4
    arrays[3][:] = 0
    write_folder(tmp_path, arrays)
    refuses(tmp_path, TRAIN_LABELS, "no training image of 2 of 5 classes: number 2, 3;", "gaps")


def test_fewer_than_two_classes(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays[1][:] = arrays[3][:] = 0
    write_folder(tmp_path, arrays)
    refuses(tmp_path, str(tmp_path / TRAIN_LABELS), "1 class;", "fewer than 2")


class TestExpected:
    def test_the_right_digests_pass_in_either_case(self, folder: Path) -> None:
        digests = read_idx_folder(folder).sha256
        read_idx_folder(folder, expected={k: v.upper() for k, v in digests.items()})

    def test_packing_makes_no_difference(self, tmp_path: Path, folder: Path) -> None:
        packed = write_folder(tmp_path / "packed", random_arrays(), suffix=".gz")
        assert read_idx_folder(packed).sha256 == read_idx_folder(folder).sha256

    @pytest.mark.parametrize("name", NAMES)
    def test_a_changed_byte(self, folder: Path, name: str) -> None:
        digests = read_idx_folder(folder).sha256
        data = bytearray((folder / name).read_bytes())
        data[-1] = (data[-1] + 1) % 3
        (folder / name).write_bytes(data)
        refuses(folder, str(folder), f"{name} has SHA-256", digests[name], expected=digests)

    def test_a_name_that_is_not_there(self, folder: Path) -> None:
        refuses(folder, f"expected of '{TRAIN_IMAGES}.gz'", expected={f"{TRAIN_IMAGES}.gz": "0"})


def test_a_folder_inside_an_archive(tmp_path: Path, folder: Path) -> None:
    """What importlib.resources gives for a package that is imported from a zip file."""
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / name, f"data/{name}")
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        data = read_idx_folder(zipfile.Path(archive, "data/"))
    np.testing.assert_array_equal(data.test.images, read_idx_folder(folder).test.images)


def test_packaged_mnist() -> None:
    data = load_packaged_mnist()
    assert data.train.images.shape == (60_000, 1, 28, 28)
    assert data.test.images.shape == (10_000, 1, 28, 28)
    assert data.classes == 10
    assert data.sha256 == SHA256
    assert np.bincount(data.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip


def test_packaged_mnist_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHA256, TEST_LABELS, "0" * 64)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte has SHA-256"):
        load_packaged_mnist()
