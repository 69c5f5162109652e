"""The types `ImageData` and `DataSplit`: images and labels in memory, by purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from supernet.datasets.augmentations import Augmentation
from supernet.errors import DataError


@dataclass(frozen=True)
class DataSplit:
    """Images of one purpose, kept as bytes and normalized batch by batch.

    Attributes:
        images: uint8, images x channels x height x width.
        labels: int64, one class number per image.
        mean: What to subtract from a pixel scaled to 0..1, channel by channel.
        std: What to divide it by then.
        augmentation: What happens to images in `shuffled`, and only there.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> DataSplit:
        """Return the first `count` images.

        Raises:
            DataError: If there are not that many, or `count` is below one.
        """
        if not 1 <= count <= len(self):
            raise DataError(f"{count} images were asked for; there are 1 to {len(self)} to have")
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in order, `size` at a time, the last batch being what is left."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self._normalized(self.images[part]), self.labels[part]

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, without labels."""
        return (x for x, _ in self.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches, augmented if the split says so.

        The order, and what happens to each image, are functions of seed and epoch alone.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(self), generator=generator)
        # Drawn for the whole epoch, and after the order: so what happens to an image doesn't depend
        # on the batch size, nor the order on what happens.
        change = self.augmentation
        drawn = change.draw(self.images.shape, generator) if change else order
        for start in range(0, len(self) - batch_size + 1, batch_size):
            part = slice(start, start + batch_size)
            x = self._normalized(self.images[order[part]])
            yield change.apply(x, drawn[part]) if change else x, self.labels[order[part]]

    def _normalized(self, images: Tensor) -> Tensor:
        x = images.float().div_(255)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            x[:, channel].sub_(mean).div_(std)
        return x


@dataclass(frozen=True)
class ImageData:
    """A classification task: train to learn from, validation to choose by, test to judge once.

    `class_names` are those of the labels, in order, where the data say them: folders do.
    """

    name: str
    classes: int
    train: DataSplit
    validation: DataSplit
    test: DataSplit
    sha256: Mapping[str, str]
    class_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        counts = (len(self.train), len(self.validation), len(self.test))
        parts = ", ".join(f"{count:,}" for count in counts)
        return f"ImageData({self.name}: {parts} images of {size} in {self.classes} classes)"

    def _repr_html_(self) -> str:
        """Return a table of the splits, for notebooks."""
        return table_of(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def limit(
        self,
        *,
        train: int | None = None,
        validation: int | None = None,
        test: int | None = None,
    ) -> ImageData:
        """Return the same task with the first so many images of a split only.

        Raises:
            DataError: If there are not that many.
        """
        return replace(
            self,
            train=self.train if train is None else self.train.first(train),
            validation=self.validation if validation is None else self.validation.first(validation),
            test=self.test if test is None else self.test.first(test),
        )

    def augmented(self, *, crop: int = 0, flip: bool = False, cutout: int = 0) -> ImageData:
        """Return the same task with training images that change at random in every epoch.

        Only what training goes through changes; statistics of batch norms, validation and test
        always see the images as they are.

        Args:
            crop: Pad each side by so many pixels and cut the image's size out again, anywhere.
            flip: Mirror, left to right, in half of the cases. Not for digits or letters.
            cutout: Blank a square of so many pixels' width, anywhere (arXiv:1708.04552).

        Raises:
            SettingsError: If `crop` or `cutout` is below 0, or not below height and width.
        """
        augmentation = Augmentation(crop=crop, flip=flip, cutout=cutout)
        augmentation.check(*self.shape[1:])
        return replace(self, train=replace(self.train, augmentation=augmentation))


def table_of(data: Any) -> str:
    """Return the splits of data as an HTML table: what each is for, and how many it has."""
    purposes = {"train": "to learn from", "validation": "to choose by", "test": "to judge by, once"}
    rows = "".join(
        f"<tr><td>{name}</td><td>{purpose}</td><td>{len(split):,}</td></tr>"
        for name, purpose in purposes.items()
        if (split := getattr(data, name)) is not None
    )
    head = "<tr><th>split</th><th>for</th><th>samples</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
