"""How well the latency of whole networks is predicted from their parts, on the once-for-all space.

python benchmarks/latency.py --out benchmarks/results/latency.json
python benchmarks/latency.py --runtime onnxruntime --size 96 --rounds 12 --out ...
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import supernet as sn
from supernet.runs.process import set_up_process


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("torch", "onnxruntime"), default="torch")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="Height and width of the input.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_up_process(threads=1)
    supernet = sn.Supernet(sn.build_ofa_mobilenet(seed=0))
    start = time.process_time()
    table = sn.measure_latency(
        supernet,
        (3, arguments.size, arguments.size),
        runtime=arguments.runtime,
        rounds=arguments.rounds,
    )
    results: dict[str, Any] = {
        "check": asdict(table.check),
        "pieces": len(table.works),
        "factor": table.factor,
        "constant_ms": table.constant,
        "cpu_s": round(time.process_time() - start, 1),
        "conditions": {
            "runtime": table.runtime,
            "rounds": arguments.rounds,
            "size": arguments.size,
            "batch": table.batch,
            "threads": table.threads,
            **table.device,
            **table.versions,
        },
    }
    print(json.dumps(results, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
