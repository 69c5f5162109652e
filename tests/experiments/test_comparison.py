import dataclasses
import io
import math
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import kendalltau
from torch import Tensor, nn

from supernet.datasets import ImageData
from supernet.errors import DataError, DivergedError, SettingsError, SpaceError
from supernet.evaluation.cost import count_macs, count_params
from supernet.evaluation.ranking.bootstrap import Scores
from supernet.evaluation.ranking.verdict import Costs, judge
from supernet.experiments.comparison import (
    SeedResults,
    compare,
    describe_architectures,
    describe_network,
    failures_of,
    losses_of,
    scores_of,
)
from supernet.nn.choices import OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Phase, Results
from supernet.report import print_results, write_report
from supernet.report.figures import collection
from supernet.report.summary import ranked_by, rows
from supernet.runs.folder import read_results
from supernet.space import SearchSpace
from supernet.training.recipe import Recipe
from supernet.training.result import TrainingResult
from supernet.training.samplers import Draw
from supernet.training.session import train
from tests.conftest import nine, plain_net, tiny_data

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.1)


def run(supernet: Supernet, seed: int, **settings: Any) -> TrainingResult:
    return train(supernet, tiny_data(), RECIPE, seed=seed, calibration_images=10, **settings)


def some_seed(seed: int) -> SeedResults:
    """Everything trained under one seed."""
    return SeedResults(
        seed=seed,
        supernet=run(nine(seed=seed), seed),
        standalone=[run(Supernet(extract(nine(seed=seed), arch)), seed) for arch in nine().space],
        longer=run(nine(seed=seed), seed, subject="longer"),
    )


@pytest.fixture(scope="module")
def seeds() -> list[SeedResults]:
    return [some_seed(0), some_seed(3)]


@pytest.fixture(scope="module")
def results(seeds: list[SeedResults]) -> Results:
    loading = Phase(
        name="loading",
        kind="data",
        subject="all",
        seed=None,
        arch=None,
        wall_s=0.5,
        cpu_s=0.25,
        images=67,
        macs=0,
    )
    return compare(
        nine(), tiny_data(), seeds, settings={"epochs": 1, "seeds": [0, 3]}, loading=loading
    )


def test_results_survive_json(results: Results) -> None:
    text = results.model_dump_json()
    again = Results.model_validate_json(text)
    assert repr(again) == repr(results)  # not ==, which NaN has not
    assert again.model_dump_json() == text


def test_results_are_made_of_the_trials(results: Results, seeds: list[SeedResults]) -> None:
    assert [record.seed for record in results.seeds] == [0, 3]
    for record, seed in zip(results.seeds, seeds, strict=True):
        assert record.supernet == seed.supernet.training
        assert record.standalone == [trial.training for trial in seed.standalone]
        assert seed.longer
        assert record.longer == seed.longer.training
    data: ImageData = tiny_data()
    assert results.data.model_dump() == {
        "name": "tiny",
        "classes": 3,
        "train": 40,
        "validation": 12,
        "test": 15,
        "calibration": 10,
        "shape": (1, 8, 8),
        "sha256": dict(data.sha256),
    }
    assert results.settings == {"epochs": 1, "seeds": [0, 3]}


def test_the_ledger_says_whose_every_line_is(results: Results, seeds: list[SeedResults]) -> None:
    assert results.ledger[0].name == "loading"
    rest = results.ledger[1:]
    labels = [arch.label for arch in nine().space]
    for seed in (0, 3):
        own = [phase for phase in rest if phase.seed == seed]
        assert len(own) == 3 * (1 + 1 + 9)
        for subject in ("supernet", "longer"):
            assert [p.arch for p in own if p.subject == subject] == [None] * 3
        standalone = [p.arch for p in own if p.subject == "standalone"]
        assert standalone == [label for label in labels for _ in range(3)]
    assert len(rest) == 2 * 33
    for number, arch in enumerate(nine().space):
        (line,) = [p for p in rest if p.arch == arch.label and p.seed == 3 and p.kind == "training"]
        (bill,) = [p for p in seeds[1].standalone[number].phases if p.kind == "training"]
        assert (line.cpu_s, line.macs) == (bill.cpu_s, bill.macs)


