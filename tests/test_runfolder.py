import json
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RunFolderError
from supernet.records import Results
from supernet.runfolder import EVENTS, RESULTS, RunFolder, read_results
from tests.report.samples import sample_results


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow larger: what a full disk does, where a test can't have one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lines(folder: RunFolder) -> list[Any]:
    return [json.loads(line) for line in (folder.path / EVENTS).read_text().splitlines()]


def test_a_new_folder_is_made_and_an_empty_one_is_taken(tmp_path: Path) -> None:
    for path in (tmp_path / "new" / "one", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        assert RunFolder.create(path).path == path
        assert [file.name for file in path.iterdir()] == [EVENTS]


def test_a_folder_serves_one_run(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"not empty .*another run.*name another one"):
        RunFolder.create(tmp_path / "run")


def test_of_two_runs_that_see_it_empty_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / EVENTS).touch()
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))
    with pytest.raises(RunFolderError, match="another run"):
        RunFolder.create(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, sentence in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "run", "can't write"),
        (Path("/proc/run"), "can't write"),
    ):
        with pytest.raises(RunFolderError, match=sentence) as caught:
            RunFolder.create(path)
        assert str(path) in str(caught.value)


def test_events_are_one_object_per_line(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.log("started", command="a\nb")
    folder.log("epoch", validation=[0.5])
    assert lines(folder) == [
        {"event": "started", "command": "a\nb"},
        {"event": "epoch", "validation": [0.5]},
    ]


def test_an_event_is_no_place_for_nan(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.log("epoch", loss=float("nan"))
    assert lines(folder) == []


def test_a_full_disk_leaves_whole_files_and_whole_lines(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write("old", b"old")
    folder.log("started")
    with largest_file(1000):
        for write in (
            lambda: folder.write("old", bytes(2000)),
            lambda: folder.write("new", bytes(2000)),
            lambda: folder.log("epoch", text="x" * 2000),
        ):
            with pytest.raises(RunFolderError, match=r"can't write .*free some space"):
                write()
    assert sorted(os.listdir(folder.path)) == [EVENTS, "old"]
    assert (folder.path / "old").read_bytes() == b"old"
    assert lines(folder) == [{"event": "started"}]


def saved(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    content = json.loads(sample_results(epochs=1).model_dump_json())
    change(content)
    (folder / RESULTS).write_text(json.dumps(content))
    return folder


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    for results in (
        sample_results(seeds=2, epochs=2, longer=True),
        sample_results(epochs=1, standalone=False),
        sample_results(epochs=1, verdict=False),
    ):
        (tmp_path / RESULTS).write_text(results.model_dump_json())
        assert read_results(tmp_path) == results


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no run folder .*none; `ls runs` shows yours"):
        read_results(tmp_path / "none")
    with pytest.raises(RunFolderError, match=r"has no results\.json.*did not finish"):
        read_results(tmp_path)
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(RunFolderError, match="can't read"):
        read_results(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_record_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_bytes(content)
    with pytest.raises(RunFolderError, match="is damaged"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(schema_version=2), "schema_version: Input should be 1"),
        (lambda c: c.pop("seeds"), "seeds: Field required"),
        (lambda c: c.update(surprise=1), "surprise: Extra inputs"),
        (lambda c: c["seeds"].clear(), "no seeds"),
        (lambda c: c["architectures"].pop(), "standalone networks, not 8"),
        (lambda c: c["seeds"][0]["standalone"].pop(), "8 standalone networks, not 9"),
        (lambda c: c["seeds"][0]["supernet"]["test"].pop(), "another number of networks"),
        (
            lambda c: c["seeds"][0]["supernet"]["epochs"].clear(),
            "has scores for another number of networks",
        ),
        (lambda c: c["verdict"]["gaps"].pop(), "verdict is on another number"),
    ],
)
def test_records_that_cannot_be_are_an_error(
    change: Callable[[dict[str, Any]], object], sentence: str, tmp_path: Path
) -> None:
    pattern = f"damaged, or of another version.*{re.escape(sentence)}.*make the run again"
    with pytest.raises(RunFolderError, match=pattern):
        read_results(saved(tmp_path, change))


def test_the_sample_is_fine_as_it_is(tmp_path: Path) -> None:
    assert isinstance(read_results(saved(tmp_path)), Results)
