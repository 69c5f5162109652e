import copy
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from supernet.choices import Depth
from supernet.errors import DataError, DivergedError, SettingsError, SharingError
from supernet.samplers import Draw, Split, every, uniform
from supernet.sharing import plan
from supernet.space import SearchSpace
from supernet.supernet import Supernet
from supernet.training import (
    Losses,
    Recipe,
    Step,
    make_optimizer,
    make_schedule,
    mean_loss,
    train_steps,
)
from tests.conftest import nine, noise, plain_net


class Pictures:
    """Training data that remember what they were asked for."""

    def __init__(self, count: int = 20, bad: int | None = None) -> None:
        self.x = noise(count, 1, 8, 8, seed=5)
        self.y = torch.arange(count) % 3
        if bad is not None:
            self.x[bad] = math.nan
        self.asked: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self.y)

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.append((batch_size, seed, epoch))
        order = torch.randperm(
            len(self), generator=torch.Generator().manual_seed(100 * seed + epoch)
        )
        for chosen in order.split(batch_size):
            if len(chosen) == batch_size:
                yield self.x[chosen], self.y[chosen]


RECIPE = Recipe(epochs=2, batch_size=6, learning_rate=0.1, weight_decay=0.01)


def trained(
    *, seed: int = 0, net_seed: int = 0, sampler: Any = every, recipe: Recipe = RECIPE
) -> tuple[Supernet, list[Step]]:
    supernet = nine(seed=net_seed)
    return supernet, list(train_steps(supernet, Pictures(), recipe, sampler=sampler, seed=seed))


