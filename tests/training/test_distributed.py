"""Several ranks train as one process does, and stop with a sentence where they can't."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet as sn
from supernet.errors import DataError, DivergedError, RankError, SettingsError, Stopped
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.ranks import ALONE, Ranks
from supernet.training.data import Samples, SplitData
from supernet.training.distributed import Together, take_portion
from supernet.training.finetuning import Tuned
from supernet.training.recipe import Recipe
from supernet.training.result import TrainingResult
from supernet.training.samplers.draws import Prior
from supernet.training.session import train
from supernet.training.steps import train_steps
from tests.conftest import nine, noise, stir, tiny_data
from tests.ranks import outcomes, together


@dataclass(frozen=True)
class Double:
    """Samples in float64, in which rounding can be told from a mistake."""

    samples: Any

    def __len__(self) -> int:
        return len(self.samples)

    def first(self, count: int) -> "Double":
        return Double(self.samples.first(count))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.double(), y) for x, y in self.samples.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        found = self.samples.shuffled(batch_size, seed=seed, epoch=epoch)
        return ((x.double(), y) for x, y in found)


@dataclass(frozen=True)
class DoubleData:
    train: Samples
    validation: Samples
    test: Samples | None
    shape: tuple[int, int, int]


def data() -> SplitData:
    tiny = tiny_data()
    return DoubleData(Double(tiny.train), Double(tiny.validation), Double(tiny.test), tiny.shape)


NINE = nine(seed=1)  # made here, as threads would share the random numbers


def net() -> Supernet:
    return copy.deepcopy(NINE).double()


RECIPE = Recipe(epochs=2, batch_size=13, learning_rate=0.1)

Outcome = tuple[Supernet, TrainingResult]


def trained(ranks: Ranks, recipe: Recipe = RECIPE, **options: Any) -> Outcome:
    """Train a network of this rank's own, whose weights are random on all but the first."""
    own = net()
    if not ranks.first:
        stir(own, seed=ranks.rank)
    return own, train(own, data(), recipe, distributed=ranks, progress=False, **options)


def assert_alike(found: Outcome, wanted: Outcome) -> None:
    """Weights and scores per sample, losses of the epochs, and what was counted."""
    for name, tensor in wanted[0].state_dict().items():
        torch.testing.assert_close(found[0].state_dict()[name], tensor, rtol=1e-9, atol=1e-11)
    one, other = found[1], wanted[1]
    assert (one.validation == other.validation).all()
    assert (one.test == other.test).all()
    assert one.training.validation == other.training.validation
    losses = [[epoch.loss for epoch in each.training.epochs] for each in (one, other)]
    assert losses[0] == pytest.approx(losses[1])
    assert [phase.images for phase in one.phases] == [phase.images for phase in other.phases]


_PRIOR = Prior(tuple((i, j) for i in range(9) for j in range(9)), weight=3.0, margin=0.01)

