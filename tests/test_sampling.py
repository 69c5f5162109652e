from typing import Any

import pytest

from tests import sampling
from tests.sampling import chosen, examples, some


class Case:
    """What a test item says of itself."""

    def __init__(self, nodeid: str, **marks: Any) -> None:
        self.nodeid, self.marks = nodeid, marks

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return (
            pytest.Mark(name, self.marks[name], {}, _ispytest=True) if name in self.marks else None
        )


SUITE: list[Any] = [
    *(Case(f"t.py::many[{n}]", sampled=()) for n in range(20)),
    *(Case(f"t.py::some[{n}]", sampled=(2,)) for n in range(5)),
    Case("t.py::one[1]", sampled=()),
    *(Case(f"t.py::all[{n}]") for n in range(7)),
    Case("t.py::slow", slow=()),
    Case("t.py::many[slow]", sampled=(), slow=()),
]


def test_the_sample_is_fixed_and_holds_one_of_each() -> None:
    drawn = [case.nodeid for case in chosen(SUITE)]
    families = [name.partition("[")[0].removeprefix("t.py::") for name in drawn]
    assert {name: families.count(name) for name in families} == {
        "many": 3, "some": 3, "one": 1, "all": 7,
    }  # fmt: skip
    assert drawn == [case.nodeid for case in SUITE if case.nodeid in drawn]
    assert {case.nodeid for case in chosen(SUITE[::-1])} == set(drawn)


def test_a_third_is_tried_unless_all_are_wanted(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sampling.everything == pytestconfig.getoption("--all")
    monkeypatch.setattr(sampling, "everything", False)
    assert [examples(most) for most in (60, 61, 1)] == [20, 21, 1]
    assert list(some(range(8))) == [0, 3, 6]
    monkeypatch.setattr(sampling, "everything", True)
    assert examples(60) == 60
    assert list(some(range(8))) == [*range(8)]
