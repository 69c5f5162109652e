"""Progress for whoever trains from Python: a bar where somebody sees it, else lines if asked."""

import pytest
from rich.console import Console

from supernet.records import Epoch, Progress
from supernet.training import showing

ENDED = Progress(
    done=1.0, epoch=2, epochs=2, loss=0.5, ended=Epoch(epoch=2, loss=0.5, validation=[1])
)


@pytest.mark.parametrize("wanted", [True, False, None])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_where_it_can_be_seen_and_lines_where_asked_for(
    wanted: bool | None,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        showing,
        "Console",
        lambda **_: Console(stderr=True, force_terminal=terminal, width=80),
    )
    with showing.showing(wanted, "net") as show:
        show(Progress(done=0.5, epoch=1, epochs=2, loss=0.7))
        show(ENDED)
    out, err = capsys.readouterr()
    assert out == ""
    silent = wanted is False or (wanted is None and not terminal)
    assert ("net: epoch 2/2, loss 0.500" in err) != silent
    assert ("\x1b[" in err) == (terminal and not silent)