def same_state(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# -- law: one loop ------------------------------------------------------------------------------


def test_a_plain_network_trains_bit_for_bit_as_by_hand() -> None:
    net = plain_net()
    reference = copy.deepcopy(net)
    steps = list(train_steps(Supernet(net), Pictures(), RECIPE, seed=3))

    weights = [reference[0].weight, reference[5].weight]
    others = [reference[1].weight, reference[1].bias, reference[5].bias]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    schedule = OneCycleLR(
        optimizer,
        0.1,
        total_steps=6,
        pct_start=0.3,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    losses = []
    reference.train()
    for epoch in (1, 2):
        for x, y in Pictures().shuffled(6, seed=3, epoch=epoch):
            optimizer.zero_grad()
            loss = F.cross_entropy(reference(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    assert same_state(net, reference)
    assert net[1].num_batches_tracked == 6
    assert [step.loss for step in steps] == losses


def test_a_supernet_follows_the_mean_of_the_losses() -> None:
    supernet = nine().double()
    x, y = noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    archs = list(supernet.space)
    apart = [F.cross_entropy(supernet(x, arch), y) for arch in archs]
    parameters = list(supernet.parameters())
    by_hand = torch.autograd.grad(torch.stack(apart).mean(), parameters)
    loss = mean_loss(supernet, x, y, archs)
    torch.testing.assert_close(loss, torch.stack(apart).mean(), rtol=1e-12, atol=0)
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_architectures_that_share_an_output_all_count() -> None:
    """In a nested space, some share all of their computation; each still has its weight."""
    inner = Depth("inner", [nn.Linear(3, 3), nn.Linear(3, 3)])
    supernet = Supernet(nn.Sequential(Depth("outer", [nn.Linear(3, 3), inner])))
    x, y = noise(6, 3), torch.arange(6) % 3
    archs = list(supernet.space)
    apart = torch.stack([F.cross_entropy(supernet(x, arch), y) for arch in archs])
    assert apart.unique().numel() == 3
    torch.testing.assert_close(mean_loss(supernet, x, y, archs), apart.mean())


# -- a divided batch ----------------------------------------------------------------------------


def test_a_divided_batch_trains_every_architecture_on_its_part() -> None:
    """Groups of norms, not batch norms: then samples don't see each other."""
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3)]
    supernet = Supernet(nn.Sequential(Depth("d", blocks), nn.Linear(4, 3))).double()
    x, y = noise(7, 4).double(), torch.arange(7) % 3
    archs = list(supernet.space)
    parts = [slice(0, 2), slice(2, 4), slice(4, 7)]
    apart = [
        F.cross_entropy(supernet(x[rows], arch), y[rows], reduction="sum")
        for arch, rows in zip(archs, parts, strict=True)
    ]
    loss = mean_loss(supernet, x, y, archs, divided=True)
    torch.testing.assert_close(loss, torch.stack(apart).sum() / 7, rtol=1e-12, atol=0)


def test_the_sampler_split_trains() -> None:
    supernet, steps = trained(sampler=Split(3))
    assert all(step.draw.divided and len(step.draw.archs) == 3 for step in steps)
    assert not same_state(supernet, nine())


# -- memory, precision, compiling ---------------------------------------------------------------


def test_in_parts_the_gradient_is_that_of_the_whole() -> None:
    supernet = nine().double()
    x, y = noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    draw = every(supernet.space, random.Random(0))
    whole = plan(supernet, draw.archs, x).training_bytes
    gradients = []
    for max_bytes in (None, whole, 9 * whole // 10, 3 * whole // 4):
        supernet.zero_grad()
        losses = Losses(supernet, Recipe(max_bytes=max_bytes))
        parts = 0
        for loss in losses.of(x, y, draw):
            loss.backward()
            parts += 1
        assert (parts > 1) == (max_bytes is not None and max_bytes < whole)
        gradients.append([p.grad for p in supernet.parameters()])
    for others in gradients[1:]:
        for ours, theirs in zip(others, gradients[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_loss_of_parts_is_reported_as_one() -> None:
    _, whole = trained()
    _, parts = trained(recipe=replace(RECIPE, max_bytes=70_000))
    assert [a.loss for a in parts] == pytest.approx([a.loss for a in whole], rel=1e-4)


def test_one_architecture_above_the_bound_is_an_error() -> None:
    with pytest.raises(
        SharingError, match=r"alone needs [\d,]+ bytes .* max_bytes is 1,000; raise"
    ):
        trained(recipe=replace(RECIPE, max_bytes=1000))


def test_bfloat16_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    with pytest.raises(SettingsError, match=r"precision is bfloat16, which cpu has no .*float32"):
        trained(recipe=replace(RECIPE, precision="bfloat16"))


def test_bfloat16_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    supernet = nine()
    seen: list[torch.dtype] = []
    supernet.get_submodule("net.1.blocks.0.0").register_forward_hook(
        lambda module, args, output: seen.append(output.dtype)
    )
    recipe = replace(RECIPE, precision="bfloat16")
    for _ in train_steps(supernet, Pictures(), recipe):
        assert not torch.is_autocast_enabled("cpu")  # the caller's code runs as it likes
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in supernet.parameters()} == {torch.float32}


def test_compiled_training_compiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def note(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", note)
    supernet, steps = trained(recipe=replace(RECIPE, compile=True))
    plain, _ = trained()
    assert len(compiled) == 1
    assert len(steps) == 6
    assert same_state(supernet, plain)  # uncompiled, it is the same arithmetic


def test_a_divided_batch_is_not_compiled() -> None:
    with pytest.raises(SettingsError, match="a divided batch can't be compiled; use the sampler"):
        trained(sampler=Split(2), recipe=replace(RECIPE, compile=True))


# -- steps --------------------------------------------------------------------------------------


def test_steps_say_what_they_did() -> None:
    data = Pictures()
    supernet = nine()
    steps = list(train_steps(supernet, data, RECIPE, seed=7))
    assert [(s.epoch, s.step, s.steps, s.ends_epoch) for s in steps] == [
        (1, 1, 6, False),
        (1, 2, 6, False),
        (1, 3, 6, True),
        (2, 4, 6, False),
        (2, 5, 6, False),
        (2, 6, 6, True),
    ]
    assert data.asked == [(6, 7, 1), (6, 7, 2)]
    assert all(s.draw == Draw(tuple(supernet.space)) for s in steps)
    assert all(math.isfinite(s.loss) for s in steps)


def test_only_what_the_sampler_drew_is_trained() -> None:
    def smallest(space: SearchSpace, rng: random.Random) -> Draw:
        return Draw((space.smallest,))

    supernet, steps = trained(sampler=smallest)
    fresh = nine()
    assert {s.draw.archs for s in steps} == {(supernet.space.smallest,)}
    changed = {
        name
        for name, value in supernet.named_parameters()
        if not torch.equal(value, fresh.get_parameter(name))
    }
    used = {name for name, _ in supernet.named_parameters() if "blocks" not in name}
    used |= {name for name, _ in supernet.named_parameters() if "blocks.0." in name}
    assert changed == used


def test_the_caller_may_evaluate_in_between() -> None:
    disturbed, left_alone = Supernet(plain_net()), Supernet(plain_net())
    for _ in train_steps(disturbed, Pictures(), RECIPE):
        disturbed.eval()
    for _ in train_steps(left_alone, Pictures(), RECIPE):
        pass
    assert same_state(disturbed, left_alone)


def test_training_is_a_function_of_the_seeds() -> None:
    for sampler in (every, uniform):
        (first, steps), (second, again) = (trained(sampler=sampler) for _ in range(2))
        assert same_state(first, second)
        assert steps == again
        assert not same_state(first, trained(sampler=sampler, seed=1)[0])
        assert not same_state(first, trained(sampler=sampler, net_seed=1)[0])
    drawn = [[step.draw for step in trained(sampler=uniform, seed=seed)[1]] for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_global_random_states_are_left_alone() -> None:
    before = torch.get_rng_state(), random.getstate()
    for sampler in (every, uniform):
        trained(sampler=sampler)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


# -- errors -------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(DataError, match=r"a batch of 21 is larger than .* \(20 images\)"):
        next(train_steps(nine(), Pictures(), Recipe(batch_size=21)))
    assert len(list(train_steps(nine(), Pictures(), Recipe(batch_size=20, epochs=1)))) == 1


def test_a_learning_rate_that_is_far_too_high_is_named() -> None:
    recipe = Recipe(epochs=9, batch_size=6, learning_rate=1e20, schedule="constant")
    with pytest.raises(
        DivergedError,
        match=r"architecture \(\d, \d\) is (nan|inf) at step \d+, with a learning rate of 1e\+20",
    ):
        list(train_steps(nine(), Pictures(), recipe))


def test_the_learning_rate_of_the_step_is_named() -> None:
    recipe = Recipe(epochs=1, batch_size=5, learning_rate=0.8, warmup=0.5)
    data = Pictures()
    data.x[:] = math.nan
    with pytest.raises(DivergedError, match=r"at step 1, with a learning rate of 0\.032;"):
        list(train_steps(nine(), data, recipe))


def test_not_a_number_in_the_data_is_found_in_its_step() -> None:
    order = [x for x, _ in Pictures(bad=7).shuffled(6, seed=0, epoch=1)]
    place = next(i for i, x in enumerate(order, start=1) if x.isnan().any())
    steps = train_steps(nine(), Pictures(bad=7), RECIPE, seed=0)
    with pytest.raises(DivergedError, match=rf"\(1, 1\) is nan at step {place},"):
        list(steps)


def test_the_architecture_that_diverged_is_named() -> None:
    supernet = nine()
    with torch.no_grad():
        supernet.get_parameter("net.3.blocks.1.0.weight").fill_(math.nan)
    with pytest.raises(DivergedError, match=r"architecture \(1, 2\) is nan at step 1"):
        next(train_steps(supernet, Pictures(), RECIPE))


def test_nothing_is_learned_from_a_loss_that_is_not_a_number() -> None:
    supernet = nine()
    data = Pictures()
    data.x[:] = math.nan
    with pytest.raises(DivergedError):
        next(train_steps(supernet, data, RECIPE))
    assert same_state(supernet, nine())


# -- recipe, optimizer, schedule ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", 0.0),  # with nesterov
        ("weight_decay", -1e-9),
        ("schedule", "cosine"),
        ("warmup", 0.0),
        ("warmup", 1.0),
        ("precision", "float16"),
        ("max_bytes", 0),
    ],
)
def test_impossible_recipes_are_refused(setting: str, value: Any) -> None:
    name = "nesterov" if value == 0.0 and setting == "momentum" else setting
    with pytest.raises(SettingsError, match=rf"^{name} is .*; it must be "):
        Recipe(**{setting: value})


def test_only_weights_decay() -> None:
    optimizer = make_optimizer(plain_net(), Recipe(weight_decay=0.5))
    decays = [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in optimizer.param_groups]
    assert decays == [(0.5, [4, 2]), (0.0, [1, 1, 1])]
    only = make_optimizer(nn.Linear(2, 2, bias=False), Recipe())
    assert len(only.param_groups) == 1


def rates(recipe: Recipe, steps: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        assert {g["lr"] for g in optimizer.param_groups} == {found[-1]}
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_is_linear_up_and_down_to_nothing() -> None:
    found = rates(Recipe(learning_rate=0.3, warmup=0.3), 101)
    peak = max(range(101), key=found.__getitem__)
    assert peak in (29, 30)
    assert found[peak] == pytest.approx(0.3, rel=0.02)
    assert found[0] == pytest.approx(0.3 / 25)
    assert found[-1] == pytest.approx(0, abs=1e-5)
    rises = [b - a for a, b in itertools.pairwise(found[:29])]
    falls = [b - a for a, b in itertools.pairwise(found[31:])]
    assert min(rises) == pytest.approx(max(rises))
    assert min(falls) == pytest.approx(max(falls))


def test_constant_is_constant() -> None:
    assert rates(Recipe(schedule="constant", learning_rate=0.2), 5) == [0.2] * 5


@pytest.mark.parametrize("warmup", [0.05, 0.1, 0.25, 0.3, 0.5, 0.9])
def test_any_number_of_steps_has_a_schedule(warmup: float) -> None:
    for steps in range(1, 25):
        found = rates(Recipe(warmup=warmup, learning_rate=0.2), steps)
        assert all(0 <= rate <= 0.2 + 1e-12 for rate in found)
        assert steps < 10 or max(found) > 0.1
