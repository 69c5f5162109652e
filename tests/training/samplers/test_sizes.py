"""Samplers that go by size: what they draw, weigh, and order."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import SettingsError
from supernet.evaluation.cost import count_layers, count_macs, count_params, plan_layers
from supernet.experiments.settings import make_settings
from supernet.networks.zoo import build_operations_net
from supernet.nn.choices import Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.training.losses import Losses
from supernet.training.recipe import Recipe
from supernet.training.samplers import (
    AnySampler,
    ArchitectureSize,
    Draw,
    Fair,
    Favoring,
    Ordering,
    Pacing,
    Phases,
    Power,
    Prior,
    Sandwich,
    Split,
    Weighted,
    WithLargest,
    every,
    make_sampler,
    make_size,
    name_of,
    sampler_at,
    uniform,
)
from tests.conftest import nested, nine, noise


def pair() -> Supernet:
    """Two architectures: one of a layer, one of three."""
    body = Depth("body", [nn.Tanh(), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))])
    return Supernet(nn.Sequential(nn.Linear(3, 3), body))


def draws(sampler: AnySampler, supernet: Supernet, count: int, done: float = 0.0) -> list[Draw]:
    rng = random.Random(0)
    return [sampler_at(sampler, done)(supernet.space, rng) for _ in range(count)]


def layered(supernet: Supernet) -> ArchitectureSize:
    return make_size(supernet, (1, 8, 8), "layers")


@pytest.mark.parametrize(
    "build", [nine, nested, pair, lambda: Supernet(build_operations_net(seed=0, positions=3))]
)
def test_layers_counted_in_advance_are_those_of_the_extracted_network(
    build: Callable[[], Supernet],
) -> None:
    supernet = build()
    count = plan_layers(supernet)
    for arch in supernet.space:
        assert count(arch) == count_layers(extract(supernet, arch))


def test_layers_of_choices_that_are_layers_themselves() -> None:
    ops = OneOf("op", {"skip": nn.Identity(), "one": nn.Linear(3, 3), "norm": nn.LayerNorm(3)})
    supernet = Supernet(nn.Sequential(nn.Linear(3, 3), ops))
    count = plan_layers(supernet)
    assert [count(Architecture({"op.op": op})) for op in ("skip", "one", "norm")] == [1, 2, 1]


def test_sizes_are_what_they_say() -> None:
    supernet = nine()
    counted: dict[Any, Callable[[Architecture], int]] = {
        "layers": lambda arch: count_layers(extract(supernet, arch)),
        "params": lambda arch: count_params(extract(supernet, arch)),
        "macs": lambda arch: count_macs(supernet, arch, (1, 8, 8)),
    }
    for by, count in counted.items():
        size = make_size(supernet, (1, 8, 8), by)
        assert [size(arch) for arch in supernet.space] == list(map(count, supernet.space))
        assert size.place(supernet.space.smallest) == 0
        assert size.place(supernet.space.largest) == 1
        assert all(0 <= size.place(arch) <= 1 for arch in supernet.space)
    with pytest.raises(SettingsError, match="no size 'depth'; choose layers, macs or params"):
        make_size(supernet, (1, 8, 8), "depth")  # type: ignore[arg-type]
    assert make_size(Supernet(nn.Linear(3, 3)), (3,), "macs").place(Architecture({})) == 1


@pytest.mark.parametrize(
    ("power", "share"),
    [
        (0.0, 0.5),
        (1.0, 1 / 4 + 1 / 2 * 3 / 4),  # both of two draws are large; or one is, and wins
        (2.0, 1 / 4 + 1 / 2 * 9 / 10),
        (-1.0, 1 / 4 + 1 / 2 * 1 / 4),
    ],
)
def test_what_is_favored_is_drawn_in_proportion(power: float, share: float) -> None:
    supernet = pair()
    favoring = Favoring(uniform, layered(supernet), power, among=2)
    found = Counter(draw.archs for draw in draws(favoring, supernet, 4000))
    error = math.sqrt(share * (1 - share) / 4000)
    assert abs(found[(supernet.space.largest,)] / 4000 - share) < 4 * error


def test_favoring_leaves_each_draw_as_the_other_sampler_made_it() -> None:
    supernet = nine()
    size = layered(supernet)
    for draw in draws(Favoring(Fair(), size, 3.0), supernet, 20):
        assert draw.weights is None
        for choice in supernet.space.choices:
            uses = Counter(arch[choice.name] for arch in draw.archs)
            assert len(set(uses.values())) == 1
    for draw in draws(Favoring(Split(2), size), supernet, 20):
        assert draw.divided


def test_a_weight_by_size_is_never_nothing() -> None:
    supernet = nine()
    size = layered(supernet)
    largest, smallest = supernet.space.largest, supernet.space.smallest
    assert Power(size)(largest) == 1
    assert Power(size)(smallest) == size(smallest) / size(largest)
    assert Power(size, 2.0)(smallest) == pytest.approx(Power(size)(smallest) ** 2)
    assert Power(size, -1.0)(smallest) > 1
    assert Power(size, 200.0)(smallest) == 0.001
    (draw,) = draws(Weighted(every, Power(size)), supernet, 1)
    assert draw.weights == tuple(Power(size)(arch) for arch in supernet.space)
    assert Power(ArchitectureSize("none", lambda _: 0.0, 0.0, 0.0))(largest) == 1


def test_the_rate_of_the_smallest_falls_fastest_and_that_of_the_largest_is_the_recipes() -> None:
    supernet = nine()
    size = layered(supernet)
    pacing = Pacing(uniform, size)
    archs = sorted(supernet.space, key=size)
    assert [pacing.factor(arch, 0.0) for arch in archs] == [1.0] * 9
    halfway = [pacing.factor(arch, 0.5) for arch in archs]
    assert halfway[0] == 0.5
    assert halfway[-1] == 1
    assert halfway == sorted(halfway)
    assert Pacing(uniform, size, 2.0).factor(archs[0], 0.5) == 0.25
    assert Pacing(uniform, size, 9.0).factor(archs[0], 0.999) == 0.001
    for draw in draws(pacing, supernet, 20, 0.5):
        assert draw.rate == pacing.factor(draw.archs[0], 0.5)
        assert draw.weights is None


def test_in_a_draw_of_several_each_counts_by_its_own_factor() -> None:
    """That is, the step is that at the recipe's rate of the losses times their factors."""
    supernet = nine()
    size = layered(supernet)
    for inner in (Fair(), Weighted(Fair(), Power(size, 2.0))):
        pacing = Pacing(inner, size)
        plain, (paced,) = draws(inner, supernet, 1)[0], draws(pacing, supernet, 1, 0.6)
        assert paced.archs == plain.archs
        for arch in paced.archs:
            share = plain.weight((arch,)) / plain.weight(plain.archs)
            effect = paced.rate * paced.weight((arch,)) / paced.weight(paced.archs)
            assert effect == pytest.approx(share * pacing.factor(arch, 0.6))
    (draw,) = draws(Pacing(Split(3), size), supernet, 1, 0.6)
    factors = [Pacing(Split(3), size).factor(arch, 0.6) for arch in draw.archs]
    assert draw.rate == pytest.approx(sum(factors) / 3)