def test_the_verdict_is_on_the_trials(results: Results, seeds: list[SeedResults]) -> None:
    verdict = results.verdict
    assert verdict
    assert (verdict.networks, verdict.seeds) == (9, 2)
    assert (verdict.validation_images, verdict.test_images) == (12, 15)
    one_shot = np.mean([seed.supernet.test.mean(axis=1) for seed in seeds], axis=0)
    standalone = [[t.test.mean() for t in seed.standalone] for seed in seeds]
    assert [e.value for e in verdict.one_shot] == pytest.approx(one_shot.tolist())
    assert [e.value for e in verdict.standalone] == pytest.approx(
        np.mean(standalone, axis=0).tolist()
    )
    assert verdict.longer_gap is not None
    assert len({gap.value for gap in verdict.gaps}) > 1


def test_the_verdict_gets_the_costs_right(results: Results, seeds: list[SeedResults]) -> None:
    def seconds(trial: TrainingResult, kind: str) -> float:
        (phase,) = [phase for phase in trial.phases if phase.kind == kind]
        return phase.cpu_s

    trained = [seed.supernet for seed in seeds]
    costs = Costs(
        supernet=np.array([seconds(trial, "training") for trial in trained]),
        standalone=np.array([[seconds(t, "training") for t in seed.standalone] for seed in seeds]),
        # There were two epochs: 2 x 10 images for calibration, 2 x 12 + 15 for scoring.
        scoring=np.array(
            [seconds(t, "recalibration") / 2 + seconds(t, "scoring") * 12 / 39 for t in trained]
        ),
    )
    expected = judge(
        Scores(**scores_of(seeds), failed=failures_of(seeds)),
        costs,
        labels=[arch.label for arch in nine().space],
        macs=[count_macs(nine(), arch, (1, 8, 8)) for arch in nine().space],
        rng=np.random.default_rng(0),
        losses=losses_of(seeds),
        rank_by="loss",
        baselines={
            name: [getattr(arch, field) for arch in results.architectures]
            for name, field in (
                ("multiply-adds", "macs"),
                ("parameters", "params"),
                ("layers", "layers"),
            )
        },
    )
    assert results.verdict
    assert results.verdict.breakeven == pytest.approx(expected.breakeven)
    left_out = {"breakeven"}
    ours = results.verdict.model_dump(exclude=left_out)
    assert repr(ours) == repr(expected.model_dump(exclude=left_out))


def test_baselines_of_ones_own(seeds: list[SeedResults]) -> None:
    archs = list(nine().space)
    mine = {arch: float(number) for number, arch in enumerate(archs)}
    worst = {**mine, archs[3]: -math.inf}
    found = compare(nine(), tiny_data(), seeds, baselines={"mine": mine, "worst": worst})
    assert found.verdict
    assert list(found.verdict.baselines)[3:] == ["mine", "worst"]
    assert found.architectures[3].scores == {"mine": 3.0, "worst": -math.inf}
    again = Results.model_validate_json(found.model_dump_json())
    assert again.architectures == found.architectures
    truth = [[trial.training.test[0] for trial in seed.standalone] for seed in seeds]
    tau = kendalltau(range(9), np.mean(truth, axis=0)).statistic
    assert found.verdict.baselines["mine"].value == pytest.approx(tau)
    with pytest.raises(SettingsError, match="layers are a baseline anyway"):
        compare(nine(), tiny_data(), seeds, baselines={"layers": mine})
    for gap in ({archs[0]: 1.0}, {**mine, archs[1]: math.nan}):
        with pytest.raises(DataError, match="the baseline mine has no number for"):
            compare(nine(), tiny_data(), seeds, baselines={"mine": gap})


def test_hits_are_by_seed_architecture_and_image(seeds: list[SeedResults]) -> None:
    hits = scores_of(seeds)
    assert {name: part.shape for name, part in hits.items()} == {
        "one_shot_validation": (2, 9, 12),
        "one_shot_test": (2, 9, 15),
        "standalone_test": (2, 9, 15),
        "longer_test": (2, 9, 15),
    }
    assert all(part.dtype == np.bool_ for part in hits.values())
    assert np.array_equal(hits["standalone_test"][1, 4], seeds[1].standalone[4].test[0])
    assert np.array_equal(hits["one_shot_validation"][0], seeds[0].supernet.validation)
    assert seeds[0].longer
    assert np.array_equal(hits["longer_test"][0], seeds[0].longer.test)
    assert "longer_test" not in scores_of([seeds[0], dataclasses.replace(seeds[1], longer=None)])


