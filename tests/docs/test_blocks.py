"""Every Python block of README and docs runs, page by page, or says why it can't."""

from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import PAGES, Block, blocks_of, make_small, run

BLOCKS = {page: found for page in PAGES if (found := blocks_of(page))}

#: Blocks that can't run here, by page: a new one must be counted, with its reason on the page.
NOT_RUN = {"data-and-devices.md": 1, "distributed.md": 1, "networks.md": 1}


def _marked(page: Path) -> Any:
    """Leave a page to `make test-all` that a test of its own runs too, and more closely."""
    marks = [pytest.mark.slow] if page.name == "searching.md" else []
    return pytest.param(page, id=page.name, marks=marks)


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")  # few images, few steps
@pytest.mark.parametrize("page", [_marked(page) for page in BLOCKS])
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_small(monkeypatch, tmp_path)
    for block in BLOCKS[page]:
        if block.reason is None:
            run(block, names)


def test_blocks_that_are_not_run_are_counted_and_say_why() -> None:
    found = [block for blocks in BLOCKS.values() for block in blocks if block.reason is not None]
    counted = {page.name: 0 for page in BLOCKS}
    for block in found:
        assert len(block.reason or "") > 10, f"{block.page.name}:{block.line}"
        counted[block.page.name] += 1
    assert {name: count for name, count in counted.items() if count} == NOT_RUN
    assert len(found) < sum(map(len, BLOCKS.values())) / 5


def test_a_block_that_fails_names_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n<!-- not run: needs a GPU -->\n```python\n1 / 0\n```\n")
    (skipped,) = blocks_of(page)
    assert (skipped.reason, skipped.line) == ("needs a GPU", 5)
    block = Block(page, 5, "x = 1\n1 / 0\n", None)
    with pytest.raises(ZeroDivisionError) as caught:
        run(block, make_small(monkeypatch, tmp_path))
    assert caught.traceback[-1].lineno == 5  # counted from 0

    session = Block(page, 5, ">>> 1 + 1\n3\n", None)
    with pytest.raises(AssertionError, match="Expected:\n    3\nGot:\n    2"):
        run(session, {})
