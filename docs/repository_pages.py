"""Pages of the repository that the documentation shows too, and links out of its folder."""

import posixpath
import re
from pathlib import Path

#: Pages outside this folder, as seen from the repository's root, and where they are shown.
SHOWN = {
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/measurements.md",
    "benchmarks/faults/README.md": "project/faults.md",
    "examples/own_network.ipynb": "notebooks/own_network.md",
}

_LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def copy_pages(root: Path, docs: Path) -> None:
    """Write the pages of the repository into the documentation's folder."""
    (docs / "project").mkdir(exist_ok=True)
    pages = {source: target for source, target in SHOWN.items() if source.endswith(".md")}
    for source, target in pages.items():
        text = (root / source).read_text(encoding="utf-8")
        text = resolved(text, source, target)
        if not (docs / target).exists() or (docs / target).read_text(encoding="utf-8") != text:
            (docs / target).write_text(text, encoding="utf-8")


def resolved(text: str, source: str, target: str) -> str:
    """Return a page's text with links that lead where the documentation has what they name.

    A link to a file that isn't shown there becomes the file's name.

    Args:
        text: The page.
        source: Where it is in the repository.
        target: Where it is shown, below the documentation's folder.
    """

    def replace(match: re.Match[str]) -> str:
        image, words, path, anchor = (part or "" for part in match.groups())
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if named in SHOWN:
            shown = SHOWN[named]
        elif named.startswith("docs/"):
            shown = named.removeprefix("docs/")
        else:
            return f"{words} (`{named}`)" if f"`{named}`" != words else words
        there = posixpath.relpath(shown, posixpath.dirname(target) or ".")
        return f"{image}[{words}]({there}{anchor})"

    return _LINK.sub(replace, text)