def test_the_prior_orders_what_differs_in_size_by_enough() -> None:
    supernet = nine()
    size = layered(supernet)
    ranking = Ordering(every, size, 0.5, margin=0.1, apart=1.3, after=0.3)
    assert draws(ranking, supernet, 1, 0.29)[0].prior is None
    (draw,) = draws(ranking, supernet, 1, 0.3)
    assert draw.prior
    assert (draw.prior.weight, draw.prior.margin) == (0.5, 0.1)
    sizes = [size(arch) for arch in draw.archs]
    assert set(draw.prior.pairs) == {
        (i, j) for i in range(9) for j in range(9) if sizes[i] >= 1.3 * sizes[j]
    }
    assert 0 < len(draw.prior.pairs) < 36
    assert draws(Ordering(uniform, size), supernet, 1, 0.5)[0].prior is None


def test_what_counts_is_by_how_much_the_larger_ones_loss_is_above() -> None:
    supernet = nine()
    x, y = noise(6, 1, 8, 8), torch.arange(6) % 3
    small, large = supernet.space.smallest, supernet.space.largest
    losses = Losses(supernet, Recipe())
    (of_small,), (of_large,) = (list(losses.of(x, y, Draw((arch,)))) for arch in (small, large))
    below = (of_small - of_large).item()
    mean = (of_small + of_large).item() / 2
    for first in (0, 1):  # which should have the lower loss
        wrong = -below if first else below
        for weight, margin in ((1.0, 0.0), (0.5, 2.0)):
            prior = Prior(((first, 1 - first),), weight, margin)
            (found,) = losses.of(x, y, Draw((small, large), prior=prior))
            assert found.item() == pytest.approx(mean + weight * max(wrong + margin, 0), rel=1e-5)
    assert abs(below) > 1e-3


