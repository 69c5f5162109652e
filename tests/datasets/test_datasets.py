import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.datasets import ImageData, Split, load_idx, load_mnist
from supernet.datasets.mnist import SHA256, load_packaged_mnist
from supernet.errors import DataError
from tests.datasets.idxfiles import Bytes, random_arrays, write_folder


def numbered(train: int = 30, test: int = 7) -> list[Bytes]:
    """Every image says which one it is."""
    arrays = random_arrays(train=train, test=test)
    arrays[0][:, 0, 0] = np.arange(train)
    arrays[2][:, 0, 0] = 100 + np.arange(test)
    return arrays


def numbers(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


@pytest.fixture
def arrays() -> list[Bytes]:
    return numbered()


@pytest.fixture
def data(tmp_path: Path, arrays: list[Bytes]) -> ImageData:
    return load_idx(write_folder(tmp_path / "numbers", arrays, suffix=".gz"), validation=8)


@pytest.fixture(scope="module")
def mnist() -> ImageData:
    return load_mnist()


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
    assert together.bincount().tolist() == np.bincount(whole.train_labels).tolist()
    shares = mnist.validation.labels.bincount() / 5000
    torch.testing.assert_close(shares, together.bincount() / 60_000, rtol=0, atol=0.015)
    (mean,), (std,) = mnist.train.mean, mnist.train.std
    assert (mean.hex(), std.hex()) == ("0x1.0b9ef1835d9ecp-3", "0x1.3b84acb826d21p-2")


@pytest.mark.parametrize("validation", [0, -1, 30, 31])
def test_an_impossible_split_is_refused(tmp_path: Path, validation: int) -> None:
    folder = write_folder(tmp_path / "data", numbered())
    with pytest.raises(DataError, match=rf"{validation} of 30 .*; choose 1 to 29"):
        load_idx(folder, validation=validation)


def test_a_folder_gives_its_name_classes_and_shape(data: ImageData) -> None:
    assert (data.name, data.classes, data.shape) == ("numbers", 3, (1, 3, 4))
    assert len(data.sha256) == 4


def test_a_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_idx(tmp_path / "nowhere")


# -- normalisation ------------------------------------------------------------------------------


def test_pixel_statistics_are_numpys_and_of_the_training_images_only(data: ImageData) -> None:
    pixels = data.train.images.numpy() / 255
    for split in (data.train, data.validation, data.test):
        assert split.mean == pytest.approx((pixels.mean(),), rel=1e-12)
        assert split.std == pytest.approx((pixels.std(),), rel=1e-12)


def test_pixel_statistics_of_many_images_are_numpys(mnist: ImageData) -> None:
    pixels = mnist.train.images.numpy()
    assert mnist.train.mean == pytest.approx((pixels.mean(dtype=np.float64) / 255,), rel=1e-12)
    assert mnist.train.std == pytest.approx((pixels.std(dtype=np.float64) / 255,), rel=1e-12)


def test_batches_are_normalised(data: ImageData) -> None:
    x = torch.cat([x for x, _ in data.train.batches(5)])
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double().mean().item(), 0.0, rtol=0, atol=1e-6)
    torch.testing.assert_close(x.double().std(correction=0).item(), 1.0, rtol=0, atol=1e-6)
    (mean,), (std,) = data.train.mean, data.train.std
    test = (data.test.images / 255 - mean) / std
    torch.testing.assert_close(torch.cat(list(data.test.inputs(3))), test)
    (shuffled, _) = next(data.train.shuffled(22, seed=0, epoch=1))
    assert torch.equal(shuffled.sort(dim=0).values, x.sort(dim=0).values)


def test_images_of_one_grey_are_not_divided_by_zero(tmp_path: Path) -> None:
    arrays = numbered()
    arrays[0][:] = 51
    data = load_idx(write_folder(tmp_path / "grey", arrays), validation=8)
    assert data.train.mean == pytest.approx((0.2,))
    assert data.train.std == (1.0,)
    assert next(data.train.inputs(22)).abs().max() < 1e-6


def test_reading_does_not_change_the_images(data: ImageData) -> None:
    before = data.train.images.clone()
    for x, _ in data.train.batches(22):
        x.zero_()
    for x, _ in data.train.shuffled(5, seed=0, epoch=1):
        x.zero_()
    assert torch.equal(data.train.images, before)


