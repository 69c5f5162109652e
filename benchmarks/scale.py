"""What a training costs, as a model: fitted on some configurations, held against others.

A training step takes `a + b * modules + c * multiply-adds + d * bytes` seconds: `modules` are those
that the shared pass runs, `multiply-adds` those of the pass and its gradients, `bytes` what it
keeps for the gradients; all are known from a plan, before anything is trained. The four
coefficients are not negative, and belong to a machine and a kind of network.

    python benchmarks/scale.py steps --out FILE        # measure steps, of many configurations
    python benchmarks/scale.py trainings --out FILE    # and whole trainings of single networks
    python benchmarks/scale.py fit FILE                # fit on two thirds, predict the others
    python benchmarks/scale.py predict FILE            # hours of a comparison, by workers
    python benchmarks/scale.py bytes                   # parameters that a step touches, by sampler
    python benchmarks/scale.py sharing                 # what a shared pass saves, by space
    python benchmarks/scale.py verdict                 # the width of tau, by standalone networks

Times are CPU seconds of one thread; on a GPU, wall seconds with the device synchronized.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from supernet.datasets import DataSplit
from supernet.evaluation.cost import empty_batch
from supernet.networks.named import NetworkName, build_network
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.environment import hardware, versions
from supernet.runs.process import set_up_process
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, every, make_sampler, sampler_at
from supernet.training.steps import train_steps

#: Kinds of networks, each with the arguments it is built with.
SPACES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "mnist": [("widths=16,8",), ("widths=32,16",), ("widths=64,32",)],
    "residual": [(), ("widths=16,32",)],
    "operations": [()],
}
SHAPE = (1, 28, 28)
#: Spaces of the zoo, and the shape of a sample of each.
LARGE: Mapping[str, tuple[int, ...]] = {
    "mnist": SHAPE,
    "residual": SHAPE,
    "nasbench-macro": (3, 32, 32),
    "nasbench-201": (3, 32, 32),
    "ofa-mobilenet": (3, 224, 224),
}
BATCHES = (16, 32, 64)
#: Architectures drawn at random for a step.
DRAWS = (1, 4, 9)


@dataclass(frozen=True)
class Configuration:
    """A step to be measured."""

    space: str
    arguments: tuple[str, ...]
    batch: int
    drawn: int

    def supernet(self) -> Supernet:
        """Return its network."""
        wanted = NetworkName(self.space, self.arguments)
        return build_network(wanted, shape=SHAPE, classes=10, seed=0).supernet

    def archs(self, supernet: Supernet) -> list[Architecture]:
        """Return the architectures of its step."""
        rng = random.Random(f"{self}")
        found = [supernet.space.sample(rng) for _ in range(10 * self.drawn)]
        return list(dict.fromkeys(found))[: self.drawn]


def configurations(batches: Sequence[int]) -> list[Configuration]:
    """Return all, in an order that mixes them."""
    found = [
        Configuration(space, arguments, batch, drawn)
        for space, variants in SPACES.items()
        for arguments in variants
        for batch in batches
        for drawn in DRAWS
    ]
    random.Random(0).shuffle(found)
    return found


def features(supernet: Supernet, batch: int, archs: Sequence[Architecture]) -> dict[str, float]:
    """Return what the model knows of a step."""
    plan = Planner(supernet, empty_batch(SHAPE, batch)).plan(archs)
    return {
        "modules": sum(modules_in(supernet, piece.name) for piece in plan.pieces),
        "macs": float(plan.training_macs),
        "bytes": float(plan.training_bytes),
    }


def modules_in(supernet: Supernet, piece: str) -> int:
    """Return how many modules without parts a piece of work runs; each starts kernels."""
    try:
        module = supernet.net.get_submodule(piece)
    except AttributeError:  # it is a function of a module
        return 1
    return sum(not any(part.children()) for part in module.modules())


def noise(count: int) -> DataSplit:
    """Return that many images of noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    return DataSplit(images, torch.arange(count) % 10, mean=(0.5,), std=(0.3,))


