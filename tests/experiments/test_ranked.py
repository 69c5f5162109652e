"""Supernets that ranks train together: what they must have in common, and how they fail."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RankError, WorkerError
from supernet.experiments import planning, ranked
from supernet.runs.ranks import ALONE
from tests.experiments.tinyruns import small, write_data
from tests.ranks import outcomes


def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    monkeypatch.setattr(ranked, "versions", lambda: {"torch": next(count)})
    for error in outcomes(2, ranked.require_same_program):
        assert isinstance(error, RankError)
        assert str(error).startswith("ranks disagree on the versions: {'torch': ")


def test_what_a_users_code_raises_is_said_as_by_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Iterator[None]:
        yield from ()
        raise ValueError("no\nsuch thing")

    monkeypatch.setattr(ranked, "follow_job", broken)
    plan = planning.plan(small(write_data(tmp_path / "data")), standalone=False)
    folders = [(job, tmp_path / job.folder_name) for job in plan.jobs]
    work = ranked.lead(plan, folders, ALONE, every_s=1.0, restart=False, stop=lambda: False)
    said = r"'supernet' failed with ValueError: no \(line \d+ of test_ranked\.py\)"
    with pytest.raises(WorkerError, match=said) as raised:
        next(work)
    assert "such thing" in raised.value.__notes__[0]
