import sys
import types

import pytest

from supernet.__main__ import main


class Loading(types.ModuleType):
    """A module that somebody interrupts while it is being imported."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_ctrl_c_while_the_command_loads_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "supernet.cli.app", Loading("supernet.cli.app"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "supernet: stopped by Ctrl-C\n")
