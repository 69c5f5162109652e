import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from supernet.datasets import cifar, load_folder, raw
from supernet.datasets.cifar import LAYOUTS, Layout, read_cifar
from tests.datasets.refusals import refuses

PUBLISHED = LAYOUTS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of few images."""
    ten, hundred = PUBLISHED
    layouts = (
        replace(ten, train_images=7, test_images=4),
        replace(hundred, train_images=110, test_images=4),
    )
    monkeypatch.setattr(cifar, "LAYOUTS", layouts)


@pytest.fixture(params=[0, 1], ids=["CIFAR-10", "CIFAR-100"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return cifar.LAYOUTS[request.param]


@pytest.fixture
def folder(tmp_path: Path, layout: Layout) -> Path:
    """A sound folder, for a test to spoil."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(layout.files):
        count = layout.test_images if name == layout.test else layout.train_images
        records = rng.integers(256, size=(count, layout.label_bytes + 3072), dtype=np.uint8)
        labels = np.arange(count) + 7 * number
        records[:, layout.label_bytes - 1] = labels % layout.classes
        (tmp_path / name).write_bytes(records.tobytes())
    return tmp_path


def test_what_is_published_is_expected() -> None:
    """As the data set's own page says: 10,000 images a file, 3,073 or 3,074 bytes an image."""
    ten, hundred = PUBLISHED
    assert (ten.train_images, ten.test_images, len(ten.train), ten.classes) == (10_000,) * 2 + (
        5,
        10,
    )
    assert (hundred.train_images, hundred.test_images, hundred.classes) == (50_000, 10_000, 100)
    assert (ten.label_bytes, hundred.label_bytes) == (1, 2)


def test_every_pixel_and_label_is_read(folder: Path, layout: Layout) -> None:
    data = read_cifar(folder)
    assert (data.name, data.classes, data.validation) == (layout.name, layout.classes, None)
    record = layout.label_bytes + 3072
    whole = b"".join((folder / name).read_bytes() for name in layout.train)
    for part, content in ((data.train, whole), (data.test, (folder / layout.test).read_bytes())):
        assert len(part.images) == len(part.labels) == len(content) // record
        for place, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            one = content[place * record : (place + 1) * record]
            assert label == one[layout.label_bytes - 1]
            red, green, blue = image  # row by row, as the page says
            assert red.tobytes() + green.tobytes() + blue.tobytes() == one[layout.label_bytes :]
    assert data.sha256 == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in layout.files
    }


@pytest.mark.filterwarnings("ignore::supernet.errors.DataWarning")  # so few images
def test_colors_are_normalized_each_by_itself(folder: Path) -> None:
    data = load_folder(folder, validation=9)
    pixels = data.train.images.double() / 255
    assert data.shape == (3, 32, 32)
    assert data.train.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), rel=1e-12)
    std = pixels.std(dim=(0, 2, 3), correction=0)
    assert data.train.std == pytest.approx(std.tolist(), rel=1e-12)
    x, _ = next(data.train.batches(len(data.train)))
    assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (x.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_a_missing_file_is_named(folder: Path, layout: Layout) -> None:
    (folder / layout.test).unlink()
    refuses(lambda: read_cifar(folder), f"holds no file {layout.test}; ", *layout.files)


def test_one_file_is_enough_to_say_which_are_missing(folder: Path, layout: Layout) -> None:
    for name in layout.files[1:]:
        (folder / name).unlink()
    refuses(lambda: load_folder(folder), "holds no file " + ", ".join(layout.files[1:]))


def test_a_file_too_short_or_too_long(folder: Path, layout: Layout) -> None:
    """A whole record less is as bad as a byte: nobody could tell it from the full number."""
    for name in layout.files:
        content = (folder / name).read_bytes()
        for wrong in (content[:-1], content[: -3072 - layout.label_bytes], b""):
            (folder / name).write_bytes(wrong)
            refuses(
                lambda: read_cifar(folder), name, f"{len(content)} bytes", f"only {len(wrong)};"
            )
        (folder / name).write_bytes(content + b"\0")
        refuses(lambda: read_cifar(folder), name, "has more", "fetch it again")
        (folder / name).write_bytes(content)


def test_a_label_that_is_no_class(folder: Path, layout: Layout) -> None:
    for name in layout.files:
        content = bytearray((folder / name).read_bytes())
        content[(3072 + layout.label_bytes) * 3 - 3072 - 1] = layout.classes
        (folder / name).write_bytes(content)
        refuses(lambda: read_cifar(folder), name, "label 2 ", f"is {layout.classes}")
        content[(3072 + layout.label_bytes) * 3 - 3072 - 1] = 0
        (folder / name).write_bytes(content)


def test_a_class_without_training_images(folder: Path, layout: Layout) -> None:
    record = 3072 + layout.label_bytes
    for name in layout.train:
        content = np.frombuffer(bytearray((folder / name).read_bytes()), np.uint8)
        labels = content.reshape(-1, record)[:, layout.label_bytes - 1]
        labels[labels == 3] = 4
        (folder / name).write_bytes(content.tobytes())
    refuses(lambda: read_cifar(folder), "no training image of 1 of", "number 3;")


def test_too_large_for_memory_is_said_before_reading(
    folder: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 2 * 3072)
    (folder / layout.files[0]).write_bytes(b"")
    refuses(lambda: read_cifar(folder), "images of 3072 bytes", "fewer or smaller")


def test_a_folder_in_place_of_a_file(folder: Path, layout: Layout) -> None:
    (folder / layout.test).unlink()
    (folder / layout.test).mkdir()
    refuses(lambda: read_cifar(folder), layout.test, "a folder, not a file")
