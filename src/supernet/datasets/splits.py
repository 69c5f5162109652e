"""Splits of images into training and validation: always alike. No torch.

Nothing here depends on anything but the labels and their order, so the same files give the same
splits everywhere. Never change what is drawn: results would no longer be comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from supernet.datasets.raw import Numbers
from supernet.errors import DataError

#: Of the permutation that divides images.
_SEED: Final = 1904
#: No more images than these are set aside for validation unless somebody asks for it.
_MOST: Final = 5000


def default_aside(total: int) -> int:
    """Return how many of so many training images are set aside: one in twelve, 1 to 5,000."""
    return min(_MOST, max(1, total // 12))


def divide(total: int, aside: int) -> tuple[Numbers, Numbers]:
    """Divide images whose labels aren't known, or whose split was drawn regardless of them.

    Args:
        total: How many images there are.
        aside: How many to set aside.

    Returns:
        The positions of the images to learn from, and of those set aside.

    Raises:
        DataError: If that leaves none to learn from, or sets none aside.
    """
    _check_aside(aside, total, total - 1)
    order = _shuffled(total)
    return order[: total - aside], order[total - aside :]


def divide_by_class(labels: Numbers, aside: int | None = None) -> tuple[Numbers, Numbers]:
    """Divide images so that each class is set aside in proportion.

    Every class keeps an image to learn from. Every class that has a second one has one set aside,
    if as many are asked for as there are such classes. The rest is in proportion (Sainte-Lague's
    rule: a class of n images gives its k-th one when k - 1/2 images in n are to be set aside).

    Args:
        labels: The class of each image.
        aside: How many to set aside; by default one in twelve, at most 5,000, but one of each class
            that can give one.

    Returns:
        The positions of the images to learn from, and of those set aside, both as `spread` has it.

    Raises:
        DataError: If that leaves a class without an image to learn from, or sets none aside.
    """
    total, counts = len(labels), np.unique(labels, return_counts=True)[1]
    if aside is None:
        aside = max(default_aside(total), int((counts > 1).sum()))
    _check_aside(aside, total, total - len(counts))
    order = spread(labels)
    turn, size = _turns(labels[order])
    # The last of each class is kept: it is the one that no other of its class comes after.
    share = np.where(turn == size - 1, np.inf, np.where(turn == 0, -1.0, (turn + 0.5) / size))
    taken = np.zeros(total, bool)
    taken[np.argsort(share, kind="stable")[:aside]] = True
    kept, held = order[~taken], order[taken]
    return kept[_spread(labels[kept])], held[_spread(labels[held])]


def spread(labels: Numbers) -> Numbers:
    """Return an order of which any beginning holds every class, in proportion.

    First comes one image of each class, then each class as often as it has a share in the whole.
    Files often come class by class, so that their first thousand images are of one class.
    """
    order = _shuffled(len(labels))
    return order[_spread(labels[order])]


def missing_classes(labels: Numbers, classes: int) -> list[int]:
    """Return the classes of which there is no image."""
    found: list[int] = np.setdiff1d(np.arange(classes), labels).tolist()
    return found


def describe_missing(missing: Sequence[int], name: str, images: int) -> str:
    """Return the sentence for classes that nothing can be chosen by."""
    listed = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
    return (
        f"the {images} validation image(s) of {name} hold none of class {listed}; set more aside, "
        "or add images of it"
    )


def _spread(labels: Numbers) -> Numbers:
    """Return the order that `spread` gives images that are shuffled already."""
    turn, size = _turns(labels)
    return np.argsort(np.where(turn == 0, -1.0, (turn + 0.5) / size), kind="stable")


def _turns(labels: Numbers) -> tuple[Numbers, Numbers]:
    """Return for each image how many of its class come before it, and how many its class has."""
    _, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(class_of, kind="stable")
    turn = np.empty(len(labels), np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return turn, counts[class_of].astype(np.int64)


def _shuffled(total: int) -> Numbers:
    drawn = np.random.Generator(np.random.PCG64(_SEED)).random(total)
    return drawn.argsort(kind="stable")


def _check_aside(aside: int, total: int, most: int) -> None:
    if not 1 <= aside <= most:
        raise DataError(
            f"{aside} of {total} images can't be set aside; "
            + (
                f"choose 1 to {most}, so that every class keeps one to learn from"
                if most > 0
                else "there must be 2 at least of a class"
            )
        )
