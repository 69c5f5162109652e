"""What the library's training loop costs beside one written by hand, step by step, in one process.

    python benchmarks/loop.py [STEPS]

A plain network and a task of a user's own are trained twice from the same weights on the same
batches: by ten lines of PyTorch, and by `sn.train`'s session, with its ledger, its checks and its
events. The two take turns, four steps each, so that whatever else the machine does hits both; a
step's cost is the CPU time of the process, and what counts is the ratio of the medians. At the end
both networks must be the same to the bit.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import supernet as sn
from supernet.training.session import TrainingSession
from supernet.training.sources import as_data

TURN = 4


class Angle(sn.Task):
    """A user's own: predict a direction; the score is the cosine."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 - torch.cosine_similarity(outputs, targets).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cosine_similarity(outputs, targets)


def build(width: int, blocks: int) -> nn.Sequential:
    """Return a small convolutional network, always with the same weights."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        body = [
            layer
            for _ in range(blocks)
            for layer in (nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        ]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
        return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *body, *head)


def by_hand(
    net: nn.Module, task: sn.Task, batches: Iterator[tuple[Tensor, Tensor]], steps: int
) -> Iterator[None]:
    """Train as anybody would, one step per item."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in net.parameters() if p.ndim >= 2], "weight_decay": 5e-4},
        {"params": [p for p in net.parameters() if p.ndim < 2]},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=0.01,
        momentum=0.9,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=steps, anneal_strategy="linear", cycle_momentum=False
    )
    net.train()
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(net(x), y)
        loss.backward()
        loss.item()  # somebody logs it
        optimizer.step()
        schedule.step()
        yield


def measure(width: int, blocks: int, batch: int, steps: int) -> tuple[float, float, bool]:
    """Return the median CPU seconds of a step by hand and of ours, and whether weights agree."""
    samples = batch * (steps + TURN)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 3, 16, 16, generator=generator)
    y = torch.randn(samples, 4, generator=generator)
    data = as_data(((x, y), (x[:8], y[:8])))
    hand, ours = build(width, blocks), build(width, blocks)
    recipe = sn.Recipe(epochs=1, batch_size=batch, learning_rate=0.01)
    session = TrainingSession(ours, data, recipe, task=Angle(), calibration_images=8)
    loops: tuple[Iterator[object], Iterator[object]] = (
        by_hand(hand, Angle(), data.train.shuffled(batch, seed=0, epoch=1), steps + TURN),
        session.events(),
    )
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(steps // TURN):
        for loop, taken in zip(loops, times, strict=True):
            for _ in range(TURN):
                start = time.process_time()
                next(loop)
                if turn:  # the first turn sets things up
                    taken.append(time.process_time() - start)
    same = all(torch.equal(a, b) for a, b in zip(hand.parameters(), ours.parameters(), strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), same


def main(steps: int = 80) -> None:
    """Measure at a step of some 10 ms, and at one of some 50."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {steps} steps each; CPU ms per step")
    for width, blocks, batch in ((8, 5, 40), (16, 6, 128)):
        hand, ours, same = measure(width, blocks, batch, steps)
        print(
            f"width {width:2}, {blocks} blocks, batch {batch}: by hand {1e3 * hand:6.2f}, "
            f"ours {1e3 * ours:6.2f}, ratio {ours / hand:.3f}, weights equal: {same}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
