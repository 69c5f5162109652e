"""What docs/tasks.md shows is what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import supernet as sn
from supernet.errors import DataError
from supernet.tasks import check_batch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()
_, OWN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_a_task_of_ones_own_takes_about_twenty_lines_and_scores() -> None:
    assert len(OWN.splitlines()) <= 22
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(OWN, "tasks.md", "exec"), found)
    task = found["Overlap"]()
    ours = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    theirs = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0], [3.0, 3.0, 4.0, 4.0]])
    check_batch(task, ours, theirs)
    assert task.score(ours, theirs).tolist() == [1.0, 0.5, 0.0]
    torch.testing.assert_close(task.losses(ours, theirs).mean(), task.loss(ours, theirs))


def test_the_table_names_what_there_is() -> None:
    names = re.findall(r"^\| `sn\.(\w+)", PAGE, re.MULTILINE)
    assert sorted(names) == ["Classification", "Dense", "MultiLabel", "NextToken", "Regression"]
    assert set(names) <= set(sn.__all__)


def test_the_refusal_shown_is_the_one_given() -> None:
    with pytest.raises(DataError) as caught:
        check_batch(sn.Classification(), torch.zeros(64, 10), torch.zeros(64, 1).long())
    shown = re.search(r"( {4}outputs are .*?)\n\n", PAGE, re.DOTALL)
    assert shown
    assert str(caught.value) == " ".join(shown.group(1).split())
