"""Training rules combine: every sampler with every kind of loss keeps the laws of training."""

import copy
import dataclasses
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import supernet as sn
from supernet.errors import DivergedError, SettingsError, SharingError
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from supernet.runs.checkpoints import pack, unpack
from supernet.sharing import Planner, plan
from supernet.space import Architecture
from supernet.training import samplers
from supernet.training.losses import Losses
from supernet.training.optimizers import make_optimizer, make_schedule
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler, Draw, Sampler, sampler_at, training_macs
from supernet.training.steps import Steps, train_steps
from tests.conftest import nine, noise, stir, tiny_data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training-rules.md").read_text()
BATCH, STEPS = 6, 6


def weigh(arch: Architecture) -> float:
    return 1.0 + len(arch) + sum(map(int, arch.values()))


#: The smallest of `network()` weighs 5, the largest 8.
SIZE = samplers.ArchitectureSize("weight", weigh, 5.0, 8.0)
#: Each rule, and what it takes to draw the largest in every step.
RULES: dict[str, AnySampler] = {
    "every": samplers.every,
    "uniform": samplers.uniform,
    "Fair": samplers.Fair(),
    "Sandwich": samplers.Sandwich(3),
    "Shrinking": samplers.Shrinking(("d1*", "*"), 2),
    "Subtree": samplers.Subtree((3, 2), (1.0, 1.0)),
    "Split": samplers.Split(3),
    "Weighted": samplers.Weighted(samplers.Fair(), weigh),
    "warm_up": samplers.warm_up(samplers.uniform, 0.4),
    "Favoring": samplers.Favoring(samplers.uniform, SIZE, 2.0),
    "Pacing": samplers.Pacing(samplers.Fair(), SIZE),
    "Ordering": samplers.Ordering(samplers.Fair(), SIZE, 0.5, margin=0.1),
}
RECIPE = Recipe(epochs=2, batch_size=BATCH, learning_rate=0.1, weight_decay=0.01)
#: More than one architecture's activations take, and less than those of all.
PARTS = 1800
#: Each thing a recipe can ask for besides.
LOSSES: dict[str, dict[str, Any]] = {
    "labels": {},
    "distill": {"distill": True},
    "label_smoothing": {"label_smoothing": 0.1},
    "clip_norm": {"clip_norm": 0.05},
    "ema": {"ema": 0.7},
    "max_bytes": {"max_bytes": PARTS},
    "on_nan": {"on_nan": "skip"},
    "all": {
        "distill": True,
        "label_smoothing": 0.1,
        "clip_norm": 0.05,
        "ema": 0.7,
        "max_bytes": PARTS,
        "on_nan": "rollback",
    },
}
#: What a divided batch can't do, nor a ranking.
APART = {"distill", "all"}
ALONE = {"Split", "Ordering"}
PAIRS = [(r, loss) for r in RULES for loss in LOSSES if not (r in ALONE and loss in APART)]
pairs = pytest.mark.parametrize(("rule", "loss"), PAIRS)


def network(seed: int = 0, *, norm: type[nn.Module] = nn.BatchNorm1d, longest: int = 3) -> Supernet:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), norm(4), nn.Tanh())

    first, second = ([block() for _ in range(n)] for n in (longest, min(2, longest)))
    net = nn.Sequential(nn.Linear(5, 4), Depth("d1", first), Depth("d2", second), nn.Linear(4, 3))
    return Supernet(stir(net, seed))


class Vectors:
    """Three batches of six, of which one comes to nothing the first time if asked to."""

    def __init__(self, *, spoiled: bool = False) -> None:
        self.x, self.y, self.spoiled = noise(20, 5, seed=1), torch.arange(20) % 3, spoiled

    def __len__(self) -> int:
        return 20

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(20, generator=torch.Generator().manual_seed(100 * seed + epoch))
        for number, chosen in enumerate(order.split(batch_size)[:3]):
            x = self.x[chosen]
            yield (
                (x * torch.nan if self.spoiled and (epoch, number) == (1, 1) else x),
                self.y[chosen],
            )


