import hashlib
import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

import supernet
from supernet.runs import environment


def test_versions_are_those_of_what_runs() -> None:
    assert environment.versions() == {
        "supernet": version("supernet"),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "python": platform.python_version(),
    }


def test_a_package_that_is_on_the_path_but_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "version", missing)
    assert environment.versions()["supernet"] == "unknown"
    assert supernet.__version__ == "unknown"


def test_hardware_is_in_words() -> None:
    found = environment.hardware()
    assert set(found) == {"processor", "cores", "vector instructions", "system"}
    assert all(found.values())
    assert found["cores"] == str(os.cpu_count())
    assert found["vector instructions"] == torch.backends.cpu.get_cpu_capability()


def test_cpu_time_is_that_of_children_too() -> None:
    before = environment.cpu_seconds()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run(["python3", "-c", burn], check=True)
    between = environment.cpu_seconds()
    assert between - before >= 0.3
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert environment.cpu_seconds() - between >= 0.1


# -- the code -----------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a package that may be changed."""
    folder = tmp_path / "checkout" / "src" / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("a = 1\n")
    (folder / "inner" / "b.py").write_text("b = 1\n")
    (folder / "data.txt").write_text("")
    monkeypatch.setattr(environment, "_PACKAGE", folder)
    return folder


def code() -> str:
    return environment.code_sha256.__wrapped__()


def commit() -> str | None:
    return environment.commit.__wrapped__()


def test_the_code_is_this_packages() -> None:
    assert Path(supernet.__file__).parent == environment._PACKAGE
    assert environment.code_sha256() == code()
    assert len(bytes.fromhex(code())) == hashlib.sha256().digest_size


def test_any_change_of_a_module_changes_the_code(package: Path) -> None:
    seen = {code()}
    (package / "inner" / "b.py").write_text("b = 2\n")
    seen.add(code())
    (package / "inner" / "b.py").rename(package / "inner" / "c.py")
    seen.add(code())
    (package / "inner" / "c.py").rename(package / "c.py")
    seen.add(code())
    (package / "empty.py").touch()
    seen.add(code())
    (package / "__init__.py").write_text("a = 1\nb = 2\n")  # what stood in another file
    (package / "c.py").write_text("")
    seen.add(code())
    assert len(seen) == 6


def test_what_is_no_module_does_not_change_the_code(package: Path) -> None:
    before = code()
    (package / "data.txt").write_text("other")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "b.pyc").touch()
    assert code() == before


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@needs_git
def test_the_commit_is_that_of_the_checkout(package: Path) -> None:
    checkout = package.parents[1]
    git(checkout, "init", "-q")
    assert commit() is None  # it is not in it yet
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "one")
    first = git(checkout, "rev-parse", "HEAD")
    assert commit() == first
    (checkout / "notes").touch()  # nothing of the package
    assert commit() == first
    (package / "__init__.py").write_text("a = 2\n")
    assert commit() == first + "+"
    git(checkout, "commit", "-qam", "two")
    assert commit() == git(checkout, "rev-parse", "HEAD") != first
    (package / "new.py").touch()
    assert str(commit()).endswith("+")


@needs_git
def test_somebody_elses_checkout_is_not_ours(package: Path) -> None:
    """An installed package may lie inside of one, in a virtual environment."""
    checkout = package.parents[1]
    git(checkout, "init", "-q")
    (checkout / ".gitignore").write_text("src\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "one")
    assert commit() is None


def test_outside_of_a_checkout_there_is_no_commit(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parents[2]))
    assert commit() is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "git").write_text("")
    assert commit() is None  # it can't be run
    (tmp_path / "git").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "git").chmod(0o755)
    assert commit() is None


def test_a_processor_has_a_name_wherever_it_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert environment.hardware()["processor"] == "unknown"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "model name\t: Fast one: X\nflags: a")
    assert environment.hardware()["processor"] == "Fast one: X"
