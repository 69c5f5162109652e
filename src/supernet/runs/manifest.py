"""The manifest of a run, and what has changed when it is resumed."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from supernet.records import Manifest
from supernet.runs.environment import code_sha256, commit, hardware, versions

#: Where something runs, and not what: these settings may change.
_FREE_SETTINGS = {"workers", "data"}


def make_manifest(
    command: Literal["compare", "train"],
    *,
    arguments: str,
    preset: str,
    settings: Mapping[str, Any],
    data_sha256: Mapping[str, str],
    sources_sha256: Mapping[str, str] = {},
    space_sha256: str = "",
    ranks: int = 1,
) -> Manifest:
    """Return the manifest of a run that begins here and now.

    Args:
        command: What is run.
        arguments: The whole command line, for the record.
        preset: The preset that the settings started from.
        settings: All of them, resolved, by the names of their options.
        data_sha256: Of the data files, by name.
        sources_sha256: Of the user's own source files, by name.
        space_sha256: A digest of the search space.
        ranks: How many processes train a supernet together.
    """
    return Manifest(
        command=command,
        arguments=arguments,
        preset=preset,
        settings=dict(settings),
        data_sha256=dict(data_sha256),
        sources_sha256=dict(sources_sha256),
        space_sha256=space_sha256,
        versions=versions(),
        code_sha256=code_sha256(),
        commit=commit(),
        hardware=hardware(),
        host=platform.node(),
        ranks=ranks,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def differences(before: Manifest, now: Manifest) -> list[str]:
    """Return, in words, what differs between two manifests that could change a result.

    That are the command, the ranks, the settings, the data's content, the versions, the package's
    own code and the vector instructions of the processor; not the host, the number of workers, or
    where the data lie.
    """
    pairs = [
        ("command", before.command, now.command),
        ("ranks", before.ranks, now.ranks),
        *_pairs("", before.settings, now.settings, without=_FREE_SETTINGS),
        *_pairs("data file ", before.data_sha256, now.data_sha256),
        *_pairs("source file ", before.sources_sha256, now.sources_sha256),
        ("search space", before.space_sha256[:12], now.space_sha256[:12]),
        *_pairs("version of ", before.versions, now.versions),
        *_pairs("", _vectors(before), _vectors(now)),
    ]
    found = [f"{name}: {old} then, {new} now" for name, old, new in pairs if old != new]
    # A new version of the package has new code: that is one difference, not two.
    if before.code_sha256 != now.code_sha256 and (
        before.versions.get("supernet") == now.versions.get("supernet")
    ):
        found.append(f"the package's code: {_code(before)} then, {_code(now)} now")
    return found


def _pairs(
    prefix: str, before: Mapping[str, Any], now: Mapping[str, Any], without: Collection[str] = ()
) -> list[tuple[str, Any, Any]]:
    names = [name for name in dict.fromkeys([*before, *now]) if name not in without]
    return [(f"{prefix}{n}", before.get(n, "none"), now.get(n, "none")) for n in names]


def _vectors(manifest: Manifest) -> dict[str, str]:
    return {"vector instructions": manifest.hardware.get("vector instructions", "unknown")}


def _code(manifest: Manifest) -> str:
    at = f" at commit {manifest.commit[:12]}" if manifest.commit else ""
    return f"{manifest.code_sha256[:12]}{at}"
