"""Build the package as it would be published, and use it as somebody who installs it would.

Run by `make test`, with the Python of `.venv`. Needs no network: the build runs without isolation,
and the wheel is installed alone, into a fresh environment that borrows what else is installed here.
Prints a line for each check and stops at the first that fails.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path
from typing import NoReturn

TINY_RUN = [
    "compare", "--train-images", "256", "--validation-images", "200", "--calibration-images", "100",
    "--epochs", "1", "--net-arg", "widths=4,4",
]  # fmt: skip
TIME_LIMIT = 600  # seconds, for any one program

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "supernet"
MNIST_SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SDIST_TOP = {  # what may lie at the top of the source archive; hatchling adds the last two itself
    "src", "tests", "benchmarks", "examples", "tools", "main.py", "Makefile", "constraints.txt",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "NOTICE",
    "pyproject.toml", "PKG-INFO", ".gitignore",
}  # fmt: skip


def main() -> None:
    """Run every check in turn."""
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as name:
        folder = Path(name)
        sdist, wheel = build(folder / "dist")
        check_sdist(sdist)
        check_wheel(wheel)
        programs = install(wheel, folder / "venv")
        (folder / "empty").mkdir()
        use(programs, folder / "empty")


def build(out: Path) -> tuple[Path, Path]:
    """Build the source archive, and the wheel from it; return where both are."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    run(command, cwd=ROOT)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    passed(f"builds {sdist.name} and {wheel.name}")
    return sdist, wheel


def check_sdist(sdist: Path) -> None:
    """Check that the source archive holds the whole package, and no stray files."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    paths = [Path(*Path(member.name).parts[1:]) for member in members]
    same({path.parts[0] for path in paths} - SDIST_TOP, set(), "top level of the source archive")
    stray = {str(path) for path in paths if "__pycache__" in path.parts or path.suffix == ".pyc"}
    same(stray, set(), "caches in the source archive")
    inside = {str(path) for path in paths if path.parts[:2] == ("src", "supernet")}
    same(inside, {f"src/{name}" for name in expected_files()}, "package in the source archive")
    passed(f"source archive: {len(paths)} files, {sdist.stat().st_size / 1e6:.1f} MB, none astray")


def check_wheel(wheel: Path) -> None:
    """Check that the wheel holds exactly the package and what describes it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    described = f"{project['name']}-{project['version']}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = {f"{described}/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
        about |= {f"{described}/entry_points.txt"}
        about |= {f"{described}/licenses/{name}" for name in ("LICENSE", "NOTICE")}
        same(names, expected_files() | about, "contents of the wheel")
        passed(f"wheel: the {len(names)} files it should hold, {wheel.stat().st_size / 1e6:.1f} MB")

        for name, digest in MNIST_SHA256.items():
            unpacked = gzip.decompress(archive.read(f"supernet/datasets/mnist/{name}.gz"))
            same({hashlib.sha256(unpacked).hexdigest()}, {digest}, f"SHA-256 of {name}")
        passed(f"MNIST: {len(MNIST_SHA256)} files with the right SHA-256")

        metadata = message_from_bytes(archive.read(f"{described}/METADATA"))
        same({metadata["License-Expression"]}, {"Apache-2.0"}, "license")
        needed = {need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need}
        same({str(len(needed))}, {str(len(project["dependencies"]))}, "number of dependencies")
        passed(f"metadata: Apache-2.0, {len(needed)} dependencies")


def expected_files() -> set[str]:
    """Return the files of the package in the source tree, as the wheel names them."""
    files = {*PACKAGE.rglob("*.py"), *PACKAGE.joinpath("report").rglob("*.j2")}
    files |= {PACKAGE / "py.typed"}
    files |= {PACKAGE / "datasets" / "mnist" / f"{name}.gz" for name in MNIST_SHA256}
    return {file.relative_to(PACKAGE.parent).as_posix() for file in files}


def install(wheel: Path, where: Path) -> Path:
    """Install the wheel alone into a fresh environment; return the folder of its programs.

    The environment sees the packages installed for this Python, but no `.pth` file among them takes
    effect, so neither does an editable install of the source tree.
    """
    venv.create(where, with_pip=False, symlinks=True)
    layout = {"base": str(where), "platbase": str(where)}
    python = Path(sysconfig.get_path("scripts", "venv", layout)) / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], cwd=where)
    packages = Path(sysconfig.get_path("purelib", "venv", layout))
    borrowed = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    packages.joinpath("borrowed.pth").write_text("".join(f"{folder}\n" for folder in borrowed))

    code = "import supernet; print(supernet.__file__)"
    found = Path(run([str(python), "-c", code], cwd=where).strip())
    same({str(found)}, {str(packages / "supernet" / "__init__.py")}, "the package that is imported")
    passed("installs into a fresh environment, and is what gets imported there")
    return python.parent


def use(programs: Path, cwd: Path) -> None:
    """Run the installed command in an empty folder: version, help, and one tiny experiment."""
    supernet = str(programs / "supernet")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    said = run([supernet, "--version"], cwd=cwd).strip()
    if version not in said.split():
        fail(f"supernet --version says {said!r}, not {version}")
    passed(f"supernet --version: {said}")

    if "compare" not in run([supernet, "compare", "--help"], cwd=cwd):
        fail("supernet compare --help does not mention compare")
    if any(cwd.iterdir()):
        fail(f"--version and --help left files: {sorted(file.name for file in cwd.iterdir())}")
    passed("supernet compare --help")

    run([supernet, *TINY_RUN], cwd=cwd)
    if not (pages := sorted(cwd.rglob("*.html"))):
        fail(f"supernet {' '.join(TINY_RUN)} left no HTML page")
    passed(f"supernet compare, tiny: left {pages[0].relative_to(cwd)}")


def run(command: Sequence[str], cwd: Path) -> str:
    """Run a program and return what it printed; if it fails, show that and stop.

    Python settings of the caller are left out, so that they can't help the package to be found.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PYTHONNOUSERSITE"] = "1"
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        print(error.output or "(it printed nothing)")
        fail(f"not done after {TIME_LIMIT} s: {' '.join(command)}")
    if done.returncode:
        print(done.stdout)
        fail(f"exit code {done.returncode}: {' '.join(command)}")
    return done.stdout


def same(found: set[str], wanted: set[str], what: str) -> None:
    """Stop with the differences if two sets are not equal."""
    if found != wanted:
        lines = [f"  missing: {name}" for name in sorted(wanted - found)]
        lines += [f"  unwanted: {name}" for name in sorted(found - wanted)]
        fail("\n".join([f"{what}:", *lines]))


def passed(what: str) -> None:
    """Print the line of a check that passed."""
    print(f"ok    {what}", flush=True)


def fail(what: str) -> NoReturn:
    """Print the line of a check that failed, and stop."""
    print(f"FAIL  {what}", flush=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
