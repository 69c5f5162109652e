import hashlib
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

import supernet as sn
from supernet.datasets import loaders, wrap_datasets
from supernet.datasets.loaders import WrappedData, WrappedSplit
from supernet.datasets.splits import divide, divide_by_class
from supernet.errors import DataWarning
from supernet.records import DataRecord
from tests.conftest import nine, tiny_data
from tests.datasets.refusals import HOSTILE_NAMES, refuses


def tensors(count: int, seed: int = 0, *, classes: int = 3) -> TensorDataset:
    """Images whose first pixel says which one it is."""
    x = torch.randn(count, 2, 3, 4, generator=torch.Generator().manual_seed(seed))
    x[:, 0, 0, 0] = torch.arange(count)
    return TensorDataset(x, torch.arange(count) % classes)


class Changed(Dataset[Any]):
    """Another dataset, with something done to each item."""

    def __init__(self, inner: Dataset[Any], change: Any) -> None:
        self.inner, self.change = inner, change

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type]

    def __getitem__(self, position: int) -> Any:
        return self.change(*self.inner[position])


def noisy(x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    return x + torch.rand(1), int(y)


class Stream(IterableDataset[Any]):
    """Items without length or order, for ever if need be."""

    def __init__(self, inner: Dataset[Any], *, endless: bool = False) -> None:
        self.inner, self.endless = inner, endless

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from (self.inner[place] for place in range(len(self.inner)))  # type: ignore[arg-type]
            if not self.endless:
                return


def wrap(train: Any = None, **given: Any) -> WrappedData:
    train = tensors(30) if train is None else train
    return wrap_datasets(**{"train": train, "test": tensors(7, seed=1), "name": "mine"} | given)


def images(split: WrappedSplit) -> Tensor:
    return torch.cat(list(split.inputs(4)))


def content(split: WrappedSplit, *, seed: int, epoch: int, size: int = 4) -> list[Tensor]:
    batches = list(split.shuffled(size, seed=seed, epoch=epoch))
    return [torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


# -- what comes out -------------------------------------------------------------------------------


def test_every_image_comes_with_its_label_by_the_usual_split() -> None:
    train, test = tensors(30), tensors(7, seed=1)
    data = wrap(train, test=test, validation=8)
    kept, aside = map(torch.from_numpy, divide_by_class(np.arange(30) % 3, 8))
    for split, (x, y) in (
        (data.train, (train.tensors[0][kept], train.tensors[1][kept])),
        (data.validation, (train.tensors[0][aside], train.tensors[1][aside])),
        (data.test, test.tensors),
    ):
        batches = list(split.batches(4))
        assert torch.equal(torch.cat([batch for batch, _ in batches]), x)
        assert torch.equal(torch.cat([labels for _, labels in batches]), y)
        assert [len(labels) for _, labels in batches[:-1]] == [4] * (
            len(split) // 4 - (len(split) % 4 == 0)
        )
        assert torch.equal(images(split), x)
        assert len(split) == len(x)
        digest = hashlib.sha256()
        for image, label in zip(x, y, strict=True):
            item = image.numpy().tobytes() + label.numpy().astype("<i8").tobytes()
            digest.update(hashlib.sha256(item).digest())
        assert (
            data.sha256[split.what if split is not data.validation else "validation"]
            == digest.hexdigest()
        )
    assert (data.name, data.classes, data.shape) == ("mine", 3, (2, 3, 4))


def test_without_a_look_images_are_set_aside_regardless_of_their_labels() -> None:
    train = tensors(30)
    data = wrap(train, validation=8, look=False, classes=3)
    kept, aside = divide(30, 8)
    assert torch.equal(images(data.train), train.tensors[0][kept])
    assert torch.equal(images(data.validation), train.tensors[0][aside])


def test_a_rare_class_is_set_aside_too_and_one_that_cannot_be_is_told_of() -> None:
    x = tensors(40).tensors[0]
    y = torch.zeros(40, dtype=torch.long)
    y[[11, 30]] = 1
    held = wrap(TensorDataset(x, y), test=tensors(4, classes=2)).validation
    assert sorted(torch.cat([y for _, y in held.batches(4)]).tolist()) == [0, 0, 1]
    y[30] = 0
    with pytest.warns(DataWarning, match=r"3 validation image\(s\) of mine hold none of class 1;"):
        wrap(TensorDataset(x, y), test=tensors(4, classes=2), validation=3)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 29])