def failing(
    trial: TrainingResult, validation: Iterable[int], test: Iterable[int]
) -> TrainingResult:
    """The trial as it would be had the evaluations of some architectures failed."""

    def bad(scores: list[float], which: Iterable[int]) -> list[float]:
        return [math.nan if i in which else score for i, score in enumerate(scores)]

    training = trial.training.model_copy(
        update={
            "validation": bad(trial.training.validation, validation),
            "test": bad(trial.training.test, test),
        }
    )
    right = trial.validation.copy(), trial.test.copy()
    for array, which in zip(right, (validation, test), strict=True):
        array[list(which)] = False
    return dataclasses.replace(trial, training=training, validation=right[0], test=right[1])


def test_what_failed_is_told_from_its_accuracies_by_seed(seeds: list[SeedResults]) -> None:
    first = dataclasses.replace(
        seeds[0],
        supernet=failing(seeds[0].supernet, [8], [8, 2]),
        standalone=[failing(seeds[0].standalone[0], [0], [0]), *seeds[0].standalone[1:]],
    )
    changed = [first, seeds[1]]
    found = {
        name: sorted(zip(*map(list, np.nonzero(bad)), strict=True))
        for name, bad in failures_of(changed).items()
    }
    assert found == {
        "one_shot_validation": [(0, 8)],
        "one_shot_test": [(0, 2), (0, 8)],
        "standalone_test": [(0, 0)],
        "longer_test": [],
    }
    results = compare(nine(), tiny_data(), changed)
    verdict = results.verdict
    assert verdict
    assert verdict.failed == {
        "one_shot_validation": ["(3, 3)"],
        "one_shot_test": ["(1, 3)", "(3, 3)"],
        "standalone_test": ["(1, 1)"],
    }
    assert [math.isnan(gap.value) for gap in verdict.gaps] == [i in (0, 2, 8) for i in range(9)]
    assert "nan" not in " ".join(verdict.sentences).lower()
    again = Results.model_validate_json(results.model_dump_json())
    assert repr(again) == repr(results)


def test_nothing_but_failures_is_an_error(seeds: list[SeedResults]) -> None:
    changed = [
        dataclasses.replace(seed, supernet=failing(seed.supernet, which, which))
        for seed, which in zip(seeds, (range(5), range(5, 9)), strict=True)
    ]
    with pytest.raises(DivergedError, match=r"no architecture can be picked, as all 9 have failed"):
        compare(nine(), tiny_data(), changed)


def wild_or_tame(seed: int) -> Supernet:
    """Three architectures; what one of them puts out leaves the range of float32."""

    class Scale(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor * self.factor

    *body, head = plain_net(seed).children()
    scales = {"wild": Scale(1e38), "tame": Scale(1.0), "tamer": Scale(0.1)}
    return Supernet(nn.Sequential(*body, OneOf("a", scales), head))


def test_one_wild_architecture_spoils_nothing_but_its_own_numbers(tmp_path: Path) -> None:
    supernet = wild_or_tame(0)
    wild, *tame = supernet.space

    def draws_the_tame(space: SearchSpace, rng: random.Random) -> Draw:
        return Draw(tuple(tame))

    trial = run(supernet, 0, sampler=draws_the_tame)
    standalone = [run(Supernet(plain_net(seed)), seed) for seed in (1, 2, 3)]
    results = compare(supernet, tiny_data(), [SeedResults(0, trial, standalone)])
    verdict = results.verdict
    assert verdict
    assert verdict.failed == {
        name: [wild.label] for name in ("one_shot_validation", "one_shot_test")
    }
    assert verdict.picked in {arch.label for arch in tame}
    assert all("nan" not in sentence for sentence in verdict.sentences)
    assert any(wild.label in s for s in verdict.sentences if s.startswith("Evaluations failed"))
    for estimate in (verdict.tau, verdict.regret, verdict.mean_gap, *verdict.gaps[1:]):
        assert np.isfinite([estimate.value, estimate.low, estimate.high]).all()

    (tmp_path / "results.json").write_text(results.model_dump_json())
    again = read_results(tmp_path)
    assert repr(again) == repr(results)
    page, table, *_ = write_report(again, tmp_path)
    console = Console(file=io.StringIO(), width=80)
    print_results(again, console)
    assert isinstance(console.file, io.StringIO)
    texts = [
        re.sub('base64,[^"]*', "", page.read_text()),
        table.read_text(),
        console.file.getvalue(),
    ]
    for text in texts:
        assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)
        assert "failed" in text


def test_a_name_that_is_no_text_can_be_stored(seeds: list[SeedResults]) -> None:
    data = dataclasses.replace(tiny_data(), name="caf\udce9")
    results = compare(nine(), data, seeds[:1])
    assert Results.model_validate_json(results.model_dump_json()).data.name == "caf\\udce9"


