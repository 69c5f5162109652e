"""Every command that a page shows is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from supernet.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SHOWN = re.compile(r"^    (?:\.venv/bin/|python -m )?supernet (.+)$", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The arguments of each command that stands on a line of its own, comments left out."""
    found = SHOWN.findall(text.replace("\\\n", " "))
    parts = [part.removeprefix("supernet ") for line in found for part in line.split(" && ")]
    shown = [shlex.split(part, comments=True) for part in parts if re.match(r"[a-z]+( |$)", part)]
    return [list(arguments) for arguments in dict.fromkeys(map(tuple, shown))]


CASES = [(page, arguments) for page in PAGES for arguments in commands(page.read_text())]


def test_pages_show_commands() -> None:
    assert len(CASES) > 10
    assert commands("    supernet compare --seeds 3  # three\n") == [["compare", "--seeds", "3"]]
    assert commands("Text about supernet compare.\n") == []


def parse(arguments: list[str]) -> None:
    """Read a command's arguments as the command line does, and stop there."""
    group = typer.main.get_group(app)
    with typer.Context(group, info_name="supernet") as context:
        name, command, rest = group.resolve_command(context, arguments)
        assert command is not None
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    ("page", "arguments"), CASES, ids=[f"{page.name}: {' '.join(a)}" for page, a in CASES]
)
def test_a_command_shown_can_be_given(page: Path, arguments: list[str]) -> None:
    parse(arguments)


def test_a_command_with_a_wrong_option_is_found_out() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        parse(["compare", "--no-such-option"])