class Stepping:
    """The training of a configuration, one step after the other, optimizer included."""

    def __init__(self, one: Configuration, device: str, steps: int) -> None:
        self.one, self._device = one, device
        supernet = one.supernet()
        archs = tuple(one.archs(supernet))
        self._known = features(supernet, one.batch, archs)
        supernet.to(device)
        recipe = Recipe(epochs=1, batch_size=one.batch, learning_rate=0.01)
        data = noise(one.batch * steps)
        self._steps = train_steps(supernet, data, recipe, sampler=lambda space, rng: Draw(archs))
        self._times: list[float] = []

    def measure(self) -> None:
        """Take a step, after another that finds memory as training does: just used by it."""
        _, seconds = timed(lambda: next(self._steps), self._device, 2)
        self._times.append(seconds)

    def found(self) -> dict[str, Any]:
        """Return the median seconds of a step, without the first, and its features."""
        quarters = statistics.quantiles(self._times[1:], n=4)
        return {
            "space": self.one.space,
            "arguments": self.one.arguments,
            "batch": self.one.batch,
            "drawn": self.one.drawn,
            **self._known,
            "seconds": quarters[1],
            "quartiles": [quarters[0], quarters[2]],
            "repeats": len(self._times) - 1,
        }


def timed(call: Callable[[], object], device: str, times: int) -> Iterator[float]:
    """Yield the seconds of each call."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(times):
        start = clock()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        yield clock() - start


def measure_steps(args: argparse.Namespace) -> None:
    """Measure what isn't in the file yet, in turn: what else the machine does then hits all."""
    done = {key(line) for line in lines_of(args.out)}
    turns = 1 + args.repeats
    wanted = [
        Stepping(one, args.device, 2 * turns)
        for one in configurations(args.batches)
        if (one.space, one.arguments, one.batch, one.drawn) not in done
    ]
    for _ in range(turns):
        for each in wanted:
            each.measure()
    for each in wanted:
        write_line(args, each.found())


def measure_trainings(args: argparse.Namespace) -> None:
    """Measure whole trainings of single networks, of one epoch or two."""
    for arguments in SPACES["mnist"]:
        whole = Configuration("mnist", arguments, 32, 1).supernet()
        for number in (0, 4, 8):
            for at, batch in enumerate(args.batches):
                write_line(
                    args, measure_training(whole, arguments, number, batch, 1 + at % 2, args)
                )