def test_without_standalone_networks_there_is_no_verdict(seeds: list[SeedResults]) -> None:
    alone = [dataclasses.replace(seed, standalone=(), longer=None) for seed in seeds]
    results = compare(nine(), tiny_data(), alone)
    assert results.verdict is None
    assert [(record.standalone, record.longer) for record in results.seeds] == [([], None)] * 2
    assert {phase.subject for phase in results.ledger} == {"supernet"}
    assert repr(Results.model_validate_json(results.model_dump_json())) == repr(results)
    assert results.settings == dataclasses.asdict(RECIPE)
    assert results.conditions.wall_s == pytest.approx(sum(p.wall_s for p in results.ledger))


@pytest.mark.parametrize("count", [1, 8, 10])
def test_one_standalone_trial_per_architecture(seeds: list[SeedResults], count: int) -> None:
    trials = [*seeds[0].standalone, seeds[0].standalone[0]][:count]
    wrong = dataclasses.replace(seeds[0], standalone=trials)
    with pytest.raises(SpaceError, match=rf"seed 0 has {count} standalone trials; .*\(1, 1\)"):
        compare(nine(), tiny_data(), [wrong])


def test_a_supernet_is_no_standalone_network(seeds: list[SeedResults]) -> None:
    trials = [seeds[0].supernet, *seeds[0].standalone[1:]]
    with pytest.raises(SpaceError, match="one of a plain network for each"):
        compare(nine(), tiny_data(), [dataclasses.replace(seeds[0], standalone=trials)])


def test_some_of_many_trained_alone_judge_and_correct_the_ranking(
    seeds: list[SeedResults], tmp_path: Path
) -> None:
    archs = list(nine().space)
    some = [8, 0, 3, 4, 5, 6, 7]
    few = [
        dataclasses.replace(seed, standalone=[seed.standalone[i] for i in some]) for seed in seeds
    ]
    results = compare(nine(), tiny_data(), few, alone=[archs[i] for i in some])
    assert results.alone == some
    assert len(results.architectures) == 9
    verdict, corrected = results.verdict, results.corrected
    assert verdict
    assert verdict.networks == len(verdict.gaps) == 7
    assert corrected
    assert (corrected.trained, len(corrected.predicted)) == (7, 9)
    first = np.mean([seed.standalone[8].test.mean() for seed in seeds])
    assert verdict.standalone[0].value == pytest.approx(first)
    table = rows(results)
    assert [row.standalone is None for row in table] == [i not in some for i in range(9)]
    assert table[8].standalone == verdict.standalone[0]
    assert table[8].gap == verdict.gaps[0]
    (tmp_path / "results.json").write_text(results.model_dump_json())
    assert repr(read_results(tmp_path)) == repr(results)
    assert write_report(results, tmp_path)


@pytest.mark.parametrize(("which", "message"), [([0, 0], "each once"), ([0], "9 standalone")])
def test_those_trained_alone_must_fit(
    seeds: list[SeedResults], which: list[int], message: str
) -> None:
    archs = list(nine().space)
    with pytest.raises(SpaceError, match=message):
        compare(nine(), tiny_data(), seeds[:1], alone=[archs[i] for i in which])


def test_the_ranking_by_itself_is_described(results: Results, seeds: list[SeedResults]) -> None:
    ranking = results.ranking
    assert ranking
    assert ranking.samples == 12
    means = np.mean([seed.supernet.validation.mean(axis=1) for seed in seeds], axis=0)
    assert [e.value for e in ranking.validation] == pytest.approx(means.tolist())
    assert ranking.test
    assert ranking.drift_tau is not None  # there are two epochs
    for arch in results.architectures:
        assert arch.layers == 3 + sum(map(int, arch.options.values()))


