"""The pages of the public names, one per folder of the package, made from the front door itself."""

import ast
import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import supernet


def write_pages(homes: Mapping[str, str], folder: Path) -> None:
    """Write a page per folder of the package, and one that lists them.

    Args:
        homes: The module, below `supernet`, where each public name lives.
        folder: Where the pages go; what else is in there stays.
    """
    rooms: dict[str, list[str]] = {}
    for name, home in sorted(homes.items(), key=lambda item: item[0].lower()):
        rooms.setdefault(home.partition(".")[0], []).append(name)
    folder.mkdir(exist_ok=True)
    for room, names in rooms.items():
        _write(folder / f"{room}.md", _page(room, names))
    listed = "\n".join(sorted(rooms))
    _write(
        folder / "index.md",
        "# Public names\n\n`import supernet as sn`: every name below is `sn.NAME`; the pages "
        f"follow the package's folders.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n",
    )


def _page(room: str, names: list[str]) -> str:
    lines = [f"# {room}", "", _phrase(room), "", "```{eval-rst}", ".. currentmodule:: supernet", ""]
    for name in names:
        value = getattr(supernet, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: supernet.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: supernet.{name}", ""]
        else:
            lines += [f".. autodata:: supernet.{name}", ""]
    return "\n".join([*lines, "```", ""])


def _phrase(room: str) -> str:
    """Return what the folder or module says it is for."""
    spec = find_spec(f"supernet.{room}")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]


def _write(path: Path, text: str) -> None:
    """Write a page, unless it says so already: Sphinx then has less to do again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
