"""Pages of the notebooks in `examples`, with the outputs that are saved in them."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repository_pages import SHOWN, resolved

#: Outputs that become files beside the page, by their type.
_PICTURES = {"image/png": "png", "image/svg+xml": "svg"}


def write_notebooks(root: Path, docs: Path) -> None:
    """Write a page for every notebook that is shown."""
    for source, target in SHOWN.items():
        if source.endswith(".ipynb"):
            page = docs / target
            page.parent.mkdir(exist_ok=True)
            notebook = json.loads((root / source).read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = resolved("".join(cell["source"]), source, target)
            text, files = to_page(notebook, page.stem)
            _write(page, text.encode())
            for name, content in files.items():
                _write(page.parent / name, content)


def to_page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures that the page shows, by file name."""
    files: dict[str, bytes] = {}
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            parts += _shown(output, f"{name}-{number}", files)
    return "\n\n".join([*parts, ""]), files


def _shown(output: dict[str, Any], name: str, files: dict[str, bytes]) -> Iterator[str]:
    """Yield an output as Markdown; of several forms, the richest."""
    if output["output_type"] == "stream":
        yield _fenced("".join(output["text"]))
        return
    found = output["data"]
    for kind, suffix in _PICTURES.items():
        if kind in found:
            content = "".join(found[kind])
            file = f"{name}.{suffix}"
            files[file] = base64.b64decode(content) if suffix == "png" else content.encode()
            words = output.get("metadata", {}).get(kind, {}).get("alt")
            words = words or "".join(found["text/plain"]).strip("<>")
            yield f"![{words}]({file})"
            return
    if "text/html" in found:
        html = "".join(found["text/html"]).replace("\n", " ")
        html = html.replace("<table>", '<table class="docutils align-default">')
        yield f'<div class="table-wrapper">{html}</div>'
        return
    yield _fenced("".join(found["text/plain"]))


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def _write(path: Path, content: bytes) -> None:
    """Write a file, unless it says so already: Sphinx then has less to do again."""
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
