import numpy as np
import pytest
from hypothesis import given, strategies as st

from supernet.datasets.splits import (
    default_aside,
    divide,
    divide_by_class,
    missing_classes,
    spread,
)
from tests.datasets.refusals import refuses

LABELS = st.lists(st.integers(0, 60), min_size=1, max_size=12).map(
    lambda counts: np.random.default_rng(sum(counts)).permutation(
        np.repeat(np.arange(len(counts)), counts)
    )
)


@pytest.mark.parametrize("total", [2, 3, 23, 24, 25, 59_999, 60_000, 60_001, 100_000])
def test_one_in_twelve_is_set_aside_up_to_5000(total: int) -> None:
    kept, aside = divide(total, default_aside(total))
    assert len(aside) == min(5000, max(1, total // 12))
    assert sorted([*kept.tolist(), *aside.tolist()]) == list(range(total))


@pytest.mark.parametrize("aside", [-1, 0, 5, 6])
def test_a_division_that_leaves_nothing_is_refused(aside: int) -> None:
    refuses(lambda: divide(5, aside), f"{aside} of 5 ", "choose 1 to 4")
    refuses(lambda: divide(1, 1), "1 of 1 ", "2 at least")
    refuses(lambda: divide_by_class(np.array([0, 1, 0, 1, 2]), aside), "choose 1 to 2")


@given(labels=LABELS, share=st.floats(0, 1))
def test_a_division_by_class_leaves_no_class_out(labels: np.ndarray, share: float) -> None:
    total, classes = len(labels), len(np.unique(labels))
    most = total - classes
    if most < 1:
        refuses(lambda: divide_by_class(labels, 1), "can't be set aside")
        return
    aside = 1 + int(share * (most - 1))
    kept, held = divide_by_class(labels, aside)
    assert len(held) == aside
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(total))
    assert set(labels[kept]) == set(labels)
    several = [c for c in set(labels.tolist()) if (labels == c).sum() > 1]
    assert len(set(labels[held])) == min(aside, len(several))


@given(labels=LABELS, share=st.floats(0.05, 0.95))
def test_classes_are_set_aside_in_proportion(labels: np.ndarray, share: float) -> None:
    """Up to rounding, and to the one image that each class gives and the one that it keeps."""
    counts = np.bincount(labels)
    aside = int(share * len(labels))
    if not 1 <= aside <= len(labels) - (counts > 0).sum():
        return
    held = np.bincount(labels[divide_by_class(labels, aside)[1]], minlength=len(counts))
    for one in range(len(counts)):
        for other in range(len(counts)):
            if held[one] > 1 and held[other] < counts[other] - 1:
                # No image should rather have come from another class (Sainte-Lague's criterion).
                assert (held[one] - 0.5) / counts[one] <= (held[other] + 0.5) / counts[other] + 1e-9


@given(labels=LABELS)
def test_by_default_every_class_that_can_has_one_set_aside(labels: np.ndarray) -> None:
    counts = np.bincount(labels)
    if counts.max(initial=0) < 2:
        return
    kept, held = divide_by_class(labels)
    assert len(held) == max(default_aside(len(labels)), (counts > 1).sum())
    assert missing_classes(labels[held], len(counts)) == np.flatnonzero(counts < 2).tolist()
    assert set(labels[kept]) == set(labels)


@given(labels=LABELS, first=st.integers(1, 700))
def test_any_beginning_holds_the_classes_in_proportion(labels: np.ndarray, first: int) -> None:
    order = spread(labels)
    assert sorted(order) == list(range(len(labels)))
    counts = np.bincount(labels)
    begun = np.bincount(labels[order[:first]], minlength=len(counts))
    assert (begun > 0).sum() == min(first, (counts > 0).sum(), len(labels))
    ideal = first * counts / max(len(labels), 1)
    if first < len(labels):
        assert np.abs(begun - ideal).max() <= len(counts) + 1


def test_the_same_labels_are_always_divided_alike() -> None:
    """Results would no longer be comparable if it changed."""
    kept, held = divide_by_class(np.arange(24) % 3, 4)
    assert held.tolist() == HELD
    assert kept.tolist() == KEPT


HELD = [2, 15, 1, 12]
KEPT = [23, 16, 21, 14, 19, 3, 5, 4, 6, 7, 8, 9, 22, 20, 0, 13, 17, 18, 10, 11]
