"""The program that kills a run at random moments, with few of them; with many it is a benchmark."""

import re
import subprocess
import sys

import pytest

from tests.faults.runs import KILL
from tests.limits import HANG_S


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes() -> None:
    done = subprocess.run(
        [sys.executable, KILL, "--kills", "3", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^round 1: 3 kills .*, 0 bytes of difference$", done.stdout, re.MULTILINE)
