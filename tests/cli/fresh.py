"""Commands given in a Python of their own: what they said, and what they had to import for it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.limits import HANG_S

_GIVE = """
import contextlib, importlib.util, io, json, sys
from supernet.cli.app import main
find, absent = importlib.util.find_spec, True
def find_spec(name):
    return (None if absent else sys) if name in ("ray", "grpc") else find(name)
importlib.util.find_spec = find_spec
found = []
for words, absent in json.loads(sys.argv[1]):
    sys.argv = ["supernet", *words]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            main()
    except SystemExit as end:
        imported = [name for name in ("torch", "ray") if name in sys.modules]
        found.append((end.code, told.getvalue(), imported))
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Said:
    """How a command ended, what it said of it, and which of torch and Ray it imported."""

    code: int
    told: str
    imported: list[str]


def give_all(commands: Sequence[Sequence[str]], *, absent: Sequence[bool] = ()) -> list[Said]:
    """Give commands that end in an error, one after the other in one fresh Python.

    Args:
        commands: Their arguments.
        absent: For each whether Ray is missing; else it seems to be there. By default it is missing
            for all.
    """
    given = list(zip(commands, absent or [True] * len(commands), strict=True))
    done = subprocess.run(
        [sys.executable, "-c", _GIVE, json.dumps(given)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    found = [Said(*each) for each in json.loads(done.stdout)]
    assert len(found) == len(commands)
    return found
