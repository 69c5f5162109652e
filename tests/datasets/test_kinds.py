import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.datasets import load_folder, load_idx
from supernet.datasets.kinds import find_kind
from tests.datasets.idxfiles import random_arrays, write_folder
from tests.datasets.refusals import HOSTILE_NAMES, refuses
from tests.datasets.test_arrays import save, sound

EVERYTHING = (
    "train-images-idx3-ubyte",
    "data_batch_1.bin",
    "train.bin",
    ".npz",
    ".png",
    "one subfolder per class",
)


def make_pictures(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(7):
            pixels = np.full((4, 5), 9 * number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_each_kind_is_recognized(tmp_path: Path) -> None:
    idx = write_folder(tmp_path / "idx", random_arrays(), suffix=".gz")
    (tmp_path / "npz").mkdir()
    file = save(tmp_path / "npz" / "a.npz", sound())
    pictures = make_pictures(tmp_path / "pictures")
    for layout, name in (("ten", "data_batch_3.bin"), ("hundred", "test.bin")):
        (tmp_path / layout).mkdir()
        (tmp_path / layout / name).touch()
        assert find_kind(tmp_path / layout) == "cifar"
    assert find_kind(idx) == "idx"
    assert find_kind(file) == "npz"
    assert find_kind(file.parent) == "npz in a folder"
    assert find_kind(pictures) == "pictures"
    for path, name in ((idx, "idx"), (file, "a"), (file.parent, "a"), (pictures, "pictures")):
        assert load_folder(str(path)).name == name


def test_an_idx_folder_gives_what_load_idx_gives(tmp_path: Path) -> None:
    write_folder(tmp_path, random_arrays(train=40))
    one, other = load_folder(tmp_path, validation=9), load_idx(tmp_path, validation=9)
    assert (one.name, one.classes, one.sha256) == (other.name, other.classes, other.sha256)
    for name in ("train", "validation", "test"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left.mean, left.std) == (right.mean, right.std)
        assert left.images.equal(right.images)
        assert left.labels.equal(right.labels)


def test_what_is_none_of_them_is_told_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    refuses(lambda: load_folder(tmp_path), "no data of a known kind", *EVERYTHING)
    refuses(lambda: load_folder(tmp_path / "notes.txt"), "not a .npz file", *EVERYTHING)
    refuses(lambda: load_folder(tmp_path / "nowhere"), "is not there", *EVERYTHING)
    os.mkfifo(tmp_path / "pipe.npz")
    refuses(lambda: load_folder(tmp_path / "pipe.npz"), "no file or folder")


@pytest.mark.parametrize("name", ["a\0b", "n" * 300, *HOSTILE_NAMES])
def test_no_name_breaks_anything(tmp_path: Path, name: str) -> None:
    refuses(lambda: load_folder(tmp_path / name))
    if "\0" in name or len(name) > 255:
        return
    folder = tmp_path / name
    folder.mkdir()
    refuses(lambda: load_folder(folder), "no data of a known kind")
    (folder / name).touch()
    refuses(lambda: load_folder(folder / name), "not a .npz file")
    refuses(lambda: load_folder(folder), "no data of a known kind")
    write_folder(folder, random_arrays())
    found = load_folder(folder).name
    assert found == load_idx(folder).name
    assert found.isprintable()
    found.encode("utf-8")


def test_two_kinds_in_one_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, random_arrays())
    save(tmp_path / "a.npz", sound())
    refuses(
        lambda: load_folder(tmp_path), "more than one set of data", "a.npz", "folder of its own"
    )


def test_two_files_of_arrays(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", sound())
    save(tmp_path / "b.npz", sound())
    refuses(lambda: load_folder(tmp_path), "more than one set of data (a.npz, b.npz)")


def test_the_pickled_cifar_is_not_touched(tmp_path: Path) -> None:
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (tmp_path / name).write_bytes(pickle.dumps({}))
    refuses(lambda: load_folder(tmp_path), "Python version", "could run code", "binary version")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    refuses(lambda: load_folder(tmp_path), "can't be read (Permission denied)")