# -- going through ------------------------------------------------------------------------------


def test_batches_come_in_order_and_the_last_is_what_is_left(data: ImageData) -> None:
    batches = list(data.train.batches(5))
    assert [len(y) for _, y in batches] == [5, 5, 5, 5, 2]
    assert torch.equal(torch.cat([y for _, y in batches]), data.train.labels)
    inputs = list(data.train.inputs(5))
    assert all(torch.equal(x, only) for (x, _), only in zip(batches, inputs, strict=True))


def order(split: Split, *, seed: int, epoch: int, size: int = 5) -> list[int]:
    """Which images come, in which order."""
    (mean,), (std,) = split.mean, split.std
    raw = [x * std + mean for x, _ in split.shuffled(size, seed=seed, epoch=epoch)]
    pixels: Tensor = torch.cat(raw)[:, 0, 0, 0] * 255
    return [round(pixel) for pixel in pixels.tolist()]


def test_the_order_is_a_function_of_seed_and_epoch(data: ImageData) -> None:
    orders = {(s, e): order(data.train, seed=s, epoch=e) for s in range(3) for e in (1, 2)}
    state = torch.get_rng_state()
    for (seed, epoch), found in orders.items():
        assert order(data.train, seed=seed, epoch=epoch) == found
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(found) for found in orders.values()}) == len(orders)


def test_only_full_batches_come_and_no_image_comes_twice(data: ImageData) -> None:
    for size, count in ((5, 4), (22, 1), (11, 2), (23, 0)):
        batches = list(data.train.shuffled(size, seed=0, epoch=1))
        assert [len(y) for _, y in batches] == [size] * count
    found = order(data.train, seed=0, epoch=1)
    assert len(set(found)) == len(found) == 20
    assert set(found) <= set(numbers(data.train))


def test_shuffled_images_keep_their_labels(data: ImageData) -> None:
    label = dict(zip(numbers(data.train), data.train.labels.tolist(), strict=True))
    came = [y for _, y in data.train.shuffled(5, seed=4, epoch=2)]
    expected = [label[number] for number in order(data.train, seed=4, epoch=2)]
    assert torch.cat(came).tolist() == expected


def test_what_is_left_out_changes_from_epoch_to_epoch(data: ImageData) -> None:
    came = [set(order(data.train, seed=0, epoch=epoch)) for epoch in range(1, 30)]
    assert set.union(*came) == set(numbers(data.train))


# -- less of it ---------------------------------------------------------------------------------


def test_the_first_images_are_the_first(data: ImageData) -> None:
    part = data.train.first(6)
    assert numbers(part) == numbers(data.train)[:6]
    assert torch.equal(part.labels, data.train.labels[:6])
    assert (part.mean, part.std) == (data.train.mean, data.train.std)
    assert len(data.train.first(22)) == 22


@pytest.mark.parametrize("count", [0, -1, 23])
def test_more_than_there_is_is_refused(data: ImageData, count: int) -> None:
    with pytest.raises(DataError, match=rf"{count} images were asked for; there are 1 to 22"):
        data.train.first(count)
    with pytest.raises(DataError, match="there are 1 to 22"):
        data.limit(train=count)
    with pytest.raises(DataError, match="there are 1 to 8"):
        data.limit(validation=count)


def test_limiting_leaves_the_test_images_alone(data: ImageData) -> None:
    part = data.limit(train=6, validation=3)
    assert [len(s) for s in (part.train, part.validation, part.test)] == [6, 3, 7]
    assert part.test is data.test
    assert data.limit().train is data.train


PINNED = {
    "train": "202214792426d177aed9a1d4f9e8b3a8790e5452bc9ecd79d0f9ac9f3fdf0f6e",
    "validation": "71ec7e8e1e9377823b47eb67f0a46750a0be95a7ca789f74d335aa2e2dc2f4e2",
}


def test_a_small_folder_sets_one_image_in_twelve_aside(tmp_path: Path) -> None:
    write_folder(tmp_path, random_arrays(train=120, test=8, height=8, width=8, classes=3))
    found = load_idx(tmp_path)
    assert (len(found.train), len(found.validation), len(found.test)) == (110, 10, 8)
