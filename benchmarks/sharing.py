"""What sharing saves in larger spaces, what it costs where nothing is shared, and how it grows.

Measures: in the residual space (64 architectures) a training step, and in it and in the space of
operations (256) a scoring, of all architectures together against one by one, and both against what
`sharing.plan` promises; what running a single architecture through the library costs over calling
the extracted network; and how CPU time, memory and the time to write the program grow with the
number of architectures and with the number of choices. CPU seconds, the two sides in turn, medians
of the repeats with their range.

    python benchmarks/sharing.py [--parts step scoring single growth] [--repeats 5] [--json FILE]
    python benchmarks/sharing.py --draw FILE    # docs/figures/sharing-growth from a result
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from shared_step import SHAPE, against_promise, cpu_seconds, measure_step, peak_memory, ratios
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from supernet import sharing
from supernet.datasets import DataSplit, load_mnist
from supernet.evaluation.accuracy import score, score_network
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.networks.zoo import build_mnist_net, build_operations_net, build_residual_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.report.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    SOFT,
    annotate,
    new_figure,
    render,
    styled,
)
from supernet.runs.process import set_up_process
from supernet.space import Architecture
from supernet.training.losses import mean_loss

Side = Callable[[Tensor], Tensor]

PARTS = ("step", "scoring", "single", "growth")
FIGURE = Path(__file__).parent.parent / "docs/figures/sharing-growth"

#: The network whose growth is measured: small, so that 4,096 of it can be run one by one.
WIDTH, BATCH, POSITIONS = 16, 16, 12
COUNTS = (1, 4, 16, 64, 256, 1024, 4096)
MEASURED = (1, 16, 256, 4096)  # in a process of its own
DEPTHS = (2, 4, 6, 8, 10)  # and POSITIONS


def measure_scoring(supernet: Supernet, images: DataSplit, repeats: int) -> dict[str, Any]:
    """Score all architectures in one pass against the extracted networks one by one.

    Calibrating and recalibrating them before is timed once.
    """
    archs = list(supernet.space)
    inputs, batches = list(images.inputs(len(images))), list(images.batches(len(images)))
    nets = [extract(supernet, arch) for arch in archs]
    calibrate(supernet, archs, inputs)  # warm-up
    start = cpu_seconds(lambda: calibrate(supernet, archs, inputs))
    apart_s = cpu_seconds(lambda: [recalibrate(net, inputs) for net in nets])
    statistics_ = calibrate(supernet, archs, inputs)
    found = ratios(
        lambda: score(statistics_, batches),
        lambda: [score_network(net, batches) for net in nets],
        repeats,
    )
    hits = score(statistics_, batches)
    plan = sharing.plan(supernet, archs, inputs[0])
    return against_promise(found, plan.macs_apart, plan.macs) | {
        "images": len(images),
        "architectures": len(archs),
        "calibration_ratio": apart_s / start,
        "same_scores": all(
            (right := hits[arch]) is not None and torch.equal(right, score_network(net, batches))
            for arch, net in zip(archs, nets, strict=True)
        ),
    }


def measure_single(batch: int, repeats: int) -> dict[str, Any]:
    """Forward and backward of one architecture: through the library, and its extracted network.

    The sides take turns, in another order each time. What a call adds is also taken by itself, from
    the same network made so small that its own work hardly counts.
    """
    found: dict[str, Any] = {"batch": batch, "repeats": repeats}
    x, y = torch.randn(batch, *SHAPE), torch.zeros(batch, dtype=torch.long)
    tiny_x = torch.randn(2, 1, 4, 4)
    for depth in (1, 3):
        large = _in_turn(
            _sides(Supernet(build_mnist_net(seed=0)), depth),
            lambda side: F.cross_entropy(side(x), y).backward(),
            repeats,
        )
        tiny = _in_turn(
            _sides(Supernet(build_mnist_net(seed=0, widths=(1, 1), shape=(1, 4, 4))), depth),
            lambda side: side(tiny_x),
            10 * repeats,
        )
        here: dict[str, Any] = {"direct_s": statistics.median(large["direct"])}
        for name in ("run", "call"):
            each = sorted(
                ours / direct for ours, direct in zip(large[name], large["direct"], strict=True)
            )
            here[name] = {
                "ratio": statistics.median(each),
                "quartiles": [each[len(each) // 4], each[3 * len(each) // 4]],
                "ratio_of_medians": statistics.median(large[name]) / here["direct_s"],
                "added_s": statistics.median(tiny[name]) - statistics.median(tiny["direct"]),
            }
        found[f"({depth}, {depth})"] = here
    return found


def _sides(supernet: Supernet, depth: int) -> dict[str, Side]:
    """Return three ways to run an architecture.

    The extracted network's batch norms keep no averages, as the supernet's don't, so that all do
    the same work.
    """
    supernet.train()
    arch = Architecture({choice.name: depth for choice in supernet.space.choices})
    net = extract(supernet, arch)
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return {
        "direct": net,
        "run": lambda x: sharing.run(supernet, x, [arch])[0].value,
        "call": lambda x: supernet(x, arch),
    }


def _in_turn(
    sides: dict[str, Side], work: Callable[[Side], object], repeats: int
) -> dict[str, list[float]]:
    """Return the CPU seconds of each side, round by round."""
    rng, order = random.Random(0), list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        work(side), work(side)  # warm-up
    for _ in range(repeats):
        rng.shuffle(order)
        for name in order:
            seconds[name].append(cpu_seconds(partial(work, sides[name])))
    return seconds


def growing_net(positions: int) -> Supernet:
    """Return the network whose growth is measured, in training mode."""
    return Supernet(build_operations_net(seed=0, width=WIDTH, positions=positions)).train()


def some(supernet: Supernet, count: int) -> list[Architecture]:
    """Return so many architectures at random; more of them include the fewer."""
    archs = list(supernet.space)
    random.Random(0).shuffle(archs)
    return archs[:count]


def measure_growth(repeats: int) -> dict[str, Any]:
    """How cost grows with the number of architectures, and with that of choices."""
    supernet = growing_net(POSITIONS)
    by_count = []
    for count in COUNTS:
        by_count.append(_grown(supernet, some(supernet, count), repeats))
        if count in MEASURED:
            for kind in ("training", "scoring"):
                sizes = sorted(in_fresh_process(kind, count) for _ in range(repeats))
                by_count[-1][f"measured_{kind}_bytes"] = statistics.median(sizes)
                by_count[-1][f"measured_{kind}_range"] = [sizes[0], sizes[-1]]
    by_depth = []
    for positions in DEPTHS:
        supernet = growing_net(positions)
        found = _grown(supernet, list(supernet.space), repeats)
        by_depth.append({"positions": positions} | found)
    by_depth.append({"positions": POSITIONS} | by_count[-1])  # all there are
    return {"width": WIDTH, "batch": BATCH, "by_count": by_count, "by_depth": by_depth}


@torch.no_grad()
def _grown(supernet: Supernet, archs: list[Architecture], repeats: int) -> dict[str, Any]:
    x = torch.randn(BATCH, *SHAPE)

    def write() -> float:
        fresh = Supernet(supernet.net)  # of which nothing is remembered yet
        return cpu_seconds(lambda: sharing.prepare(fresh, x, archs))

    def together() -> None:
        for _ in sharing.stream(supernet, x, archs):
            pass

    def one_by_one() -> None:
        for arch in archs:
            supernet(x, arch)

    write_s = statistics.median(write() for _ in range(repeats))
    found = ratios(together, one_by_one, repeats)
    with torch.enable_grad():
        planner = sharing.Planner(supernet, x)
        plans: list[sharing.PassPlan] = []
        plan_s = cpu_seconds(lambda: plans.append(planner.plan(archs)))
        alone = max(planner.plan([arch]).training_bytes for arch in archs)
    plan = plans[0]
    return found | {
        "architectures": len(archs),
        "pieces": len(plan.pieces),
        "promised": plan.ratio,
        "write_s": write_s,
        "plan_s": plan_s,
        "training_bytes": plan.training_bytes,
        "largest_training_bytes": alone,
        "scoring_bytes": plan.scoring_bytes,
    }


def measure_memory(kind: str, count: int) -> int:
    """Return the bytes that a pass over so many architectures adds to a fresh process (this one).

    Before it, the program is written, and one architecture runs, which loads whatever that needs.
    """
    supernet = growing_net(POSITIONS)
    archs = some(supernet, count)

    def work(images: int, chosen: Sequence[Architecture]) -> None:
        x, y = torch.randn(images, *SHAPE), torch.zeros(images, dtype=torch.long)
        if kind == "training":
            mean_loss(supernet, x, y, chosen).backward()
        else:
            with torch.no_grad():
                for _ in sharing.stream(supernet, x, chosen):
                    pass

    work(2, [supernet.space.smallest])
    sharing.prepare(supernet, torch.randn(2, *SHAPE), archs)
    ctypes.CDLL(None).malloc_trim(0)  # give back what was freed (glibc) ...
    Path("/proc/self/clear_refs").write_text("5")  # ... and let the peak start from here (Linux)
    before = peak_memory()
    work(BATCH, archs)
    return peak_memory() - before


def in_fresh_process(kind: str, count: int) -> int:
    """Run `measure_memory` in a process of its own."""
    command = [sys.executable, __file__, "--memory", kind, str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure what is asked for and print it, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--single-repeats", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", type=Path, metavar="FILE")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.draw:
        draw(json.loads(args.draw.read_text()))
        return
    set_up_process(threads=args.threads)
    if args.memory:
        print(measure_memory(args.memory[0], int(args.memory[1])))
        return
    found = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0],
        "threads": args.threads,
        "repeats": args.repeats,
    }
    print(
        f"{args.threads} thread(s), {args.repeats} repeats, torch {found['torch']}, "
        f"{found['vector']}, load {found['load']:.1f}"
    )
    data = load_mnist()
    residual = Supernet(build_residual_net(seed=0))
    if "step" in args.parts:
        for batch in (32, 64):
            x, y = next(data.train.shuffled(batch, seed=0, epoch=0))
            step = found[f"step_{batch}"] = {"batch": batch} | measure_step(
                residual, x, y, args.repeats
            )
            print(f"residual, 64 steps / one joint step, batch {batch}: {promise(step)}")
    if "scoring" in args.parts:
        images = data.validation
        scoring = measure_scoring(residual, images.first(250), args.repeats)
        print(f"residual, scoring one by one / together: {promise(scoring)}")
        found["scoring_residual"] = scoring
        operations = Supernet(build_operations_net(seed=0))
        scoring = measure_scoring(operations, images.first(100), args.repeats)
        print(f"operations, scoring one by one / together: {promise(scoring)}")
        found["scoring_operations"] = scoring
    if "single" in args.parts:
        found["single"] = measure_single(64, args.single_repeats)
        show_single(found["single"])
    if "growth" in args.parts:
        found["growth"] = measure_growth(args.repeats)
        show_growth(found["growth"])
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def promise(found: dict[str, Any]) -> str:
    """Say in words what was measured, and what was promised."""
    low, high = found["ratio_range"]
    words = (
        f"{found['ratio']:.2f} ({low:.2f} to {high:.2f}), promised {found['promised']:.2f}: "
        f"{found['kept']:.1%} of it; {found['ours_s']:.2f} s at {found['gflops']:.0f} GFLOP/s "
        f"together, {found['theirs_s']:.2f} s at {found['gflops_apart']:.0f} one by one"
    )
    if "images" in found:
        words += (
            f"; {found['images']} images; calibrating {found['calibration_ratio']:.2f}; "
            f"same scores: {found['same_scores']}"
        )
    return words


def show_single(found: dict[str, Any]) -> None:
    """Print what the library costs for a single architecture."""
    ways = {"run": "sharing.run(supernet, x, [arch])", "call": "supernet(x, arch)"}
    for label in [label for label in found if label.startswith("(")]:
        for name, words in ways.items():
            here = found[label][name]
            low, high = here["quartiles"]
            print(
                f"{label}: {words} / extracted network: {here['ratio']:.4f} (quartiles "
                f"{low:.4f} to {high:.4f}), of medians {here['ratio_of_medians']:.4f}; a call adds "
                f"{1e6 * here['added_s']:.0f} us to {1e3 * found[label]['direct_s']:.1f} ms: "
                f"{here['added_s'] / found[label]['direct_s']:.2%}"
            )


def show_growth(found: dict[str, Any]) -> None:
    """Print how the cost grows."""
    for point in found["by_count"] + found["by_depth"]:
        where = f"{point['positions']} choices" if "positions" in point else f"{POSITIONS} choices"
        words = (
            f"{where}, {point['architectures']:,} architectures: {point['ours_s']:.3g} s together, "
            f"{point['theirs_s']:.3g} s one by one, {point['ratio']:.2f} times "
            f"(promised {point['promised']:.2f}); written in {point['write_s']:.2g} s; "
            f"{_mib(point['training_bytes'])} to train, {_mib(point['scoring_bytes'])} to score"
        )
        for kind in ("training", "scoring"):
            if f"measured_{kind}_bytes" in point:
                low, high = point[f"measured_{kind}_range"]
                words += f"; {kind} measured: {_mib(point[f'measured_{kind}_bytes'])} "
                words += f"({_mib(low)} to {_mib(high)})"
        print(words)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def draw(found: dict[str, Any]) -> None:
    """Draw how the cost grows, as SVG and PNG. The same result gives the same bytes."""
    growth = found["growth"]
    with styled():
        figure = new_figure(11.0, 4.2)
        time, depth, memory = figure.subplots(1, 3)
        _draw_time(time, growth["by_count"])
        _draw_depth(depth, growth["by_depth"])
        _draw_memory(memory, growth["by_count"])
        annotate(
            figure,
            "What shared execution costs, by the number of architectures",
            f"A chain of {POSITIONS} choices (middle: 2 to {POSITIONS}) between a 3x3 and a 5x5 "
            f"convolution of {growth['width']} channels; one batch of {growth['batch']} images of "
            f"28x28 pixels; right: lines as planned. {found['threads']} thread of a CPU with "
            f"{found['vector']}, torch {found['torch']}, medians of "
            f"{found['repeats']} repeats, {found['date'][:10]}.",
        )
        for suffix, image in render(figure, FIGURE.name).items():
            FIGURE.with_suffix(f".{suffix}").write_bytes(image)


def _draw_time(axes: Axes, points: Sequence[dict[str, Any]]) -> None:
    _draw_lines(axes, [point["architectures"] for point in points], points)
    _by_count(axes, "Time, random architectures out of 4,096")


def _draw_memory(axes: Axes, points: Sequence[dict[str, Any]]) -> None:
    counts = [point["architectures"] for point in points]
    lines: tuple[tuple[str, str, str, str], ...] = (
        ("training", "training, shared", BLUE, "-"),
        ("largest_training", "training, one by one", ORANGE, "--"),
        ("scoring", "scoring, shared", GREEN, ":"),
    )
    for kind, label, color, line in lines:
        sizes = [point[f"{kind}_bytes"] / 2**20 for point in points]
        axes.plot(counts, sizes, line, color=color, label=label)
    for kind, color in (("training", BLUE), ("scoring", GREEN)):
        taken = [point for point in points if f"measured_{kind}_bytes" in point]
        middles = [point[f"measured_{kind}_bytes"] / 2**20 for point in taken]
        lows, highs = zip(*(point[f"measured_{kind}_range"] for point in taken), strict=True)
        axes.errorbar(
            [point["architectures"] for point in taken],
            middles,
            (
                [middle - low / 2**20 for middle, low in zip(middles, lows, strict=True)],
                [high / 2**20 - middle for middle, high in zip(middles, highs, strict=True)],
            ),
            fmt="o",
            color=color,
            fillstyle="none",
            linewidth=1,
        )
    axes.plot([], [], "o", color=SOFT, fillstyle="none", label="measured (bar: range)")
    axes.set_ylabel("activations of a batch (MiB)")
    _by_count(axes, "Memory, random architectures out of 4,096")


def _draw_depth(axes: Axes, points: Sequence[dict[str, Any]]) -> None:
    choices = [point["positions"] for point in points]
    _draw_lines(axes, choices, points)
    axes.set_title("Time, all architectures, by choices")
    axes.set_xlabel("choices (below: architectures)")
    labels = [f"{point['positions']}\n{point['architectures']:,}" for point in points]
    axes.set_xticks(choices, labels)
    _decades(axes)


def _draw_lines(axes: Axes, x: Sequence[int], points: Sequence[dict[str, Any]]) -> None:
    axes.plot(x, [p["theirs_s"] for p in points], "s--", color=ORANGE, label="one by one")
    axes.plot(x, [p["ours_s"] for p in points], "o-", color=BLUE, label="shared")
    axes.plot(
        x, [p["write_s"] for p in points], "^:", color=GREEN, label="writing the program, once"
    )
    axes.set_ylabel("CPU time of a forward pass (s)")


def _by_count(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xlabel("architectures")
    axes.xaxis.set_major_locator(FixedLocator(COUNTS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _decades(axes)


def _decades(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.22)  # room for the legend
    axes.legend(loc="upper left")


if __name__ == "__main__":
    main()
