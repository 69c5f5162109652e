import copy
import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from supernet.errors import CheckpointError, DataError, DivergedError
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from supernet.runs.checkpoints import State, pack, unpack
from supernet.space import SearchSpace
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, Split, every, uniform
from supernet.training.steps import Step, Steps, train_steps
from tests.conftest import nine, noise, plain_net, stir


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


def test_the_sampler_split_trains() -> None:
    supernet, steps = trained(sampler=Split(3))
    assert all(step.draw.divided and len(step.draw.archs) == 3 for step in steps)
    assert not same_state(supernet, nine())


# -- memory, precision, compiling ---------------------------------------------------------------


def test_the_loss_of_parts_is_reported_as_one() -> None:
    _, whole = trained()
    _, parts = trained(recipe=replace(RECIPE, max_bytes=70_000))
    assert [a.loss for a in parts] == pytest.approx([a.loss for a in whole], rel=1e-4)


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
    with pytest.raises(
        DivergedError,
        match=rf"\(1, 1\) is nan at step {place},.*; the inputs .* finite \(64 NaN",
    ):
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


# -- state: taking a training up ----------------------------------------------------------------


class Fragile(nn.Linear):
    """Puts out NaN as soon as a weight is large: lower rates get round it, state decides when."""

    def __init__(self, inputs: int, outputs: int, limit: float) -> None:
        super().__init__(inputs, outputs)
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * math.nan if self.weight.abs().max() > self.limit else y


def fragile_net(seed: int = 0, limit: float = 0.75) -> Supernet:
    net = plain_net(seed)
    head = Fragile(4, 3, limit)
    head.load_state_dict(net[5].state_dict())
    net[5] = head
    return Supernet(net)


def dropout_net(seed: int = 0) -> Supernet:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.3))

    blocks = Depth("d", [block() for _ in range(3)])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), blocks, nn.Linear(8, 3))
    return Supernet(stir(net, seed))


def build_nine(seed: int = 0) -> Supernet:
    return nine(widths=(2, 2), seed=seed)


def build_plain(seed: int = 0) -> Supernet:
    return Supernet(plain_net(seed))


def build_channels_last(seed: int = 0) -> Supernet:
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(16, 3),
    )
    stir(net, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Supernet(net)


@dataclasses.dataclass(frozen=True)
class Case:
    """A training, and what makes it special."""

    build: Callable[[int], Supernet] = build_nine
    recipe: Recipe = RECIPE
    sampler: Any = every
    data: Callable[[], Pictures] = Pictures

    def steps(self, net_seed: int = 0) -> tuple[Supernet, Steps]:
        supernet = self.build(net_seed)
        return supernet, train_steps(supernet, self.data(), self.recipe, sampler=self.sampler)


def with_a_bad_image() -> Pictures:
    return Pictures(bad=7)


FRAGILE = Recipe(epochs=3, batch_size=6, learning_rate=4.0, schedule="constant", on_nan="rollback")
CASES = {
    "one-cycle": Case(),
    "constant": Case(recipe=replace(RECIPE, schedule="constant", nesterov=False)),
    "no momentum": Case(recipe=replace(RECIPE, momentum=0.0, nesterov=False)),
    "uniform": Case(sampler=uniform),
    "split": Case(sampler=Split(3)),
    "plain": Case(build_plain),
    "channels last": Case(build_channels_last),
    "dropout": Case(dropout_net),
    "dropout, one path": Case(dropout_net, sampler=uniform),
    "in parts": Case(lambda seed: nine(seed=seed), replace(RECIPE, epochs=1, max_bytes=70_000)),
    "bfloat16": Case(recipe=replace(RECIPE, precision="bfloat16")),
    "skip": Case(recipe=replace(RECIPE, on_nan="skip"), data=with_a_bad_image),
    "skip, plain": Case(build_plain, replace(RECIPE, on_nan="skip"), data=with_a_bad_image),
    "rollback": Case(fragile_net, FRAGILE),
    "rollback, one-cycle": Case(
        lambda seed: fragile_net(seed, limit=0.85),
        replace(FRAGILE, schedule="one-cycle", learning_rate=8.0),
    ),
    "rollback, never needed": Case(dropout_net, replace(RECIPE, on_nan="rollback")),
}


def whole(steps: Steps) -> State:
    """Everything about a training, as data of its own."""
    return unpack(pack(steps.state()))


def same_data(a: State, b: State) -> bool:
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor)
            and a.dtype == b.dtype
            and bool(torch.equal(a.nan_to_num(7), b.nan_to_num(7)))
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_data(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_data, a, b))
    return bool(repr(a) == repr(b))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CASES)
