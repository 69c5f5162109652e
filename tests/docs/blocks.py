"""The Python blocks of the pages, and a small world to run them in."""

import doctest
import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import supernet as sn
from supernet import Recipe
from supernet.datasets import DataSplit, ImageData
from tests.conftest import nine, tiny_data

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: A comment above a block that can't run, with the reason, and the block.
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL
)

#: What the small world has of a data set, at most: enough for any batch shown.
SMALL = 200


@dataclass(frozen=True)
class Block:
    """A Python block of a page; `reason` says why it can't run, if it can't."""

    page: Path
    line: int
    code: str
    reason: str | None

    @property
    def is_session(self) -> bool:
        """Whether it shows a session, with prompts and what is printed."""
        return self.code.startswith(">>> ")


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start("code")].count("\n") + 1, found["code"], found["reason"])
        for found in _BLOCK.finditer(text)
    ]


def make_small(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Go into an empty folder where data sets are small; return the names that pages may use.

    A page may speak of a `supernet`, its `data`, an `arch` and a `recipe` without making them.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sn, "load_mnist", _small_mnist)
    monkeypatch.setattr(DataSplit, "first", _first)
    monkeypatch.setattr(sn, "Recipe", _short)
    Image.new("L", (8, 8), 7).save(folder / "picture.png")
    supernet = nine()
    return {
        "__name__": "page",
        "sn": sn,
        "torch": torch,
        "nn": nn,
        "Path": Path,
        "supernet": supernet,
        "arch": supernet.space.smallest,
        "data": tiny_data(train=256),
        "recipe": sn.Recipe(epochs=2, batch_size=32),
    }


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block; a session must print what it shows."""
    if block.is_session:
        _run_session(block, dict(names))
        return
    lines = "\n" * (block.line - 1)  # so that a traceback names the line of the page
    exec(compile(lines + block.code, str(block.page), "exec"), names)


def _run_session(block: Block, names: dict[str, Any]) -> None:
    name = block.page.name
    test = doctest.DocTestParser().get_doctest(block.code, names, name, name, block.line - 1)
    shown: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test, out=shown.append)
    assert not shown, "".join(shown)


_load_mnist, _take = sn.load_mnist, DataSplit.first


@functools.cache
def _small_mnist() -> ImageData:
    full = _load_mnist()
    splits = (_take(split, SMALL) for split in (full.train, full.validation, full.test))
    train, validation, test = splits
    return replace(full, train=train, validation=validation, test=test)


def _short(epochs: int = 1, **rest: Any) -> sn.Recipe:
    """Make a recipe of four epochs, where a page asks for more."""
    return Recipe(epochs=min(epochs, 4), **rest)


def _first(split: DataSplit, count: int) -> DataSplit:
    """Take what there is, where a page asks for more than the small world has."""
    return _take(split, min(count, len(split)))
