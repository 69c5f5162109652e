"""A network of one's own, from definition to saved file: what README's example takes and gives.

python benchmarks/own_network.py [OUT.json]

Runs the example of README.md as it stands there, after `torch.manual_seed(0)`, with one thread, and
prints its result, its CPU seconds (imports included) and the conditions as JSON.
"""

import json
import sys
import tempfile
import time
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from supernet.evaluation.cost import count_macs
from supernet.runs.environment import hardware, versions

ROOT = Path(__file__).resolve().parents[1]


def example() -> str:
    """Return the example of the README."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    return page.partition("```python\n")[2].partition("```")[0]


def measure(folder: Path, *, since: float) -> dict[str, Any]:
    """Run the example in a folder; return what it gave, and the CPU seconds it took.

    Args:
        folder: Where it saves the network.
        since: From which CPU second of this process on they count; 0 includes the imports.
    """
    names: dict[str, Any] = {"__name__": "README"}
    torch.manual_seed(0)
    with chdir(folder):
        exec(compile(example(), "README.md", "exec"), names)
    best, tuned = names["best"], names["tuned"]
    scores = names["result"].scores
    largest = names["supernet"].space.largest
    return {
        "cpu_s": round(time.process_time() - since, 1),
        "architectures": len(scores),
        "best": best.arch.label,
        "macs": best.values["macs"],
        "macs_of_largest": count_macs(names["supernet"], largest, (1, 28, 28)),
        "validation_of_largest": scores[largest],
        "validation_of_best": scores[best.arch],
        "inherited": tuned.inherited.model_dump(),
        "tuned": tuned.tuned.model_dump(),
        "gain": tuned.gain.model_dump(),
    }


def main() -> None:
    """Measure, print, and write where asked."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), since=0)
    found |= {
        "seed": 0,
        "threads": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "hardware": hardware(),
    }
    print(json.dumps(found, indent=1))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
