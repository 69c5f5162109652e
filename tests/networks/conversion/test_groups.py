"""Widths in groups: joined, parted, fixed."""

from hypothesis import given, strategies as st

from supernet.networks.conversion.groups import Groups, Label, Segment


def shown(groups: Groups, label: Label) -> list[tuple[int, int, int]]:
    return [(s.width, s.count, s.repeat) for s in groups.resolve(label)]


def test_joined_widths_are_one() -> None:
    groups = Groups()
    a, b = groups.new(4, "a"), groups.new(4, "b")
    groups.fix(b, "because")
    groups.keep_multiple(a, 2)
    groups.join(a, b)
    assert shown(groups, a) == shown(groups, b)
    (segment,) = groups.resolve(a)
    assert groups.writers(segment.width) == ["a", "b"]
    assert groups.reasons(segment.width) == ["because"]
    assert groups.multiple(segment.width) == 2
    assert not groups.is_free(a)


def test_a_width_that_is_joined_with_several_consists_of_them() -> None:
    groups = Groups()
    whole, a, b = groups.new(7, "whole"), groups.new(3, "a"), groups.new(4, "b")
    groups.join(whole, (*a, *b))
    assert shown(groups, whole) == [(1, 3, 1), (2, 4, 1)]
    # Also where the parts come in another way later.
    other = groups.new(7, "other")
    groups.join(other, whole)
    assert shown(groups, other) == shown(groups, whole)


def test_channels_of_several_positions() -> None:
    groups = Groups()
    flat, wide = groups.new(12, "flat"), groups.new(4, "wide")
    groups.join(flat, (Segment(wide[0].width, 4, 3),))
    assert shown(groups, flat) == [(1, 4, 3)]
    odd = groups.new(10, "odd")
    groups.join(odd, (Segment(wide[0].width, 4, 3),))  # of another size
    assert groups.reasons(groups.resolve(odd)[0].width)


def test_parts_must_keep_the_multiples() -> None:
    groups = Groups()
    label = groups.new(12, "a")
    groups.keep_multiple(label, 4)
    assert groups.part(0, [(6, 1), (6, 1)]) is None
    assert groups.part(0, [(5, 1), (6, 1)]) is None
    parts = groups.part(0, [(4, 1), (4, 2)])
    assert parts is not None
    assert [groups.multiple(s.width) for s in parts] == [4, 2]
    assert groups.part(0, [(12, 1)]) is None  # it is no width of its own any more


_SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(_SIZES, _SIZES)
def test_joined_labels_of_one_size_are_equal_or_fixed(first: list[int], second: list[int]) -> None:
    groups = Groups()
    labels: list[Label] = []
    for sizes in (first, second):
        labels.append(tuple(s for n in sizes for s in groups.new(n, f"{len(labels)}")))
    groups.join(*labels)
    one, other = (shown(groups, label) for label in labels)
    if sum(first) == sum(second):
        assert one == other
        assert all(map(groups.is_free, labels))
    else:
        assert not any(groups.is_free((s,)) for label in labels for s in groups.resolve(label))
    for sizes, label in zip((first, second), labels, strict=True):
        assert sum(s.size for s in groups.resolve(label)) == sum(sizes)
