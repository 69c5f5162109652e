"""Versions, hardware and code hash of this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

#: The packages that results depend on.
_PACKAGES = ("supernet", "torch", "numpy", "scipy")

#: The whole package: a change anywhere in it can change a result.
_PACKAGE = Path(str(files("supernet"))).resolve()


def versions() -> dict[str, str]:
    """Return the versions that results depend on, by package."""
    return {name: version_of(name) for name in _PACKAGES} | {"python": platform.python_version()}


def version_of(package: str) -> str:
    """Return the version of an installed package.

    `unknown` for one that was put on the path without being installed, as `PYTHONPATH=src` does.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def hardware() -> dict[str, str]:
    """Return what there is to compute with."""
    import torch

    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
    }


@functools.cache
def code_sha256() -> str:
    """Return the SHA-256 of this package's modules, which a version alone doesn't tell apart."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(
            f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode() + content
        )
    return digest.hexdigest()


@functools.cache
def commit() -> str | None:
    """Return the commit this package is a checkout of, with "+" if it was changed since.

    None if it was installed, or there is no git.
    """
    try:
        if not _git("ls-files", "--", "__init__.py"):
            return None  # in somebody else's checkout, perhaps
        changed = _git("status", "--porcelain", "--", ".")
        return _git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_PACKAGE), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
