"""What docs/command-line.md says of the command is what it does."""

import re
from pathlib import Path

import typer

from supernet.cli.app import app
from supernet.cli.signals import EXIT_CODES
from supernet.experiments.settings import PRESETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text()


def test_presets_and_exit_codes_are_the_real_ones() -> None:
    assert re.findall(r"^\| `(\w+)`(?: \(default\))? \|", PAGE, re.MULTILINE) == list(PRESETS)
    codes = set(map(int, re.findall(r"^\| (\d+)", PAGE, re.MULTILINE)))
    assert codes == {0, 1, 130, *EXIT_CODES.values()}


def test_every_command_is_in_the_table() -> None:
    table = PAGE.partition("## Presets")[0]
    group = typer.main.get_group(app)
    for name in group.commands:
        assert re.search(rf"`(supernet )?{name}[ `]", table), name