def test_pixels_that_are_no_numbers_are_called_so(number: float, place: int) -> None:
    """Not an image that changes each time it is read, as NaN is not equal to itself."""
    train = tensors(30)
    train.tensors[0][place, 1, 2, 3] = number
    kind = "(1 NaN, 0 infinite)" if number != number else "(0 NaN, 1 infinite)"
    refuses(lambda: wrap(train), f"train[{place}] has ", kind)
    refuses(lambda: wrap(test=train), f"test[{place}] has ", kind)
    refuses(lambda: wrap(validation=train), f"validation[{place}] has ", kind)
    refuses(lambda: wrap(DataLoader(Stream(train), batch_size=7)), "of train has ", kind)
    unseen = wrap(train, look=False, classes=3) if place else None
    if unseen is not None:
        refuses(lambda: list(unseen.train.batches(4)) + list(unseen.validation.batches(4)), kind)


def test_validation_of_ones_own() -> None:
    own = tensors(5, seed=2)
    data = wrap(validation=own)
    assert (len(data.train), len(data.validation)) == (30, 5)
    assert torch.equal(images(data.validation), own.tensors[0])


def test_training_goes_through_full_batches_in_an_order_of_seed_and_epoch() -> None:
    train = wrap(validation=8).train
    state = torch.get_rng_state()
    runs = {(s, e): content(train, seed=s, epoch=e) for s in range(3) for e in (1, 2)}
    for (seed, epoch), (x, y) in runs.items():
        assert equal(content(train, seed=seed, epoch=epoch), [x, y])
        numbers = x[:, 0, 0, 0].long()
        assert len(set(numbers.tolist())) == len(numbers) == 20
        assert torch.equal(y, numbers % 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(x[:, 0, 0, 0].tolist()) for x, _ in runs.values()}) == len(runs)
    assert [len(y) for _, y in train.shuffled(23, seed=0, epoch=1)] == []


def test_the_order_is_that_of_data_in_memory() -> None:
    """One rule for both: see `DataSplit.shuffled`."""
    train = wrap(validation=8).train
    generator = torch.Generator().manual_seed(5 * 1_000_003 + 2)
    order = torch.randperm(22, generator=generator)
    assert torch.equal(content(train, seed=5, epoch=2, size=22)[0], images(train)[order])


def test_fewer_images() -> None:
    data = wrap()
    part = data.train.first(6)
    assert torch.equal(images(part), images(data.train)[:6])
    for count in (0, -1, len(data.train) + 1):
        refuses(partial(data.train.first, count), f"{count} images were asked for")


# -- random changes -------------------------------------------------------------------------------