def test_what_is_added_to_a_draw_leaves_its_prior_and_rate() -> None:
    archs = tuple(nine().space)
    draw = Draw(archs[:2], rate=0.5, prior=Prior(((1, 0),)))
    more = draw.adding(archs[8])
    assert (more.archs, more.rate, more.prior) == ((*archs[:2], archs[8]), 0.5, draw.prior)
    assert more.work == Draw(more.archs)


def test_names_are_the_same_in_every_process() -> None:
    supernet = nine()
    size = layered(supernet)
    name = name_of(Ordering(Pacing(Favoring(WithLargest(uniform), size), size), size))
    assert name == name_of(
        Ordering(Pacing(Favoring(WithLargest(uniform), layered(nine())), size), size)
    )
    assert "0x" not in name
    assert "layers" in name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda size: Favoring(uniform, size, math.inf), "power is inf"),
        (lambda size: Favoring(uniform, size, among=1), "among is 1; it must be at least 2"),
        (lambda size: Power(size, math.nan), "power is nan"),
        (lambda size: Pacing(uniform, size, -1.0), "decay is -1.0; it must be a number, 0"),
        (lambda size: Ordering(every, size, 0.0), "weight is 0.0; it must be above 0"),
        (lambda size: Ordering(every, size, margin=-1.0), "margin is -1.0; it must be 0 or above"),
        (lambda size: Ordering(every, size, apart=0.5), "apart is 0.5; it must be 1 or above"),
        (lambda size: Ordering(every, size, after=1.0), "after is 1.0; it must be from 0 to"),
        (lambda size: Draw((), rate=0.0), "the rate of a draw is 0.0"),
        (
            lambda size: make_sampler("every", nine(), torch.zeros(2, 1, 8, 8), favor="macs"),
            "favor",
        ),
        (
            lambda size: make_sampler("uniform", nine(), torch.zeros(2, 1, 8, 8), prior="macs"),
            "one",
        ),
        (
            lambda size: make_sampler("split", nine(), torch.zeros(2, 1, 8, 8), weigh="macs"),
            "split",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    make: Callable[[ArchitectureSize], Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        make(ArchitectureSize("none", lambda _: 1.0, 1.0, 1.0))


def test_what_would_do_nothing_is_refused_in_settings_too() -> None:
    for wrong in (
        {"sampler": {"name": "every", "favor": "macs"}},
        {"sampler": {"name": "uniform", "weigh": "macs"}},
        {"sampler": {"name": "fair", "prior": "macs"}, "distill": True},
        {"sampler": {"name": "fair", "prior": "depth"}},
    ):
        with pytest.raises(SettingsError):
            make_settings(wrong)


def test_by_name_they_are_made_of_each_other() -> None:
    supernet, x = nine(), torch.zeros(2, 1, 8, 8)
    made = make_sampler(
        "sandwich",
        supernet,
        x,
        largest_first=0.1,
        favor="layers",
        weigh="macs",
        power=2.0,
        pace="params",
        decay=0.5,
        prior="layers",
        prior_weight=3.0,
    )
    assert isinstance(made, Ordering)
    assert made.weight == 3
    assert isinstance(made.sampler, Pacing)
    assert (made.sampler.decay, made.sampler.size.by) == (0.5, "params")
    assert isinstance(made.sampler.sampler, Weighted)
    assert isinstance(made.sampler.sampler.weigh, Power)
    assert (made.sampler.sampler.weigh.power, made.sampler.sampler.weigh.size.by) == (2, "macs")
    phases = made.sampler.sampler.sampler
    assert isinstance(phases, Phases)
    assert phases.phases[1][1] == Favoring(Sandwich(4), made.size, 2.0)
    assert make_sampler("every", supernet, x) is every
