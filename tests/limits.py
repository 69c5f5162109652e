"""How long a test waits, in the one place: long enough that only a hang is ever cut off."""

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Seconds, of a test and of anything that a test waits for.
HANG_S: Final = float(_SETTINGS["tool"]["pytest"]["timeout"])
