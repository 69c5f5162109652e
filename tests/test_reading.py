import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from supernet import reading
from supernet.reading import find_memory, parse_json, parse_yaml, read_regular


def test_memory_is_that_of_the_control_group_if_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for content, expected in (
        ("12345\n", 12345),
        ("max\n", whole),
        (str(2 * whole), whole),
        (None, whole),
    ):
        limit = tmp_path / "memory.max"
        monkeypatch.setattr(reading, "_GROUP_LIMIT", limit)
        if content is None:
            limit.unlink()
        else:
            limit.write_text(content)
        assert find_memory() == expected


def test_a_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 10):
        path.write_bytes(b"x" * size)
        assert read_regular(path, 10) == b"x" * size
    path.write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="more than the 10 bytes allowed"):
        read_regular(path, 10)


def test_a_terabyte_of_nothing_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="more than the 1048576 bytes"):
        read_regular(path, reading.SMALL)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "it is a folder, not a file"),
        (os.mkfifo, "it is a pipe, not a file"),
        (make_socket, "it is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_file_is_neither_waited_for_nor_read(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(OSError, match=words):
        read_regular(path, 100)


@pytest.mark.parametrize("name", ["a\0b", "\ud800" * 3, "n" * 300])
def test_an_impossible_name_is_an_os_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"no name|No such file|too long"):
        read_regular(tmp_path / name, 100)


def test_a_link_is_followed_only_if_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 100) == b"content"
    with pytest.raises(OSError, match="it is a link, not a file"):
        read_regular(tmp_path / "link", 100, follow=False)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_regular(Path("file"), 100, folder=folder) == b"content"
    finally:
        os.close(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": NaN}', "the number NaN, which JSON doesn't have"),
        (b"[-Infinity]", "the number -Infinity"),
        (b"[1e400]", "too large for a float"),
        (b'{"a": ' + b"9" * 400 + b"}", "a whole number of 400 digits"),
        (b"[9223372036854775808]", "a whole number of 19 digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "has the name 'c' twice"),
        (b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, "nested too deeply"),
        (b"{", "it is no JSON"),
        (b"", "it is no JSON"),
        (b"\xff\xfe[", "it is no"),
    ],
)
def test_json_that_is_not_plain_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(content)


BOMB = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60))]
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB.encode(), r"merge keys \(<<\) are not read"),
        (b"a: 1\nb: 2\na: 3", "the name 'a' comes twice"),
        (b"a: !!python/object/apply:os.getpid []", "could not determine a constructor"),
        (b"a: " + b"[" * 10**5, "nested too deeply"),
        (b"a: " + b"9" * 10**5, "digits"),
        (b"\xff", "no text in UTF-8"),
        (b"a: b: c", "mapping values"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_yaml(content)


def test_plain_yaml_is_read() -> None:
    assert parse_yaml(b"a: 1\nb: &rate 0.5\nc: *rate\n1: y") == {
        "a": 1, "b": 0.5, "c": 0.5, 1: "y",
    }  # fmt: skip
    assert parse_yaml(b"") is None


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63) + 1, 2**63 - 1)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_plain_json_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
