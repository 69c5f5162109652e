"""Ranks add up, agree, and say why they can't go on."""

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from supernet.errors import DataError, RankError, SettingsError
from supernet.runs.launch import Launched, find_launch
from supernet.runs.meeting import meet
from supernet.runs.ranks import ALONE, Ranks, join_ranks
from tests.limits import HANG_S, ROOT
from tests.ranks import outcomes, together

SET = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_everything_is_a_sum() -> None:
    def work(ranks: Ranks) -> tuple[object, ...]:
        assert ranks.any(False, ranks.rank == 2) == (False, True)
        assert ranks.texts("né" * ranks.rank) == ["", "né", "nénén"[:4]]
        assert ranks.texts("") == [""] * 3
        assert ranks.gather(torch.tensor([ranks.rank, 7])).tolist() == [[0, 7], [1, 7], [2, 7]]
        assert ranks.tell(b"\xff\x00" if ranks.first else b"not this") == b"\xff\x00"
        assert ranks.tell(b"" if ranks.first else b"not this") == b""
        assert ranks.tell(None if ranks.first else b"not this") is None
        ranks.require_same({"a": 1, "b": (2, "x")})
        return tuple(ranks.part(8)), *ranks.total(1.5, ranks.rank)

    assert together(3, work) == [((0, 1), 4.5, 3), ((2, 3, 4), 4.5, 3), ((5, 6, 7), 4.5, 3)]


def test_one_rank_needs_no_other() -> None:
    assert ALONE.first
    assert not ALONE.several
    assert ALONE.any(True, False) == (True, False)
    assert ALONE.tell(b"x") == b"x"
    assert list(ALONE.part(3)) == [0, 1, 2]
    ALONE.require_same({"a": object()})


def test_a_difference_is_named_on_all() -> None:
    for error in outcomes(3, lambda r: r.require_same({"a": 1, "b": r.rank == 2, "c": r.rank})):
        assert isinstance(error, RankError)
        assert str(error).startswith("ranks disagree on b: False on rank 0, True on rank 2; all ")


def test_what_one_rank_has_more_is_named() -> None:
    for error in outcomes(2, lambda r: r.require_same({"a": 1} | ({"b": 2} if r.rank else {}))):
        assert str(error).startswith("ranks disagree on b: nothing on rank 0, 2 on rank 1; all ")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("[pair.cc:553] Connection closed by peer [::1]:9. GLHF!", "another rank is gone; see"),
        ("[pair.cc:1] Timed out waiting 6500ms for recv", "did not come within 6.5 seconds; see"),
        ("Wait timeout", "another rank did not come; see"),
        ("ncclRemoteError:\n a peer", "another rank is gone (ncclRemoteError: a peer); see"),
    ],
)
def test_how_another_rank_is_missed_is_said_in_our_words(told: str, said: str) -> None:
    class Broken:
        def allreduce(self, tensors: list[torch.Tensor]) -> None:
            raise RuntimeError(told)

    with pytest.raises(RankError) as raised:
        Ranks(1, 3, Broken()).add(torch.zeros(1))
    assert str(raised.value).startswith("rank 1 of 3 can't go on, because another rank ")
    assert said in str(raised.value)


def test_a_rank_that_leaves_says_why() -> None:
    def work(ranks: Ranks) -> None:
        if ranks.rank == 1:
            raise DataError("the file is gone")
        ranks.add(torch.zeros(1))

    first, second = outcomes(2, work, wait_s=2)
    assert isinstance(second, DataError)
    assert str(first) == "rank 1 stopped: the file is gone"


def test_a_rank_that_never_comes_is_missed() -> None:
    waiting, _ = outcomes(2, lambda ranks: ranks.rank or ranks.add(torch.zeros(1)), wait_s=0.5)
    assert isinstance(waiting, RankError)
    assert "rank 0 of 2 can't go on, because another rank " in str(waiting)


def test_nobody_waits_for_those_of_an_earlier_meeting() -> None:
    store = HashStore()
    store.set_timeout(timedelta(seconds=HANG_S))

    def come(ranks: Sequence[int]) -> list[str]:
        with ThreadPoolExecutor(len(ranks)) as pool:
            return list(pool.map(lambda rank: meet(store, rank, 3, HANG_S), ranks))

    one, *others = come([0, 1, 2])
    assert others == [one, one]
    store.set("supernet/hello/1", "somebody who was killed while waiting")
    other, *others = come([0, 2, 1])
    assert others == [other, other] != [one, one]


def test_those_who_do_not_come_are_named() -> None:
    with pytest.raises(RuntimeError, match="of 3, these did not come: 1, 2"):
        meet(HashStore(), 0, 3, 0.05)


def test_what_a_launcher_says() -> None:
    assert find_launch({}) is None
    assert find_launch({"RANK": "", "LOCAL_RANK": "0"}) is None
    assert find_launch(SET) == Launched(1, 2, 1)
    assert find_launch(SET | {"LOCAL_RANK": "0"}) == Launched(1, 2, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MASTER_ADDR": ""}, "MASTER_ADDR not, so the ranks can't meet; start with torchrun"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is '0', which is no port"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        ({"RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ({"RANK": "-1"}, "RANK is '-1', and must be a number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
    ],
)
def test_what_a_launcher_must_say(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        find_launch(SET | changes)
    assert said in str(raised.value)


def test_nobody_meets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="start the program with torchrun"), join_ranks():
        pass
    for name, value in (SET | {"RANK": "0", "WORLD_SIZE": "1"}).items():
        monkeypatch.setenv(name, value)
    with join_ranks() as ranks:
        assert ranks == ALONE


def test_waiting_for_the_others_ends_in_a_sentence() -> None:
    code = "import supernet as sn\nwith sn.join_ranks(timeout_s=1): pass"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **SET, "RANK": "0", "MASTER_PORT": _free_port()},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert "RankError: rank 0 of 2 did not meet the others within 1 seconds" in done.stderr


def test_nothing_asks_for_torch_distributed_unless_it_is_wanted() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                assert "torch.distributed" not in ast.unparse(statement), path


def _free_port() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])
