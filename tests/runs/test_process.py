import subprocess
import sys

import pytest

from tests.limits import HANG_S

CODE = """
import sys
from supernet.runs.process import set_up_process
import torch
if "{libc}" != "as it is":
    import platform
    platform.libc_ver = lambda: ("{libc}", "")
set_up_process(threads={threads})
assert torch.get_num_threads() == {threads}
assert float(torch.ones(1000, 1000).sum()) == 1e6
"""


@pytest.mark.parametrize(("libc", "threads"), [("as it is", 2), ("musl", 1)])
def test_sets_the_threads_and_leaves_other_c_libraries_alone(libc: str, threads: int) -> None:
    code = CODE.format(libc=libc, threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert (done.returncode, done.stderr) == (0, "")
