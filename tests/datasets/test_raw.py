import os
from pathlib import Path

import numpy as np
import pytest

from supernet.datasets import raw
from supernet.datasets.raw import (
    check_classes,
    check_fits,
    check_labels,
    divide,
    find_memory,
    name_of,
    opened,
    show,
)
from supernet.errors import DataError
from tests.datasets.refusals import HOSTILE_NAMES, refuses


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "a\0b", "\n" * 5000])
def test_a_shown_name_is_short_and_on_one_line(name: str) -> None:
    shown = show(name, 100)
    assert shown.isprintable()
    assert len(shown) <= 100
    shown.encode("utf-8")
    assert name_of(Path(name)).isprintable()


@pytest.mark.parametrize("name", ["data", "My pictures (2)", "données", "n" * 100])
def test_an_ordinary_name_is_shown_as_it_is(name: str) -> None:
    assert show(name, 100) == name_of(Path(name)) == name


def test_data_without_a_name_have_one() -> None:
    assert name_of(Path("/")) == "data"
    assert name_of(Path("digits.npz")) == "digits"


@pytest.mark.parametrize("total", [2, 3, 23, 24, 25, 59_999, 60_000, 60_001, 100_000])
def test_one_in_twelve_is_set_aside_up_to_5000(total: int) -> None:
    kept, aside = divide(total)
    assert len(aside) == min(5000, max(1, total // 12))
    assert sorted([*kept.tolist(), *aside.tolist()]) == list(range(total))
    again = divide(total, len(aside))
    assert all(np.array_equal(a, b) for a, b in zip((kept, aside), again, strict=True))


@pytest.mark.parametrize("aside", [-1, 0, 5, 6])
def test_a_division_that_leaves_nothing_is_refused(aside: int) -> None:
    refuses(lambda: divide(5, aside), f"{aside} of 5 ", "choose 1 to 4")
    refuses(lambda: divide(1), "1 of 1 ", "2 at least")


def test_memory_is_that_of_the_control_group_if_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for content, expected in (
        ("12345\n", 12345),
        ("max\n", whole),
        (str(2 * whole), whole),
        (None, whole),
    ):
        limit = tmp_path / "memory.max"
        monkeypatch.setattr(raw, "_GROUP_LIMIT", limit)
        if content is None:
            limit.unlink()
        else:
            limit.write_text(content)
        assert find_memory() == expected


def test_twice_the_images_must_fit_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "find_memory", lambda: 600)
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
        with pytest.raises(DataError, match="not a file"), opened(path):
            pass
    with pytest.raises(DataError, match="can't be read"), opened(tmp_path / ("n" * 300)):
        pass
