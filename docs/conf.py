"""How the documentation is built: `make docs`."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

import supernet

sys.path.insert(0, str(Path(__file__).resolve().parent))
from api_pages import write_pages
from notebook_pages import write_notebooks
from repository_pages import copy_pages, resolved

project = "supernet"
author = "The supernet authors"
copyright = "2026, The supernet authors"
version = release = installed_version("supernet")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "supernet"
html_static_path: list[str] = []

default_role = "code"  # docstrings put code between single backticks
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
nitpicky = False


def read_page(app: Sphinx, page: str, text: list[str]) -> None:
    """Let links out of this folder lead to the copies of what they name."""
    if not page.startswith(("api/", "notebooks/", "project/")):
        text[0] = resolved(text[0], f"docs/{page}.md", f"{page}.md")


def setup(app: Sphinx) -> None:
    """Write the pages that are made from elsewhere before anything is read."""
    docs = Path(app.srcdir)
    write_pages(supernet._HOME, docs / "api")
    copy_pages(docs.parent, docs)
    write_notebooks(docs.parent, docs)
    app.connect("source-read", read_page)
