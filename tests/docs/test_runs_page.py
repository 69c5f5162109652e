"""What docs/runs.md shows runs, and does what it says."""

import re
from pathlib import Path

import pytest
import torch

import supernet as sn
from tests.conftest import nine, tiny_data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runs.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_code_shown_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 2
    for folder, code in zip(("checkpoints", "my loop"), BLOCKS, strict=True):
        ends = []
        for _ in range(2):  # as it is given, and given again
            supernet = nine()
            names = {
                "sn": sn,
                "Path": Path,
                "supernet": supernet,
                "data": tiny_data(),
                "recipe": sn.Recipe(epochs=2, batch_size=8),
            }
            exec(compile(code.replace(".due", ".every_s"), "runs.md", "exec"), names)
            ends.append(supernet.state_dict())
            assert len(list(Path(folder).glob("*.sha256"))) in (1, 2)
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
