"""Each augmentation against the same, written out image by image and pixel by pixel."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.datasets import DataSplit, ImageData, load_idx
from supernet.datasets.augmentations import Augmentation, crop, cut_out, flip
from supernet.errors import SettingsError
from tests.datasets.idxfiles import random_arrays, write_folder

ALL: dict[str, Any] = {"crop": 2, "flip": True, "cutout": 3}


def images(count: int, height: int = 5, width: int = 7) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def cropped(image: Tensor, padding: int, top: int, left: int) -> Tensor:
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            y, x = row + top - padding, column + left - padding
            if 0 <= y < height and 0 <= x < width:
                result[:, row, column] = image[:, y, x]
    return result


def mirrored(image: Tensor) -> Tensor:
    return torch.stack([image[:, :, -1 - column] for column in range(image.shape[2])], dim=2)


def blanked(image: Tensor, size: int, row: int, column: int) -> Tensor:
    result = image.clone()
    top, left = row - size // 2, column - size // 2
    result[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    return result


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_crops_are_those_of_single_images(padding: int) -> None:
    """Every possible one of them."""
    offsets = torch.arange(2 * padding + 1)
    top, left = torch.cartesian_prod(offsets, offsets).unbind(1)
    x = images(len(top))
    places = zip(x, top.tolist(), left.tolist(), strict=True)
    expected = torch.stack([cropped(image, padding, *place) for image, *place in places])
    assert torch.equal(crop(x, padding, top, left), expected)


def test_flips_are_those_of_single_images() -> None:
    x, chosen = images(6), torch.tensor([True, False, True, True, False, False])
    expected = [mirrored(image) if yes else image for image, yes in zip(x, chosen, strict=True)]
    assert torch.equal(flip(x, chosen), torch.stack(expected))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_blanks_are_those_of_single_images(size: int) -> None:
    """At every possible place."""
    row, column = torch.cartesian_prod(torch.arange(5), torch.arange(7)).unbind(1)
    x = images(len(row))
    places = zip(x, row.tolist(), column.tolist(), strict=True)
    expected = torch.stack([blanked(image, size, *place) for image, *place in places])
    assert torch.equal(cut_out(x, size, row, column), expected)


def test_together_they_follow_one_another() -> None:
    x, change = images(40), Augmentation(**ALL)
    drawn = change.draw(x.shape, torch.Generator().manual_seed(1))
    expected = []
    for image, (top, left, mirror, row, column) in zip(x, drawn.tolist(), strict=True):
        one = cropped(image, 2, top, left)
        expected.append(blanked(mirrored(one) if mirror else one, 3, row, column))
    before = x.clone()
    assert torch.equal(change.apply(x, drawn), torch.stack(expected))
    assert torch.equal(x, before)


def test_all_that_can_be_drawn_is_drawn_about_equally_often() -> None:
    shape = (50_000, 1, 5, 7)
    drawn = Augmentation(**ALL).draw(shape, torch.Generator().manual_seed(0))
    assert drawn.shape == (50_000, 5)
    for column, limit in zip(drawn.unbind(1), (5, 5, 2, 5, 7), strict=True):
        shares = column.bincount() / len(column)
        torch.testing.assert_close(shares, torch.full((limit,), 1 / limit), rtol=0, atol=0.01)


def test_one_more_augmentation_changes_nothing_of_the_others() -> None:
    shape, seeded = (50, 1, 5, 7), torch.Generator
    some = Augmentation(crop=2).draw(shape, seeded().manual_seed(0))
    assert torch.equal(some, Augmentation(**ALL).draw(shape, seeded().manual_seed(0)))


@pytest.mark.parametrize("name", ["crop", "cutout"])
@pytest.mark.parametrize("value", [-1, 3, 100])
def test_what_could_leave_nothing_is_refused(tmp_path: Path, name: str, value: int) -> None:
    data = load_idx(write_folder(tmp_path, random_arrays(height=3, width=4)))
    asked: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=rf"{name} is {value}; .*3 x 4 pixels .* 0 to 2"):
        data.augmented(**asked)


# -- on a split -----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> ImageData:
    arrays = random_arrays(train=40, height=5, width=7)
    return load_idx(write_folder(tmp_path / "data", arrays), validation=7)


def content(split: DataSplit, *, seed: int, epoch: int, size: int = 4) -> bytes:
    return b"".join(
        x.numpy().tobytes() + y.numpy().tobytes()
        for x, y in split.shuffled(size, seed=seed, epoch=epoch)
    )


def test_the_bytes_are_a_function_of_seed_and_epoch(data: ImageData) -> None:
    train = data.augmented(**ALL).train
    state = torch.get_rng_state()
    runs = {(s, e): content(train, seed=s, epoch=e) for s in range(3) for e in (1, 2)}
    for (seed, epoch), expected in runs.items():
        assert content(train, seed=seed, epoch=epoch) == expected
    assert len(set(runs.values())) == len(runs)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_order_is_that_without_augmentation(data: ImageData) -> None:
    plain, changed = data.train, data.augmented(**ALL).train
    pairs = zip(
        plain.shuffled(8, seed=1, epoch=2), changed.shuffled(8, seed=1, epoch=2), strict=True
    )
    for (x, y), (augmented, labels) in pairs:
        assert torch.equal(y, labels)
        assert x.shape == augmented.shape
        assert not torch.equal(x, augmented)
    assert content(data.augmented().train, seed=1, epoch=2) == content(plain, seed=1, epoch=2)


def test_the_batch_size_does_not_matter(data: ImageData) -> None:
    train = data.augmented(**ALL).train.first(32)
    images = [
        torch.cat([x for x, _ in train.shuffled(size, seed=0, epoch=1)]) for size in (4, 8, 32)
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_only_training_sees_them(data: ImageData) -> None:
    changed = data.augmented(**ALL)
    for name in ("train", "validation", "test"):
        before, after = getattr(data, name), getattr(changed, name)
        for (x, y), (other, labels) in zip(before.batches(6), after.batches(6), strict=True):
            assert torch.equal(x, other)
            assert torch.equal(y, labels)
        assert all(map(torch.equal, before.inputs(6), after.first(len(after)).inputs(6)))
    assert changed.validation is data.validation
    assert changed.test is data.test
    assert data.train.augmentation is None


def test_fewer_images_are_augmented_still(data: ImageData) -> None:
    changed = data.augmented(**ALL).limit(train=8)
    assert content(changed.train, seed=0, epoch=1) != content(
        data.limit(train=8).train, seed=0, epoch=1
    )


def test_each_image_changes_as_drawn(data: ImageData) -> None:
    """The split hands each image its own draw, and normalizes first."""
    change = data.augmented(**ALL).train
    found = [x for x, _ in change.shuffled(8, seed=5, epoch=3)]
    generator = torch.Generator().manual_seed(5 * 1_000_003 + 3)
    order = torch.randperm(33, generator=generator)
    drawn = Augmentation(**ALL).draw((33, 1, 5, 7), generator)
    x = torch.cat(list(data.train.inputs(33)))[order]
    assert torch.equal(torch.cat(found), Augmentation(**ALL).apply(x, drawn)[:32])
