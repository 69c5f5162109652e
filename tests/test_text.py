import pytest

from supernet.text import show, visible
from tests.datasets.refusals import HOSTILE_NAMES


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "a\0b", "\n" * 5000])
def test_a_shown_name_is_short_and_on_one_line(name: str) -> None:
    shown = show(name, 100)
    assert shown.isprintable()
    assert len(shown) <= 100
    shown.encode("utf-8")


@pytest.mark.parametrize("name", ["data", "My pictures (2)", "données", "n" * 100])
def test_an_ordinary_name_is_shown_as_it_is(name: str) -> None:
    assert show(name, 100) == name


def test_cutting_comes_before_escaping() -> None:
    """A name of a million control characters costs neither time nor memory."""
    assert len(show("\x1b" * 10**6, 50)) <= 50


@pytest.mark.parametrize("text", ["\x1b[2J", "\r", "\x9b31m", "\u2028", "\u202e", "\ud800", "\0"])
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    shown = visible(f"a{text}b")
    assert shown.isprintable()
    assert shown[0] + shown[-1] == "ab"
