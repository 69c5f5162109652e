"""What a training is billed for."""

from collections.abc import Iterator

import pytest
import torch

from supernet.sharing import Planner
from supernet.training import ledger
from supernet.training.data import draw_example, empty_inputs
from supernet.training.ledger import Ledger
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, training_macs
from supernet.training.steps import Step
from tests.conftest import nine, tiny_data

SUPERNET = nine()
INPUTS = torch.empty(8, 1, 8, 8, device="meta")


def steps(count: int) -> Iterator[Step]:
    """Each of another architecture, on ever more samples."""
    archs = list(SUPERNET.space)
    for at in range(count):
        draw = Draw((archs[at % len(archs)],))
        yield Step(1, at + 1, count, False, 0.0, draw, samples=at + 1)


def test_steps_are_counted_exactly_until_there_are_too_many_to_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planner = Planner(SUPERNET, INPUTS)
    macs = [training_macs(Draw((arch,)), planner) for arch in SUPERNET.space]
    for most in (64, 3):
        monkeypatch.setattr(ledger, "COUNTED_DRAWS", most)
        book = Ledger(SUPERNET, INPUTS, Recipe(), "supernet", 0)
        run = steps(9)
        for _ in range(9):
            book.next_step(run)
        (phase,) = book.phases()
        assert phase.images == sum(range(1, 10))
        known = macs[:most]
        later = [sum(known) // len(known)] * (9 - len(known))
        assert phase.macs == sum(n * m for n, m in enumerate([*known, *later], start=1))


def test_what_passes_again_and_again_is_billed_each_time_as_what_it_is() -> None:
    book, archs = Ledger(SUPERNET, INPUTS, Recipe(), "longer", 3), list(SUPERNET.space)
    together, alone = (
        Planner(SUPERNET, INPUTS).plan(some).macs // 8 for some in (archs, archs[:1])
    )
    with book.entering("scoring") as entry:
        for _ in range(2):
            book.passed(entry, archs, 10)
            book.passed(entry, archs[:1], 3)
    assert (entry.images, entry.macs) == (26, 2 * (10 * together + 3 * alone))


def test_what_fails_is_not_billed() -> None:
    book = Ledger(SUPERNET, INPUTS, Recipe(), "longer", 3)

    def fail() -> None:
        with book.all_or_nothing(), book.entering("scoring") as entry:
            book.passed(entry, list(SUPERNET.space), 10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert book.phases() == ()
    with book.entering("scoring") as entry:
        book.passed(entry, list(SUPERNET.space), 10)
    again = Ledger(SUPERNET, INPUTS, Recipe(), "longer", 3)
    again.restore(book.state())
    assert again.phases() == book.phases()


def test_examples_are_inputs_without_content() -> None:
    data = tiny_data()
    for found in (empty_inputs(data, 8), draw_example(data.train, 8, seed=0)):
        assert (tuple(found.shape), found.dtype, found.device.type) == (
            (8, 1, 8, 8),
            torch.float32,
            "meta",
        )
