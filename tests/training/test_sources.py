"""Datasets and loaders as they are: what is gone through, in which order, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from supernet.errors import DataError
from supernet.training.sources import DatasetSamples, LoaderSamples, as_data
from tests.conftest import noise, tiny_data

Item = tuple[Any, Any]


class Pairs(Dataset[Item]):
    """Two inputs, in a tuple, and two targets, in a dict; with random changes drawn from torch."""

    def __init__(self, count: int, *, jitter: bool = False) -> None:
        self.count, self.jitter = count, jitter

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> Item:
        change = torch.rand(()) if self.jitter else torch.tensor(0.0)
        return (torch.full((3,), float(at)) + change, torch.tensor(at)), {"a": at, "b": float(at)}


def tensors(count: int = 20) -> TensorDataset:
    return TensorDataset(noise(count, 3), torch.arange(count) % 4)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return len(one) == len(other) and all(map(same, one, other))


def test_data_are_taken_as_they_are() -> None:
    data: Any = tiny_data()
    assert as_data(data) is data


def test_inputs_and_targets_may_be_tuples_and_dicts() -> None:
    data = as_data((Pairs(10), Pairs(5), Pairs(4)))
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 5, 4]
    (x, y), (last, _) = data.validation.batches(3)
    assert isinstance(x, tuple)
    assert [tuple(part.shape) for part in x] == [(3, 3), (3,)]
    assert y["a"].tolist() == [0, 1, 2]
    assert len(last[0]) == 2
    assert [x[1].tolist() for x, _ in data.train.first(4).batches(3)] == [[0, 1, 2], [3]]


@pytest.mark.parametrize(
    "source",
    [
        Pairs(13, jitter=True),
        DataLoader(Pairs(13, jitter=True), batch_size=4, shuffle=True),
        DataLoader(
            Pairs(13, jitter=True),
            batch_size=4,
            shuffle=True,
            generator=torch.Generator().manual_seed(3),
        ),
        DataLoader(Pairs(13, jitter=True), batch_sampler=[[3, 4, 5], [1, 2], [7]]),
    ],
)
def test_order_and_random_changes_are_functions_of_seed_and_epoch(source: Any) -> None:
    train = as_data((source, Pairs(5))).train

    def epoch(seed: int, epoch: int) -> list[Item]:
        torch.rand(3)  # whatever went on before
        return list(train.shuffled(4, seed=seed, epoch=epoch))

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        list(train.shuffled(4, seed=0, epoch=1))
        assert torch.equal(before, torch.get_rng_state())
        first, again, other = epoch(0, 1), epoch(0, 1), epoch(0, 2)
        assert same(first, again)
        assert not same(first, other)
        assert not same(first, epoch(1, 1))
        assert same(list(train.batches(4)), list(train.batches(4)))


def test_a_loaders_own_batches_are_used() -> None:
    def collate(items: list[Item]) -> Item:
        return torch.stack([x[0] for x, _ in items]) + 0.5, torch.tensor([y["a"] for _, y in items])

    loader = DataLoader(Pairs(10), batch_size=4, collate_fn=collate)
    train: Any = as_data((loader, loader)).train
    assert isinstance(train, LoaderSamples)
    assert train.count_batches(99) == 3
    given = list(train.shuffled(99, seed=0, epoch=1))
    assert [len(x) for x, _ in given] == [4, 4, 2]
    assert given[0][0][0, 0] == 0.5
    assert [len(x) for x, _ in train.first(6).batches(99)] == [4, 2]
    assert len(train) == 10
    dropping: Any = as_data((DataLoader(Pairs(10), batch_size=4, drop_last=True), loader)).train
    assert len(dropping) == 8


def test_validation_is_set_aside_by_class_where_labels_are_at_hand() -> None:
    data = as_data((tensors(40), None))
    assert isinstance(data.train, DatasetSamples)
    assert isinstance(data.validation, DatasetSamples)
    assert data.test is None
    held = data.validation.positions
    assert sorted((held % 4).tolist()) == [0, 1, 2, 3]
    both = torch.cat([data.train.positions, held])
    assert sorted(both.tolist()) == list(range(40))
    unlabeled = as_data((Pairs(25), None))
    assert (len(unlabeled.train), len(unlabeled.validation)) == (23, 2)


def test_pairs_of_tensors_will_do() -> None:
    x, y = noise(9, 3), noise(9)
    data = as_data(((x, y), (x[:4], y[:4])))
    (batch,) = data.validation.batches(9)
    assert same(batch, (x[:4], y[:4]))
    assert repr(data) == "SampleData(9 to learn from, 4 to choose by)"
    assert data._repr_html_().count("<tr>") == 3  # type: ignore[attr-defined]


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter([torch.zeros(3)] * 4)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (DataLoader(tensors()), r"data are a DataLoader; give .*\(train, validation, test\)"),
        (tensors(), "data are a TensorDataset; give"),
        (noise(3), "data are a Tensor; give"),
        (None, "data are a NoneType; give"),
        ((tensors(),), "data are 1 parts"),
        ((tensors(),) * 4, "data are 4 parts"),
        ((7, tensors()), "train is a int; give"),
        ((TensorDataset(noise(0, 3)), tensors()), "train holds no samples"),
        ((DataLoader(tensors()), None), "can't be divided; give validation data too"),
        ((Endless(), tensors()), "IterableDataset, which has no order"),
        ((DataLoader(Endless()), tensors()), "length of the train loader isn't known"),
        (((noise(3), noise(4)), tensors()), "as many targets"),
    ],
)
def test_what_can_not_be_trained_on_is_refused(source: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        as_data(source)


def test_a_batch_that_is_no_pair_is_refused() -> None:
    data = as_data((TensorDataset(noise(4, 3)), tensors()))
    with pytest.raises(DataError, match=r"train\[\d\] is \[\(2, 3\) float32\]; it must be a pair"):
        next(data.train.shuffled(2, seed=0, epoch=1))
    loader: Any = DataLoader(TensorDataset(noise(4, 3)), batch_size=2)
    with pytest.raises(DataError, match=r"batch 0 of validation is \[\(2, 3\) float32\]"):
        next(iter(as_data((tensors(), loader)).validation.batches(2)))
    with pytest.raises(DataError, match="21 samples were asked for; there are 1 to 20"):
        as_data((tensors(), None, tensors())).test.first(21)  # type: ignore[union-attr]


class Odd(Dataset[Any]):
    """Fails to read a sample, or gives one of another shape than the rest."""

    def __init__(self, bad: int, error: Exception | None) -> None:
        self.bad, self.error = bad, error

    def __len__(self) -> int:
        return 6

    def __getitem__(self, at: int) -> Any:
        if at == self.bad and self.error is not None:
            raise self.error
        return torch.zeros(4 if at == self.bad else 3), 0


@pytest.mark.parametrize("error", [OSError("disk gone"), IndexError("no file 4"), KeyError("x")])
def test_a_sample_that_can_not_be_read_is_named(error: Exception) -> None:
    data = as_data((Odd(9, None), Odd(4, error)))
    with pytest.raises(DataError, match=rf"\[4\] can't be read: {type(error).__name__}: "):
        list(data.validation.batches(3))


def test_samples_that_differ_are_named() -> None:
    data = as_data((Odd(9, None), Odd(4, None)))
    with pytest.raises(DataError, match=r"can't be put into one batch, from .*\[3\] on: .*size"):
        list(data.validation.batches(3))
