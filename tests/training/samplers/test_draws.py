import math
import random
from typing import Any

import pytest

from supernet.errors import SettingsError
from supernet.space import Architecture, Choice, SearchSpace
from supernet.training.samplers import (
    Draw,
    Fair,
    Phases,
    Sandwich,
    Split,
    Subtree,
    WithLargest,
    every,
    largest,
    name_of,
    sampler_at,
    uniform,
    warm_up,
)

A, B, C = (Architecture({"a": n}) for n in (1, 2, 3))
SPACE = SearchSpace((Choice("a", (1, 2, 3)),))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weights": (1.0, 2.0)}, "^2 weights for 3 different architectures of 3; give one"),
        ({"archs": (A, A, B), "weights": (1.0, 2.0, 3.0)}, "3 weights for 2 different .* of 3"),
        ({"weights": (1.0, 0.0, 2.0)}, r"a weight of a draw is 0\.0; it must be a number above 0"),
        ({"weights": (1.0, math.nan, 2.0)}, "is nan"),
        ({"weights": (1.0, math.inf, 2.0)}, "is inf"),
        ({"weights": (1.0, 1.0, 1.0), "divided": True}, "divides the batch has no weights"),
    ],
)
def test_weights_that_make_no_sense_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Draw(**{"archs": (A, B, C), **settings})


def test_a_draw_knows_what_its_architectures_weigh() -> None:
    assert Draw((A, B)).weight((A, B)) == 2
    assert Draw((A, B, C), weights=(1.0, 2.0, 4.0)).weight((C, A)) == 5


def test_one_more_is_added_once() -> None:
    draw = Draw((A, B), weights=(2.0, 3.0))
    assert draw.adding(B) is draw
    assert draw.adding(C) == Draw((A, B, C), weights=(2.0, 3.0, 1.0))
    assert Draw((A,)).adding(C) == Draw((A, C))
    with pytest.raises(SettingsError, match="nothing can be added to a divided batch"):
        Draw((A, B), divided=True).adding(C)


def test_a_plain_sampler_is_the_same_throughout() -> None:
    for sampler in (every, Split(2), lambda space, rng: Draw((A,))):
        assert sampler_at(sampler, 0.3) is sampler


def test_names_are_the_same_in_every_process() -> None:
    """Those of plain samplers are as they were: checkpoints know them."""
    assert name_of(uniform) == "uniform"
    for sampler in (
        Split(2),
        Fair(),
        Sandwich(3),
        Subtree((3, 1), (1.5, 1.0)),
        Subtree((3,), (1.5,)),
    ):
        assert name_of(sampler) == repr(sampler)
    assert name_of(WithLargest(warm_up(uniform, 0.25))) == (
        "WithLargest(sampler=Phases(phases=((0.25, largest), (1.0, uniform))))"
    )

    class Own:
        def at(self, done: float) -> Any:
            return largest

    assert name_of(Phases(((1.0, Own()),))).endswith("Own),))")
    assert sampler_at(Own(), 0.0)(SPACE, random.Random(0)) == Draw((C,))
