"""`supernet resume`: only with what a run was begun with, unless told otherwise; from anywhere."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from supernet.experiments.settings import make_settings, to_yaml
from supernet.report import write_report
from supernet.runs import environment, manifest
from supernet.runs.folder import read_results
from tests.datasets.idxfiles import NAMES
from tests.faults.runs import (
    Interrupted,
    arguments,
    call,
    command_in,
    essence,
    events,
    given_back,
    sentence,
    stopped,
    untouched,
)


def set_in_config(folder: Path, **changes: object) -> None:
    path = folder / "config.yaml"
    path.write_text(to_yaml(make_settings(yaml.safe_load(path.read_text()), changes)))


def other_torch(patch: pytest.MonkeyPatch) -> None:
    found = {**environment.versions(), "torch": "9.9.9"}
    patch.setattr(manifest, "versions", lambda: found)


def other_code(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manifest, "code_sha256", lambda: "0" * 64)
    patch.setattr(manifest, "commit", lambda: "abcdef" * 7)


def other_processor(patch: pytest.MonkeyPatch) -> None:
    found = {**environment.hardware(), "vector instructions": "ABACUS"}
    patch.setattr(manifest, "hardware", lambda: found)


def other_data(patch: pytest.MonkeyPatch) -> None:
    """The same images to train on, and one pixel of the test images that isn't what it was."""
    settings = yaml.safe_load(Path("run", "config.yaml").read_text())
    shutil.copytree(settings["data"]["source"], "other data")
    path = Path("other data", NAMES[2])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    set_in_config(Path("run"), data="other data")


