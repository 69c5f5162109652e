import hashlib
import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from supernet.datasets import load_folder, raw
from supernet.datasets.arrays import NAMES, read_npz
from supernet.errors import DataError
from tests.datasets.idxfiles import random_arrays
from tests.datasets.refusals import HOSTILE_NAMES, refuses

Arrays = dict[str, NDArray[Any]]


def sound(channels: int | None = None, *, validation: bool = False) -> Arrays:
    """Arrays that are as they should be; images are (N, H, W) or (N, C, H, W)."""
    x, y, x_test, y_test = random_arrays(height=6, width=8)
    arrays: Arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    if validation:
        arrays |= {"x_val": x_test[:3] ^ 1, "y_val": y_test[:3]}
    if channels is not None:
        for name in arrays:
            if name.startswith("x"):
                layers = [arrays[name] ^ np.uint8(layer) for layer in range(channels)]
                arrays[name] = np.stack(layers, axis=1)
    return arrays


def save(path: Path, arrays: Arrays, *, packed: bool = True) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "digits.npz"


def refused(file: Path, arrays: Arrays, *words: str) -> None:
    save(file, arrays)
    refuses(lambda: read_npz(file), str(file), *words)


def member(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def write_members(file: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("names", [0, 1])
@pytest.mark.parametrize("fortran", [True, False])
def test_what_was_saved_is_read(
    file: Path,
    packed: bool,
    validation: bool,
    channels: int | None,
    last: bool,
    names: int,
    fortran: bool,
) -> None:
    arrays = sound(channels, validation=validation)
    renamed = {
        old: new
        for split in NAMES[0]
        for old, new in zip(NAMES[0][split], NAMES[names][split], strict=True)
    }
    written: Arrays = {}
    for name, array in arrays.items():
        array = array.transpose(0, 2, 3, 1) if last and array.ndim == 4 else array
        written[renamed[name]] = np.asfortranarray(array) if fortran else np.array(array, order="C")
    data = read_npz(save(file, written, packed=packed))
    for split, part in (("train", data.train), ("test", data.test), ("val", data.validation)):
        if f"x_{split}" not in arrays:
            assert part is None
            continue
        assert part is not None
        expected = arrays[f"x_{split}"]
        assert np.array_equal(part.images, expected if channels else expected[:, None])
        assert part.labels.dtype == np.int64
        assert np.array_equal(part.labels, arrays[f"y_{split}"])
    assert (data.name, data.classes) == ("digits", 3)
    assert data.sha256 == {
        f"{name}.npy": hashlib.sha256(member(array)).hexdigest() for name, array in written.items()
    }


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i8", ">i4", "u8"])
@pytest.mark.parametrize("column", [True, False])
def test_labels_may_be_any_whole_numbers(file: Path, dtype: str, column: bool) -> None:
    arrays = sound()
    expected = arrays["y_train"]
    arrays["y_train"] = expected.astype(dtype)[:, None] if column else expected.astype(dtype)
    assert np.array_equal(read_npz(save(file, arrays)).train.labels, expected)


def test_validation_images_of_its_own_are_used(file: Path) -> None:
    save(file, sound(3, validation=True))
    data = load_folder(file)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 3, 5]
    refuses(lambda: load_folder(file, validation=2), "2 training images", "3 validation images")


def test_other_arrays_are_left_unread(file: Path) -> None:
    arrays = sound()
    members = {name: member(array) for name, array in arrays.items()}
    write_members(file, members | {"notes": b"no array", "bomb": PICKLE})
    assert read_npz(file).classes == 3


# -- pickles --------------------------------------------------------------------------------------


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.mkdir, (self.path,))


PICKLE = pickle.dumps([1])


@pytest.mark.parametrize("name", sorted(sound()))
def test_a_pickle_does_not_run(tmp_path: Path, file: Path, name: str) -> None:
    trap = tmp_path / "sprung"
    objects = np.array([Trap(trap)] * 12, dtype=object)
    members = {key: member(array) for key, array in sound().items()}
    write_members(file, members | {name: member(objects)})
    refuses(lambda: read_npz(file), f"{name} holds Python objects", "could run code")
    write_members(file, members | {name: pickle.dumps(Trap(trap))})
    refuses(lambda: read_npz(file), f"{name} doesn't begin as an array does")
    file.write_bytes(pickle.dumps(Trap(trap)))
    refuses(lambda: read_npz(file), "not a sound .npz file")
    assert not trap.exists()


