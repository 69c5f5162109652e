"""What a signal means to a command that several ranks do, and what is said."""

import os
import signal

import pytest

from supernet.cli.signals import StopSignal, deferring_signals, resumable
from supernet.errors import RankError, Stopped


def test_a_signal_waits_until_it_is_asked_for() -> None:
    def work() -> None:
        with deferring_signals() as stop:
            assert not stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop()
            raise Stopped("between two steps")

    with pytest.raises(StopSignal, match="terminated") as raised:
        work()
    assert raised.value.code == 143


def test_a_rank_stops_because_another_was_asked_to() -> None:
    with pytest.raises(StopSignal, match="another rank was") as raised, deferring_signals():
        raise Stopped("between two steps")
    assert raised.value.code == 143


@pytest.mark.parametrize(
    ("error", "code"), [(StopSignal("terminated", 143), 143), (RankError("one is gone"), 6)]
)
@pytest.mark.parametrize("speaks", [True, False])
def test_one_says_how_to_resume(
    error: BaseException, code: int, speaks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, resumable(speaks=speaks):
        raise error
    told = capsys.readouterr().err
    assert end.value.code == code
    assert told.endswith("; the same command resumes it\n") == speaks