def measure_training(
    whole: Supernet,
    arguments: tuple[str, ...],
    number: int,
    batch: int,
    epochs: int,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Return the seconds of a training of 30 steps an epoch, and the features of a step."""
    arch = whole.space.at(number)
    net = Supernet(extract(whole, arch)).to(args.device)
    recipe = Recipe(epochs=epochs, batch_size=batch, learning_rate=0.01)
    steps = train_steps(net, noise(30 * batch), recipe, sampler=every)
    (seconds,) = timed(lambda: list(steps), args.device, 1)
    return {
        "training": arch.label,
        "space": "mnist",
        "arguments": arguments,
        "batch": batch,
        "steps": 30 * epochs,
        **features(whole, batch, [arch]),
        "seconds": seconds,
    }


def write_line(args: argparse.Namespace, line: Mapping[str, Any]) -> None:
    """Append a line, with its conditions."""
    facts = {"device": args.device, "load": round(os.getloadavg()[0], 1)}
    facts["date"] = time.strftime("%Y-%m-%d")
    facts["torch"] = versions()["torch"]
    facts["processor"] = (
        hardware()["processor"] if args.device == "cpu" else torch.cuda.get_device_name()
    )
    with args.out.open("a") as file:
        file.write(json.dumps({**line, **facts}) + "\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return what was measured."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return which configuration a line is of."""
    return line["space"], tuple(line["arguments"]), line["batch"], line.get("drawn")


def matrix(lines: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the features of steps, one row each."""
    return np.array([[1.0, line["modules"], line["macs"], line["bytes"]] for line in lines])


def fit(lines: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the coefficients with the least relative errors, none of them negative."""
    rows = matrix(lines) / seconds_of(lines)[:, None]
    scale = rows.max(axis=0)
    return np.asarray(nnls(rows / scale, np.ones(len(lines)))[0] / scale)


def seconds_of(lines: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the seconds of a step of each."""
    return np.array([line["seconds"] / line.get("steps", 1) for line in lines])


def errors_of(
    found: NDArray[np.float64], lines: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Return how far off each prediction is, as a share of what was measured."""
    return np.abs(matrix(lines) @ found / seconds_of(lines) - 1)


def held_out(lines: Sequence[Mapping[str, Any]], folds: int) -> NDArray[np.float64]:
    """Return the errors on every configuration, each predicted by a fit on the other parts."""
    mixed = sorted(lines, key=key)
    random.Random(1).shuffle(mixed)
    parts = [mixed[at::folds] for at in range(folds)]
    return np.concatenate(
        [
            errors_of(fit([one for other in parts if other is not part for one in other]), part)
            for part in parts
        ]
    )


def show_fit(args: argparse.Namespace) -> None:
    """Print the coefficients, and the errors where they were not fitted."""
    lines = [line for path in args.files for line in lines_of(path)]
    trainings = [line for line in lines if "training" in line]
    steps = [line for line in lines if "training" not in line]
    print("| network | a, ms | b, us | GMAC/s | GB/s | predicted | error: half | 90 % | all |")
    print("|" + "---|" * 9)
    for space in dict.fromkeys(line["space"] for line in steps):
        own = [line for line in steps if line["space"] == space]
        found = fit(own)
        a, b, c, d = found
        cells = [space, f"{1e3 * a:.2f}", f"{1e6 * b:.0f}"]
        cells += [f"{1 / rate / 1e9:.1f}" if rate else "-" for rate in (c, d)]
        print(row(cells, f"{len(own)} steps, each by all others", held_out(own, len(own))))
        print(row([""] * 5, "each by two other thirds", held_out(own, 3)))
        if whole := [line for line in trainings if line["space"] == space]:
            print(row([""] * 5, f"{len(whole)} trainings", errors_of(found, whole)))


def row(cells: Sequence[str], what: str, errors: NDArray[np.float64]) -> str:
    """Return a line of the table."""
    shares = [f"{share:.0%}" for share in (*np.percentile(errors, [50, 90]), errors.max())]
    return f"| {' | '.join([*cells, what, *shares])} |"


def show_prediction(args: argparse.Namespace) -> None:
    """Print how long a comparison takes on so many workers, by the model; nothing is measured.

    The nine networks of the experiment and their supernet under some seeds, the longest training
    first, as `supernet compare` gives them out; scoring is left out.
    """
    supernet = Configuration("mnist", ("widths=64,32",), args.batch, 1).supernet()
    measured = [line for line in lines_of(args.file) if line["space"] == "mnist"]
    found = fit([line for line in measured if line.get("drawn")])
    steps = args.epochs * (args.images // args.batch)

    def seconds(archs: Sequence[Architecture]) -> float:
        return float(steps * (matrix([features(supernet, args.batch, archs)]) @ found)[0])

    own = [seconds(list(supernet.space)), *(seconds([arch]) for arch in supernet.space)]
    jobs = sorted(own * args.seeds, reverse=True)
    print("| workers | hours | worker hours | busy |\n|---|---|---|---|")
    for workers in args.workers:
        ends = [args.start] * min(workers, len(jobs))
        for job in jobs:
            first = ends.index(min(ends))
            ends[first] += job + args.task
        hours = max(ends) / 3600
        busy = sum(jobs) / 3600 / (workers * hours)
        print(f"| {workers} | {hours:.2f} | {workers * hours:.1f} | {busy:.0%} |")


def show_bytes(args: argparse.Namespace) -> None:
    """Print how many parameters a step touches on average, by space and sampler."""
    samplers = ("uniform", "sandwich", "every")
    print("| space | parameters | " + " | ".join(samplers) + " |\n|" + "---|" * (2 + len(samplers)))
    for name, shape in LARGE.items():
        supernet = build_network(NetworkName(name), shape=shape, classes=10, seed=0).supernet
        total = sum(p.numel() for p in supernet.net.parameters())
        cells = [name, f"{total / 1e6:.3f} M"]
        for sampler in samplers:
            if sampler == "every" and supernet.space.size > 100:
                cells.append("-")
                continue
            again = build_network(NetworkName(name), shape=shape, classes=10, seed=0).supernet
            touched = parameters_touched(again, shape, sampler, args.draws)
            cells.append(f"{touched / 1e6:.3f} M ({touched / total:.0%})")
        print(f"| {' | '.join(cells)} |", flush=True)


def parameters_touched(supernet: Supernet, shape: tuple[int, ...], name: str, draws: int) -> float:
    """Return how many parameters get a gradient in a step, averaged over draws.

    An elastic layer counts whole, as its gradient does.
    """
    sampler = make_sampler(name, supernet, empty_batch(shape))
    supernet.to("meta").train()
    rng, found = random.Random(0), []
    known: dict[Architecture, set[nn.Parameter]] = {}
    for at in range(draws):
        draw = sampler_at(sampler, at / draws)(supernet.space, rng)
        used: set[nn.Parameter] = set()
        for arch in draw.archs:
            if arch not in known:
                known[arch] = used_by(supernet, arch, shape)
            used |= known[arch]
        found.append(sum(parameter.numel() for parameter in used))
    return statistics.mean(found)


def used_by(supernet: Supernet, arch: Architecture, shape: tuple[int, ...]) -> set[nn.Parameter]:
    """Return the parameters that get a gradient from an architecture; the network is on `meta`."""
    outputs = supernet(torch.empty(2, *shape, device="meta"), arch)
    parameters = list(supernet.net.parameters())
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        outputs.sum(), parameters, allow_unused=True
    )
    return {p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}


def show_sharing(args: argparse.Namespace) -> None:
    """Print what a shared pass over a random draw saves, by space and number of architectures."""
    counts = (2, 4, 8, 16, 32)
    print("| space | architectures | " + " | ".join(map(str, counts)) + " |")
    print("|" + "---|" * (2 + len(counts)))
    for name, shape in LARGE.items():
        supernet = build_network(NetworkName(name), shape=shape, classes=10, seed=0).supernet
        planner, rng = Planner(supernet, empty_batch(shape, 2)), random.Random(0)
        cells = [name, f"{supernet.space.size:,}"]
        for count in counts:
            plans = []
            for _ in range(args.draws):
                drawn = dict.fromkeys(supernet.space.sample(rng) for _ in range(4 * count))
                plans.append(planner.plan(list(drawn)[:count]))
            enough = all(len(plan.archs) == count for plan in plans)
            ratio = statistics.mean(plan.ratio for plan in plans)
            cells.append(f"{ratio:.2f}" if enough else "-")
        print(f"| {' | '.join(cells)} |", flush=True)


def show_verdict(args: argparse.Namespace) -> None:
    """Print how wide the interval of tau is, and how far tau depends on which networks are taken.

    Made-up networks, as in `tau_coverage.py`: true accuracies over 3 points around 95 %, and a
    correlation that gives the true tau; seen on 5,000 images.
    """
    from tau_coverage import hits, true_accuracies

    from supernet.evaluation.ranking.metrics import kendall_rows
    from supernet.evaluation.ranking.posterior import draw_truths, see

    rng = np.random.default_rng(0)
    print(
        "| trained alone | true tau | interval of tau, of these networks | tau of other networks |"
    )
    print("|" + "---|" * 4)
    for correlation in (0.6, 0.9):
        for networks in (5, 9, 16, 32, 64, 128):
            taus, widths = [], []
            for _ in range(args.draws):
                ours, theirs = true_accuracies(rng, networks, 0.03, correlation, 0.95)
                taus.append(float(kendall_rows(ours[None], theirs[None])[0]))
                seen, alone = (see(hits(rng, part, 5000, 1, 0.0)) for part in (ours, theirs))
                drawn = np.nan_to_num(kendall_rows(*draw_truths(seen, alone, rng, 1000)))
                low, high = np.percentile(drawn, [2.5, 97.5])
                widths.append((high - low) / 2)
            low, high = np.percentile(taus, [2.5, 97.5])
            print(
                f"| {networks} | {statistics.mean(taus):.2f} | ± {statistics.mean(widths):.2f} "
                f"| {low:.2f} to {high:.2f} |"
            )


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, function in (("steps", measure_steps), ("trainings", measure_trainings)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--device", default="cpu")
        command.add_argument("--batches", type=int, nargs="+", default=BATCHES)
        command.add_argument("--repeats", type=int, default=9)
    command = commands.add_parser("fit")
    command.set_defaults(function=show_fit)
    command.add_argument("files", type=Path, nargs="+")
    command = commands.add_parser("predict")
    command.set_defaults(function=show_prediction)
    command.add_argument("file", type=Path)
    command.add_argument("--workers", type=int, nargs="+", default=[2, 16, 128, 512])
    for name, value in (("batch", 64), ("images", 60_000), ("epochs", 10), ("seeds", 20)):
        command.add_argument(f"--{name}", type=int, default=value)
    command.add_argument("--start", type=float, default=30.0, help="seconds, of every worker")
    command.add_argument("--task", type=float, default=1.0, help="seconds more of every task")
    for name, function in (
        ("bytes", show_bytes),
        ("sharing", show_sharing),
        ("verdict", show_verdict),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--draws", type=int, default=50)
    args = parser.parse_args()
    set_up_process(threads=1)
    args.function(args)


if __name__ == "__main__":
    main()
