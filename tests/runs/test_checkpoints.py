import contextlib
import hashlib
import io
import json
import math
import os
import pickle
import random
import shutil
import sys
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from supernet.errors import CheckpointError, CheckpointWarning, RunFolderError
from supernet.runs import files
from supernet.runs.checkpoints import Checkpoints, State, pack, unpack
from tests.conftest import noise
from tests.runs.test_files import TRAPS
from tests.sampling import some


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing takes long where others write, and shows only in a power failure; see test_files."""
    monkeypatch.setattr(os, "fsync", os.fstat)


# -- what is packed and unpacked ----------------------------------------------------------------

DTYPES = [
    *(torch.bool, torch.uint8, torch.int16, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
]


def same(a: State, b: State) -> bool:
    """Whether two states are equal in every bit, type and order."""
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and bytes_of(a) == bytes_of(b)
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, [*a, *a.values()], [*b, *b.values()]))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(repr(a) == repr(b))  # not ==, which NaN has not


def bytes_of(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())


@st.composite
def tensors(draw: Callable[..., Any]) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = noise(4, *shape, seed=draw(st.integers(0, 9))) * 3
    if dtype.is_floating_point and values.numel():
        values.view(-1)[::3] = draw(st.sampled_from([math.nan, math.inf, -math.inf, -0.0]))
    tensor: Tensor = values.to(dtype)[draw(st.integers(0, 3))]  # a part of what is stored
    return tensor.transpose(0, -1) if tensor.ndim > 1 and draw(st.booleans()) else tensor


KEYS = st.one_of(
    *(st.text(max_size=3), st.integers(), st.booleans(), st.none(), st.floats()),
    *(st.sampled_from(["rest.json", "__metadata__", "a/b", "a", "tensor", "tuple", "\ud800"]),),
    st.tuples(st.integers(), st.text(max_size=2)),
)
STATES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        tensors(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=12,
)


@given(STATES)
@settings(max_examples=200)
def test_every_state_comes_back_as_it_was(state: State) -> None:
    assert same(unpack(pack(state)), state)


def test_tensors_that_share_or_skip_storage_come_back() -> None:
    whole = noise(4, 6)
    state = {
        "whole": whole,
        "again": whole,
        "a column": whole[:, 2],
        "turned": whole.t(),
        "strided": whole[::2, ::3],
        "repeated": whole[:1].expand(5, 6),
        "channels_last": noise(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "parameter": nn.Parameter(whole),
    }
    again = unpack(pack(state))
    assert list(again) == list(state)
    for name, value in state.items():
        assert torch.equal(again[name], value)
        assert again[name].is_contiguous()
        assert not again[name].requires_grad
    again["whole"].zero_()
    assert torch.equal(again["again"], whole)


def test_names_may_collide() -> None:
    state = {
        "a": {"b": torch.tensor(1), "b'": torch.tensor(2)},
        "a/b": torch.tensor(3),
        ("a", "b"): torch.tensor(4),
        0: [torch.tensor(5)],
        "0": [torch.tensor(6)],
        "rest.json": torch.tensor(7),
        "__metadata__": torch.tensor(8),
        "": torch.tensor(9),
        "state": torch.tensor(10),
        "\ud800": torch.tensor(11),
        "\\ud800": torch.tensor(12),
    }
    assert same(unpack(pack(state)), state)
    assert same(unpack(pack(torch.tensor(13))), torch.tensor(13))


def test_a_state_is_saved_as_it_is_now() -> None:
    weights = torch.zeros(3)
    packed = pack(weights)
    weights.fill_(1)
    assert torch.equal(unpack(packed), torch.zeros(3))


class Weight(nn.Module):
    pass


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"a": {"b": [1, {2}]}}, "a/b/1 is a set, which can't be saved; tensors, numbers,"),
        ({"net": Weight()}, "net is a Weight, which"),
        (len, "the state is a builtin_function_or_method"),
        ({"x": 1j}, "x is a complex"),
        ({"x": b"bytes"}, "x is a bytes"),
        ({"x": noise(3).numpy()}, "x is a ndarray"),
        ({"x": noise(3).numpy()[0]}, "x is a float32"),
        ({frozenset(): 1}, "the state is a frozenset"),
        ([{"p": Path()}], "0/p is a "),
        ({"m": [noise(2, 2).to_sparse()]}, "m/0 is a sparse_coo tensor, which can't be saved; de"),
        ({"m": torch.empty(2, device="meta")}, "m is a meta tensor"),
        ({"m": noise(2).to(torch.complex128)}, "m is a complex128 tensor"),
        ({"m": torch.empty(2).to(torch.float8_e8m0fnu)}, "m is a float8_e8m0fnu tensor"),
        ({"x": 10**5000}, "the state can't be saved: "),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_place(state: State, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        pack(state)
    assert str(caught.value).startswith(sentence)


def test_a_state_without_an_end_is_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CheckpointError, match="the state can't be saved"):
        pack(endless)


def test_a_named_tuple_comes_back_as_a_tuple() -> None:
    assert same(unpack(pack(Pair(1, 2))), (1, 2))


def safe(rest: object, **others: Tensor) -> bytes:
    text = rest if isinstance(rest, bytes) else json.dumps(rest).encode()
    return safetensors.torch.save(
        {"rest.json": torch.frombuffer(bytearray(text), dtype=torch.uint8), **others}
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        bytes(8),
        bytes(100),
        b"\xff" * 100,
        (2).to_bytes(8, "little") + b"{}",
        (2**62).to_bytes(8, "little") + b"{}",
        safetensors.torch.save({"a": torch.ones(2)}),
        safetensors.torch.save({"rest.json": torch.ones(2)}),
        safetensors.torch.save({"rest.json": torch.ones(2, dtype=torch.bfloat16)}),
        safe(b"{"),
        safe(b"\xff\xfe"),
        safe(b"[" * 100_000),
        safe(b'{"items": ' * 900 + b"1" + b"}" * 900),
        safe({}),
        safe({"a": 1, "b": 2}),
        safe({"code": "print()"}),
        safe({"tensor": "none"}),
        safe({"tensor": ["a"]}),
        safe({"tensor": None}),
        safe({"tuple": 1}),
        safe({"items": 1}),
        safe({"items": [1]}),
        safe({"items": [[1, 2, 3]]}),
        safe({"items": [[[1], 2]]}),
        safe({"items": [[{"items": []}, 2]]}),
    ],
)
def test_what_is_no_state_is_an_error(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="this is no saved state: "):
        unpack(content)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=3), st.just("a")),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["tensor", "tuple", "items", "x"]), inner, max_size=2
                ),
            ),
        ).map(lambda rest: safe(rest, a=torch.ones(1))),
    )
)
@settings(max_examples=300)
def test_nothing_but_a_checkpoint_error_comes_of_garbage(content: bytes) -> None:
    with contextlib.suppress(CheckpointError):
        unpack(content)


def test_nothing_but_a_checkpoint_error_comes_of_damage() -> None:
    """Without the check sum: one that fits is no proof of a well-meaning writer."""
    whole = pack({"net": {"w": noise(3, 2), "b": noise(3)}, "step": 3, "rates": (0.1, 0.2)})
    rng = random.Random(0)
    failed = 0
    for _ in range(1500):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 1, 5))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            unpack(
                bytes(content[: rng.choice((len(content), rng.randrange(len(content)))) or None])
            )
        except CheckpointError:
            failed += 1
    assert failed > 700


# -- code ---------------------------------------------------------------------------------------


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def traps(path: Path) -> list[bytes]:
    """Return what would run code in a reader that unpickles: bare, and as PyTorch saves it."""
    old, new = io.BytesIO(), io.BytesIO()
    torch.save(Trap(path), old, _use_new_zipfile_serialization=False)
    torch.save({"net": Trap(path)}, new)
    bare = pickle.dumps(Trap(path))
    header = json.dumps({"__metadata__": {"pickle": bare.hex()}}).encode()
    return [
        *(bare, old.getvalue(), new.getvalue()),
        len(header).to_bytes(8, "little") + header,
        safe(bare),
        safe({"items": [["net", {"pickle": bare.hex()}]]}),
    ]


def test_the_traps_are_traps(tmp_path: Path) -> None:
    bare, old, new, *_ = traps(tmp_path / "sprung")
    pickle.loads(bare)
    (tmp_path / "sprung").rmdir()
    for content in (old, new):
        torch.load(io.BytesIO(content), weights_only=False)
        (tmp_path / "sprung").rmdir()
    assert zipfile.is_zipfile(io.BytesIO(new))


def test_no_checkpoint_runs_code(tmp_path: Path) -> None:
    """Neither one that is damaged, nor one whose check sum fits."""
    for at, trap in enumerate(traps(tmp_path / "sprung")):
        folder = tmp_path / str(at)
        Checkpoints(folder).save({"step": 1})
        payload = files.write(folder / "000002.safetensors", trap)
        files.write(folder / "000002.sha256", b"something else")
        with pytest.warns(CheckpointWarning):
            assert Checkpoints(folder).load() == {"step": 1}
        line = f"{hashlib.sha256(trap).hexdigest()}  {payload.name}\n"
        files.write(folder / "000002.sha256", line.encode())
        with pytest.raises(CheckpointError, match="this is no saved state"):
            Checkpoints(folder).load()
        files.write(folder / "000002.sha256", trap)
        with pytest.warns(CheckpointWarning):
            assert Checkpoints(folder).load() == {"step": 1}
    assert not (tmp_path / "sprung").exists()


# -- the folder ---------------------------------------------------------------------------------


def state_of(number: int) -> State:
    return {"net": {"w": torch.full((3, 2), float(number))}, "step": number}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


class Heard(list[str]):
    """Collects sentences."""

    def __call__(self, sentence: str) -> None:
        self.append(sentence)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_are_kept(tmp_path: Path, keep: int) -> None:
    folder = tmp_path / "new" / "folder"
    kept = Checkpoints(folder, keep=keep)
    assert (kept.load(), kept.newest) == (None, None)
    for number in range(1, 6):
        assert kept.save(state_of(number)) == kept.newest == folder / f"00000{number}.safetensors"
        assert same(Checkpoints(folder).load(), state_of(number))
        last = range(max(1, number - keep + 1), number + 1)
        assert names(folder) == sorted(
            f"00000{n}.{kind}" for n in last for kind in ("safetensors", "sha256")
        )
    kept.clear()
    assert names(folder) == []
    assert kept.load() is None


def test_the_second_file_is_what_sha256sum_checks(tmp_path: Path) -> None:
    payload = Checkpoints(tmp_path).save(state_of(1))
    digest = hashlib.sha256(payload.read_bytes()).hexdigest()
    assert (tmp_path / "000001.sha256").read_text() == f"{digest}  000001.safetensors\n"


def test_numbers_go_on_beyond_six_digits(tmp_path: Path) -> None:
    for number in (999_998, 999_999):
        content = pack(state_of(number))
        files.write(tmp_path / f"{number}.safetensors", content)
        line = f"{hashlib.sha256(content).hexdigest()}  {number}.safetensors\n"
        files.write(tmp_path / f"{number}.sha256", line.encode())
    saved = Checkpoints(tmp_path)
    saved.save(state_of(1))
    saved.save(state_of(2))
    assert same(Checkpoints(tmp_path).load(), state_of(2))
    assert names(tmp_path)[0] == "1000000.safetensors"


def test_other_files_in_the_folder_are_let_be(tmp_path: Path) -> None:
    others = ["1.safetensors", "x000003.safetensors", "000009.safetensors.old", "notes", ".env.2"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".supernet-0123456789abcdef.tmp").touch()  # left by a save that was killed
    saved = Checkpoints(tmp_path, keep=1)
    assert saved.load() is None
    for number in (1, 2):
        saved.save(state_of(number))
    assert set(names(tmp_path)) == {*others, "000002.safetensors", "000002.sha256"}


@pytest.mark.parametrize("trap", sorted(TRAPS))
@pytest.mark.parametrize("which", [0, 1])
def test_a_checkpoint_is_a_file_of_the_run(tmp_path: Path, which: int, trap: str) -> None:
    """What is none is neither waited for nor written through, and is told of."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"mine")
    path = two(tmp_path / "run")[which]
    path.unlink()
    TRAPS[trap](path, tmp_path / "elsewhere")
    saved = Checkpoints(tmp_path / "run", keep=1, warn=lambda _: None)
    if trap == "hard link":
        assert same(saved.load(), state_of(1))
    else:
        with pytest.raises(RunFolderError, match=r"can't read .*, not a file; see to"):
            saved.load()
    with contextlib.suppress(RunFolderError):
        saved.save(state_of(3))
    assert os.listdir(tmp_path / "elsewhere") == ["file"]
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"mine"


