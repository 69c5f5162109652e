"""What fault tests share: data, a folder to be in, and a run that nothing happened to."""

from pathlib import Path

import pytest

from tests.experiments.tinyruns import write_data
from tests.faults.runs import arguments, call, essence


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("some data"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in an empty folder, in which runs are made."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="package")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The essence of the run that was never disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, _, told = call(*arguments(data), "--out", folder)
    assert code == 0, told
    return essence(folder)