SAMPLERS: dict[str, Any] = {
    "every": "every",
    "uniform": "uniform",
    "sandwich": "sandwich",
    "split": sn.Split(4),
    "ranked": lambda space, rng: sn.Draw(tuple(space), rate=0.5, prior=_PRIOR),
    "weighted": lambda space, rng: sn.Draw((space.smallest, space.largest), weights=(1.0, 3.0)),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ranks_train_as_one_process_does(sampler: str, size: int) -> None:
    recipe = replace(RECIPE, batch_size=17 if sampler == "split" else 13)
    wanted = trained(ALONE, recipe, sampler=SAMPLERS[sampler])
    before = net().state_dict()
    assert any(not torch.allclose(t, before[n]) for n, t in wanted[0].state_dict().items())
    for found in together(size, lambda r: trained(r, recipe, sampler=SAMPLERS[sampler])):
        assert_alike(found, wanted)


RECIPES = {
    "in parts": replace(RECIPE, max_bytes=300_000),
    "accumulated, clipped, averaged": replace(RECIPE, accumulate=2, clip_norm=0.1, ema=0.9),
    "distilled, smoothed": replace(RECIPE, distill=True, label_smoothing=0.1),
    "adamw": replace(RECIPE, optimizer="adamw", learning_rate=0.01),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", RECIPES)
def test_with_every_option_of_a_recipe(name: str) -> None:
    wanted = trained(ALONE, RECIPES[name], sampler="sandwich")
    for found in together(2, lambda ranks: trained(ranks, RECIPES[name], sampler="sandwich")):
        assert_alike(found, wanted)


def test_parts_are_those_of_the_largest_share() -> None:
    def step(ranks: Ranks) -> int:
        recipe = replace(RECIPE, max_bytes=120_000)
        return next(train_steps(net(), data().train, recipe, distributed=ranks)).step

    assert together(3, step) == [1, 1, 1]
    with pytest.raises(sn.SupernetError, match="max_bytes is 120,000"):
        step(ALONE)


class Segments(nn.Module):
    """Images (N, 1, 8, 8) with a class for every pixel, of which some don't count."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh()) for _ in range(2)]
        self.net = nn.Sequential(nn.Conv2d(1, 2, 1), Depth("body", blocks), nn.Conv2d(2, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)
        return found


@dataclass(frozen=True)
class PixelData:
    """As many pixels count in a picture as its number says: none in the first eight."""

    def __len__(self) -> int:
        return 16

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = noise(16, 1, 8, 8).double(), torch.arange(64).reshape(8, 8).expand(16, 8, 8) % 3
        counts = (torch.arange(16) - 8).clamp(min=0)[:, None, None]
        return iter([(x, y.where(torch.arange(64).reshape(8, 8) < counts, 255))])


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_every_pixel_that_counts_counts_the_same(weights: tuple[float, ...] | None) -> None:
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.5, schedule="constant")
    task = sn.Dense(class_weights=weights)

    segments = Segments()

    def step(ranks: Ranks) -> tuple[float, nn.Module]:
        supernet = Supernet(stir(copy.deepcopy(segments)).double())
        (found,) = train_steps(supernet, PixelData(), recipe, task=task, distributed=ranks)
        return found.loss, supernet

    loss, wanted = step(ALONE)
    for found_loss, found in together(2, step):
        assert found_loss == pytest.approx(loss)
        for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


class Largest(sn.Task):
    """No mean over samples: the worst of the batch."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses(outputs, targets).max()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(dim=1) == targets


def test_a_loss_that_is_no_mean_is_refused() -> None:
    found = outcomes(2, lambda ranks: trained(ranks, task=Largest()))
    assert any(isinstance(error, DataError) for error in found)
    assert "can't be shared among ranks" in str(next(e for e in found if isinstance(e, DataError)))


def test_what_is_sent_is_what_was_drawn() -> None:
    sent: list[int] = []
    wide = nine(widths=(64, 32))

    class Counting:
        def __init__(self, group: Any) -> None:
            self.group = group

        def allreduce(self, tensors: list[Tensor]) -> Any:
            sent.append(sum(t.numel() * t.element_size() for t in tensors))
            return self.group.allreduce(tensors)

    def step(ranks: Ranks) -> int:
        counted = replace(ranks, group=Counting(ranks.group)) if ranks.first else ranks
        supernet = copy.deepcopy(wide)
        steps = train_steps(
            supernet, tiny_data().train, RECIPE, sampler="uniform", distributed=counted
        )
        next(steps)
        if ranks.first:
            sent.clear()
        (arch,) = next(steps).draw.archs
        return 4 * sn.count_params(sn.extract(supernet, arch))

    drawn, _ = together(2, step)
    assert drawn <= sum(sent) <= 1.05 * drawn


def test_a_step_that_fails_on_one_rank_is_skipped_by_all() -> None:
    class Broken(Double):
        def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[Any]:
            for at, (x, y) in enumerate(super().shuffled(batch_size, seed=seed, epoch=epoch)):
                if at == 1:
                    x[-1] = float("nan")  # in the last rank's part
                yield x, y

    samples = Broken(tiny_data().train)

    def run(ranks: Ranks, on_nan: Any) -> list[bool]:
        recipe = replace(RECIPE, epochs=1, on_nan=on_nan)
        return [s.skipped for s in train_steps(net(), samples, recipe, distributed=ranks)]

    assert together(2, lambda ranks: run(ranks, "skip")) == [[False, True, False]] * 2
    for error in outcomes(2, lambda ranks: run(ranks, "stop")):
        assert isinstance(error, DivergedError)
        assert "the inputs hold" in str(error)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)
        return found


def test_a_resumed_training_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """The first rank alone has the folder; that ranks are threads keeps random numbers out."""
    calls = {0: 0, 1: 0}

    def run(ranks: Ranks, folder: str, until: int) -> Supernet | None:
        kept = Checkpoints(tmp_path / (folder if ranks.first else "nobody's"), every_s=0)
        own = copy.deepcopy(NINE)

        def stop() -> bool:
            calls[ranks.rank] += 1
            return ranks.rank == 1 and calls[1] == until  # not the one that saves

        try:
            train(own, tiny_data(), RECIPE, distributed=ranks, checkpoints=kept, stop=stop)
        except Stopped:
            return None
        return own

    whole = together(2, lambda ranks: run(ranks, "whole", until=0))
    calls.update({0: 0, 1: 0})
    assert together(2, lambda ranks: run(ranks, "cut", until=3)) == [None, None]
    resumed = together(2, lambda ranks: run(ranks, "cut", until=0))
    assert not (tmp_path / "nobody's").exists()
    for one, other in zip(whole, resumed, strict=True):
        assert one is not None
        assert other is not None
        for name, tensor in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor)