def test_a_payload_larger_than_memory_is_refused_unread(tmp_path: Path) -> None:
    os.truncate(two(tmp_path)[0], 2**42)
    with pytest.raises(RunFolderError, match=r"can't read .*more than the \d+ bytes all"):
        Checkpoints(tmp_path).load()


def two(folder: Path) -> tuple[Path, Path]:
    """Save two checkpoints; return the files of the last."""
    saved = Checkpoints(folder)
    saved.save(state_of(1))
    payload = saved.save(state_of(2))
    return payload, payload.with_suffix(".sha256")


def expect_the_first(folder: Path) -> None:
    heard = Heard()
    found = Checkpoints(folder, warn=heard)
    assert same(found.load(), state_of(1))
    assert heard == [
        f"the checkpoint {folder / '000002.safetensors'} is damaged, and is not used",
        f"resuming from the checkpoint before, {folder / '000001.safetensors'}",
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_cut_short_is_not_believed(tmp_path: Path, which: int) -> None:
    damaged = two(tmp_path)[which]
    content = damaged.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        damaged.write_bytes(content[:length])
        expect_the_first(tmp_path)
    damaged.write_bytes(content + b"\0")
    expect_the_first(tmp_path)


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    rng = random.Random(0)
    pair = two(tmp_path)
    contents = [path.read_bytes() for path in pair]
    places = [(which, bit) for which in (0, 1) for bit in range(8 * len(contents[which]))]
    for which, bit in [*rng.sample(places, 200), (1, 5), (1, 8 * len(contents[1]) - 1)]:
        content = bytearray(contents[which])
        content[bit // 8] ^= 1 << bit % 8
        pair[which].write_bytes(content)
        expect_the_first(tmp_path)
        pair[which].write_bytes(contents[which])
    assert same(Checkpoints(tmp_path, warn=Heard()).load(), state_of(2))


def test_a_checkpoint_in_the_place_of_another_is_not_believed(tmp_path: Path) -> None:
    _, line = two(tmp_path)
    line.write_bytes((tmp_path / "000001.sha256").read_bytes())
    expect_the_first(tmp_path)


def test_if_all_are_damaged_training_starts_again(tmp_path: Path) -> None:
    payload, _ = two(tmp_path)
    payload.write_bytes(b"")
    (tmp_path / "000001.sha256").write_bytes(b"")
    heard = Heard()
    found = Checkpoints(tmp_path, warn=heard)
    assert found.load() is None
    assert len(heard) == 3
    assert heard[-1] == f"no checkpoint in {tmp_path} is whole; starting again"
    found.save(state_of(3))
    assert names(tmp_path) == ["000003.safetensors", "000003.sha256"]
    heard.clear()
    assert same(found.load(), state_of(3))
    assert heard == []


def test_a_damaged_checkpoint_does_not_push_out_a_whole_one(tmp_path: Path) -> None:
    payload, _ = two(tmp_path)
    payload.write_bytes(b"")
    found = Checkpoints(tmp_path, warn=Heard())
    found.load()
    found.save(state_of(3))
    assert {name[:6] for name in names(tmp_path)} == {"000001", "000003"}


def test_by_default_a_warning_tells_of_damage(tmp_path: Path) -> None:
    payload, _ = two(tmp_path)
    payload.write_bytes(b"")
    with pytest.warns(CheckpointWarning) as caught:
        Checkpoints(tmp_path).load()
    assert len(caught) == 2


def test_what_cannot_be_read_or_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"can't read .*file: .*see to its permissions"):
        Checkpoints(tmp_path / "file").load()
    with pytest.raises(RunFolderError, match="can't read"):
        Checkpoints(tmp_path / "file").save(state_of(1))
    (tmp_path / "000001.safetensors").mkdir()
    with pytest.raises(RunFolderError, match=r"can't read .*000001\.safetensors: .*permissions"):
        Checkpoints(tmp_path).load()
    with pytest.raises(RunFolderError, match="can't write"):
        Checkpoints(Path("/proc/checkpoints")).save(state_of(1))


# -- death --------------------------------------------------------------------------------------


def dies_at(event: int, save: Callable[[], object]) -> bool:
    """Save in a process that ends, as if killed, at its n-th call into the system.

    Before and after each call count. Returns whether it ended so; if not, there are no more calls.
    """
    child = os.fork()
    if child == 0:
        left = event

        def count(frame: FrameType, what: str, called: Any) -> None:
            nonlocal left
            if not what.startswith("c_"):
                return
            owner = getattr(called, "__self__", None)
            if isinstance(owner, io.IOBase) or getattr(owner, "__name__", "") in ("posix", "io"):
                if left == 0:
                    os._exit(9)
                left -= 1

        code = 1
        try:
            sys.setprofile(count)
            save()
            sys.setprofile(None)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("before", [0, 2])
def test_death_at_any_moment_of_a_save_leaves_a_whole_state(tmp_path: Path, before: int) -> None:
    """Where there is nothing yet, and where one is removed."""
    (tmp_path / "begun").mkdir()
    for number in range(1, before + 1):
        Checkpoints(tmp_path / "begun").save(state_of(number))
    seen: set[int] = set()
    left_over: set[str] = set()
    for event in some(range(1000)):
        folder = tmp_path / str(event)
        shutil.copytree(tmp_path / "begun", folder)
        died = dies_at(event, lambda: Checkpoints(folder).save(state_of(8)))  # noqa: B023
        left_over |= {name for name in names(folder) if name.startswith(".")}

        heard = Heard()
        after = Checkpoints(folder, warn=heard)
        found = after.load()
        step = found["step"] if found else 0
        assert same(found, state_of(step) if step else None)
        assert step in (before, 8)
        assert heard == []  # a save that was killed damages nothing
        seen.add(step)

        after.save(state_of(9))
        assert same(Checkpoints(folder).load(), state_of(9))
        whole = {name.partition(".")[0] for name in names(folder)}
        assert len(whole) == (2 if step else 1)
        assert names(folder) == sorted(f"{n}.{k}" for n in whole for k in ("safetensors", "sha256"))
        if not died:
            break
    assert seen == {before, 8}
    assert event > 30  # opening, writing, syncing, renaming, syncing, twice; each before and after
    assert len(left_over) > 1
    assert all(map(files.is_temporary, left_over))


@pytest.mark.parametrize("step", ["sync", "rename"])
@pytest.mark.parametrize("file", ["000003.safetensors", "000003.sha256"])
def test_a_failed_save_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, step: str
) -> None:
    two(tmp_path)
    written: list[str] = []
    sync, rename = os.fsync, os.replace

    def full(number: int, now: str) -> None:
        if (file, step) == (("000003.safetensors", "000003.sha256")[number], now):
            raise OSError(28, "No space left on device")

    def failing_sync(handle: int) -> None:
        full(len(written), "sync")
        sync(handle)

    def failing_rename(old: str, new: str, **folders: int) -> None:
        full(len(written), "rename")
        rename(old, new, **folders)
        written.append(new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing_sync)
        patched.setattr(os, "replace", failing_rename)
        with pytest.raises(RunFolderError, match="No space left on device; free some space"):
            Checkpoints(tmp_path).save(state_of(3))
    assert not list(tmp_path.glob(".*"))
    assert same(Checkpoints(tmp_path).load(), state_of(2))
    Checkpoints(tmp_path).save(state_of(4))
    assert same(Checkpoints(tmp_path).load(), state_of(4))
    assert len(names(tmp_path)) == 4


# -- when ---------------------------------------------------------------------------------------


def test_saving_takes_one_percent_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    slow = 0.0

    def write(path: Path, content: bytes) -> Path:
        nonlocal now
        now += slow
        return true_write(path, content)

    true_write = files.write
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(files, "write", write)
    saved = Checkpoints(tmp_path, every_s=10)

    def next_due() -> float:
        """Return how long it is until the next save, to a quarter of a second."""
        nonlocal now
        begun = now
        while not saved.due:
            now += 0.25
        return now - begun

    assert next_due() == 10
    saved.save(state_of(1))
    assert next_due() == 10
    slow = 0.03125  # two files: 0.0625 s in all, which is within 1 % of 10 s
    saved.save(state_of(2))
    assert next_due() == 10
    slow = 2.0
    saved.save(state_of(3))
    assert next_due() == 400
    slow = 0.0
    saved.save(state_of(4))
    assert next_due() == 10


def test_with_no_time_between_it_is_always_due(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, every_s=0).due
    assert not Checkpoints(tmp_path).due
