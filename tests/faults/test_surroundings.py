"""Where a run is made, and in what language and time, changes no byte of it."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supernet.report import write_report
from supernet.runs.folder import read_results
from tests.faults.runs import arguments, call, essence, start, timeless
from tests.limits import HANG_S

#: Variables to set, or to unset.
SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None, "LANG": "C", "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "1"},
    "a home that can't be written": {
        "HOME": "/proc",
        "LC_ALL": "POSIX",
        "LANG": None,
        "TERM": None,
        "TZ": "America/St_Johns",
        "PYTHONHASHSEED": "2",
    },
}

USUAL = re.compile(r"(loading PyTorch|judging: |drawing |run folder: |.*: epoch \d/2, )")


@pytest.fixture
def in_surroundings(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Be in a folder of a strange name, in a time and language elsewhere."""
    place = Path("a path with späces, 漢字").absolute()
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, value in SURROUNDINGS[request.param].items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        time.tzset()
        yield place
    time.tzset()


@pytest.mark.parametrize("in_surroundings", SURROUNDINGS, indirect=True)
def test_variables_and_folders_change_no_byte(
    in_surroundings: Path, data: Path, whole: dict[str, bytes]
) -> None:
    """In this process; what a program asks for only when it starts is tried below."""
    code, _, told = call(*arguments(data), "--out", "rün")
    assert code == 0, told
    assert [line for line in told.splitlines() if not USUAL.match(line)] == []
    assert essence(in_surroundings / "rün") == whole


@pytest.mark.slow
@pytest.mark.parametrize(("where", "workers"), [(w, n) for n, w in enumerate(SURROUNDINGS, 1)])
def test_surroundings_change_no_byte_and_bring_no_warning(
    where: str, workers: int, data: Path, whole: dict[str, bytes]
) -> None:
    set_here = {**os.environ, "COLUMNS": "80", **SURROUNDINGS[where]}
    for name in ("LC_ALL", "LC_CTYPE", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        if name not in SURROUNDINGS[where]:
            set_here.pop(name, None)
    environment = {name: value for name, value in set_here.items() if value is not None}
    place = Path("a path with späces, 漢字")
    place.mkdir()
    given = [*arguments(data, workers=workers), "--out", "rün"]
    process = start(*given, cwd=place, environment=environment)
    _, told = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, told
    assert [line for line in told.splitlines() if not USUAL.match(line)] == []
    assert essence(place / "rün") == whole
    # What is drawn holds times, so it is drawn once more without them, there and here.
    same = timeless(read_results(place / "rün"))
    (place / "rün" / "results.json").write_text(same.model_dump_json(), encoding="utf-8")
    process = start("report", "rün", cwd=place, environment=environment)
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told) == (0, "")
    for path in write_report(same, Path("here")):
        assert path.read_bytes() == (place / "rün" / path.relative_to("here")).read_bytes()
