"""Random changes of training images, on a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to an image, in this order.

    Attributes:
        crop: Pad each side by so many pixels and cut the image's size out again, anywhere.
        flip: Mirror it, left to right, in half of the cases.
        cutout: Blank a square of so many pixels' width, centered on any pixel, cut off where it
            passes the edge (arXiv:1708.04552).

    Padding and blanks are 0, which in normalized images is the mean color, as in the papers.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def check(self, height: int, width: int) -> None:
        """Refuse what could leave nothing of an image.

        Raises:
            SettingsError: If `crop` or `cutout` is below 0, or not below height and width.
        """
        most = min(height, width) - 1
        for name, value in (("crop", self.crop), ("cutout", self.cutout)):
            if not 0 <= value <= most:
                raise SettingsError(
                    f"{name} is {value!r}; for images of {height} x {width} pixels it must be from "
                    f"0 to {most}"
                )

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Return what is to happen to each image of `shape`, (N, C, H, W): five whole numbers.

        They are, (N, 5), the row and column to crop from, whether to mirror, and the row and column
        of the square's center. All are always drawn, so to use one more changes none of the others.
        """
        images, _, height, width = shape
        offsets = 2 * self.crop + 1
        limits = (offsets, offsets, 2, height, width)
        drawn = [torch.randint(limit, (images,), generator=generator) for limit in limits]
        return torch.stack(drawn, dim=1)

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Return changed images.

        Args:
            x: Normalized images, (N, C, H, W); left as they are.
            drawn: What is to happen to them, (N, 5); see `draw`.
        """
        top, left, mirrored, row, column = drawn.unbind(dim=1)
        if self.crop:
            x = crop(x, self.crop, top, left)
        if self.flip:
            x = flip(x, mirrored.bool())
        if self.cutout:
            x = cut_out(x, self.cutout, row, column)
        return x


def crop(x: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Pad images with zeros, and cut their own size out again.

    Args:
        x: Images, (N, C, H, W).
        padding: By how many pixels, on each side.
        top: First row to keep of each padded image, 0 to 2 * padding, (N,).
        left: First column to keep, likewise.
    """
    height, width = x.shape[2:]
    windows = F.pad(x, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(x)), :, top, left]


def flip(x: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror some images left to right: those, of (N, C, H, W), where `mirrored`, (N,), is true."""
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def cut_out(x: Tensor, size: int, row: Tensor, column: Tensor) -> Tensor:
    """Set a square of each image to 0 (arXiv:1708.04552).

    Args:
        x: Images, (N, C, H, W).
        size: Width of the square. It begins `size // 2` pixels before its center.
        row: Of the center, (N,).
        column: Of the center, (N,).
    """
    blank_NH, blank_NW = (
        _spans(length, size, center)
        for length, center in zip(x.shape[2:], (row, column), strict=True)
    )
    return x.masked_fill((blank_NH[:, :, None] & blank_NW[:, None, :])[:, None], 0)


def _spans(length: int, size: int, center: Tensor) -> Tensor:
    """Return which of `length` places are within spans of `size` about centers, (N, length)."""
    distance = torch.arange(length) - (center - size // 2)[:, None]
    return (distance >= 0) & (distance < size)