def settings(**changes: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: set_in_config(Path("run"), **changes)


CHANGES = {
    "epochs": (settings(epochs=3), "epochs: 2 then, 3 now"),
    "threads": (settings(threads=2), "threads: 1 then, 2 now"),
    "two settings": (settings(seed=1, momentum=0.8), "momentum: 0.9 then, 0.8 now; seed: 0 then"),
    "data": (other_data, f"data file {NAMES[2]}: "),
    "torch": (other_torch, f"version of torch: {environment.versions()['torch']} then, 9.9.9 now"),
    "code": (other_code, "then, 000000000000 at commit abcdefabcdef now"),
    "processor": (other_processor, " then, ABACUS now"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", CHANGES)
def test_what_could_change_a_result_is_shown_and_refused(
    what: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(data, Path("run"))
    change, words = CHANGES[what]
    change(monkeypatch)
    before = events(Path("run"))
    code, out, told = call("resume", "run", tasks=untouched)
    assert (code, out) == (4, "")
    said = sentence(told)
    assert said.startswith("the run in run was begun with something else (")
    assert words in said
    assert said.endswith(
        "); start again in another folder, or resume all the same with --allow-mismatch, "
        "which is recorded"
    )
    assert events(Path("run")) == before


def test_a_refused_run_is_free_and_the_change_undone_it_goes_on(
    data: Path, whole: dict[str, bytes]
) -> None:
    stopped(data, Path("run"))
    with pytest.MonkeyPatch.context() as patch:
        other_torch(patch)
        assert call("resume", "run")[0] == 4
    assert call("resume", "run")[0] == 0
    assert essence(Path("run")) == whole


def test_what_was_allowed_is_recorded_and_shown_for_good(
    data: Path, whole: dict[str, bytes]
) -> None:
    """Even where the last stretch of work was done with what the run was begun with."""
    stopped(data, Path("run"))
    with pytest.MonkeyPatch.context() as patch:
        other_torch(patch)
        other_processor(patch)
        for asks in (1, 2):
            stop = Interrupted(1, asks)
            code, _, told = call("resume", "run", "--allow-mismatch", tasks=stop)
            assert code == 130
            assert "changed since then: version of torch: " in told
    code, _, told = call("resume", "run")
    assert code == 0, told
    results = read_results(Path("run"))
    wanted = ["version of torch: .* then, 9.9.9 now", "vector instructions: .* then, ABACUS now"]
    assert len(results.conditions.mismatches) == len(wanted)
    assert essence(Path("run")) == whole  # nothing had really changed
    resumed = [event["mismatches"] for event in events(Path("run")) if event["event"] == "resumed"]
    assert resumed == [results.conditions.mismatches, results.conditions.mismatches, []]
    for found, pattern in zip(results.conditions.mismatches, wanted, strict=True):
        assert re.fullmatch(pattern, found)
    write_report(results, Path("run"))
    page = Path("run", "report.html").read_text()
    for found in results.conditions.mismatches:
        assert f"<li>{found}</li>" in page
    assert page.count("This run was stopped. When it was resumed, this had changed:") == 1


def test_a_changed_recipe_begins_the_trainings_again_and_says_so(data: Path) -> None:
    assert call(*arguments(data, epochs=3), "--out", "from the start")[0] == 0
    stopped(data, Path("run"))
    set_in_config(Path("run"), epochs=3)
    code, _, told = call("resume", "run", "--allow-mismatch")
    assert code == 0, told
    assert "changed since then: epochs: 2 then, 3 now" in told
    notes = [event for event in events(Path("run")) if event["event"] == "note"]
    assert [note["job"] for note in notes] == ["supernet", "standalone (1, 1)"]
    for note in notes:
        assert note["reason"].startswith(
            "beginning again: the checkpoints in run/checkpoints/seed0-"
        )
        assert note["reason"] in told
    assert essence(Path("run")) == essence(Path("from the start"))
    assert read_results(Path("run")).conditions.mismatches == ["epochs: 2 then, 3 now"]


def test_the_first_line_of_the_manifest_stays_what_it_was(data: Path) -> None:
    stopped(data, Path("run"))
    before = Path("run", "manifest.json").read_bytes()
    set_in_config(Path("run"), epochs=3)
    assert call("resume", "run", "--allow-mismatch")[0] == 0
    assert Path("run", "manifest.json").read_bytes() == before


def test_a_run_and_its_data_can_be_moved(data: Path, whole: dict[str, bytes]) -> None:
    shutil.copytree(data, "data")
    stopped(Path("data"), Path("run"))
    Path("elsewhere").mkdir()
    Path("data").rename("elsewhere/the data")
    Path("run").rename("elsewhere/the run")
    code, out, told = call("resume", "elsewhere/the run")
    assert (code, out) == (3, "")
    assert "is not there" in sentence(told)
    assert "say where they are with --data" in sentence(told)
    code, _, told = call("resume", "elsewhere/the run", "--data", "elsewhere/the data")
    assert code == 0, told
    assert essence(Path("elsewhere", "the run")) == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_is_free(workers: int, data: Path, whole: dict[str, bytes]) -> None:
    stopped(data, Path("run"), workers=3 - workers)
    code, _, told = call("resume", "run", "--workers", str(workers))
    assert code == 0, told
    assert essence(Path("run")) == whole
    assert read_results(Path("run")).conditions.workers == workers


def test_the_command_at_the_end_works_from_where_it_was_shown(
    data: Path, whole: dict[str, bytes]
) -> None:
    folder = Path("it's a run; $HOME `é` *")
    _, _, told = call(*arguments(data), "--out", folder, tasks=Interrupted(0, 3))
    code, _, told = call(*given_back(command_in(told)))
    assert code == 0, told
    assert essence(folder) == whole


def test_status_reads_a_run_in_every_state(data: Path) -> None:
    def state() -> dict[str, object]:
        code, out, told = call("status", "run", "--json")
        assert (code, told) == (0, "")
        found: dict[str, object] = json.loads(out)
        return found

    stopped(data, Path("run"))
    assert (state()["state"], state()["reason"]) == ("stopped", "stopped by Ctrl-C")
    path = Path("run", "events.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert state()["state"] == "killed"
    path.unlink()
    assert state()["state"] == "new"
    assert call("resume", "run")[0] == 0
    assert state()["state"] == "finished"


def test_a_damaged_run_does_not_hide_the_others(data: Path) -> None:
    for name in ("sound", "spoiled"):
        stopped(data, Path("runs") / name)
    Path("runs", "spoiled", "manifest.json").write_text("{")
    code, out, told = call("status")
    assert code == 0
    assert out.startswith("runs/sound: stopped")
    assert told.startswith("supernet: runs/spoiled/manifest.json is damaged")
    code, out, told = call("status", "runs/spoiled")
    assert (code, out) == (4, "")
