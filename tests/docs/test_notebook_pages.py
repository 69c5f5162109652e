"""Notebooks become pages with the outputs that are saved in them."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(DOCS))
    import notebook_pages

    return SimpleNamespace(**vars(notebook_pages))


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": outputs}


def data(**found: str) -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "data": {kind.replace("_", "/"): text for kind, text in found.items()},
    }


def test_text_code_and_every_kind_of_output_are_on_the_page(pages: SimpleNamespace) -> None:
    picture = base64.b64encode(b"a picture").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        code("print(1)\n2", {"output_type": "stream", "text": ["1\n"]}, data(text_plain="2")),
        code("table", data(text_html="<table>\n<tr></tr></table>", text_plain="Table")),
        code("figure", data(image_png=picture, text_plain="<Figure>")),
    ]
    page, files = pages.to_page({"cells": cells}, "name")
    assert page.split("\n\n") == [
        "# Title",
        "Text.",
        "```python\nprint(1)\n2\n```",
        "```text\n1\n```",
        "```text\n2\n```",
        "```python\ntable\n```",
        '<div class="table-wrapper"><table class="docutils align-default"> <tr></tr></table></div>',
        "```python\nfigure\n```",
        "![Figure](name-3.png)",
        "",
    ]
    assert files == {"name-3.png": b"a picture"}
