"""A pickle, or YAML that names code, in the place of any file that is read: nothing runs."""

import hashlib
import io
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from supernet.runs.checkpoints import pack
from tests.datasets.idxfiles import NAMES
from tests.faults.runs import arguments, call, stopped

LOOT = "the code was run"


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (LOOT,)


def zipped() -> bytes:
    """What `torch.save` makes of it, and what a checkpoint by that name often is."""
    buffer = io.BytesIO()
    torch.save({"net": _Evil()}, buffer)
    return buffer.getvalue()


PICKLE = pickle.dumps(_Evil())
EVIL = {
    "pickle": PICKLE,
    "torch": zipped(),
    "something else's state": pack({"net": [PICKLE.hex()]}),
    "yaml": f"a: !!python/object/apply:os.mkdir ['{LOOT}']\n".encode(),
}

#: The commands that read a run folder, and those that begin in it again.
COMMANDS = ["resume", "status", "report", "compare"]

PAYLOAD = "checkpoints/seed0-supernet/000001.safetensors"


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    yield
    assert not Path(LOOT).exists()


@pytest.fixture(scope="module")
def some_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that was stopped, and one that has ended."""
    place = tmp_path_factory.mktemp("runs")
    stopped(data, place / "stopped")
    code, _, told = call(*arguments(data), "--out", place / "finished")
    assert code == 0, told
    return {name: place / name for name in ("stopped", "finished")}


def test_these_would_run_where_they_are_trusted() -> None:
    def load(content: bytes) -> object:
        return torch.load(io.BytesIO(content), weights_only=False)

    for read, kind in ((pickle.loads, "pickle"), (load, "torch"), (yaml.unsafe_load, "yaml")):
        read(EVIL[kind])
        os.rmdir(LOOT)


@pytest.mark.sampled(9)
@pytest.mark.parametrize("kind", EVIL)
@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("stopped", "manifest.json"),
        ("stopped", "config.yaml"),
        ("stopped", "events.jsonl"),
        ("stopped", "lock"),
        ("stopped", PAYLOAD),
        ("stopped", PAYLOAD.replace(".safetensors", ".sha256")),
        ("finished", "results.json"),
        ("finished", "hits.npz"),
        ("finished", "supernet-seed0.safetensors"),
    ],
)
def test_nothing_in_a_run_folder_runs(
    state: str, name: str, kind: str, some_run: dict[str, Path], data: Path
) -> None:
    shutil.copytree(some_run[state], "run")
    path = Path("run", name)
    assert path.exists()
    path.write_bytes(EVIL[kind])
    if name == PAYLOAD:  # by somebody who knows how checkpoints are checked
        digest = hashlib.sha256(EVIL[kind]).hexdigest()
        path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n")
    for command in COMMANDS:
        given = [*arguments(data), "--out", "run"] if command == "compare" else [command, "run"]
        code, _, told = call(*given)
        assert code in (0, 2, 4), told
        if code:
            last = told.splitlines()[-1]
            assert re.match(r"supernet: .*\brun/.*; |supernet: run has no .*; ", last), last
            named = str(Path(name).parent if name == PAYLOAD else name)
            assert named in last or "has no results.json" in last


@pytest.mark.parametrize("kind", EVIL)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_nothing_in_data_runs(name: str, suffix: str, kind: str, data: Path) -> None:
    shutil.copytree(data, "data")
    Path("data", name).unlink()
    Path("data", name + suffix).write_bytes(EVIL[kind])
    code, out, told = call("train", *arguments(Path("data"))[1:], "--out", "run")
    assert (code, out) == (3, "")
    assert f"data/{name}" in told.splitlines()[-1]
    assert not Path("run").exists()


@pytest.mark.parametrize("kind", EVIL)
def test_no_settings_file_runs(kind: str) -> None:
    Path("c.yaml").write_bytes(EVIL[kind])
    code, out, told = call("compare", "--config", "c.yaml")
    assert (code, out) == (2, "")
    assert told.startswith("supernet: the settings file c.yaml ")
