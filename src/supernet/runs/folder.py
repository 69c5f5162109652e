"""The folder of a run: one process at a time holds it, and nothing in it is ever half there.

manifest.json   what the run was begun with     checkpoints/   the trainings, until it has ended
config.yaml     its settings                    results.json   and what reports are made from
events.jsonl    what happened, line by line     lock           who holds it
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar, final

from pydantic import ValidationError

from supernet.errors import RunFolderError
from supernet.reading import LARGE, SMALL, open_regular, parse_json, read_regular
from supernet.records import Event, Manifest, Record, Results
from supernet.runs import files
from supernet.runs.lock import LOCK, hold
from supernet.text import show

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
RESULTS = "results.json"
FIGURES = "figures"

#: Bytes, and lines, of events that are read: those of a run of weeks.
_MOST_BYTES = 4 * LARGE
_MOST_EVENTS = 2_000_000

_R = TypeVar("_R", bound=Record)


@final
class RunFolder:
    """A folder that belongs to one run, held by this process until it is closed.

    Use it as a context manager. Whatever way the process ends, the folder is free then.

    Attributes:
        path: Where it is.
        manifest: What the run was begun with.
        lock: The file descriptor that holds it. A worker that inherits it holds the folder too, so
            nobody else can write to it before all workers have ended.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: int) -> None:
        self.path = path
        self.manifest = manifest
        self.lock = lock

    @classmethod
    def create(cls, path: Path, manifest: Manifest, config: bytes) -> Self:
        """Make a new folder, or take one that is as good as new, and begin a run in it.

        Raises:
            RunFolderError: If there is something else in it, or it can't be written.
        """
        with _as_run_folder_error(path):
            path.mkdir(parents=True, exist_ok=True)
            if not _is_new(path):
                raise _taken(path)
        lock = hold(path)
        try:
            if not _is_new(path):  # somebody else was faster
                raise _taken(path)
            folder = cls(path, manifest, lock)
            folder.write(CONFIG, config)
            # Last, because it makes a folder a run's.
            folder.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
        except BaseException:
            os.close(lock)
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take hold of the folder of a run that was begun before.

        Raises:
            RunFolderError: If it is none, is damaged, or another process holds it.
        """
        read_manifest(path)
        lock = hold(path)
        try:
            folder = cls(path, read_manifest(path), lock)
            with _as_run_folder_error(path):
                for place in (path, path / FIGURES):
                    files.remove_leftovers(place, path)
                files.check_folders(path / CHECKPOINTS, path)
                folder._end_last_line()
        except BaseException:
            os.close(lock)
            raise
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it, as the end of the process does too."""
        os.close(self.lock)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints of its trainings are, until it has ended."""
        return self.path / CHECKPOINTS

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, whole or not at all.

        Raises:
            RunFolderError: If that fails.
        """
        return files.write(self.path / name, content)

    def log(self, event: str, **content: Any) -> None:
        """Append a line to `events.jsonl`, with the time, whole or not at all.

        Raises:
            RunFolderError: If that fails.
        """
        said = Event(event=event, time=datetime.now(UTC), **content)
        line = (said.model_dump_json(exclude_unset=True) + "\n").encode()
        with self._appended() as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError("there was room for a part of a line only")
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise

    def drop_checkpoints(self) -> None:
        """Remove all checkpoints: the results are there."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    @contextlib.contextmanager
    def _appended(self) -> Iterator[io.FileIO]:
        """Open the events to add to them."""
        path = self.path / EVENTS
        with _as_run_folder_error(path):
            handle = files.open_in_place(path, os.O_RDWR | os.O_APPEND)
            with io.FileIO(handle, "r+") as file:
                yield file

    def _end_last_line(self) -> None:
        """Finish a line that a power failure cut off, so that the next one is whole."""
        if not os.path.lexists(self.path / EVENTS):
            return
        with self._appended() as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")


def _is_new(path: Path) -> bool:
    """Whether nothing is in a folder but what a run that was killed at once may have left."""
    names = {name for name in os.listdir(path) if not files.is_temporary(name)}
    return names <= {LOCK, CONFIG}


def _taken(path: Path) -> RunFolderError:
    what = "holds another run" if (path / MANIFEST).exists() else "is not empty"
    return RunFolderError(f"the folder {show(path)} {what}; name another one")


@contextlib.contextmanager
def _as_run_folder_error(path: Path) -> Iterator[None]:
    try:
        str(path).encode()  # records of the run name it, and are UTF-8
        yield
    except RunFolderError:
        raise
    except FileExistsError:
        raise RunFolderError(f"{show(path)} is a file; name a folder") from None
    except ValueError as error:  # there is a NUL in it, or what is no UTF-8
        raise RunFolderError(
            f"{show(path)} is no name for a folder: {error}; name another one"
        ) from None
    except OSError as error:
        raise RunFolderError(files.unwritable(path, error)) from error


def read_manifest(path: Path) -> Manifest:
    """Read what a run was begun with.

    Raises:
        RunFolderError: If the folder or its manifest are missing, damaged, or of another version.
    """
    otherwise = "no run was begun in it, or with a version before there were manifests"
    return _read(path, MANIFEST, Manifest, otherwise)


def find_config(path: Path) -> Path:
    """Return the settings file of a run, which must be its own: links are not followed here.

    Raises:
        RunFolderError: If it is something else.
    """
    config = path / CONFIG
    try:
        open_regular(config, follow=False).close()
    except FileNotFoundError:
        pass  # whoever reads it will say so
    except OSError as error:
        raise RunFolderError(files.unreadable(config, error)) from error
    return config


def read_events(path: Path) -> list[Event]:
    """Read what happened in a run; a line that was cut off or damaged is left out.

    Raises:
        RunFolderError: If the file can't be read.
    """
    found = []
    lines = (_bytes_of(path / EVENTS, _MOST_BYTES) or b"").split(b"\n", _MOST_EVENTS + 1)
    if len(lines) > _MOST_EVENTS + 1:
        raise RunFolderError(
            f"{show(path / EVENTS)} has more than {_MOST_EVENTS} lines; remove what no run wrote"
        )
    for line in lines:
        with contextlib.suppress(ValueError):
            parse_json(line)
            found.append(Event.model_validate_json(line))
    return found


def read_results(path: Path) -> Results:
    """Read the results of a finished run.

    Raises:
        RunFolderError: If the folder or its results are missing, damaged, or of another version.
    """
    results = _read(path, RESULTS, Results, "the run in it did not finish, or it is no run folder")
    if misfit := _misfit(results):
        raise _damaged(path / RESULTS, misfit)
    return results


def _read(folder: Path, name: str, kind: type[_R], otherwise: str) -> _R:
    if not _is_folder(folder):
        raise RunFolderError(f"there is no run folder {show(folder)}; `ls runs` shows yours")
    content = _bytes_of(folder / name, LARGE if kind is Results else SMALL)
    if content is None:
        raise RunFolderError(f"{show(folder)} has no {name}: {otherwise}; give the folder of a run")
    try:
        parse_json(content)  # pydantic takes NaN, and a name that comes twice
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _damaged(folder / name, f"{where}: {first['msg']}") from None
    except ValueError as error:
        raise _damaged(folder / name, str(error)) from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _bytes_of(path: Path, limit: int) -> bytes | None:
    try:
        return read_regular(path, limit, follow=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(files.unreadable(path, error)) from error


def _damaged(path: Path, what: str) -> RunFolderError:
    return RunFolderError(
        f"{show(path)} is damaged, or of another version of this package ({show(what)}); make the "
        "run again"
    )


def _misfit(results: Results) -> str:
    """Return what does not fit together in records that are fine one by one, or nothing."""
    archs = len(results.architectures)
    if not archs or not results.seeds:
        return "there are no architectures, or no seeds"
    alone = archs if results.alone is None else len(results.alone)
    if results.alone and not set(results.alone) <= set(range(archs)):
        return "networks were trained alone that are not among the architectures"
    for seed in results.seeds:
        if len(seed.standalone) not in (0, alone):
            return f"seed {seed.seed} has {len(seed.standalone)} standalone networks, not {alone}"
        trainings = [(training, 1) for training in seed.standalone]
        trainings += [(t, archs) for t in (seed.supernet, seed.longer) if t is not None]
        for training, wanted in trainings:
            scores = [training.validation, training.test, *(e.validation for e in training.epochs)]
            if not training.epochs or any(len(score) != wanted for score in scores):
                return f"a training of seed {seed.seed} has scores for another number of networks"
    verdict = results.verdict
    if verdict and {len(verdict.gaps), len(verdict.one_shot), len(verdict.standalone)} != {alone}:
        return "the verdict is on another number of networks"
    ranking, corrected = results.ranking, results.corrected
    scored = [] if ranking is None else [ranking.validation, ranking.test, ranking.losses]
    scored += [] if corrected is None else [corrected.predicted]
    if any(part is not None and len(part) != archs for part in scored):
        return "the ranking is of another number of networks"
    return ""
