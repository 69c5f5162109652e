"""A search by what networks trained alone tell, instead of by scores of shared weights alone."""

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn

from supernet.errors import SettingsError
from supernet.evaluation.corrected import CorrectedScorer
from supernet.evaluation.cost import plan_costs
from supernet.evaluation.searching import search
from supernet.nn.choices import OneOf
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.strategies.problem import Failed


def net() -> Supernet:
    """Three places with one of three layers each: 27 architectures."""
    torch.manual_seed(0)
    places = [
        OneOf(f"place{i}", {"none": nn.Identity(), "one": nn.Linear(4, 4), "act": nn.Tanh()})
        for i in range(3)
    ]
    return Supernet(nn.Sequential(*places, nn.Linear(4, 2)))


def truth(arch: Architecture) -> float:
    worth = {"none": 0.0, "one": 0.1, "act": 0.2}
    return 0.2 + sum(worth[str(option)] for option in dict(arch).values())


def one_shot(archs: Sequence[Architecture]) -> Mapping[Architecture, Mapping[str, float]]:
    """Scores that like `none` too well, as shared weights may."""
    liked = {arch: sum(option == "none" for option in dict(arch).values()) for arch in archs}
    return {arch: {"score": truth(arch) + 0.25 * n, "loss": 1.0} for arch, n in liked.items()}


def known(supernet: Supernet, count: int = 12) -> dict[Architecture, float]:
    return {arch: truth(arch) for arch in list(supernet.space)[::2][:count]}


def test_what_is_liked_too_well_is_corrected() -> None:
    supernet = net()
    scorer = CorrectedScorer(supernet, one_shot, known(supernet), plan_costs(supernet, (4,)))
    archs = list(supernet.space)
    found = scorer(archs)
    values = [one for one in found.values() if isinstance(one, Mapping)]
    assert len(values) == 27
    best = {
        name: archs[max(range(27), key=lambda i: values[i][name])]
        for name in ("score", "corrected")
    }
    assert set(dict(best["score"]).values()) == {"none"}
    assert truth(best["corrected"]) == pytest.approx(0.8)
    again = CorrectedScorer(supernet, one_shot, known(supernet), plan_costs(supernet, (4,)))
    parts = again(archs[:5]) | again(archs[5:])
    assert {arch: one["corrected"] for arch, one in parts.items() if isinstance(one, Mapping)} == (
        pytest.approx({arch: one["corrected"] for arch, one in zip(archs, values, strict=True)})
    )


def test_what_fails_has_no_corrected_score_and_corrects_nothing() -> None:
    supernet = net()
    archs = list(supernet.space)
    broken = set(archs[::6])

    def scorer(some: Sequence[Architecture]) -> Mapping[Architecture, Failed | Mapping[str, float]]:
        sound = one_shot(some)
        return {a: Failed("no numbers") if a in broken else sound[a] for a in some}

    alone = known(supernet) | {archs[1]: math.nan}
    found = CorrectedScorer(supernet, scorer, alone, {})(archs)
    for arch, one in found.items():
        assert isinstance(one, Failed) == (arch in broken)
        if isinstance(one, Mapping):
            assert math.isfinite(one["corrected"])


def test_too_few_networks_are_refused_before_anything_is_scored() -> None:
    supernet = net()
    data = torch.randn(8, 4), torch.arange(8) % 2

    class Data:
        train = validation = data
        shape = (4,)

    for alone in ({}, known(supernet, 5), dict.fromkeys(list(supernet.space)[:9], math.nan)):
        with pytest.raises(SettingsError, match=r"need networks .* trained alone, 6 at least"):
            search(supernet, Data(), budget=5, objectives=["corrected"], alone=alone)
    broken = CorrectedScorer(
        supernet, lambda archs: {a: Failed("no numbers") for a in archs}, known(supernet), {}
    )
    with pytest.raises(SettingsError, match="there are 0"):
        broken(list(supernet.space)[:2])
    with pytest.raises(SettingsError, match="a function can correct its own"):
        search(supernet, one_shot, budget=5, objectives=["score"], alone=known(supernet))


def test_a_search_goes_by_it() -> None:
    supernet = net()
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(64, 4, generator=generator), torch.arange(64) % 2

    class Data:
        train = validation = (samples,)
        shape = (4,)

    found = list(
        search(
            supernet,
            Data(),
            budget=27,
            objectives=["corrected", "macs"],
            calibration=samples[0],
            alone=known(supernet),
        )
    )
    assert len(found) == 27
    best = max(found, key=lambda one: one.values["corrected"])
    assert truth(best.arch) > 0.65
    assert {"score", "loss", "corrected", "macs"} <= best.values.keys()