def test_random_changes_are_functions_of_seed_and_epoch() -> None:
    plain = tensors(30)
    data = wrap(Changed(plain, noisy), plain=plain, validation=8)
    state = torch.get_rng_state()
    runs = {(s, e): content(data.train, seed=s, epoch=e) for s in range(3) for e in (1, 2)}
    torch.rand(5)
    for (seed, epoch), expected in runs.items():
        assert equal(content(data.train, seed=seed, epoch=epoch), expected)
        assert equal(content(data.train, seed=seed, epoch=epoch, size=20), expected)
        added = (expected[0] - plain.tensors[0][expected[0][:, 0, 0, 0].long()])[:, 0, 0, 0]
        assert len(set(added.tolist())) == len(added)
    torch.set_rng_state(state)
    content(data.train, seed=0, epoch=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_training_sees_them() -> None:
    plain = tensors(30)
    data = wrap(Changed(plain, noisy), plain=plain, validation=8)
    kept, aside = divide_by_class(np.arange(30) % 3, 8)
    assert torch.equal(images(data.train), plain.tensors[0][kept])
    assert torch.equal(images(data.validation), plain.tensors[0][aside])
    validation, _ = content(data.validation, seed=0, epoch=1)
    assert torch.equal(validation.floor()[:, 0, 0, 0], validation[:, 0, 0, 0])


def test_random_changes_where_they_must_not_be() -> None:
    changed = Changed(tensors(30), noisy)
    refuses(lambda: wrap(changed), "train[0] changes at random", "give plain=")
    refuses(lambda: wrap(test=changed), "test[0] changes at random", "take that out")
    refuses(lambda: wrap(validation=changed), "validation[0] changes at random", "take that out")
    refuses(lambda: wrap(changed, plain=changed), "train[0] changes at random")


@pytest.mark.parametrize(
    "number", [random.random, np.random.default_rng(0).random], ids=["random", "numpy"]
)
def test_changes_that_nobody_could_repeat(number: Any) -> None:
    changed = Changed(tensors(30), lambda x, y: (x + number(), y))
    words = "train[0] is another one each time it is read", "let it draw with torch"
    refuses(lambda: wrap(changed, plain=tensors(30)), *words)


def test_plain_must_be_the_same_images() -> None:
    refuses(lambda: wrap(plain=tensors(29)), "train has 30 images and plain has 29")
    other = Changed(tensors(30), lambda x, y: (x, (y + 1) % 3))
    refuses(lambda: wrap(plain=other), "train[0] has the label 0 and plain[0] 1")


# -- loaders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_usual_loader_is_its_dataset(shuffle: bool, drop_last: bool) -> None:
    dataset = tensors(30)
    loader = DataLoader(dataset, batch_size=7, shuffle=shuffle, drop_last=drop_last)
    data, expected = wrap(loader), wrap(dataset)
    assert data.train.source is dataset
    assert data.sha256 == expected.sha256
    assert equal(content(data.train, seed=1, epoch=1), content(expected.train, seed=1, epoch=1))


def unusual() -> dict[str, DataLoader[Any]]:
    dataset = tensors(30)
    sequence = BatchSampler(range(5, 25), 7, drop_last=False)
    return {
        "iterable": DataLoader(Stream(dataset), batch_size=7),
        "iterable, item by item": DataLoader(Stream(dataset), batch_size=None),
        "batch sampler": DataLoader(dataset, batch_sampler=sequence),
        "sampler": DataLoader(dataset, batch_size=7, sampler=list(range(30))),
        "collation": DataLoader(
            dataset,
            batch_size=7,
            collate_fn=lambda items: (
                2 * torch.stack([x for x, _ in items]),
                torch.stack([y for _, y in items]),
            ),
        ),
    }


@pytest.mark.parametrize("name", unusual())
def test_any_other_loader_is_gone_through_once(name: str) -> None:
    """What it gave that time is kept, in the order it came in."""
    loader = unusual()[name]
    data = wrap(loader, test=loader)
    assert data.train.source is not loader.dataset
    if loader.batch_size is None and isinstance(loader.dataset, IterableDataset):
        given = torch.stack([x for x, _ in loader])
    else:
        given = torch.cat([x for x, _ in loader])
    assert torch.equal(images(data.test), given)
    expected = wrap(TensorDataset(given, torch.cat([y.reshape(-1) for _, y in loader])))
    assert data.sha256["train"] == expected.sha256["train"]
    assert equal(content(data.train, seed=1, epoch=2), content(expected.train, seed=1, epoch=2))


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler([1.0] * 30, 40),
        RandomSampler(range(30), num_samples=20),
        RandomSampler(range(30), replacement=True),
    ],
)
def test_a_choice_of_images_is_kept_and_the_same_every_time(sampler: Any) -> None:
    """What a sampler leaves out or repeats is its user's wish."""
    state = torch.get_rng_state()
    dataset = tensors(30)
    first, second = (wrap(DataLoader(dataset, 4, sampler=sampler)) for _ in range(2))
    assert first.train.source is not dataset
    assert len(first.train) + len(first.validation) == len(sampler)
    assert first.sha256 == second.sha256
    assert torch.equal(torch.get_rng_state(), state)


def test_an_iterable_dataset_needs_no_loader() -> None:
    assert wrap(Stream(tensors(30))).sha256 == wrap().sha256


def test_an_endless_one_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "find_memory", lambda: 10**5)
    stream = Stream(tensors(30), endless=True)
    refuses(lambda: wrap(stream), "train can't be read in any order", "no end; give a Dataset")


def bad_batches() -> dict[str, tuple[list[Any], tuple[str, ...]]]:
    x, y = torch.zeros(4, 2, 3, 4), torch.arange(4)
    return {
        "nothing": ([], ("gave no images",)),
        "not a pair": ([x], ("batch 0 of train is not a pair",)),
        "sizes": (
            [(x, y), (x[..., 1:], y)],
            ("batch 1 of train has images of shape (4, 2, 3, 3)",),
        ),
        "axes": ([(x[0, 0], y)], ("images of shape (3, 4)", "(N, C, H, W)")),
        "counts": ([(x, y[1:])], ("labels of shape (3,)",)),
        "bytes": ([(x.byte(), y)], ("holds torch.uint8 and torch.int64", "must be float32")),
        "floats": ([(x, y.float())], ("torch.float32 and torch.float32", "whole numbers")),
    }