def test_losses_of_the_trials_rank_if_there_are_any(
    results: Results, seeds: list[SeedResults]
) -> None:
    by_loss = results
    assert by_loss.ranking
    assert by_loss.ranking.ranked_by == "loss"
    assert by_loss.verdict
    assert by_loss.ranking.losses
    losses = [seed.supernet.validation_losses for seed in seeds]
    means = np.mean([each.mean(axis=1) for each in losses if each is not None], axis=0)
    assert [e.value for e in by_loss.ranking.losses] == pytest.approx(means.tolist())
    order = sorted(range(9), key=lambda i: means[i])
    assert by_loss.verdict.picked == by_loss.architectures[order[0]].label
    assert [row.one_shot_rank for row in rows(by_loss)] == [order.index(i) + 1 for i in range(9)]
    by_score = compare(nine(), tiny_data(), seeds, rank_by="score")
    assert by_score.verdict
    assert by_score.verdict.ranked_by == "score"
    assert by_score.verdict.tau_by.keys() == by_loss.verdict.tau_by.keys() == {"score", "loss"}
    without = [
        dataclasses.replace(
            seed, supernet=dataclasses.replace(seed.supernet, validation_losses=None)
        )
        for seed in seeds
    ]
    neither = compare(nine(), tiny_data(), without).ranking
    assert neither
    assert neither.ranked_by == "score"
    with pytest.raises(SettingsError, match="no losses to rank by"):
        compare(nine(), tiny_data(), without, rank_by="loss")


@pytest.mark.parametrize("rank_by", ["score", "loss"])
def test_a_ranking_may_lean_to_larger_networks(
    seeds: list[SeedResults],
    rank_by: Literal["score", "loss"],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = compare(nine(), tiny_data(), seeds, rank_by=rank_by)
    leant = compare(nine(), tiny_data(), seeds, rank_by=rank_by, lean=1e6)
    some = list(nine().space)[2:6]
    of_some = [dataclasses.replace(seed, standalone=tuple(seed.standalone[2:6])) for seed in seeds]
    of_four = compare(nine(), tiny_data(), of_some, rank_by=rank_by, lean=1e6, alone=some)
    for found in (leant, of_four):
        assert found.ranking
        assert found.verdict
        assert found.ranking.leaning
        table = rows(found)
        by_size = sorted(table, key=lambda row: -row.macs)
        assert [row.one_shot_rank for row in by_size] == list(range(1, 10))
        assert found.ranking.picked == by_size[0].label
        assert ranked_by(found) == (
            f"validation {'loss' if rank_by == 'loss' else 'accuracy'}, leaning to larger networks"
        )
    assert leant.verdict
    assert plain.verdict
    assert plain.ranking
    assert leant.verdict.tau.value == pytest.approx(plain.verdict.macs_tau.value)
    assert leant.verdict.tau_by[rank_by].value == pytest.approx(plain.verdict.tau.value)
    if rank_by == "score":  # one is enough to be drawn, which takes seconds
        monkeypatch.setattr(collection, "render_all", lambda results: {})
    page, *_ = write_report(leant, tmp_path)
    name = "loss" if rank_by == "loss" else "accuracy"
    assert f"Kendall tau by {name}, without the lean" in page.read_text("utf-8")
    assert plain.ranking.leaning is None
    upright = compare(nine(), tiny_data(), seeds, rank_by=rank_by, lean=0.0).ranking
    assert repr(upright) == repr(plain.ranking)  # they have NaN
    with pytest.raises(SettingsError, match="lean is -1"):
        compare(nine(), tiny_data(), seeds, rank_by=rank_by, lean=-1)


def test_there_must_be_something_to_compare() -> None:
    with pytest.raises(DataError, match="no trials to compare"):
        compare(nine(), tiny_data(), [])


def test_architectures_and_network_carry_their_costs() -> None:
    supernet, shape = nine(), (1, 8, 8)
    records = describe_architectures(supernet, shape)
    for record, arch in zip(records, supernet.space, strict=True):
        assert record.label == arch.label
        assert record.options == dict(arch)
        assert record.params == count_params(extract(supernet, arch))
        assert record.macs == count_macs(supernet, arch, shape)
    network = describe_network(supernet, shape)
    assert network.params == count_params(supernet) == records[-1].params
    assert network.macs_apart == sum(record.macs for record in records)
    assert network.macs_largest == records[-1].macs
    assert network.macs_largest < network.macs_shared < network.macs_apart
    assert [(choice.name, choice.options) for choice in network.choices] == [
        ("block1.depth", [1, 2, 3]),
        ("block2.depth", [1, 2, 3]),
    ]
    assert len(network.stages) == 6


def test_the_conditions_are_those_of_this_machine(results: Results) -> None:
    conditions = results.conditions
    assert set(conditions.versions) == {"supernet", "torch", "numpy", "scipy", "python"}
    assert all(conditions.hardware.values())
    assert (conditions.threads, conditions.workers) == (1, 1)
    assert conditions.cpu_s > 0
    assert conditions.wall_s == pytest.approx(sum(p.wall_s for p in results.ledger))
    assert conditions.started.endswith("+00:00")
