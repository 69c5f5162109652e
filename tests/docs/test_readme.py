"""What the README shows is what there is."""

import re
import subprocess
import sys
from pathlib import Path

from supernet.cli.signals import EXIT_CODES
from supernet.experiments.settings import PRESETS
from tests.limits import HANG_S

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_network_of_ones_own_is_the_one_that_the_search_page_tries() -> None:
    page = (ROOT / "docs" / "search.md").read_text()
    assert re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:1] == BLOCKS


def test_the_script_is_as_short_as_it_says() -> None:
    assert "a script of 40 lines" in README
    assert len((ROOT / "main.py").read_text().splitlines()) <= 40


def test_presets_exit_codes_and_files_are_the_real_ones() -> None:
    assert all(f"| `{preset}`" in README for preset in PRESETS)
    assert all(f" {code} " in README for code in EXIT_CODES.values())


def test_the_trees_name_every_folder_and_every_file() -> None:
    package = ROOT / "src" / "supernet"
    named = re.findall(r"^  (\w+)/", README.split("src/supernet/\n")[1], re.MULTILINE)
    assert sorted(named) == sorted(path.parent.name for path in package.glob("*/__init__.py"))
    command = [sys.executable, str(ROOT / "tools" / "show_tree.py")]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=HANG_S
    ).stdout
    assert f"```\n{shown}```" in (ROOT / "CONTRIBUTING.md").read_text()
    assert all(path.name in shown for path in package.rglob("*.py") if path.stem != "__init__")


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    pages.append(ROOT / "benchmarks" / "README.md")
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