# -- the archive ----------------------------------------------------------------------------------


def test_a_missing_array_is_named(file: Path) -> None:
    for name in sound():
        arrays = sound()
        del arrays[name]
        if name == "x_train":
            refused(file, arrays, "holds no array", "x_train, y_train, x_test, y_test")
        else:
            refused(file, arrays, f"holds no array {name};", "x_train, y_train", "and holds 'x_t")


def test_half_of_the_validation_data(file: Path) -> None:
    arrays = sound(validation=True)
    del arrays["y_val"]
    refused(file, arrays, "holds no array y_val;")


def test_all_names_are_listed_and_none_is_trusted(file: Path) -> None:
    names = [*HOSTILE_NAMES[:5], "../../escape", "/absolute", "%s{0}", ""]
    write_members(file, dict.fromkeys(names, b""))
    refuses(
        lambda: read_npz(file),
        "holds no array x_train, y_train, x_test, y_test; it must hold x_train, ",
        "or train_images, train_labels, test_images, test_labels, and holds ''",
        "...",
    )
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_an_empty_archive(file: Path) -> None:
    write_members(file, {})
    refuses(lambda: read_npz(file), "and holds none")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(file: Path) -> None:
    save(file, sound())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("y_test.npy", b"")
    refuses(lambda: read_npz(file), "holds the array y_test twice")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK" * 500, b"\x93NUMPY"])
