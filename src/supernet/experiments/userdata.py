"""Data that a user's own function returns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from supernet.datasets import ImageData
from supernet.errors import DataError
from supernet.tasks.task import tensors_in
from supernet.training.data import Samples, SplitData
from supernet.training.sources import as_data

#: Samples per batch of the one look at all of them.
_LOOK = 250


@dataclass(frozen=True)
class UserData:
    """Samples of one floating-point tensor each, with targets for a task; see `ImageData`.

    Attributes:
        name: What to call them.
        classes: One more than the largest target, if those are whole numbers; else 0.
        shape: Of one sample.
        train: To learn from.
        validation: To choose by.
        test: To judge by, once.
        sha256: Of the content of each split.
    """

    name: str
    classes: int
    shape: tuple[int, ...]
    train: Samples
    validation: Samples
    test: Samples
    sha256: Mapping[str, str]

    def limit(
        self, *, train: int | None = None, validation: int | None = None, test: int | None = None
    ) -> UserData:
        """Return the same data with the first n samples of a split only."""
        return replace(
            self,
            train=self.train if train is None else self.train.first(train),
            validation=self.validation if validation is None else self.validation.first(validation),
            test=self.test if test is None else self.test.first(test),
        )

    def augmented(self, **changes: object) -> UserData:
        """Refuse: what changes samples at random is the function's own affair.

        Raises:
            DataError: Always.
        """
        raise DataError("crop, flip and cutout are for images; change samples in your own function")


def take_data(name: str, found: Any) -> ImageData | UserData:
    """Return what a user's function gave, as data of a run, after one look at all samples.

    Args:
        name: The function's name.
        found: Data as the package's own functions return them; or `(train, validation, test)`, each
            a `Dataset`, a `DataLoader` or a pair of tensors, validation None to set some aside.

    Raises:
        DataError: If it is something else, there are no test samples, or inputs are not one
            floating-point tensor.
    """
    if isinstance(found, ImageData):
        return found
    data: SplitData = as_data(found)
    if data.test is None:
        raise DataError(f"{name} returns no test data; return (train, validation, test)")
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    looks = {split: _look(f"{name}: {split}", samples) for split, samples in splits.items()}
    first = looks["train"]
    for split, look in looks.items():
        if look.shape != first.shape:
            raise DataError(
                f"{name}: samples of {split} are {look.shape}, and those of train {first.shape}"
            )
    classes = max(look.largest for look in looks.values()) + 1
    return UserData(
        name=name,
        classes=classes if all(look.whole for look in looks.values()) else 0,
        shape=first.shape,
        train=data.train,
        validation=data.validation,
        test=data.test,
        sha256={split: look.sha256 for split, look in looks.items()},
    )


@dataclass(frozen=True)
class _Look:
    shape: tuple[int, ...]
    whole: bool
    largest: int
    sha256: str


def _look(name: str, samples: Samples) -> _Look:
    """Go through a split once: check its inputs, and take its digest."""
    digest, shape, whole, largest = hashlib.sha256(), None, True, -1
    for x, y in samples.batches(_LOOK):
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
            what = f"a {x.dtype} tensor" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise DataError(
                f"{name}: inputs are {what}; the command line takes one floating-point tensor with "
                "axes (samples, ...); train from Python with others"
            )
        if shape not in (None, tuple(x.shape[1:])):
            raise DataError(f"{name}: samples are {shape} and {tuple(x.shape[1:])}; give one shape")
        shape = tuple(x.shape[1:])
        for tensor in (x, *tensors_in(y)):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
        labels = isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point()
        whole = whole and labels
        if labels:
            largest = max(largest, int(y.max()))
    if shape is None:
        raise DataError(f"{name}: there are no samples")
    return _Look(shape, whole, largest, digest.hexdigest())