def rule_of(rule: str, loss: str) -> tuple[AnySampler, Recipe]:
    recipe = replace(RECIPE, **LOSSES[loss])
    sampler = RULES[rule]
    return (samplers.WithLargest(sampler) if recipe.distill else sampler), recipe


def begin(rule: str, loss: str, supernet: Supernet) -> Steps:
    sampler, recipe = rule_of(rule, loss)
    data = Vectors(spoiled=recipe.on_nan == "skip")
    return train_steps(supernet, data, recipe, sampler=sampler)


def drawn(rule: str, loss: str, supernet: Supernet) -> list[Draw]:
    sampler, rng = rule_of(rule, loss)[0], random.Random(1)
    return [sampler_at(sampler, done)(supernet.space, rng) for done in (0.0, 0.6)]


# -- law: shared is one by one ------------------------------------------------------------------


def one_by_one(supernet: Supernet, x: Tensor, y: Tensor, draw: Draw, recipe: Recipe) -> Tensor:
    """Return the loss of a draw as the definition has it, with a pass for each architecture."""
    count = len(draw.archs)
    ends = [BATCH * n // count if draw.divided else BATCH for n in range(1, count + 1)]
    starts = [0, *ends[:-1]] if draw.divided else [0] * count
    weights = draw.weights or [1.0] * count
    largest = supernet.space.largest
    targets = supernet(x, largest).detach().softmax(dim=1)
    total, losses, plain = 0.0, [], []
    for arch, weight, start, end in zip(draw.archs, weights, starts, ends, strict=True):
        logits, rows = supernet(x[start:end], arch), slice(start, end)
        if recipe.distill and arch != largest:
            loss = F.cross_entropy(logits, targets[rows])
        else:
            loss = F.cross_entropy(logits, y[rows], label_smoothing=recipe.label_smoothing)
        losses.append(loss * weight * (end - start))
        plain.append(loss)
        total += weight * (end - start)
    mean = torch.stack(losses).sum() / total
    if draw.prior is None:
        return mean
    parts = samplers.parts_of(draw, recipe.max_bytes, lambda: Planner(supernet, x))
    part_of = [next(n for n, part in enumerate(parts) if arch in part) for arch in draw.archs]
    lacking = [
        (plain[i] - plain[j] + draw.prior.margin).relu() * draw.prior.weight
        for i, j in draw.prior.pairs
        if part_of[i] == part_of[j]
    ]
    return mean + torch.stack([mean * 0, *lacking]).sum() / len(draw.prior.pairs)


@pytest.mark.sampled
@pairs
def test_shared_is_one_by_one(rule: str, loss: str) -> None:
    """With layer norms: a batch norm sees all the images of a divided batch."""
    recipe = rule_of(rule, loss)[1]
    if recipe.max_bytes:
        recipe = replace(recipe, max_bytes=2 * PARTS)  # numbers are twice as long
    supernet = network(norm=nn.LayerNorm).double()
    x, y = noise(BATCH, 5).double(), torch.arange(BATCH) % 3
    parameters = list(supernet.parameters())
    for draw in drawn(rule, loss, supernet):
        supernet.zero_grad()
        expected = one_by_one(supernet, x, y, draw, recipe)
        expected.backward()
        gradients = [p.grad for p in parameters]
        supernet.zero_grad()
        found = list(Losses(supernet, recipe).of(x, y, draw))
        torch.testing.assert_close(sum(found), expected, rtol=1e-12, atol=0)
        for part in found:
            part.backward()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)


# -- law: resumed anywhere, it ends the same ----------------------------------------------------


