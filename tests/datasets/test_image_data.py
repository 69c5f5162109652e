from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.datasets import DataSplit, ImageData, load_idx
from supernet.errors import DataError
from tests.datasets.idxfiles import numbered, numbers, write_folder

# -- normalization ------------------------------------------------------------------------------


def test_pixel_statistics_are_numpys_and_of_the_training_images_only(data: ImageData) -> None:
    pixels = data.train.images.numpy() / 255
    for split in (data.train, data.validation, data.test):
        assert split.mean == pytest.approx((pixels.mean(),), rel=1e-12)
        assert split.std == pytest.approx((pixels.std(),), rel=1e-12)


def test_pixel_statistics_of_many_images_are_numpys(mnist: ImageData) -> None:
    pixels = mnist.train.images.numpy()
    assert mnist.train.mean == pytest.approx((pixels.mean(dtype=np.float64) / 255,), rel=1e-12)
    assert mnist.train.std == pytest.approx((pixels.std(dtype=np.float64) / 255,), rel=1e-12)


def test_batches_are_normalized(data: ImageData) -> None:
    x = torch.cat([x for x, _ in data.train.batches(5)])
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double().mean().item(), 0.0, rtol=0, atol=1e-6)
    torch.testing.assert_close(x.double().std(correction=0).item(), 1.0, rtol=0, atol=1e-6)
    (mean,), (std,) = data.train.mean, data.train.std
    test = (data.test.images / 255 - mean) / std
    torch.testing.assert_close(torch.cat(list(data.test.inputs(3))), test)
    (shuffled, _) = next(data.train.shuffled(22, seed=0, epoch=1))
    assert torch.equal(shuffled.sort(dim=0).values, x.sort(dim=0).values)


def test_images_of_one_gray_are_not_divided_by_zero(tmp_path: Path) -> None:
    arrays = numbered()
    arrays[0][:] = 51
    data = load_idx(write_folder(tmp_path / "gray", arrays), validation=8)
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


def order(split: DataSplit, *, seed: int, epoch: int, size: int = 5) -> list[int]:
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


def test_data_say_in_a_line_what_they_are(data: ImageData) -> None:
    size = " x ".join(map(str, data.shape))
    expected = f"ImageData({data.name}: 22, 8, 7 images of {size} in {data.classes} classes)"
    assert repr(data) == expected
    assert data._repr_html_().count("<tr>") == 4
    assert "<td>22</td>" in data._repr_html_()
    assert [len(part) for part in (data.limit(test=2).test, data.limit(test=2).train)] == [2, 22]


def test_limiting_leaves_the_test_images_alone(data: ImageData) -> None:
    part = data.limit(train=6, validation=3)
    assert [len(s) for s in (part.train, part.validation, part.test)] == [6, 3, 7]
    assert part.test is data.test
    assert data.limit().train is data.train
