import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from supernet.datasets import raw
from supernet.datasets.raw import (
    Labeled,
    check_arrays,
    check_classes,
    check_fits,
    check_labels,
    name_of,
    opened,
)
from supernet.errors import DataError
from tests.datasets.refusals import HOSTILE_NAMES, refuses


@pytest.mark.parametrize("name", ["data", "My pictures (2)", "données", "n" * 100])
def test_data_are_called_as_their_folder(name: str) -> None:
    assert name_of(Path(name)) == name


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_of_a_folder_breaks_a_line(name: str) -> None:
    assert name_of(Path(name)).isprintable()


def test_data_without_a_name_have_one() -> None:
    assert name_of(Path("/")) == "data"
    assert name_of(Path("digits.npz")) == "digits"


def part(labels: list[int], *shape: int) -> Labeled:
    count, *size = shape or (len(labels), 1, 2, 2)
    return Labeled(np.zeros((count, *size), np.uint8), np.array(labels))


def test_arrays_that_fit_together_are_a_task() -> None:
    train, test = part([0, 1, 2, 1]), part([2, 0])
    x, t = ("x", "y"), ("x_test", "y_test")
    assert check_arrays({x: train}, {t: test}) == 3
    assert check_arrays({("a", "a"): part([0, 1]), ("b", "b"): part([2, 2])}, {t: test}, 3) == 3
    for spoiled, words in (
        (part([0, 1, 2], 2, 1, 2, 2), "has 2 image(s), but y"),
        (part([0, 1, 2], 3, 1, 2, 3), "have shape (1, 2, "),
        (part([0, 1, -1]), "label 2 (counted from 0) is -1"),
    ):
        refuses(partial(check_arrays, {x: spoiled}, {t: test}), words)
        refuses(partial(check_arrays, {x: train}, {t: spoiled}), words)
    refuses(lambda: check_arrays({x: train}, {t: part([3])}), "y_test: label 0 ", "is 3")
    refuses(
        lambda: check_arrays({x: part([0, 2])}, {t: test}), "y has no", "1 of 3 classes: number 1;"
    )
    refuses(lambda: check_arrays({x: part([0, 0])}, {t: part([0])}), "1 class;")


def test_twice_the_images_must_fit_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 3 * (200 + 24))
    check_fits("here", 3, 100)
    refuses(lambda: check_fits("here", 4, 100), "here holds 4 images of 100 bytes", "wrap_datasets")


def test_every_label_must_be_a_class() -> None:
    check_labels("here", np.array([0, 1, 2]), 3)
    refuses(lambda: check_labels("here", np.array([0, 3, 7]), 3), "label 1 ", "is 3", "0 to 2")
    refuses(lambda: check_labels("here", np.array([0, 1, -1]), 3), "label 2 ", "is -1")


def test_every_class_must_have_an_image() -> None:
    check_classes("here", np.array([2, 0, 1]), 3)
    refuses(
        lambda: check_classes("here", np.array([2, 0, 4]), 5),
        "here has no training image of 2 of 5 classes: number 1, 3; ",
        "without gaps",
    )
    refuses(lambda: check_classes("here", np.array([0, 0]), 1), "1 class;", "fewer than 2")
    refuses(
        lambda: check_classes("here", np.array([0, 10**15]), 10**15 + 1),
        "number 1, 2, 3, 4, 5, ...",
    )


def test_only_files_are_opened(tmp_path: Path) -> None:
    """A pipe without a writer would block for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", tmp_path / "a\0b"):
        with pytest.raises(DataError, match="can't be read"), opened(path):
            pass
    with pytest.raises(DataError, match="can't be read"), opened(tmp_path / ("n" * 300)):
        pass
