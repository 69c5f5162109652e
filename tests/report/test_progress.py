import io
import re
from collections.abc import Mapping

import pytest
from rich.cells import cell_len
from rich.console import Console

from supernet.records import Epoch, Measure, Progress
from supernet.report import progress
from supernet.report.progress import stating, waiting, watching

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """A console whose output can be read; time passes as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=terminal, width=80, legacy_windows=False
        )
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)  # type: ignore[attr-defined]

    @property
    def lines(self) -> list[str]:
        return [line for line in re.split(r"[\r\n]", ANSI.sub("", self.file.getvalue())) if line]


def at(done: float, epoch: int, epochs: int, *, scores: list[float] | None = None) -> Progress:
    ended = None if scores is None else Epoch(epoch=epoch, loss=0.5, validation=scores)
    return Progress(done=done, epoch=epoch, epochs=epochs, loss=0.5, ended=ended)


def follow(screen: Screen, names: Mapping[str, int], epochs: int = 2) -> None:
    with watching(names, screen.console) as watch:
        for epoch in range(1, epochs + 1):
            for name in names:
                screen.now += 30
                watch(name, at((epoch - 0.5) / epochs, epoch, epochs))
                screen.now += 30
                watch(name, at(epoch / epochs, epoch, epochs, scores=[0.5, 0.75]))


def test_without_a_terminal_a_long_epoch_says_something_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(monkeypatch, terminal=False)
    with watching({"supernet": 1}, screen.console) as watch:
        for second in range(1, 101):
            screen.now += 1
            watch("supernet", at(second / 200, 1, 1))
    assert screen.lines == [
        "supernet: epoch 1/1, 22 % done; all: 2:31 left",
        "supernet: epoch 1/1, 45 % done; all: 1:48 left",
    ]


def test_without_a_terminal_a_share_is_said_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, terminal=False)
    with stating("measuring", screen.console) as state:
        for second in range(1, 51):
            screen.now += 1
            state("measuring pieces", second / 100)
    assert screen.lines == ["measuring pieces: 45 %"]


def test_without_a_terminal_there_is_a_line_per_epoch_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(monkeypatch, terminal=False)
    follow(screen, {"supernet": 3, "standalone (1, 1)": 1})
    assert screen.lines == [
        "supernet: epoch 1/2, loss 0.500, validation 62.50 % (50.00 to 75.00); all: 0:50 left",
        "standalone (1, 1): epoch 1/2, loss 0.500, validation 62.50 % (50.00 to 75.00);"
        " all: 1:30 left",
        "supernet: epoch 2/2, loss 0.500, validation 62.50 % (50.00 to 75.00); all: 0:21 left",
        "standalone (1, 1): epoch 2/2, loss 0.500, validation 62.50 % (50.00 to 75.00);"
        " all: 0:00 left",
    ]


def test_on_a_terminal_bars_fit_and_say_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, terminal=True)
    names = {"standalone (8, 8), seed 100": 1, "longer supernet, seed 100": 9}
    with watching(names, screen.console) as watch:
        for name in names:
            watch(name, at(0.01, 1, 120))
        screen.now += 100
        for name in names:
            watch(name, at(0.011, 2, 120))
        screen.console.print("", end="")  # draw now
    lines = screen.lines
    assert max(map(cell_len, lines)) <= 80
    assert any(re.search(r"all .* 2:29:50 left", line) for line in lines), lines
    for name in names:
        assert any(line.startswith(name) and "epoch 2/120, 2:29:50 left" in line for line in lines)


def test_lines_of_finished_trainings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, terminal=True)
    follow(screen, {"supernet": 3, "standalone (1, 1)": 1})
    for name in ("supernet", "standalone (1, 1)"):
        line = f"{name}: epoch 2/2, loss 0.500, validation 62.50 % (50.00 to 75.00)"
        assert screen.lines.count(line) == 1
    assert "epoch 1/2, loss" not in screen.file.getvalue()


def test_nobody_can_tell_the_time_left_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, terminal=False)
    with watching({"supernet": 1}, screen.console) as watch:
        watch("supernet", at(0.5, 1, 2, scores=[0.5]))
    assert screen.lines == ["supernet: epoch 1/2, loss 0.500, validation 50.00 %; all: ?:?? left"]


def test_a_training_that_begins_again_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        screen = Screen(monkeypatch, terminal=terminal)
        with watching({"supernet": 1}, screen.console) as watch:
            for done in (0.5, 0.1, 1.0):
                screen.now += 10
                watch("supernet", at(done, 1, 1, scores=[0.5] if done == 1 else None))
        assert sum("validation 50.00 %" in line for line in screen.lines) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_waiting_says_for_what_and_how_long(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(monkeypatch, terminal=terminal)
    with waiting("judging [all]", screen.console):
        screen.now += 2.25
    assert screen.lines[-1] == "judging [all]: 2.2 s"
    assert any("judging" in line for line in screen.lines[:-1]) == terminal
    assert ("\x1b[?25h" in screen.file.getvalue()) == terminal  # the cursor is back


def test_what_failed_is_not_said_to_have_taken_time(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, terminal=False)
    with pytest.raises(KeyError), waiting("judging", screen.console):
        raise KeyError
    assert screen.lines == []


def test_scores_of_another_task_read_as_its_measure_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(monkeypatch, terminal=False)
    nats = Measure(name="cross-entropy per token", unit="nats", higher_is_better=False)
    with watching({"supernet": 1}, screen.console, nats) as watch:
        watch("supernet", at(1.0, 1, 1, scores=[-2.5, -3.5, float("nan")]))
    (line,) = screen.lines
    assert "validation 3.000 nats (2.500 to 3.500), 1 failed" in line
    assert "%" not in line
