"""Data that a user's own function returns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from supernet.datasets import ImageData
from supernet.errors import DataError
from supernet.evaluation.batches import not_finite, samples_in
from supernet.sharing.structure import replace as replace_in
from supernet.tasks.task import tensors_in
from supernet.training.data import Samples, SplitData
from supernet.training.sources import as_data

#: Samples per batch of the one look at all of them.
_LOOK = 250

#: No more classes than this are looked for.
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Suspect:
    """A sample with numbers that are not finite, which some networks are given on purpose.

    Attributes:
        number: Which of its split, from 0 on.
        batch: Inputs and targets of it and a neighbor.
        sentence: What is wrong with it.
    """

    number: int
    batch: tuple[Any, Any]
    sentence: str


@dataclass(frozen=True)
class UserData:
    """Samples of any form, with targets for a task; see `ImageData`.

    Attributes:
        name: What to call them: the function, without the folder it is in.
        classes: One more than the largest target, if those are whole numbers; else 0.
        shape: Of one sample; where that is several tensors, of the first.
        example: The inputs of some samples, if they are anything else than one float32 tensor.
        train: To learn from.
        validation: To choose by.
        test: To judge by, once.
        sha256: Of the content of each split.
        missing: Class numbers below `classes` that no training sample has.
        suspects: By split, the first sample with numbers that are NaN or infinite, if there is one.
    """

    name: str
    classes: int
    shape: tuple[int, ...]
    example: Any
    train: Samples
    validation: Samples
    test: Samples
    sha256: Mapping[str, str]
    missing: tuple[int, ...] = ()
    suspects: Mapping[str, Suspect] = field(default_factory=dict)

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
        DataError: If it is something else, there are no test samples, or inputs are not tensors of
            one form throughout: a tensor, or tensors in tuples and dicts.
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
        if look.form != first.form:
            raise DataError(
                f"{name}: samples of {split} are {look.form}, and those of train {first.form}"
            )
    classes = max(look.largest for look in looks.values()) + 1
    classes = classes if all(look.whole for look in looks.values()) else 0
    return UserData(
        name=name.rpartition("/")[2],
        classes=classes,
        shape=tuple(next(tensors_in(first.example)).shape[1:]),
        example=None if _is_plain(first.example) else first.example,
        train=data.train,
        validation=data.validation,
        test=data.test,
        sha256={split: look.sha256 for split, look in looks.items()},
        missing=tuple(sorted(set(range(min(classes, _MOST_CLASSES))) - first.labels)),
        suspects={split: look.suspect for split, look in looks.items() if look.suspect},
    )


@dataclass(frozen=True)
class _Look:
    form: str
    example: Any
    whole: bool
    largest: int
    labels: frozenset[int]
    sha256: str
    suspect: Suspect | None


def _look(name: str, samples: Samples) -> _Look:
    """Go through a split once: check its inputs, and take its digest."""
    digest, form, example, whole, largest = hashlib.sha256(), None, None, True, -1
    suspect, seen, found_labels = None, 0, set[int]()
    for x, y in samples.batches(_LOOK):
        _check_inputs(name, x)
        found = _word_form(x)
        if form not in (None, found):
            raise DataError(f"{name}: samples are {form} and {found}; give one form")
        if form is None:
            form, example = found, replace_in(x, Tensor, lambda tensor: tensor[:2].detach().clone())
        for tensor in (*tensors_in(x), *tensors_in(y)):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        labels = isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point()
        whole = whole and labels
        if labels:
            largest = max(largest, int(y.max()))
            found_labels.update(y.unique().tolist()[:_MOST_CLASSES])
        suspect = suspect or _suspect(name, x, y, seen)
        seen += samples_in(x)
    if form is None:
        raise DataError(f"{name}: there are no samples")
    return _Look(
        form, example, whole, largest, frozenset(found_labels), digest.hexdigest(), suspect
    )


def _suspect(name: str, x: Any, y: Any, before: int) -> Suspect | None:
    """Return the first sample of a batch with numbers that are not finite, if there is one."""
    sentence = not_finite(x, f"inputs of {name}", before=before)
    sentence = sentence or not_finite(y, f"targets of {name}", before=before)
    if sentence is None:
        return None
    wrong = [
        int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1).int().argmax())
        for tensor in tensors_in((x, y))
        if not bool(torch.isfinite(tensor).all())
    ]
    row = wrong[0]
    pair = torch.tensor([row, row - 1 if row else min(1, samples_in(x) - 1)])
    batch = replace_in((x, y), Tensor, lambda tensor: tensor[pair].detach().clone())
    return Suspect(before + row, batch, sentence)


def _check_inputs(name: str, x: Any) -> None:
    """Refuse inputs that are no tensors with the samples along their first axes."""
    tensors = list(tensors_in(x))
    if not tensors or any(tensor.ndim == 0 for tensor in tensors):
        what = "a tensor without axes" if tensors else f"a {type(x).__name__}"
        raise DataError(
            f"{name}: inputs are {what}; they must be a tensor with axes (samples, ...), or such "
            "tensors in a tuple or dict"
        )
    if len({len(tensor) for tensor in tensors}) > 1:
        counts = ", ".join(str(len(tensor)) for tensor in tensors)
        raise DataError(
            f"{name}: the tensors of a batch of inputs have {counts} samples; they must have the "
            "same number along their first axes"
        )


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.float32


def _word_form(x: Any) -> str:
    """Return what one sample is, in words: shapes, and types other than float32."""
    if isinstance(x, Tensor):
        shape = str(tuple(x.shape[1:]))
        return shape if _is_plain(x) else f"{shape} {str(x.dtype).rpartition('.')[2]}"
    if isinstance(x, dict):
        return f"{{{', '.join(f'{name}: {_word_form(part)}' for name, part in x.items())}}}"
    if isinstance(x, tuple | list):
        return f"({', '.join(map(_word_form, x))})"
    return type(x).__name__