@pytest.mark.parametrize("name", bad_batches())
def test_batches_that_are_none(name: str) -> None:
    batches, words = bad_batches()[name]

    class Batches(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    refuses(lambda: wrap(DataLoader(Batches(), batch_size=None)), *words)


# -- items ----------------------------------------------------------------------------------------


def bad_items() -> dict[str, tuple[Any, str]]:
    x = torch.zeros(2, 3, 4)
    return {
        "image only": (x, "is a Tensor; it must be a pair, (image, label)"),
        "three": ((x, 1, 2), "is a tuple; it must be a pair"),
        "array": ((x.numpy(), 1), "has an image of ndarray; images must be float32"),
        "bytes": ((x.byte(), 1), "has an image of torch.uint8; images must be float32"),
        "double": ((x.double(), 1), "has an image of torch.float64; images must be float32"),
        "axes": ((x[0], 1), "has an image of shape (3, 4); it must be (channels, height, width)"),
        "size": (
            (x[:, 1:], 1),
            "has an image of shape (2, 2, 4), and the first training image has",
        ),
        "float label": ((x, 1.0), "has a label of float; it must be one whole number"),
        "true": ((x, True), "has a label of bool"),
        "text": ((x, "cat\n"), "has a label of str"),
        "one-hot": ((x, torch.tensor([0, 1, 0])), "has a label of torch.int64, (3,)"),
        "float tensor": ((x, torch.tensor(1.0)), "has a label of torch.float32, ()"),
    }


@pytest.mark.parametrize("name", bad_items())
@pytest.mark.parametrize("position", [0, 20])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_items_that_are_none(name: str, position: int, split: str) -> None:
    item, words = bad_items()[name]
    good = tensors(30)

    def change(x: Tensor, y: Tensor) -> Any:
        return item if x[0, 0, 0] == position else (x, y)

    if name == "size" and (split, position) == ("train", 0):
        return  # it is then the first training image that sets the size
    bad = Changed(good, change)
    given = {"train": good, "validation": good, "test": good} | {split: bad}
    refuses(lambda: wrap(**given), f"{split}[{position}] {words}")


@pytest.mark.parametrize(
    "label", [0, np.int64(2), np.uint8(2), torch.tensor(1), torch.tensor(1).byte()]
)
def test_labels_may_be_any_whole_number(label: Any) -> None:
    changed = Changed(tensors(7), lambda x, _: (x, label))
    assert {y for _, y in wrap(test=changed).test.items()} == {int(label)}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_out_of_range(split: str) -> None:
    good = tensors(30)
    for label in (-1, 3):
        bad = Changed(good, lambda x, y, label=label: (x, label if x[0, 0, 0] == 9 else y))
        given = {"train": good, "validation": good, "test": good} | {split: bad}
        words = f"{split}[9] has the label {label}, but with 3 classes"
        refuses(partial(wrap, **given, classes=3), words)
        if (split, label) != ("train", 3):
            refuses(partial(wrap, **given), split, f"is {label}, but with 3 classes")
        unseen = wrap(**given, classes=3, look=False)
        refuses(partial(list, getattr(unseen, split).batches(4)), words)


def test_classes_without_training_images() -> None:
    refuses(lambda: wrap(classes=5), "train has no training image of 2 of 5 classes: number 3, 4")
    shifted = Changed(tensors(30), lambda x, y: (x, y + 1))
    refuses(lambda: wrap(shifted), "no training image of 1 of 4 classes: number 0;")


def test_without_a_look_nothing_is_read_but_a_few() -> None:
    read = []

    def note(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        read.append(int(x[0, 0, 0]))
        return x, y

    refuses(lambda: wrap(look=False), "give classes=")
    data = wrap(Changed(tensors(30), note), classes=3, look=False)
    assert set(read) == set(range(8))
    assert (data.classes, data.sha256) == (3, {})


@pytest.mark.parametrize("source", [None, 3, Dataset(), iter([])])
def test_what_is_no_dataset(source: Any) -> None:
    refuses(lambda: wrap(test=source), "test is a", "give a torch Dataset with len and indices")


def test_empty_datasets() -> None:
    empty = Subset(tensors(3), [])
    refuses(lambda: wrap(empty), "train holds no images")
    refuses(lambda: wrap(test=empty), "test holds no images")
    refuses(lambda: wrap(Subset(tensors(3), [0])), "train has 1 class")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_breaks_the_record(name: str) -> None:
    data = wrap(name=name)
    record = DataRecord(
        name=data.name,
        classes=data.classes,
        train=len(data.train),
        validation=len(data.validation),
        test=len(data.test),
        calibration=1,
        shape=data.shape,
        sha256=dict(data.sha256),
    )
    assert DataRecord.model_validate_json(record.model_dump_json()) == record


# -- in use ---------------------------------------------------------------------------------------


def test_a_supernet_trains_on_it_as_on_data_in_memory() -> None:
    """To the bit, which takes the same order, the same labels and the same calibration."""
    memory = tiny_data()
    sets: dict[str, Any] = {
        name: TensorDataset(*next(getattr(memory, name).batches(1000)))
        for name in ("train", "validation", "test")
    }
    wrapped = wrap_datasets(**sets, name="tiny", classes=3)
    recipe = sn.Recipe(epochs=2, batch_size=16)
    one, other = (sn.train(nine(), data, recipe, seed=3) for data in (memory, wrapped))
    assert one.training == other.training
    assert np.array_equal(one.test, other.test)
