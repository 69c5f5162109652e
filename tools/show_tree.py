"""Print the tree of the package, a phrase per file: the first sentence of each file's docstring.

python tools/show_tree.py            print it
python tools/show_tree.py --write    put it into CONTRIBUTING.md, where a test holds it
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "supernet"
PAGE = ROOT / "CONTRIBUTING.md"

#: Where the phrases start.
COLUMN = 25


def folders() -> list[str]:
    """Return the folders of the package, from the top floor to the bottom, as the contract says."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    floors = next(c["layers"] for c in tools["importlinter"]["contracts"] if "layers" in c)
    names = [name for floor in floors for name in re.split(r"[ :]+", floor)]
    return [name for name in names if (PACKAGE / name).is_dir()]


def phrase(path: Path) -> str:
    """Return the first sentence of a file's docstring, to be read after the file's name."""
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return re.split(r"[.:] ", first.replace("\n", " "))[0].rstrip(".")


def lines_of(folder: Path, depth: int) -> list[str]:
    """Return a line for a folder, then one for each of its files, then those of its folders."""

    def line(name: str, path: Path, depth: int) -> str:
        return f"{'  ' * depth + name:<{COLUMN}} {phrase(path)}"

    lines = [line(f"{folder.name}/", folder / "__init__.py", depth)]
    files = (path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py")
    lines += (line(path.name, path, depth + 1) for path in files)
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines += lines_of(inner, depth + 1)
    return lines


def tree() -> str:
    """Return the whole tree."""
    single = [
        f"{f'  {path.name}':<{COLUMN}} {phrase(path)}" for path in sorted(PACKAGE.glob("*.py"))
    ]
    return "\n".join(
        ["src/supernet/", *single, *(n for name in folders() for n in lines_of(PACKAGE / name, 1))]
    )


def with_tree(page: str) -> str:
    """Return a page with the tree in the place of the one it has."""
    return re.sub(
        r"```\nsrc/supernet/\n.*?```", lambda _: f"```\n{tree()}\n```", page, flags=re.DOTALL
    )


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree())
