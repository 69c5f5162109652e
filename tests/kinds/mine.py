"""Networks, data and a task as users write them: one pair of functions for each kind, tiny."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import supernet as sn


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def three(make: Any) -> tuple[Any, Any, Any]:
    return make(30, 1), make(13, 2), make(11, 3)


def mlp(inputs: int, outputs: int, width: int = 4) -> nn.Sequential:
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(3)]
    first = nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
    return nn.Sequential(first, sn.Depth("body", layers), nn.Linear(width, outputs))


# A table, and a number for each row.
def build_regression(shape: tuple[int, ...]) -> nn.Module:
    return mlp(shape[0], 1)


def load_regression() -> Any:
    def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
        x = draw(seed, count, 3)
        return x, x[:, :1] * 2 - 1

    return three(rows)


def kilowatts() -> sn.Task:
    return sn.Regression("absolute", unit="kW")


# Several labels at once.
def build_labels(shape: tuple[int, ...]) -> nn.Module:
    return mlp(shape[0], 3)


def load_labels() -> Any:
    def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
        x = draw(seed, count, 3)
        return x, (x > 0).float()

    return three(rows)


# A class for every pixel, from loaders whose last batches are incomplete.
def build_pixels(shape: tuple[int, ...], width: int = 3) -> nn.Module:
    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))

    first = nn.Conv2d(shape[0], width, 3, padding=1)
    return nn.Sequential(
        first, sn.Depth("body", [block(), block(), block()]), nn.Conv2d(width, 2, 1)
    )


def load_pixels() -> Any:
    def batches(count: int, seed: int) -> DataLoader[Any]:
        x = draw(seed, count, 1, 6, 6)
        y = torch.where(x[:, 0].abs() < 0.1, 255, (x[:, 0] > 0).long())
        return DataLoader(TensorDataset(x, y), batch_size=4, shuffle=seed == 1)

    return three(batches)


# Token numbers, and the next one at every place.
class Reader(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.body = sn.Depth("body", [nn.Linear(width, width) for _ in range(3)])
        self.out = nn.Linear(width, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.body(self.embed(tokens)))  # type: ignore[no-any-return]


def build_tokens() -> nn.Module:
    return Reader()


def load_tokens() -> Any:
    def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
        rows = (draw(seed, count, 6).abs() * 3).long().clamp(max=6)
        return rows[:, :-1], rows[:, 1:]

    return three(rows)


# Two inputs in a tuple, to be classified.
class Two(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, width), nn.Embedding(5, width)
        self.body = mlp(width, 2, width)

    def forward(self, numbers: Tensor, kind: Tensor) -> Tensor:
        return self.body(self.left(numbers) + self.right(kind))  # type: ignore[no-any-return]


class Rows(Dataset[Any]):
    def __init__(self, count: int, seed: int, *, named: bool) -> None:
        self.numbers = draw(seed, count, 3)
        self.kind = (draw(seed + 9, count).abs() * 3).long().clamp(max=4)
        self.named = named

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, place: int) -> Any:
        x, kind = self.numbers[place], self.kind[place]
        if self.named:
            return {"numbers": x, "kind": kind}, x.sum()[None]
        return (x, kind), int(x.sum() > 0)


def build_pair() -> nn.Module:
    return Two()


def load_pair() -> Any:
    return three(lambda count, seed: Rows(count, seed, named=False))


# Two inputs in a dict, and a number; a task of one's own.
class Named(Two):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(4, 1)


def build_named() -> nn.Module:
    return Named()


def load_named() -> Any:
    return three(lambda count, seed: Rows(count, seed, named=True))


class Nearness(sn.Task):
    """How near a number is: 1 at no distance, less further away."""

    measure = sn.Measure(name="nearness")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 / (1 + (outputs - targets).abs()[:, 0])
