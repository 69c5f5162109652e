"""Names that are paths, markup or formulas, or hardly names at all: none of them does anything."""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RunFolderError
from supernet.runs.folder import RunFolder, read_manifest
from supernet.runs.manifest import make_manifest
from tests.experiments.tinyruns import write_data
from tests.faults.runs import (
    Interrupted,
    arguments,
    call,
    command_in,
    essence,
    given_back,
    sentence,
    stopped,
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "out",
    [
        "../up/x",
        "one\nline, another",
        "it's \x1b[2J\u202e\\",
        "-dash",
        "*?$(touch pwned)`touch pwned`",
        "a" * 255,
    ],
)
def test_a_folder_is_where_its_name_says_and_the_command_leads_to_it(
    out: str, data: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    code, _, told = call(*arguments(data), f"--out={out}", tasks=Interrupted(0, 2))
    assert code == 130
    assert all(line.isprintable() for line in told.splitlines())
    before = sorted(os.listdir()), sorted(os.listdir(".."))
    code, _, told = call(*given_back(command_in(told)))
    assert code == 0, told
    assert (sorted(os.listdir()), sorted(os.listdir(".."))) == before
    assert essence(Path(out)) == whole


@pytest.mark.parametrize("command", ["compare", "resume", "status", "report"])
@pytest.mark.parametrize(
    "name", ["a" * 300, "a\udcffb", "/" + 300 * "a/" + 4000 * "b"], ids=["long", "no text", "deep"]
)
def test_what_can_be_no_folder_is_told_in_a_sentence(command: str, name: str, data: Path) -> None:
    given = [*arguments(data), f"--out={name}"] if command == "compare" else [command, name]
    code, out, told = call(*given)
    assert (code, out) == (4, "")
    last = told.splitlines()[-1]
    if command == "compare":
        assert re.search(
            r"can't write .*: File name too long; .*choose another folder$"
            r"|is no name for a folder: .*; name another one$",
            last,
        )
    else:
        assert last.startswith("supernet: there is no run folder ")
        assert last.endswith("; `ls runs` shows yours")
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["a\0b", "a\udcffb"])
def test_nor_does_the_library_take_it(name: str) -> None:
    manifest = make_manifest("train", arguments="", preset="quick", settings={}, data_sha256={})
    with pytest.raises(RunFolderError, match="is no name for a folder"):
        RunFolder.create(Path(name), manifest, b"")
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder.open(Path(name))


def test_a_command_line_that_is_no_text_is_recorded_all_the_same(data: Path) -> None:
    strange = "c\udcff.yaml"
    Path(strange).write_text("momentum: 0.9\n")
    code, _, told = call(*arguments(data), "--out=run", "--config", strange)
    assert code == 0, told
    assert read_manifest(Path("run")).arguments.endswith(r"--config 'c\udcff.yaml'")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '=HYPERLINK("x")<img src=x onerror=alert(1)>']
)
def test_data_may_be_called_anything(name: str) -> None:
    data = write_data(Path(name))
    command = ["train", *arguments(data)[1:], "--out", "run"]
    code, _, told = call(*command, figures=True)
    assert code == 0, told
    page = Path("run", "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1  # the page's own, which sorts its table
    assert not re.search(r"<script>alert|<img src=x|\balert\(1\)[^<]*</script", page)
    assert "&lt;" in page
    for row in csv.reader(io.StringIO(Path("run", "results.csv").read_text(encoding="utf-8"))):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row)
    assert not [path for path in Path().iterdir() if path.name not in ("run", data.parts[0])]


def test_a_path_of_data_that_is_no_text_is_told_in_a_sentence(data: Path) -> None:
    Path("d\udcff").symlink_to(data)
    code, out, told = call(*arguments(Path("d\udcff")), "--out", "run")
    assert (code, out) == (2, "")
    assert sentence(told) == (
        r"data is 'd\udcff': it is not UTF-8, so no record can name it; rename the file, or use a "
        "symbolic link"
    )
    assert not Path("run").exists()


ESCAPES = "\x1b]0;gotcha\x07\x1b[2J\r\u202e\x9b31m"


def spoiled(value: Any, kept: Collection[str] = ()) -> Any:
    """Put control characters behind every text in a record, but for those of some names."""
    if isinstance(value, dict):
        return {name: each if name in kept else spoiled(each, kept) for name, each in value.items()}
    if isinstance(value, list):
        return [spoiled(each, kept) for each in value]
    return f"{value}{ESCAPES}" if isinstance(value, str) else value


def spoil(path: Path, *kept: str) -> None:
    """Do so in a file, each of whose lines is a record, or which is one."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    path.write_text("\n".join(json.dumps(spoiled(json.loads(line), kept)) for line in lines))


def test_no_record_steers_a_terminal(data: Path) -> None:
    """Not in a status, a report, a refusal, or the words on what a run was begun with."""

    def give_all(run: str | Path) -> None:
        for command in ("status", "report", "resume"):
            code, out, told = call(command, run)
            assert code in (0, 2, 4)
            for line in (out + told).split("\n"):
                assert line.isprintable(), line

    begun = stopped(data, Path(f"begun{ESCAPES}"))
    ended = Path(f"ended{ESCAPES}")
    assert call(*arguments(data), "--out", ended)[0] == 0
    for name, kept in (
        ("manifest.json", []),
        ("manifest.json", ["command"]),
        ("events.jsonl", []),
        ("events.jsonl", ["event", "time"]),
        ("results.json", []),
        ("results.json", ["kind", "subject"]),
    ):
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(ended if name == "results.json" else begun, "run")
        spoil(Path("run", name), *kept)
        give_all("run")
    give_all(ended)