def same_data(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and bool(torch.equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_data(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_data, a, b))
    return bool(repr(a) == repr(b))


@pytest.mark.sampled
@pairs
def test_taken_up_again_and_again_it_is_the_same_training(rule: str, loss: str) -> None:
    supernet, other = network(), network(9)
    steps = begin(rule, loss, supernet)
    state = unpack(pack(steps.state()))
    done = list(steps)
    assert len(done) == STEPS
    assert steps.skipped == (loss == "on_nan")
    for life in (done[:1], done[1:3], done[3:]):
        stir(other, 9)
        again = begin(rule, loss, other)
        again.restore(state)
        for step in life:
            assert same_data(dataclasses.astuple(next(again)), dataclasses.astuple(step))
        state = unpack(pack(again.state()))
    assert same_data(state, unpack(pack(steps.state())))
    with steps.averaged(), again.averaged():
        assert same_data(dict(other.state_dict()), dict(supernet.state_dict()))
        same = same_data(dict(supernet.net.state_dict()), dict(state["net"]))
        assert same == (not rule_of(rule, loss)[1].ema)


class Progress:
    """Notes how far the training is whenever it is asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def at(self, done: float) -> Sampler:
        self.asked.append(done)
        return samplers.every


def test_a_sampler_is_asked_for_every_step_again_after_a_rollback_too() -> None:
    sampler, recipe = Progress(), replace(RECIPE, on_nan="rollback")
    steps = train_steps(network(), Vectors(spoiled=True), recipe, sampler=sampler)
    with pytest.raises(DivergedError, match="after 3 rollbacks"):
        list(steps)
    assert sampler.asked == [0, 1 / 6] * 4
    sampler.asked.clear()
    assert len(list(train_steps(network(), Vectors(), recipe, sampler=sampler))) == STEPS
    assert sampler.asked == [step / STEPS for step in range(STEPS)]


# -- law: a plain network trains as by hand -----------------------------------------------------


@pytest.mark.parametrize(("rule", "loss"), [pair for pair in PAIRS if pair[0] != "Subtree"])
def test_a_supernet_of_one_architecture_trains_as_a_plain_loop_has_it(rule: str, loss: str) -> None:
    sampler, recipe = rule_of(rule, loss)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    stir(net)
    reference = copy.deepcopy(net)
    data = Vectors(spoiled=recipe.on_nan == "skip")
    steps = train_steps(Supernet(net), data, recipe, sampler=sampler)
    losses = [step.loss for step in steps]

    optimizer = make_optimizer(reference, recipe)
    schedule = make_schedule(optimizer, recipe, STEPS)
    means = [p.detach().clone() for p in reference.parameters()]
    by_hand = []
    for step in range(STEPS):
        x, y = [*data.shuffled(BATCH, seed=0, epoch=1 + step // 3)][step % 3]
        optimizer.zero_grad()
        if x.isnan().any():
            optimizer.step()
            by_hand.append(torch.nan)
        else:
            found = F.cross_entropy(reference(x), y, label_smoothing=recipe.label_smoothing)
            found.backward()
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_(reference.parameters(), recipe.clip_norm)
            for group in optimizer.param_groups:  # which the schedule sets again
                group["lr"] *= 1 - step / STEPS if rule == "Pacing" else 1
            optimizer.step()
            by_hand.append(found.item())
            decay = min(recipe.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, p in zip(means, reference.parameters(), strict=True):
                    mean.lerp_(p, 1 - decay)
        schedule.step()
    assert repr(losses) == repr(by_hand)
    assert same_data(dict(net.state_dict()), dict(reference.state_dict()))
    with steps.averaged():
        kept = means if recipe.ema else reference.parameters()
        assert all(map(torch.equal, net.parameters(), kept))


# -- law: what is billed is what is done --------------------------------------------------------


@pytest.mark.sampled
@pairs
def test_the_multiply_adds_billed_are_those_done(rule: str, loss: str) -> None:
    recipe = rule_of(rule, loss)[1]
    supernet = network().train()
    x, y = noise(BATCH, 5), torch.arange(BATCH) % 3
    planner = Planner(supernet, x)
    for draw in drawn(rule, loss, supernet):
        losses = Losses(supernet, recipe)
        list(losses.of(x, y, draw))  # sharing tries a network out once, which isn't billed
        with FlopCounterMode(display=False) as counter:
            for part in losses.of(x, y, draw):
                part.backward()
        done = counter.get_total_flops() / 2
        assert BATCH * training_macs(draw, planner, recipe.max_bytes) == done


def test_the_cases_are_what_they_say() -> None:
    """A law about parts says nothing if there is one only, nor one about clipping if none is."""
    for built, max_bytes in ((network(), PARTS), (network(norm=nn.LayerNorm).double(), 2 * PARTS)):
        x = noise(BATCH, 5).to(next(built.parameters()).dtype)
        assert len(plan(built, built.space, x).split(max_bytes=max_bytes)) > 1
    supernet, x, y = network(), noise(BATCH, 5), torch.arange(BATCH) % 3
    draw = drawn("Ordering", "labels", supernet)[1]
    with_prior, without = (
        sum(Losses(supernet, RECIPE).of(x, y, each)) for each in (draw, replace(draw, prior=None))
    )
    assert with_prior > without
    for changed in ("clip_norm", "label_smoothing", "distill"):
        ours, theirs = network(), network()
        list(begin("every", changed, ours))
        list(begin("every", "labels", theirs))
        assert not same_data(dict(ours.state_dict()), dict(theirs.state_dict()))


# -- the page -----------------------------------------------------------------------------------


def table() -> list[tuple[str, str, str]]:
    """Return the cells of what combines with what: rule, field, and whether."""
    lines = PAGE.partition("## What combines with what")[2].splitlines()
    cells = [re.findall(r"\| *`?([^|`]*?)`? *(?=\|)", line) for line in lines if line[:1] == "|"]
    (_, *rules), _, *rows = cells
    return [(r, name, cell) for name, *row in rows for r, cell in zip(rules, row, strict=True)]


FIELDS = {
    **{name: LOSSES[name] for name in LOSSES if name not in ("labels", "all")},
    "bfloat16": {"precision": "bfloat16"},
    "compile": {"compile": True},
}


def test_the_table_has_every_rule_and_every_field() -> None:
    assert [(rule, name) for rule, name, _ in table()] == [
        (rule, name) for name in dict.fromkeys(n for _, n, _ in table()) for rule in RULES
    ]
    assert {name for _, name, _ in table()} == set(FIELDS)


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("rule", "name", "cell"), table())
def test_what_the_page_says_combines_does(
    rule: str, name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    losses = Losses(network(), replace(RECIPE, **FIELDS[name]))
    x, y = noise(BATCH, 5), torch.arange(BATCH) % 3

    def take(sampler: AnySampler, steps: int = 3) -> int:
        rng = random.Random(0)
        draws = [sampler_at(sampler, n / steps)(losses.supernet.space, rng) for n in range(steps)]
        return max(len(list(losses.of(x, y, draw))) for draw in draws)

    if cell in ("no", "with largest"):
        with pytest.raises(SettingsError, match=r"; use (the sampler|another sampler)"):
            take(RULES[rule], 30)
    if cell == "with largest":
        take(samplers.WithLargest(RULES[rule]))
    elif cell == "few":
        take(RULES[rule])
    elif cell != "no":
        parts = take(RULES[rule], 30)
        assert parts == 1 if name != "max_bytes" or cell == "whole" else parts >= 1


def test_compiling_ends_with_the_ninth_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    losses = Losses(network(), replace(RECIPE, compile=True))
    x, y, rng = noise(BATCH, 5), torch.arange(BATCH) % 3, random.Random(0)
    draws = [samplers.Sandwich(4)(losses.supernet.space, rng) for _ in range(60)]
    with pytest.raises(SharingError, match="8 sets of architectures were compiled already"):
        list(chain.from_iterable(losses.of(x, y, draw) for draw in draws))


def test_the_code_shown_runs() -> None:
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    code = code.replace("(distill", "(epochs=1, distill").replace("first(100)", "first(20)")
    code = code.replace("(epochs=6", "(batch_size=64, epochs=4")
    found: dict[str, Any] = {"sn": sn, "data": tiny_data(train=130)}
    found["supernet"] = nine(widths=(2, 2))
    exec(compile(code, "training-rules.md", "exec"), found)
    assert found["trial"].recipe.distill
