"""The folder of a run: claimed before work begins, written so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Self, final

from pydantic import ValidationError

from supernet import files
from supernet.errors import RunFolderError
from supernet.records import Results

RESULTS = "results.json"
EVENTS = "events.jsonl"


@final
class RunFolder:
    """An existing folder that belongs to one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new folder, or take an empty one, and begin its `events.jsonl`.

        Raises:
            RunFolderError: If there is something in it already, or it can't be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FileExistsError
            (path / EVENTS).open("xb").close()  # of two runs that want it, one gets it
        except FileExistsError:
            raise RunFolderError(
                f"{path} is a file; name a folder"
                if path.is_file()
                else f"the folder {path} is not empty (it may hold another run); name another one"
            ) from None
        except OSError as error:
            raise RunFolderError(files.unwritable(path, error)) from error
        return cls(path)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, whole or not at all.

        Raises:
            RunFolderError: If that fails.
        """
        return files.write(self.path / name, content)

    def log(self, event: str, **content: Any) -> None:
        """Append a line to `events.jsonl`, whole or not at all.

        Raises:
            RunFolderError: If that fails.
        """
        line = json.dumps({"event": event, **content}, allow_nan=False) + "\n"
        path = self.path / EVENTS
        try:
            with path.open("ab", buffering=0) as file:
                end = file.tell()
                try:
                    if file.write(line.encode()) < len(line):
                        raise OSError("there was room for a part of a line only")
                except BaseException:
                    with contextlib.suppress(OSError):
                        file.truncate(end)
                    raise
        except OSError as error:
            raise RunFolderError(files.unwritable(path, error)) from error


def read_results(folder: Path) -> Results:
    """Read the results of a finished run.

    Raises:
        RunFolderError: If the folder or its results are missing, damaged, or of another version.
    """
    path = folder / RESULTS
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {folder}; `ls runs` shows yours")
    try:
        results = Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(
            f"{folder} has no {RESULTS}: the run in it did not finish, or it is no run folder; "
            "give the folder of a finished run"
        ) from None
    except OSError as error:
        raise RunFolderError(
            f"can't read {path}: {error.strerror or error}; see to its permissions"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _damaged(path, f"{where}: {first['msg']}") from None
    if misfit := _misfit(results):
        raise _damaged(path, misfit)
    return results


def _damaged(path: Path, what: str) -> RunFolderError:
    return RunFolderError(
        f"{path} is damaged, or of another version of this package ({what}); make the run again"
    )


def _misfit(results: Results) -> str:
    """Return what does not fit together in records that are fine one by one, or nothing."""
    archs = len(results.architectures)
    if not archs or not results.seeds:
        return "there are no architectures, or no seeds"
    for seed in results.seeds:
        if len(seed.standalone) not in (0, archs):
            return f"seed {seed.seed} has {len(seed.standalone)} standalone networks, not {archs}"
        trainings = [(training, 1) for training in seed.standalone]
        trainings += [(t, archs) for t in (seed.supernet, seed.longer) if t is not None]
        for training, wanted in trainings:
            scores = [training.validation, training.test, *(e.validation for e in training.epochs)]
            if not training.epochs or any(len(score) != wanted for score in scores):
                return f"a training of seed {seed.seed} has scores for another number of networks"
    verdict = results.verdict
    if verdict and {len(verdict.gaps), len(verdict.one_shot), len(verdict.standalone)} != {archs}:
        return "the verdict is on another number of networks"
    return ""