def test_checkpoints_of_other_ranks_are_refused(tmp_path: Path) -> None:
    def run(ranks: Ranks) -> None:
        kept = Checkpoints(tmp_path, every_s=0)
        train(net(), data(), RECIPE, distributed=ranks, checkpoints=kept)

    together(2, run)
    with pytest.raises(sn.SupernetError, match="ranks 2 there, 1 here"):
        run(ALONE)


def test_each_rank_draws_random_numbers_of_its_own() -> None:
    def drawn(ranks: Ranks) -> Tensor:
        with torch.random.fork_rng(devices=()):
            Together(Dropping(), RECIPE, ranks)
            return torch.rand(4)

    first, second = (drawn(Ranks(rank, 2, _Alike())) for rank in (0, 1))
    assert not torch.equal(first, second)


class _Alike:
    """A group in which the other rank always says the same."""

    def allreduce(self, tensors: list[Tensor]) -> Any:
        for tensor in tensors:
            if tensor.ndim and len(tensor) == 2:
                tensor.copy_(tensor.sum(0, keepdim=True).expand_as(tensor))
        return self

    def wait(self) -> None:
        pass


def _other_sampler(ranks: Ranks) -> dict[str, Any]:
    return {"sampler": lambda space, rng: sn.Draw((space.at(ranks.rank),))}


def _other_seed(ranks: Ranks) -> dict[str, Any]:
    return {"seed": ranks.rank}


def _other_recipe(ranks: Ranks) -> dict[str, Any]:
    return {"recipe": replace(RECIPE, learning_rate=0.1 + ranks.rank)}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (_other_sampler, r"the architectures of step 1: .* on rank 0, .* on rank 1"),
        (_other_seed, "ranks disagree on seed: 0 on rank 0, 1 on rank 1"),
        (_other_recipe, "ranks disagree on recipe"),
    ],
)
def test_ranks_that_disagree_are_stopped(
    options: Callable[[Ranks], dict[str, Any]], named: str
) -> None:
    for error in outcomes(2, lambda ranks: trained(ranks, **options(ranks))):
        assert isinstance(error, RankError)
        with pytest.raises(RankError, match=named):
            raise error


def test_other_weights_are_found_at_a_checkpoint() -> None:
    def run(ranks: Ranks) -> None:
        own = net()
        steps = train_steps(own, data().train, RECIPE, distributed=ranks)
        next(steps)
        steps.require_same()
        if ranks.rank == 1:
            with torch.no_grad():
                own.net.get_parameter("0.1.bias").add_(1e-15)
        steps.require_same()

    for error in outcomes(2, run):
        assert isinstance(error, RankError)
        assert "the weights '0.1.bias'" in str(error)