def test_no_archive_at_all(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    refuses(lambda: read_npz(file), str(file), "not a sound .npz file", "fetch it again")


def test_a_missing_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    refuses(lambda: read_npz(tmp_path / "none.npz"), "none.npz can't be read (No such file")
    refuses(lambda: read_npz(tmp_path), "a folder, not a file")


def test_an_archive_with_a_password(file: Path) -> None:
    save(file, sound(), packed=False)
    content = bytearray(file.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + offset] |= 1
    file.write_bytes(content)
    refuses(lambda: read_npz(file), "can't be unpacked", "savez_compressed")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every number is under a checksum: what is read is what was saved, or nothing is."""
    file = tmp_path_factory.getbasetemp() / "damaged.npz"
    arrays = sound()
    content = bytearray(save(file, arrays, packed=data.draw(st.booleans())).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(
                st.integers(0, 7)
            )
    file.write_bytes(content)
    try:
        found = read_npz(file)
    except DataError:
        return
    assert np.array_equal(found.train.images[:, 0], arrays["x_train"])
    assert np.array_equal(found.train.labels, arrays["y_train"])
    assert np.array_equal(found.test.images[:, 0], arrays["x_test"])
    assert np.array_equal(found.test.labels, arrays["y_test"])


# -- the arrays -----------------------------------------------------------------------------------


def header(shape: object, descr: str = "|u1", *, version: bytes = b"\1\0") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


def test_a_promise_that_is_not_kept(file: Path) -> None:
    members = {name: member(array) for name, array in sound().items()}
    for name, content in members.items():
        write_members(file, members | {name: content[:-1]})
        refuses(lambda: read_npz(file), f"{name} promises", "only", "is damaged")
        write_members(file, members | {name: content + b"\0"})
        refuses(lambda: read_npz(file), f"{name} promises", "but more follow")


def test_a_promise_of_too_much_is_refused_before_anything_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 10**9)
    members = {name: member(array) for name, array in sound().items()}
    size = 10**12
    members |= {"x_train": header((size, 6, 8)), "y_train": header((size,))}
    write_members(file, members)
    tracemalloc.start()
    refuses(lambda: read_npz(file), f"holds {size + 5} images of 48 bytes", "fewer or smaller")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_bomb_is_not_unpacked(file: Path) -> None:
    """64 MiB of zeros behind what the header promises."""
    members = {name: member(array) for name, array in sound().items()}
    write_members(file, members | {"x_test": members["x_test"] + bytes(2**26)})
    tracemalloc.start()
    refuses(lambda: read_npz(file), "x_test promises", "but more follow")
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        header("(12, 6, 8", "|u1"),
        header("'x'"),
        header((12, 6, 8), "no type"),
        header((12, 6, 8), version=b"\x09\0"),
        b"\x93NUMPY\1\0\xff\xff" + b"(" * 65535,
        header("(12, 6, __import__('os').getpid())"),
    ],
)
def test_no_header_of_an_array(file: Path, content: bytes) -> None:
    members = {name: member(array) for name, array in sound().items()}
    write_members(file, members | {"x_train": content})
    refuses(lambda: read_npz(file), "x_train doesn't begin as an array does")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u2", "i1", "?", "c8", "U1", "M8[s]"])
def test_images_that_are_not_bytes(file: Path, dtype: str) -> None:
    arrays = sound()
    arrays["x_test"] = arrays["x_test"].astype(dtype)
    words = "images must be uint8, from 0 to 255"
    refused(file, arrays, f"x_test holds {np.dtype(dtype)};", words)


@pytest.mark.parametrize("dtype", ["f4", "f8", "?", "c8", "U1", "m8[s]"])
def test_labels_that_are_not_whole_numbers(file: Path, dtype: str) -> None:
    arrays = sound()
    arrays["y_train"] = arrays["y_train"].astype(dtype)
    refused(file, arrays, f"y_train holds {np.dtype(dtype)};", "labels must be whole numbers")


@pytest.mark.parametrize("shape", [(576,), (12, 48), (12, 1, 1, 6, 8)])
def test_images_with_other_axes(file: Path, shape: tuple[int, ...]) -> None:
    arrays = sound()
    arrays["x_train"] = arrays["x_train"].reshape(shape)
    refused(file, arrays, f"x_train has shape {shape};", "(N, H, W, C)")


@pytest.mark.parametrize("shape", [(12, 3, 8, 2), (12, 6, 8, 12)])
def test_channels_that_could_be_either_axis_or_none(file: Path, shape: tuple[int, ...]) -> None:
    arrays = sound()
    arrays["x_train"] = np.zeros(shape, np.uint8)
    refused(file, arrays, f"x_train has shape {shape},", "either" if shape[1] == 3 else "neither")


def test_one_hot_labels_and_a_single_one(file: Path) -> None:
    arrays = sound()
    arrays["y_train"] = np.eye(3, dtype=np.uint8)[arrays["y_train"]]
    refused(file, arrays, "y_train has shape (12, 3);", "y.argmax(axis=1)")
    arrays["y_train"] = np.array(3)
    refused(file, arrays, "y_train has shape ();")


@pytest.mark.parametrize("name", sorted(sound()))
def test_no_images_or_labels(file: Path, name: str) -> None:
    arrays = sound()
    arrays[name] = arrays[name][:0]
    refused(file, arrays, f"{name} is empty, of shape (0")


def test_a_shape_below_zero(file: Path) -> None:
    members = {name: member(array) for name, array in sound().items()}
    write_members(file, members | {"x_train": header((-12, -6, 8))})
    refuses(lambda: read_npz(file), "x_train is empty, of shape (-12, -6, 8)")


@pytest.mark.parametrize("split", ["train", "test"])
def test_counts_that_differ(file: Path, split: str) -> None:
    arrays = sound()
    count = len(arrays[f"y_{split}"])
    arrays[f"y_{split}"] = arrays[f"y_{split}"][1:]
    refused(
        file, arrays, f"x_{split} has {count} image(s), but ", f"y_{split} has {count - 1} label"
    )


@pytest.mark.parametrize("split", ["test", "val"])
def test_image_sizes_that_differ(file: Path, split: str) -> None:
    arrays = sound(validation=True)
    arrays[f"x_{split}"] = arrays[f"x_{split}"].transpose(0, 2, 1)
    refused(file, arrays, f"x_{split} have shape (1, 8, 6) and those of", "x_train (1, 6, 8)")


def test_labels_out_of_range(file: Path) -> None:
    arrays = sound(validation=True)
    for name in ("y_train", "y_test", "y_val"):
        spoiled = arrays[name].astype(np.int64)
        spoiled[1] = -1
        refused(file, arrays | {name: spoiled}, f"{name}: label 1 ", "is -1")
        if name != "y_train":
            spoiled[1] = 3
            refused(file, arrays | {name: spoiled}, f"{name}: label 1 ", "is 3", "3 classes")
    huge = arrays["y_test"].astype(np.uint64)
    huge[0] = 2**64 - 1
    refused(file, arrays | {"y_test": huge}, "y_test holds the label 18446744073709551615")


def test_classes_without_training_images(file: Path) -> None:
    arrays = sound()
    refused(file, arrays | {"y_train": arrays["y_train"] + 1}, "y_train", "number 0;", "from 0")
    arrays["y_train"][:] = 0
    refused(file, arrays, "1 class;")
