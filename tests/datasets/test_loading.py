import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import supernet.datasets
from supernet.datasets import DataSplit, ImageData, load_folder, load_idx
from supernet.datasets.mnist import SHA256, load_packaged_mnist
from supernet.errors import DataError, DataWarning
from tests.datasets.idxfiles import Bytes, numbered, numbers, random_arrays, write_folder
from tests.datasets.test_arrays import save, sound

# -- the split ----------------------------------------------------------------------------------


def test_the_split_is_disjoint_and_covers_everything(data: ImageData) -> None:
    assert (len(data.train), len(data.validation), len(data.test)) == (22, 8, 7)
    assert sorted(numbers(data.train) + numbers(data.validation)) == list(range(30))
    assert numbers(data.test) == list(range(100, 107))


def test_images_keep_their_labels_and_pixels(data: ImageData, arrays: list[Bytes]) -> None:
    for split in (data.train, data.validation):
        chosen = numbers(split)
        assert split.labels.tolist() == arrays[1][chosen].tolist()
        assert np.array_equal(split.images[:, 0].numpy(), arrays[0][chosen])
    assert data.test.labels.tolist() == arrays[3].tolist()
    assert np.array_equal(data.test.images[:, 0].numpy(), arrays[2])


def test_the_split_is_always_the_same(mnist: ImageData) -> None:
    """Results would no longer be comparable if it changed."""
    sha256 = {
        name: hashlib.sha256(split.labels.numpy().astype(np.uint8).tobytes()).hexdigest()
        for name, split in (("train", mnist.train), ("validation", mnist.validation))
    }
    assert sha256 == PINNED


def test_mnist_is_what_it_should_be(mnist: ImageData) -> None:
    assert (mnist.name, mnist.classes, mnist.shape) == ("MNIST", 10, (1, 28, 28))
    splits = (mnist.train, mnist.validation, mnist.test)
    assert [len(split) for split in splits] == [55_000, 5_000, 10_000]
    assert mnist.sha256 == SHA256
    whole = load_packaged_mnist()
    together = torch.cat([mnist.train.labels, mnist.validation.labels])
    assert together.bincount().tolist() == np.bincount(whole.train.labels).tolist()
    shares = mnist.validation.labels.bincount() / 5000
    torch.testing.assert_close(shares, together.bincount() / 60_000, rtol=0, atol=0.015)
    (mean,), (std,) = mnist.train.mean, mnist.train.std
    assert (mean.hex(), std.hex()) == ("0x1.0b9ef1835d9ecp-3", "0x1.3b84acb826d21p-2")


@pytest.mark.parametrize("validation", [0, -1, 28, 30, 31])
def test_an_impossible_split_is_refused(tmp_path: Path, validation: int) -> None:
    folder = write_folder(tmp_path / "data", numbered())
    with pytest.raises(
        DataError, match=rf"{validation} of 30 .*; choose 1 to 27, so that every class"
    ):
        load_idx(folder, validation=validation)


def test_a_folder_gives_its_name_classes_and_shape(data: ImageData) -> None:
    assert (data.name, data.classes, data.shape) == ("numbers", 3, (1, 3, 4))
    assert len(data.sha256) == 4


def test_a_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_idx(tmp_path / "nowhere")


PINNED = {
    "train": "202214792426d177aed9a1d4f9e8b3a8790e5452bc9ecd79d0f9ac9f3fdf0f6e",
    "validation": "71ec7e8e1e9377823b47eb67f0a46750a0be95a7ca789f74d335aa2e2dc2f4e2",
}


def test_a_small_folder_sets_one_image_in_twelve_aside(tmp_path: Path) -> None:
    write_folder(tmp_path, random_arrays(train=120, test=8, height=8, width=8, classes=3))
    found = load_idx(tmp_path)
    assert (len(found.train), len(found.validation), len(found.test)) == (110, 10, 8)


def test_mnist_has_its_split_wherever_its_files_lie(mnist: ImageData, tmp_path: Path) -> None:
    for file in Path(supernet.datasets.__file__).with_name("mnist").glob("*ubyte*"):
        (tmp_path / file.name).symlink_to(file)
    found = load_idx(tmp_path)
    assert torch.equal(found.train.labels, mnist.train.labels)
    assert torch.equal(found.validation.images, mnist.validation.images)


def test_validation_images_are_set_aside_class_by_class(tmp_path: Path) -> None:
    """One class is rare: drawn regardless of labels, one in twelve would seldom have it."""
    arrays = random_arrays(train=240, test=8, classes=2)
    arrays[1][:] = 0
    arrays[1][[3, 170]] = 1
    found = load_idx(write_folder(tmp_path, arrays))
    assert found.validation.labels.bincount().tolist() == [19, 1]
    assert found.train.labels.bincount().tolist() == [219, 1]


def test_a_class_that_validation_can_not_have_is_told_of(tmp_path: Path) -> None:
    arrays = random_arrays(train=24, test=8, classes=2)
    arrays[1][:] = 0
    arrays[1][5] = 1
    write_folder(tmp_path / "lone", arrays)
    with pytest.warns(DataWarning, match=r"2 validation image\(s\) of lone hold none of class 1"):
        found = load_idx(tmp_path / "lone")
    assert 1 in found.train.labels
    write_folder(tmp_path / "few", random_arrays(train=24, classes=3))
    with pytest.warns(DataWarning, match="2 validation .* none of class [012]; set more aside"):
        load_idx(tmp_path / "few", validation=2)


def test_the_first_images_hold_every_class_whatever_the_order_on_disk(tmp_path: Path) -> None:
    arrays = sound(validation=True)
    arrays["y_train"] = np.sort(np.resize([0, 1, 2], 12))
    arrays["y_val"] = np.array([0, 1, 2])
    found = load_folder(save(tmp_path / "sorted.npz", arrays))
    assert sorted(found.train.first(3).labels.tolist()) == [0, 1, 2]
    assert found.train.first(6).labels.bincount().tolist() == [2, 2, 2]


def test_only_pictures_are_scaled(tmp_path: Path) -> None:
    write_folder(tmp_path, random_arrays())
    with pytest.raises(DataError, match="holds no pictures, which alone are scaled"):
        load_folder(tmp_path, resize=8)


def test_the_old_name_of_a_split_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="called DataSplit now"):
        assert supernet.datasets.Split is DataSplit
    with pytest.raises(AttributeError, match="no attribute 'Plit'"):
        supernet.datasets.Plit  # noqa: B018
