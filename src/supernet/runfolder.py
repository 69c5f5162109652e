"""The folder of a run: claimed before work begins, written so that nothing is ever half there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, final

from pydantic import ValidationError

from supernet.errors import RunFolderError
from supernet.records import Results

RESULTS = "results.json"


@final
class RunFolder:
    """An existing folder that belongs to one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new folder, or take an empty one.

        Raises:
            RunFolderError: If there is something in it already, or it can't be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RunFolderError(
                    f"the folder {path} is not empty (it may hold another run); "
                    "name another one with --out"
                )
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise _explained(error, path) from None
        return cls(path)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, whole or not at all.

        Raises:
            RunFolderError: If that fails.
        """
        target = self.path / name
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(handle)
                os.chmod(temporary, 0o644)
                os.replace(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise _explained(error, target) from None
        return target

    def log(self, event: str, **content: Any) -> None:
        """Append a line to `events.jsonl`.

        Raises:
            RunFolderError: If that fails.
        """
        line = json.dumps({"event": event, **content}) + "\n"
        target = self.path / "events.jsonl"
        try:
            with target.open("ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise _explained(error, target) from None


def read_results(folder: Path) -> Results:
    """Read the results of a finished run.

    Raises:
        RunFolderError: If the folder or its results are missing, damaged, or of another version.
    """
    path = folder / RESULTS
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {folder}; `ls runs` shows yours")
    try:
        return Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(
            f"{folder} has no {RESULTS}: the run in it did not finish, or it is no run folder"
        ) from None
    except OSError as error:
        raise _explained(error, path) from None
    except ValidationError as error:
        first: Mapping[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunFolderError(
            f"{path} is damaged, or of another version of this package: {where}: {first['msg']}"
        ) from None


def _explained(error: OSError, path: Path) -> RunFolderError:
    if isinstance(error, RunFolderError):
        return error
    reason = error.strerror or str(error)
    return RunFolderError(f"can't write {path}: {reason}; free some space or choose another --out")
