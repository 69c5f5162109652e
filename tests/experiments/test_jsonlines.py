import os
from pathlib import Path

import pytest

from supernet.errors import RunFolderError
from supernet.experiments.jsonlines import read_lines, write_lines


def read(path: Path) -> list[tuple[int, object]]:
    return read_lines(path, lambda number, said: (number, said["a"]), remedy="remove it")


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    assert read(path) == []
    write_lines(path, ({"a": n} for n in (3, None, "x\n")), tmp_path)
    assert read(path) == [(0, 3), (1, None), (2, "x\n")]


@pytest.mark.parametrize("content", ["{", '{"a": NaN}', '{"b": 1}', "[1]", "3"])
def test_a_damaged_line_is_refused_with_the_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(f'{{"a": 1}}\n{content}\n')
    with pytest.raises(RunFolderError, match=r"f\.jsonl is damaged .*; remove it$"):
        read(path)


def test_no_link_or_pipe_is_read(tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"a": 1}\n')
    (tmp_path / "link").symlink_to("other")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(RunFolderError):
            read(tmp_path / name)