def test_other_batches_are_found_in_the_first_step() -> None:
    def run(ranks: Ranks) -> None:
        samples = tiny_data(train=40 + ranks.rank).train  # another order
        next(train_steps(copy.deepcopy(NINE), samples, RECIPE, distributed=ranks))

    for error in outcomes(2, run):
        assert "ranks disagree on the batches of step 1" in str(error)


def test_other_networks_are_refused() -> None:
    nets = [nine(widths=(4, width)) for width in (3, 4)]

    def run(ranks: Ranks) -> None:
        train_steps(nets[ranks.rank], tiny_data().train, RECIPE, distributed=ranks)

    for error in outcomes(2, run):
        assert "ranks disagree on the network's tensor '2.0.weight': ((3, 4, 3, 3)" in str(error)


@pytest.mark.parametrize("taught", [False, True])
def test_ranks_tune_as_one_process_does(taught: bool) -> None:
    sizes: list[int] = []  # of batches that a rank trains on

    def tune(ranks: Ranks) -> Tuned:
        own = net()
        own.net.register_forward_pre_hook(
            lambda module, given: sizes.append(len(given[0])) if module.training else None
        )
        return sn.finetune(
            own, own.space.at(4), data(), RECIPE, taught=taught, seed=3, distributed=ranks
        )

    wanted = tune(ALONE)
    assert max(sizes) == RECIPE.batch_size
    sizes.clear()
    for found in together(2, tune):
        for name, tensor in wanted.net.state_dict().items():
            torch.testing.assert_close(found.net.state_dict()[name], tensor, rtol=1e-9, atol=1e-11)
        for ours, theirs in zip(found.phases, wanted.phases, strict=True):
            assert (ours.kind, ours.images) == (theirs.kind, theirs.images)
        scores = [(each.inherited, each.tuned, each.gain) for each in (found, wanted)]
        assert scores[0] == scores[1]
    assert max(sizes) == 7  # of 13


def test_a_batch_has_a_sample_for_every_rank() -> None:
    x, y = torch.zeros(2, 1), torch.zeros(2)
    with pytest.raises(SettingsError, match="a batch of 2 can't be shared among 3 ranks"):
        take_portion(x, y, sn.Regression(), Ranks(0, 3))
    parts = [take_portion(noise(7, 1), y, sn.Regression(), Ranks(r, 3)) for r in range(3)]
    assert [len(part.inputs) for part in parts] == [2, 2, 3]
    assert sum(part.of_samples or 0 for part in parts) == pytest.approx(1)
    for error in outcomes(2, lambda ranks: trained(ranks, sampler=sn.Split(9))):
        assert "divided among 9 architectures, can't be shared among 2 ranks" in str(error)


def test_parameters_on_two_devices_are_refused() -> None:
    two = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, device="meta"))
    with pytest.raises(SettingsError, match="parameters on cpu and meta"):
        Together(two, RECIPE, Ranks(0, 2, _Alike()))
    Together(two, RECIPE, ALONE)


def test_what_cannot_be_added_up_is_refused() -> None:
    norms = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with pytest.raises(SettingsError, match="leave compile out"):
        Together(norms, replace(RECIPE, compile=True), Ranks(0, 2, _Alike()))
    words = nn.Embedding(3, 2, sparse=True)
    words(torch.tensor([1])).sum().backward()
    steps = Together(words, RECIPE, Ranks(0, 2, _Alike()))
    with pytest.raises(SettingsError, match="sparse=False"):
        steps.reduce(sn.Draw(()), 0.0)


def test_a_budget_of_seconds_is_as_many_steps_on_all() -> None:
    def run(ranks: Ranks) -> int:
        recipe = replace(RECIPE, seconds=2.0)
        return train_steps(net(), data().train, recipe, distributed=ranks).measure()

    first, second = together(2, run)
    assert first == second > 0
