import contextlib
import json
import math
import os
import pickle
import re
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RunFolderError
from supernet.records import Results
from supernet.runs import files, folder
from supernet.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    FIGURES,
    MANIFEST,
    RESULTS,
    RunFolder,
    find_config,
    read_events,
    read_manifest,
    read_results,
)
from supernet.runs.lock import LOCK, hold, holder_of
from supernet.runs.manifest import make_manifest
from tests.report.samples import sample_results
from tests.runs.test_files import TRAPS


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow larger: what a full disk does, where a test can't have one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


MANIFEST_OF_RUN = make_manifest(
    "compare", arguments="supernet compare", preset="quick", settings={}, data_sha256={}
)


def create(path: Path) -> RunFolder:
    return RunFolder.create(path, MANIFEST_OF_RUN, b"epochs: 3\n")


def content_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != LOCK}


BEGUN = {CONFIG: b"epochs: 3\n", MANIFEST: MANIFEST_OF_RUN.model_dump_json(indent=1).encode()}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in (path / EVENTS).read_bytes().splitlines()]


# -- beginning and going on ---------------------------------------------------------------------


def test_a_new_folder_is_made_and_an_empty_one_is_taken(tmp_path: Path) -> None:
    for path in (tmp_path / "new" / "one", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        with create(path) as folder:
            assert folder.path == path
            assert folder.manifest == MANIFEST_OF_RUN
            assert folder.checkpoints == path / CHECKPOINTS
            assert sorted(os.listdir(path)) == [CONFIG, LOCK, MANIFEST]
            assert content_of(path) == BEGUN
            assert f"process {os.getpid()}" in str(holder_of(path))
        assert holder_of(path) is None
        assert read_manifest(path) == MANIFEST_OF_RUN


def test_a_run_is_gone_on_with_in_its_folder(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.log("started")
    with RunFolder.open(tmp_path) as again:
        assert again.manifest == MANIFEST_OF_RUN
        assert holder_of(tmp_path)
        again.log("resumed")
    assert holder_of(tmp_path) is None
    assert [line["event"] for line in lines(tmp_path)] == ["started", "resumed"]
    assert content_of(tmp_path).items() >= BEGUN.items()


@pytest.mark.parametrize("how", [create, RunFolder.open])
def test_a_folder_that_is_held_is_refused(tmp_path: Path, how: Callable[[Path], object]) -> None:
    with (
        create(tmp_path / "run"),
        pytest.raises(RunFolderError, match=r"another run|in use by process \d+ on .*, since .*;"),
    ):
        how(tmp_path / "run")
    (tmp_path / "other").mkdir()
    lock = hold(tmp_path / "other")
    with pytest.raises(RunFolderError, match=r"in use by process|has no manifest"):
        how(tmp_path / "other")
    os.close(lock)


def test_a_folder_serves_one_run(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    with pytest.raises(RunFolderError, match=r"run holds another run; name another one"):
        create(tmp_path / "run")
    assert content_of(tmp_path / "run") == BEGUN


@pytest.mark.parametrize("name", ["notes", EVENTS, RESULTS, ".hidden", "manifest.json.1x", "1"])
def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunFolderError, match=r"the folder .* is not empty; name another one"):
        create(tmp_path)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    "left",
    [
        [LOCK],
        [LOCK, ".supernet-0123456789abcdef.tmp"],
        [LOCK, CONFIG],
        [LOCK, CONFIG, ".supernet-0123456789abcdef.tmp"],
    ],
)
def test_a_run_that_was_killed_before_its_manifest_never_was(
    tmp_path: Path, left: list[str]
) -> None:
    for name in left:
        (tmp_path / name).write_text("half")
    with pytest.raises(RunFolderError, match=r"has no manifest\.json: no run was begun in it"):
        RunFolder.open(tmp_path)
    create(tmp_path).close()
    RunFolder.open(tmp_path).close()
    assert content_of(tmp_path) == BEGUN


def test_of_two_runs_that_see_it_empty_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes between the first look and the lock."""

    def slow_hold(path: Path) -> int:
        create_first()
        return hold(path)

    def create_first() -> None:
        monkeypatch.setattr(folder, "hold", hold)
        create(tmp_path).close()

    monkeypatch.setattr(folder, "hold", slow_hold)
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(RunFolderError, match="another run"):
        create(tmp_path)
    assert os.listdir("/proc/self/fd") == opened
    assert holder_of(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, sentence in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "run", "can't write"),
        (Path("/proc/run"), "can't write"),
        (tmp_path / ("x" * 300), "can't write .*File name too long; .*or choose another folder"),
    ):
        with pytest.raises(RunFolderError, match=sentence) as caught:
            create(path)
        assert str(path) in str(caught.value)
        with pytest.raises(RunFolderError, match="there is no run folder"):
            RunFolder.open(path)
    with pytest.raises(RunFolderError, match=r"a\\x00b is no name for a folder: embedded null"):
        create(tmp_path / "a\0b")
    with pytest.raises(RunFolderError, match="there is no run folder"):
        RunFolder.open(tmp_path / "a\0b")
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_that_may_only_be_read_is_named(tmp_path: Path) -> None:
    """Root may write anywhere, so another user tries."""
    place = tmp_path / "place"
    place.mkdir()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(place)
            if os.getuid() == 0:
                os.setuid(65534)
            else:
                Path().chmod(0o555)
            create(Path("run"))
        except RunFolderError as error:
            code = 0 if "can't write run: Permission denied; " in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    place.chmod(0o755)
    assert not list(place.iterdir())


def test_a_failed_beginning_lets_go_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left"):
            create(tmp_path)
    assert holder_of(tmp_path) is None
    create(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000, b"{}"])
def test_a_damaged_manifest_is_an_error(tmp_path: Path, content: bytes) -> None:
    create(tmp_path).close()
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(RunFolderError, match=r"manifest\.json is damaged, or of another version"):
        RunFolder.open(tmp_path)
    assert holder_of(tmp_path) is None


def test_a_pickle_is_no_part_of_a_run(tmp_path: Path) -> None:
    """Neither as a manifest, nor as results, nor among the events: nothing runs."""
    create(tmp_path / "run").close()
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    for name, read in (
        (EVENTS, read_events),
        (RESULTS, read_results),
        (MANIFEST, RunFolder.open),
    ):
        (tmp_path / "run" / name).write_bytes(trap + b"\n")
        if name == EVENTS:
            assert read(tmp_path / "run") == []
        else:
            with pytest.raises(RunFolderError, match="is damaged"):
                read(tmp_path / "run")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    create(tmp_path).close()
    for place in (tmp_path, tmp_path / FIGURES):
        place.mkdir(exist_ok=True)
        (place / ".supernet-0123456789abcdef.tmp").write_text("half")
        for name in (".mine", ".env.2", ".python-3.11", f".{RESULTS}.4711"):
            (place / name).write_text("mine")
    RunFolder.open(tmp_path).close()
    mine = [".env.2", ".mine", ".python-3.11", f".{RESULTS}.4711"]
    assert sorted(os.listdir(tmp_path)) == sorted([*mine, CONFIG, FIGURES, LOCK, MANIFEST])
    assert sorted(os.listdir(tmp_path / FIGURES)) == mine


@pytest.mark.parametrize("name", [CHECKPOINTS, f"{CHECKPOINTS}/seed0-supernet", FIGURES, EVENTS])
def test_a_run_is_not_led_out_of_its_folder(tmp_path: Path, name: str) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    create(run).close()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(elsewhere)
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(RunFolderError, match=r"can't write .*/run.*: .*is a link, not a f"):
        RunFolder.open(run)
    assert os.listdir("/proc/self/fd") == opened
    assert os.listdir(elsewhere) == []
    assert holder_of(run) is None


@pytest.mark.parametrize("trap", sorted(TRAPS))
@pytest.mark.parametrize("name", [MANIFEST, RESULTS, EVENTS, CONFIG])
def test_what_is_read_is_a_file_of_the_run(tmp_path: Path, name: str, trap: str) -> None:
    """Nothing is waited for, and nothing elsewhere is read; a hard link is a file like any."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"{}")
    (tmp_path / "run").mkdir()
    TRAPS[trap](tmp_path / "run" / name, tmp_path / "elsewhere")
    read: Callable[[Path], object] = {
        MANIFEST: read_manifest, RESULTS: read_results, EVENTS: read_events, CONFIG: find_config
    }[name]  # fmt: skip
    if trap == "hard link":
        with contextlib.suppress(RunFolderError):
            read(tmp_path / "run")
        return
    with pytest.raises(RunFolderError, match=r"can't read .*: it is a \w+, not a file; see to"):
        read(tmp_path / "run")


@pytest.mark.parametrize(("name", "size"), [(MANIFEST, 2**20), (RESULTS, 2**26), (EVENTS, 2**28)])
def test_a_huge_record_is_refused_unread(tmp_path: Path, name: str, size: int) -> None:
    create(tmp_path).close()
    (tmp_path / name).write_bytes(b"{")
    os.truncate(tmp_path / name, size + 1)
    tracemalloc.start()
    read = {MANIFEST: read_manifest, RESULTS: read_results, EVENTS: read_events}[name]
    with pytest.raises(RunFolderError, match=f"more than the {size} bytes allowed"):
        read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_too_many_events_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_EVENTS", 3)
    with create(tmp_path) as run:
        for _ in range(3):
            run.log("epoch")
        assert len(read_events(tmp_path)) == 3
        run.log("epoch")
    with pytest.raises(RunFolderError, match="more than 3 lines"):
        read_events(tmp_path)


def test_the_events_of_a_run_are_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine\n")
    with create(tmp_path / "run") as run:
        os.link(tmp_path / "mine", tmp_path / "run" / EVENTS)
        with pytest.raises(RunFolderError, match="another name elsewhere"):
            run.log("epoch")
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_checkpoints_are_dropped(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.drop_checkpoints()
        files.write(folder.checkpoints / "a" / "000001.safetensors", b"x")
        folder.drop_checkpoints()
        assert not folder.checkpoints.exists()
    assert content_of(tmp_path) == BEGUN


# -- events -------------------------------------------------------------------------------------


def test_events_are_one_object_per_line(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    with create(tmp_path) as folder:
        folder.log("started", jobs=["a\nb", "\u2028", "\u00e4"])
        folder.log("epoch", validation=[0.5], extra={"x": 1})
    found = lines(tmp_path)
    for line in found:
        assert before <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    assert found == [
        {"event": "started", "jobs": ["a\nb", "\u2028", "\u00e4"]},
        {"event": "epoch", "validation": [0.5], "extra": {"x": 1}},
    ]
    started, epoch = read_events(tmp_path)
    assert (started.event, started.jobs) == ("started", ["a\nb", "\u2028", "\u00e4"])
    assert (epoch.validation, epoch.done, epoch.job) == ([0.5], 0.0, None)


def test_no_events_are_no_error(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []


def test_what_is_not_a_number_survives_in_an_event(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.log("epoch", loss=math.nan, validation=[math.nan, math.inf])
    assert '"loss":"NaN"' in (tmp_path / EVENTS).read_text()
    (epoch,) = read_events(tmp_path)
    assert math.isnan(epoch.validation[0])
    assert epoch.validation[1] == math.inf


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_that_was_cut_off_is_healed(tmp_path: Path, cut: int) -> None:
    with create(tmp_path) as folder:
        folder.log("started")
        folder.log("epoch")
    content = (tmp_path / EVENTS).read_bytes()
    (tmp_path / EVENTS).write_bytes(content[:-cut])
    for _ in range(2):  # nothing is added the second time
        with RunFolder.open(tmp_path):
            pass
    assert (tmp_path / EVENTS).read_bytes() == content[:-cut] + b"\n"
    with RunFolder.open(tmp_path) as folder:
        folder.log("resumed")
    whole = ["started", "epoch", "resumed"] if cut == 1 else ["started", "resumed"]
    assert [event.event for event in read_events(tmp_path)] == whole


def test_a_full_disk_leaves_whole_files_and_whole_lines(tmp_path: Path) -> None:
    with create(tmp_path / "run") as folder:
        folder.write("old", b"old")
        folder.log("started")
        before = content_of(folder.path)
        with largest_file(1000):
            for write in (
                lambda: folder.write("old", bytes(2000)),
                lambda: folder.write("new", bytes(2000)),
                lambda: folder.log("epoch", text="x" * 2000),
                lambda: folder.log("epoch", text="\u20ac" * 400),  # more bytes than characters
            ):
                with pytest.raises(RunFolderError, match=r"can't write .*free some space"):
                    write()
        assert content_of(folder.path) == before
        folder.log("epoch")
    assert [event.event for event in read_events(tmp_path / "run")] == ["started", "epoch"]


# -- results ------------------------------------------------------------------------------------


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
        (lambda c: c["network"].update(params=10**400), "a whole number of 401 digits"),
        (lambda c: c["network"].update(params=str(10**400)), "more than 64 bits"),
        (lambda c: c["seeds"][0].update(seed=2**63), "a whole number of 19 digits"),
        (lambda c: c["conditions"].update(wall_s=math.nan), "the number NaN"),
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
