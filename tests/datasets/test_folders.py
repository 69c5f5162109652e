import hashlib
import io
import os
import pickle
import shutil
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from supernet.datasets import folders, load_folder, raw
from supernet.datasets.folders import Scaling, read_image_folder
from supernet.datasets.raw import RawData
from supernet.datasets.splits import divide_by_class
from supernet.errors import DataError, DataWarning
from tests.datasets.refusals import HOSTILE_NAMES, refuses

Pixels = NDArray[np.uint8]


def draw(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(256, size=shape or (4, 5, 3), dtype=np.uint8)


def make(
    folder: Path, counts: dict[str, int], *shape: int, suffix: str = ".png"
) -> dict[str, Pixels]:
    """Write pictures; return them by their path within `folder`."""
    made = {}
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            made[f"{name}/{number:02}{suffix}"] = draw(100 * label + number, *shape)
    for path, pixels in made.items():
        Image.fromarray(pixels).save(folder / path)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound folder with its own test images, for a test to spoil."""
    make(tmp_path / "root" / "train", {"cat": 4, "ant": 3, "dog": 2})
    make(tmp_path / "root" / "test", {"dog": 1, "cat": 2})
    return tmp_path / "root"


def refused(root: Path, *words: str) -> None:
    refuses(lambda: read_image_folder(root), *words)


def stacked(made: dict[str, Pixels]) -> Pixels:
    """Pictures in the order of their paths, (N, C, H, W)."""
    pixels = [made[path] for path in sorted(made)]
    return np.stack([p[None] if p.ndim == 2 else p.transpose(2, 0, 1) for p in pixels])


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".PNG"])
@pytest.mark.parametrize("validation", [None, "val", "valid", "validation"])
def test_pictures_are_read_by_class_and_name(
    tmp_path: Path, shape: tuple[int, ...], suffix: str, validation: str | None
) -> None:
    train = make(tmp_path / "train", {"cat": 4, "Zoo": 1, "ant": 3}, *shape, suffix=suffix)
    test = make(tmp_path / "test", {"cat": 2, "ant": 1}, *shape, suffix=suffix)
    data = read_image_folder(tmp_path)
    assert (data.classes, data.validation, data.name) == (3, None, tmp_path.name)
    assert data.class_names == ("Zoo", "ant", "cat")
    assert np.array_equal(data.train.images, stacked(train))
    assert data.train.labels.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert np.array_equal(data.test.images, stacked(test))
    assert data.test.labels.tolist() == [1, 2, 2]
    if validation:
        held = make(tmp_path / validation, {"ant": 2}, *shape, suffix=suffix)
        found = read_image_folder(tmp_path).validation
        assert found is not None
        assert np.array_equal(found.images, stacked(held))
        assert found.labels.tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_other_formats_are_decoded_as_pillow_does(tmp_path: Path, suffix: str) -> None:
    make(tmp_path / "train", {"a": 1, "b": 1}, 16, 16, 3, suffix=suffix)
    make(tmp_path / "test", {"a": 1}, 16, 16, 3, suffix=suffix)
    found = read_image_folder(tmp_path).train.images[0]
    with Image.open(tmp_path / "train" / "a" / f"00{suffix}") as image:
        assert np.array_equal(found, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_one_folder_is_divided_by_the_rule(tmp_path: Path) -> None:
    whole = stacked(make(tmp_path, {"a": 10, "b": 15}))
    data = read_image_folder(tmp_path)
    kept, aside = divide_by_class(np.repeat([0, 1], [10, 15]), 3)
    assert np.array_equal(data.train.images, whole[kept])
    assert np.array_equal(data.test.images, whole[aside])
    assert np.array_equal(data.train.labels, (kept >= 10).astype(int))
    assert np.array_equal(data.test.labels, (aside >= 10).astype(int))
    found = load_folder(tmp_path)
    assert [len(split) for split in (found.train, found.validation, found.test)] == [20, 2, 3]


def test_hidden_files_and_litter_are_passed_over(root: Path) -> None:
    before = read_image_folder(root)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._00.png"):
        (root / "train" / "cat" / name).write_bytes(b"?")
    (root / "train" / ".cache").mkdir()
    (root / ".git").mkdir()
    (root / "README.txt").touch()
    assert read_image_folder(root).sha256 == before.sha256


def test_the_digest_is_of_names_and_contents(root: Path) -> None:
    digest = hashlib.sha256()
    for path in ("cat/00.png", "cat/01.png", "dog/00.png"):
        content = (root / "test" / path).read_bytes()
        digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    before = read_image_folder(root).sha256
    assert before["test"] == digest.hexdigest()
    assert set(before) == {"train", "test"}
    picture = root / "train" / "cat" / "00.png"
    picture.rename(picture.with_name("000.png"))
    after = read_image_folder(root).sha256
    assert (after["train"] != before["train"], after["test"]) == (True, before["test"])


def palette(image: Image.Image) -> Image.Image:
    return image.quantize(16)


def opaque(image: Image.Image) -> Image.Image:
    return image.convert("RGBA")


@pytest.mark.parametrize("change", [palette, opaque])
def test_palettes_and_opaque_alpha_are_resolved(
    root: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    path = root / "train" / "ant" / "00.png"
    with Image.open(path) as image:
        changed = change(image)
    changed.save(path)
    expected = np.asarray(changed.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image_folder(root).train.images[0], expected)


def test_black_and_white_is_gray(tmp_path: Path) -> None:
    for part in ("train/a", "train/b", "test/a"):
        (tmp_path / part).mkdir(parents=True)
        Image.fromarray(draw(1, 4, 5) > 100).save(tmp_path / part / "0.png")
    found = read_image_folder(tmp_path).train.images[0, 0]
    assert np.array_equal(found, np.where(draw(1, 4, 5) > 100, 255, 0))


def test_a_link_to_the_folder_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_image_folder(tmp_path / "link").sha256 == read_image_folder(root).sha256


# -- names ----------------------------------------------------------------------------------------


def test_no_name_breaks_anything(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in HOSTILE_NAMES:
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(draw(0)).save(tmp_path / part / name / f"{name[:200]}.png", "PNG")
    data = read_image_folder(tmp_path)
    assert (data.classes, len(data.train.labels)) == (len(HOSTILE_NAMES),) * 2
    for name in HOSTILE_NAMES:
        path = tmp_path / "train" / name / f"{name[:200]}.png"
        content = path.read_bytes()
        path.write_bytes(content[:-20])
        refused(tmp_path, "can't be decoded")
        path.write_bytes(content)
        (path.parent / f"{name[:200]}.txt").touch()
        refused(tmp_path, "has a name that ends otherwise")
        (path.parent / f"{name[:200]}.txt").unlink()


# -- folders --------------------------------------------------------------------------------------


def test_a_missing_folder_and_a_circle_of_links(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none can't be read (No such file")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    refused(tmp_path / "circle", "circle")


def test_test_images_alone_are_nothing_to_learn_from(root: Path) -> None:
    (root / "train").rename(root / "held out")
    refused(root, "holds 'held out', '", "it must hold train and test", "val, valid, validation")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_are_the_test_where_there_are_no_others(root: Path, name: str) -> None:
    """As ImageNet is published; images to choose by come from the training images."""
    before = read_image_folder(root)
    (root / "test").rename(root / name)
    data = read_image_folder(root)
    assert np.array_equal(data.test.images, before.test.images)
    assert data.validation is None
    assert data.sha256 == before.sha256


def test_train_alone_is_divided_as_one_folder(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "test")
    alone, inner = read_image_folder(root), read_image_folder(root / "train")
    assert np.array_equal(alone.train.images, inner.train.images)
    assert np.array_equal(alone.test.images, inner.test.images)


def test_two_folders_of_validation_images(root: Path) -> None:
    (root / "val").mkdir()
    (root / "valid").mkdir()
    refused(root, "train and one of val, valid, validation")


def test_a_folder_beside_train_and_test(root: Path) -> None:
    (root / "bus\n").mkdir()
    refused(root, "and beside it 'bus\\\\n', which is neither test nor validation; move")


def test_too_few_classes(tmp_path: Path) -> None:
    refused(tmp_path, "holds no folders; ", "at least 2 classes")
    make(tmp_path, {"a": 3})
    refused(tmp_path, "holds 'a'; ", "at least 2 classes")


def test_a_class_that_training_does_not_have(root: Path) -> None:
    make(root / "test", {"eel": 1})
    refused(root, "test holds 'eel', which ", "train does not")


def test_a_part_without_classes(root: Path) -> None:
    (root / "val").mkdir()
    refused(root, "val holds no folders; ")


def test_a_class_without_pictures(root: Path) -> None:
    (root / "train" / "eel").mkdir()
    refused(root, "eel is empty; put the pictures")


def test_a_class_of_one_picture_is_learned_from(tmp_path: Path) -> None:
    make(tmp_path, {"a": 6, "b": 1, "c": 7})
    data = read_image_folder(tmp_path)
    assert (data.train.labels == 1).sum() == 1
    assert set(data.test.labels) == {0, 2}
    with pytest.warns(DataWarning, match=r"hold none of class 1; set more aside, or add images"):
        load_folder(tmp_path)


def test_one_picture_of_each_class_can_not_be_divided(tmp_path: Path) -> None:
    make(tmp_path, {"a": 1, "b": 1})
    refused(tmp_path, "1 of 2 images can't be set aside; there must be 2 at least of a class")


def test_other_files_and_folders_among_the_pictures(root: Path) -> None:
    cat = root / "train" / "cat"
    (cat / "labels.csv").touch()
    refused(root, "labels.csv has a name that ends otherwise", ".png", "move it elsewhere")
    (cat / "labels.csv").unlink()
    (cat / "more.png").mkdir()
    refused(root, "more.png is a folder, where pictures")


def test_links_must_stay_inside(root: Path, tmp_path: Path) -> None:
    cat = root / "train" / "cat"
    (cat / "inside.png").symlink_to(root / "test" / "dog" / "00.png")
    assert len(read_image_folder(root).train.labels) == 10
    outside = tmp_path / "outside" / "a"
    make(outside.parent, {"a": 1})
    for link, target in (
        (cat / "out.png", outside / "00.png"),
        (cat / "up.png", Path("../../../outside/a/00.png")),
        (root / "train" / "eel", outside),
        (root / "val", outside.parent),
    ):
        link.symlink_to(target)
        refused(root, f"{link} is a link that leads out of {root}; ")
        link.unlink()
    (cat / "dangling.png").symlink_to("nowhere.png")
    refused(root, "dangling.png can't be read")


def test_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    refused(root, "pipe.png can't be read (it is a pipe, not a file)")


def test_too_many_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_IMAGES", 9)
    read_image_folder(root)
    monkeypatch.setattr(folders, "MOST_IMAGES", 8)
    refused(root, "train holds more than 8 files; ", "wrap_datasets")


def test_too_large_for_memory_is_said_before_reading(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 12 * (2 * 60 + 24))
    read_image_folder(root)
    monkeypatch.setattr(raw, "find_memory", lambda: 12 * (2 * 60 + 24) - 1)
    (root / "train" / "dog" / "00.png").write_bytes(b"")
    refused(root, "holds 12 images of 60 bytes", "fewer or smaller")


# -- pictures -------------------------------------------------------------------------------------


def test_a_file_that_is_no_picture(root: Path, tmp_path: Path) -> None:
    path, trap = root / "train" / "dog" / "01.png", tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.mkdir, (trap,))

    for content in (b"", b"no picture", pickle.dumps(Trap()), b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path.write_bytes(content)
        refused(root, f"{path} is no picture in the format of BMP, JPEG, PNG")
    assert not trap.exists()


@pytest.mark.parametrize("suffix", ["gif", "tiff", "eps", "pdf"])
def test_no_other_decoder_is_let_near_it(root: Path, suffix: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(draw(0)).save(stream, suffix)
    (root / "train" / "dog" / "01.png").write_bytes(stream.getvalue())
    refused(root, "01.png is no picture in the format of")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_a_picture_cut_short(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, {"a": 1, "b": 1}, 32, 32, 3, suffix=suffix)
    path = tmp_path / "b" / f"00{suffix}"
    content = path.read_bytes()
    for keep in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(content[: int(keep * len(content))])
        refused(tmp_path, str(path), "damaged")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_png_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """All of it is under checksums: its pixels are right, or it isn't read."""
    root = tmp_path_factory.getbasetemp() / "damaged"
    if not root.exists():
        make(root, {"a": 8, "b": 8})
    path = root / "a" / "00.png"
    stream = io.BytesIO()
    Image.fromarray(draw(0)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = pixels_of(read_image_folder(root), 0)
    except DataError:
        return
    assert np.array_equal(found, draw(0).transpose(2, 0, 1))


def pixels_of(data: RawData, place: int) -> Pixels:
    """One picture of a folder of 16 that was divided."""
    kept, aside = divide_by_class(np.repeat([0, 1], 8), 2)
    order = [*kept.tolist(), *aside.tolist()]
    whole: Pixels = np.concatenate([data.train.images, data.test.images])
    found: Pixels = whole[order.index(place)]
    return found


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is of that size, and is short."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2**20), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(4097, 4096), (12_000, 12_000), (65_535, 65_535)])
@pytest.mark.parametrize("place", ["ant/00.png", "dog/01.png"])
def test_a_bomb_is_not_decoded(root: Path, size: tuple[int, int], place: str) -> None:
    """Not where Pillow would only warn, either; nor does that warning come through."""
    (root / "train" / place).write_bytes(bomb(*size))
    tracemalloc.start()
    refused(root, place, f"more than the {2**24} pixels allowed")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_file_of_too_many_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LARGEST_FILE", 50)
    refused(root, "has more than the 50 bytes allowed")


def test_sizes_that_differ(root: Path) -> None:
    Image.fromarray(draw(0, 5, 4, 3)).save(root / "test" / "dog" / "00.png")
    refused(
        root, "dog/00.png has 5 x 4 pixels and ", "ant/00.png 4 x 5; scale all", "--resize N does"
    )


@pytest.mark.parametrize("by", ["crop", "pad"])
@pytest.mark.parametrize("kind", ["gray", "color"])
def test_pictures_of_mixed_sizes_are_scaled_to_one(
    tmp_path: Path, by: Literal["crop", "pad"], kind: str
) -> None:
    """A white bar in the middle of the longer side stays, and what is at its ends goes or stays."""
    for number, (height, width) in enumerate([(8, 8), (16, 8), (8, 24), (40, 40)]):
        pixels = np.full((height, width), 255, np.uint8)
        if height > width:
            pixels[: (height - width) // 2] = pixels[(height + width) // 2 :] = 100
        elif width > height:
            pixels[:, : (width - height) // 2] = pixels[:, (width + height) // 2 :] = 100
        for part in ("train/a", "train/b", "test/a"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels)
            (image if kind == "gray" else image.convert("RGB")).save(
                tmp_path / part / f"{number}.png"
            )
    found = read_image_folder(tmp_path, Scaling(8, by)).train.images[:4]
    assert found.shape == (4, 1 if kind == "gray" else 3, 8, 8)
    if by == "crop":
        assert (found == 255).all()
        return
    assert (found[[0, 3]] == 255).all()
    tall, wide = found[1, 0], found[2, 0]
    assert (tall[:, :2] == 0).all()
    assert (tall[:, 6:] == 0).all()
    assert tall[0, 3] == 100
    assert tall[4, 3] == 255
    assert (wide[[0, 1, 6, 7]] == 0).all()
    assert wide[4, 0] == 100
    assert wide[4, 4] == 255
    refused(tmp_path, "scale all to one size, which --resize N does")
    data = load_folder(tmp_path, resize=8, resize_by=by)
    assert data.shape[1:] == (8, 8)


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_a_size_that_no_picture_can_get_is_refused(root: Path, size: int) -> None:
    refuses(lambda: load_folder(root, resize=size), f"resize is {size}; choose 1 to 4096")


def test_scaling_bounds_the_memory_that_is_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 12 * (2 * 3 * 100 + 24))
    read_image_folder(root, Scaling(10))
    refuses(lambda: read_image_folder(root, Scaling(11)), "12 images of 363 bytes")


def test_gray_and_color(root: Path) -> None:
    Image.fromarray(draw(0, 4, 5)).save(root / "test" / "dog" / "00.png")
    refused(root, "dog/00.png is gray and ", "ant/00.png is in color; save all alike")


def test_pixels_that_would_change(root: Path) -> None:
    path = root / "train" / "dog" / "01.png"
    clear = np.dstack([draw(0), np.full((4, 5), 255, np.uint8)])
    clear[3, 2, 3] = 254
    deep = draw(0, 4, 5).astype(np.uint16)
    for pixels, words in (
        (clear, "is transparent in places"),
        (clear[..., 2:], "is transparent in places"),
        (deep, "has pixels of kind I;16"),
    ):
        Image.fromarray(pixels).save(path)
        refused(root, "dog/01.png", words, "save it with")
    Image.fromarray(draw(0)).save(path, transparency=(1, 2, 3))
    refused(root, "dog/01.png has a transparent color")
    Image.fromarray(draw(0)).convert("CMYK").save(path, "JPEG")
    refused(root, "dog/01.png has pixels of kind CMYK; save it with 8 bits")


def test_a_moving_picture(root: Path) -> None:
    frames = [Image.fromarray(draw(seed)) for seed in (1, 2)]
    frames[0].save(root / "train" / "dog" / "01.png", save_all=True, append_images=frames[1:])
    refused(root, "dog/01.png is a moving picture")


def test_reading_leaves_the_warnings_filters_alone(root: Path) -> None:
    before = list(warnings.filters)
    read_image_folder(root)
    assert warnings.filters == before