def test_a_training_goes_on_from_any_step_as_if_never_stopped(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)  # slow, but right
    case = CASES[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        supernet, steps = case.steps()
        states, undisturbed = [whole(steps)], []
        for step in steps:
            undisturbed.append(step)
            states.append(whole(steps))
        assert [step.step for step in undisturbed if step.ends_epoch][-1] == steps.steps
        for at, state in enumerate(states):
            torch.rand(5)  # what others draw meanwhile is no concern
            other, again = case.steps(net_seed=9)
            assert not same_state(other, supernet)
            again.restore(state)
            assert same_data(whole(again), state)
            rest = list(again)
            assert same_data(
                [dataclasses.astuple(step) for step in rest],
                [dataclasses.astuple(step) for step in undisturbed[at:]],
            )
            assert same_state(other, supernet)
            assert same_data(whole(again), states[-1])


def test_the_cases_are_what_they_say() -> None:
    """A law about rollbacks says nothing if there are none."""
    for name, skipped, rollbacks in (
        ("skip", 2, 0),
        ("skip, plain", 2, 0),
        ("rollback", 0, 3),
        ("rollback, one-cycle", 0, 2),
        ("rollback, never needed", 0, 0),
    ):
        _, steps = CASES[name].steps()
        list(steps)
        assert (steps.skipped, steps.rollbacks) == (skipped, rollbacks)


def test_taken_up_again_and_again_it_is_the_same_training() -> None:
    supernet, steps = CASES["rollback"].steps()
    state = whole(steps)
    list(steps)
    last, again = CASES["rollback"].steps()
    while again.step < again.steps:
        last, again = CASES["rollback"].steps(net_seed=again.step)
        again.restore(state)
        next(again)
        state = whole(again)
    assert same_state(last, supernet)
    assert same_data(state, whole(steps))


def test_a_restored_training_keeps_its_memory_layouts() -> None:
    case = CASES["channels last"]
    _, steps = case.steps()
    for step in steps:
        if step.step == 2:
            break
    other, again = case.steps(net_seed=9)
    again.restore(whole(steps))
    weight = other.get_parameter("net.3.weight")
    kept = again._optimizer.state[weight]["momentum_buffer"]
    assert weight.stride() == kept.stride()
    assert not weight.is_contiguous()


def test_an_epoch_that_was_begun_is_not_gone_through_again() -> None:
    data = Pictures()
    steps = train_steps(build_plain(), data, RECIPE, seed=7)
    next(steps)
    state = whole(steps)
    data.asked.clear()
    again = train_steps(build_plain(), data, RECIPE, seed=7)
    again.restore(state)
    assert [step.step for step in again] == [2, 3, 4, 5, 6]
    assert data.asked == [(6, 7, 1), (6, 7, 2)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("case", "what"),
    [
        (Case(lambda seed: nine(widths=(3, 2), seed=seed)), "size mismatch"),
        (Case(build_plain), "Missing key|Unexpected key"),
        (Case(dropout_net), "Missing key|Unexpected key"),
        (Case(recipe=replace(RECIPE, learning_rate=0.2)), "it is of 6 steps with .*0.1"),
        (Case(recipe=replace(RECIPE, epochs=3)), "it is of 6 steps"),
        (Case(recipe=replace(RECIPE, schedule="constant")), "it is of 6 steps"),
        (Case(recipe=replace(RECIPE, on_nan="rollback")), "it is of 6 steps"),
        (Case(data=lambda: Pictures(26)), "it is of 6 steps"),
    ],
)
def test_the_state_of_another_training_is_refused(case: Case, what: str) -> None:
    _, steps = CASES["one-cycle"].steps()
    next(steps)
    _, other = case.steps()
    with pytest.raises(
        CheckpointError, match=rf"^the saved state is not one of this .*({what}).*; use it with"
    ):
        other.restore(whole(steps))


def test_nothing_but_a_checkpoint_error_comes_of_a_state_that_is_none() -> None:
    """Whatever part of it is missing, or something else."""
    _, steps = CASES["rollback"].steps()
    next(steps)
    refused = 0
    for name in whole(steps):
        wrong: Any
        for wrong in (None, -1, "x", [], {}, {"x": 1}, (1, (2,), 3), torch.ones(3)):
            state = {**whole(steps), name: wrong}
            try:
                CASES["rollback"].steps()[1].restore(state)
            except CheckpointError:
                refused += 1
        state = whole(steps)
        del state[name]
        with pytest.raises(CheckpointError):
            CASES["rollback"].steps()[1].restore(state)
    assert refused > 50
    nothing: Any
    for nothing in (None, [], 3, {}):
        with pytest.raises(CheckpointError):
            CASES["rollback"].steps()[1].restore(nothing)


# -- on_nan -------------------------------------------------------------------------------------


def place_of(bad: int) -> int:
    """Return in which step of the first epoch a bad image comes."""
    order = [x for x, _ in Pictures(bad=bad).shuffled(6, seed=0, epoch=1)]
    return next(i for i, x in enumerate(order, start=1) if x.isnan().any())


@pytest.mark.parametrize("build", [build_nine, build_plain])
def test_a_step_that_is_skipped_changes_nothing(build: Callable[[int], Supernet]) -> None:
    case = Case(build, replace(RECIPE, on_nan="skip"), data=with_a_bad_image)
    supernet, steps = case.steps()
    skipped = []
    rates = []
    before = whole(steps)
    for step in steps:
        after = whole(steps)
        assert step.skipped == math.isnan(step.loss)
        if step.skipped:
            skipped.append(step.step)
            assert same_data(after["net"], before["net"])  # weights and buffers
            assert same_data(after["optimizer"]["state"], before["optimizer"]["state"])  # momenta
        else:
            assert not same_data(after["net"], before["net"])
        rates.append(after["schedule"]["_last_lr"])
        before = after
    assert len(skipped) == steps.skipped == 2
    assert skipped[0] == place_of(7)
    assert steps.rollbacks == 0
    _, other = Case(build).steps()
    assert rates == [whole(other)["schedule"]["_last_lr"] for _ in other]  # the schedule goes on
    assert all(p.isfinite().all() for p in supernet.parameters())


def test_training_skips_only_what_it_would_stop_at() -> None:
    for on_nan in ("skip", "rollback"):
        _, steps = Case(recipe=replace(RECIPE, on_nan=on_nan)).steps()
        assert list(steps) == list(CASES["one-cycle"].steps()[1])
        assert (steps.skipped, steps.rollbacks) == (0, 0)


def all_bad() -> Pictures:
    data = Pictures(72)
    data.x[:] = math.nan
    return data


def test_more_than_ten_skipped_in_a_row_end_it() -> None:
    case = Case(build_plain, replace(RECIPE, on_nan="skip"), data=all_bad)
    supernet, steps = case.steps()
    done: list[bool] = []
    with pytest.raises(
        DivergedError, match=r"network is nan at step 11, after 10 skipped steps in a row, with a "
    ):
        done.extend(step.skipped for step in steps)
    assert done == [True] * 10
    assert all(map(torch.equal, supernet.parameters(), build_plain().parameters()))


def test_skipped_steps_in_a_row_count_across_an_interruption() -> None:
    case = Case(build_plain, replace(RECIPE, on_nan="skip"), data=all_bad)
    _, steps = case.steps()
    for _ in range(6):
        next(steps)
    _, again = case.steps()
    again.restore(whole(steps))
    with pytest.raises(DivergedError, match="at step 11, after 10 skipped"):
        list(again)


def test_a_sound_step_ends_the_row() -> None:
    """Many are skipped, but few in a row."""
    data = Pictures()
    data.x[:3] = math.nan
    recipe = Recipe(epochs=40, batch_size=4, learning_rate=0.1, on_nan="skip")
    steps = train_steps(build_plain(), data, recipe)
    done = [step.skipped for step in steps]
    assert len(done) == 200
    assert 10 < steps.skipped == sum(done) < 200


def test_a_rollback_is_training_at_half_the_rate_from_the_epochs_beginning() -> None:
    """Twice in the first epoch, so at a quarter, and once in the second, so at half of that."""
    supernet, steps = CASES["rollback"].steps()
    done = [(step.step, steps.state()["optimizer"]["param_groups"][0]["lr"]) for step in steps]
    assert done == [
        *[(1, 4.0)],
        *[(1, 2.0), (2, 2.0)],
        *[(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0)],
        *[(4, 0.5), (5, 0.5), (6, 0.5), (7, 0.5), (8, 0.5), (9, 0.5)],
    ]
    by_hand, lower = Case(
        lambda seed: fragile_net(seed, limit=99.0), replace(FRAGILE, learning_rate=1.0)
    ).steps()
    for step in lower:
        if step.step == 3:
            state = whole(lower)
            for group in state["optimizer"]["param_groups"]:
                group["lr"] = group["initial_lr"] = 0.5
            state["schedule"]["base_lrs"] = [0.5, 0.5]
            break
    lower.restore(state)
    list(lower)
    assert same_state(by_hand, supernet)


def test_more_than_three_rollbacks_end_it() -> None:
    case = Case(lambda seed: fragile_net(seed, limit=0.3), FRAGILE)
    _, steps = case.steps()
    with pytest.raises(
        DivergedError,
        match=r"of the network is nan at step 1, after 3 rollbacks, with a learning rate of 0\.5;",
    ):
        list(steps)
    assert steps.rollbacks == 3


class Poison(torch.autograd.Function):
    """The identity, whose gradient is NaN if an input is above 50."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.bad = bool((x > 50).any())
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * math.nan if ctx.bad else gradients[0]


class Poisoned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Poison.apply(x + self.offset)  # type: ignore[no-untyped-call]
        return y


def poisoned(seed: int = 0) -> Supernet:
    return Supernet(nn.Sequential(Poisoned(), *plain_net(seed)))


def with_a_poisonous_image() -> Pictures:
    data = Pictures()
    data.x[7, 0, 0, 0] = 60
    return data


def test_a_gradient_that_is_not_finite_is_skipped_though_the_loss_is() -> None:
    case = Case(poisoned, replace(RECIPE, on_nan="skip"), data=with_a_poisonous_image)
    supernet, steps = case.steps()
    before = whole(steps)
    for step in steps:
        if step.skipped:
            assert same_data(whole(steps)["net"], before["net"])
        before = whole(steps)
    assert steps.skipped == 2
    assert all(p.isfinite().all() for p in supernet.parameters())


def test_a_gradient_that_is_never_finite_is_named() -> None:
    case = Case(poisoned, replace(RECIPE, on_nan="rollback"), data=with_a_poisonous_image)
    _, steps = case.steps()
    sentence = f"the gradient of the loss of the network is not finite at step {place_of(7)}, after"
    with pytest.raises(DivergedError, match=sentence):
        list(steps)


def test_weights_are_sound_until_one_is_not_finite() -> None:
    supernet, steps = CASES["plain"].steps()
    assert steps.sound
    with torch.no_grad():
        supernet.get_parameter("net.5.weight")[0, 0] = math.inf
    assert not steps.sound


def test_it_ends_and_stays_ended() -> None:
    _, steps = CASES["plain"].steps()
    assert len(list(steps)) == 6
    with pytest.raises(StopIteration):
        next(steps)
