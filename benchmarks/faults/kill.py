"""Kill a whole comparison with SIGKILL at random moments, let it end, and compare the bytes.

    python benchmarks/faults/kill.py --kills 20 --rounds 3

One run is left alone. In each round the same command is given again and again in another folder and
killed at a random moment: the process itself, one of its workers, or all of them at once. After so
many kills it is let go to its end. Kills adapt to progress, so that a round can't go on for ever:
where nothing new was saved, the next time is longer.

Compared byte for byte: the supernet's weights; what each network got right, image by image; and
what is made from the records (CSV, page, figures), once the times in them, which no two runs share,
are set to the same. The images and the multiply-adds of the ledger are not: that they are the same
shows that nothing was billed twice, or left out. A run that has ended is started again in another
folder if there are kills left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from supernet.records import Results
from supernet.report import write_report
from supernet.runs.folder import read_events, read_results

#: Four architectures, a supernet and four networks alone, on few images and with few channels.
SETTINGS = [
    *("--train-images=960", "--validation-images=60", "--calibration-images=40", "--epochs=4"),
    *("--batch-size=16", "--net-arg=widths=8,4", "--net-arg=longest=2"),
    *("--workers=2", "--checkpoint-every=0.1"),
]

#: What a killed process may take to be gone, and a run to end, in seconds: guards against hangs.
GONE_S, END_S = 30, 300


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Give the command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "supernet", "compare", *SETTINGS, "--out", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a run, which must be a good one."""
    _, told = process.communicate(timeout=END_S)
    if process.returncode:
        sys.exit(f"the run ended with code {process.returncode}:\n{told.decode()}")


def workers_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with contextlib.suppress(OSError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def kill(process: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Kill a run, in one of three ways; return which."""
    victims = workers_of(process.pid)
    way = rng.choice(["the process", "all of them", "a worker"])
    with contextlib.suppress(ProcessLookupError):
        if way == "a worker" and victims:
            os.kill(rng.choice(victims), signal.SIGKILL)
            time.sleep(rng.uniform(0, 1.0))  # it may be replaced before the process is killed too
            process.kill()
        elif way == "all of them":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.communicate(timeout=GONE_S)
    return way


def saved_in(folder: Path) -> object:
    """Return something that differs once something new was saved."""
    events = read_events(folder) if folder.exists() else []
    return [event.model_dump() for event in events if event.event in ("saved", "epoch", "trained")]


def phase_of(folder: Path) -> str:
    """Say where in the run it was killed, as far as its folder tells."""
    if not (folder / "manifest.json").exists():
        return "loading"
    if (folder / "results.json").exists():
        return "reporting"
    mark = [event.event for event in read_events(folder)][-1:]
    return "starting workers" if mark in ([], ["started"], ["resumed"]) else "training, judging"


def timeless(results: Results) -> Results:
    """Return results with all times set to the same."""
    ledger = [p.model_copy(update={"wall_s": 1.0, "cpu_s": 1.0}) for p in results.ledger]
    times = {"started": "2026-01-01T00:00:00+00:00", "wall_s": 1.0, "cpu_s": 1.0}
    conditions = results.conditions.model_copy(update={**times, "command": "the same"})
    verdict = results.verdict
    if verdict:  # as a comparison has
        sentences = [s for s in verdict.sentences if "CPU time" not in s]
        costs = {"cost_ratio": 1.0, "cost_ratio_range": (1.0, 1.0), "breakeven": 1.0}
        verdict = verdict.model_copy(update={**costs, "sentences": sentences})
    return results.model_copy(
        update={"ledger": ledger, "conditions": conditions, "verdict": verdict}
    )


def artifacts(folder: Path) -> dict[str, bytes]:
    """Return what a run has left, by name; what shows times, made again without them."""
    found = {
        name: (folder / name).read_bytes() for name in ("supernet-seed0.safetensors", "hits.npz")
    }
    results = timeless(read_results(folder))
    found["results.json"] = results.model_dump_json().encode()
    with TemporaryDirectory() as again:
        for path in write_report(results, Path(again)):
            found[str(path.relative_to(again))] = path.read_bytes()
    on_disk = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found.keys() <= on_disk, found.keys() - on_disk
    return found


def main() -> None:
    """Run all rounds, and end with a non-zero code at the first byte that differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with TemporaryDirectory() as place:
        began = time.monotonic()
        finish(start(Path(place) / "undisturbed"))
        alone = time.monotonic() - began
        wanted = artifacts(Path(place) / "undisturbed")
        print(f"undisturbed: {alone:.0f} s, {len(wanted)} files")
        for number in range(1, args.rounds + 1):
            ended, where, ways = round_of(Path(place), number, args.kills, alone, rng)
            for folder in ended:
                found = artifacts(folder)
                differing = [name for name in wanted if found.get(name) != wanted[name]]
                if differing or found.keys() != wanted.keys():
                    sys.exit(f"round {number}: {differing or found.keys()} differ")
            print(
                f"round {number}: {args.kills} kills ({told(where)}; {told(ways)}), "
                f"{len(ended)} run(s) to the end, 0 bytes of difference",
                flush=True,
            )


def round_of(
    place: Path, number: int, kills: int, alone: float, rng: random.Random
) -> tuple[list[Path], Counter[str], Counter[str]]:
    """Return the runs of a round that ended, where they were killed, and how."""
    ended: list[Path] = []
    where: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    folder = place / f"round {number}"
    patience = alone / 2
    while where.total() < kills:
        before = saved_in(folder)
        process = start(folder)
        try:
            process.wait(timeout=rng.uniform(0.1, 1.0) * patience)
        except subprocess.TimeoutExpired:
            ways[kill(process, rng)] += 1
            where[phase_of(folder)] += 1
            patience = alone / 2 if saved_in(folder) != before else patience * 1.5
        else:
            finish(process)
            ended.append(folder)
            folder = place / f"round {number}, {len(ended) + 1}"
    finish(start(folder))
    return [*ended, folder], where, ways


def told(counts: Counter[str]) -> str:
    """Return counts in words."""
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


if __name__ == "__main__":
    main()
