import pytest
from hypothesis import given, strategies as st

from supernet.errors import SpaceError
from supernet.nn.elastic.sizes import Size, as_size, each
from supernet.space import Architecture, Choice

W, R = Choice("w", (4, 8)), Choice("r", (1, 3))


def test_a_size_is_the_product_over_the_divisor() -> None:
    size = Size((W, R, 3), 2)
    assert size.choices == (W, R)
    assert {arch: size.of(arch) for arch in each(size)} == {
        Architecture({"w": w, "r": r}): w * r * 3 // 2 for w in (4, 8) for r in (1, 3)
    }
    assert size.largest == 36


def test_sizes_follow_from_sizes() -> None:
    inner = Size((W, 3), multiple_of=8)
    assert Size((inner, R), 4).of(Architecture({"w": 4, "r": 3})) == 16 * 3 // 4
    assert Size((inner, R, W)).choices == (W, R)


@given(st.integers(1, 500), st.integers(1, 7), st.integers(1, 16))
def test_rounding_is_that_of_mobilenets(number: int, divisor: int, multiple: int) -> None:
    found = Size((number,), divisor, multiple).of(Architecture())
    exact = number / divisor
    assert found % multiple == 0
    assert found >= max(multiple, 0.9 * exact)
    assert found - exact <= multiple
    # No multiple that is nearer would do.
    lower = found - multiple
    assert lower < max(multiple, 0.9 * exact) or abs(lower - exact) >= abs(found - exact)


def test_known_widths_of_mobilenets() -> None:
    # Of MobileNetV3-Large: the squeezed widths of 72, 120, 480, 672 and 960 channels.
    squeezed = [Size((wide,), 4, 8).of(Architecture()) for wide in (72, 120, 480, 672, 960)]
    assert squeezed == [24, 32, 120, 168, 240]


def test_numbers_and_choices_are_sizes_and_equal_ones_are_equal() -> None:
    assert as_size(3) == Size((3,))
    assert as_size(W) == as_size(Choice("w", (4, 8))) == as_size(as_size(W))
    assert as_size(W) != as_size(R)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0, r"a size is 0; it must be a whole number of at least 1"),
        (-3, "a size is -3"),
        (True, "a size is True"),
        (2.0, r"a size is 2\.0"),
        (Choice("w", (0, 4)), "an option of the choice 'w' is 0"),
        (Choice("w", (4, "wide")), "an option of the choice 'w' is 'wide'"),
    ],
)
def test_impossible_sizes_are_refused(width: int | Choice, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        as_size(width)
    with pytest.raises(SpaceError, match=message):
        Size((W, width))


def test_a_division_must_come_out_even() -> None:
    with pytest.raises(
        SpaceError, match=r"'v' / 4 is no whole number for {'v': 6}: 6 is not .* `multiple_of`"
    ):
        Size((Choice("v", (4, 6)),), 4)


def test_it_is_shown_as_it_is_computed() -> None:
    assert str(as_size(3)) == "3"
    assert str(Size((Size((W, R)), 2), 4)) == "'w' x 'r' x 2 / 4"
