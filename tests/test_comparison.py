import dataclasses
from typing import Any

import numpy as np
import pytest

from supernet.agreement import Costs, Hits, judge
from supernet.comparison import Seed, compare, describe_architectures, describe_network, hits_of
from supernet.cost import count_macs, count_params
from supernet.datasets import ImageData
from supernet.errors import DataError, SpaceError
from supernet.records import Phase, Results
from supernet.subnet import extract
from supernet.supernet import Supernet
from supernet.training import Recipe
from supernet.trials import Trial, train
from tests.conftest import nine, tiny_data

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.1)


def run(supernet: Supernet, seed: int, **settings: Any) -> Trial:
    return train(supernet, tiny_data(), RECIPE, seed=seed, calibration_images=10, **settings)


def some_seed(seed: int) -> Seed:
    """Everything trained under one seed."""
    return Seed(
        seed=seed,
        supernet=run(nine(seed=seed), seed),
        standalone=[run(Supernet(extract(nine(seed=seed), arch)), seed) for arch in nine().space],
        longer=run(nine(seed=seed), seed, subject="longer"),
    )


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return [some_seed(0), some_seed(3)]


@pytest.fixture(scope="module")
def results(seeds: list[Seed]) -> Results:
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


def test_results_are_made_of_the_trials(results: Results, seeds: list[Seed]) -> None:
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


def test_the_ledger_says_whose_every_line_is(results: Results, seeds: list[Seed]) -> None:
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


def test_the_verdict_is_on_the_trials(results: Results, seeds: list[Seed]) -> None:
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


def test_the_verdict_gets_the_costs_right(results: Results, seeds: list[Seed]) -> None:
    def seconds(trial: Trial, kind: str) -> float:
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
        Hits(**hits_of(seeds)),
        costs,
        labels=[arch.label for arch in nine().space],
        macs=[count_macs(nine(), arch, (1, 8, 8)) for arch in nine().space],
        rng=np.random.default_rng(0),
    )
    assert results.verdict
    assert results.verdict.breakeven == pytest.approx(expected.breakeven)
    left_out = {"breakeven"}
    ours = results.verdict.model_dump(exclude=left_out)
    assert repr(ours) == repr(expected.model_dump(exclude=left_out))


def test_hits_are_by_seed_architecture_and_image(seeds: list[Seed]) -> None:
    hits = hits_of(seeds)
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
    assert "longer_test" not in hits_of([seeds[0], dataclasses.replace(seeds[1], longer=None)])


def test_without_standalone_networks_there_is_no_verdict(seeds: list[Seed]) -> None:
    alone = [dataclasses.replace(seed, standalone=(), longer=None) for seed in seeds]
    results = compare(nine(), tiny_data(), alone)
    assert results.verdict is None
    assert [(record.standalone, record.longer) for record in results.seeds] == [([], None)] * 2
    assert {phase.subject for phase in results.ledger} == {"supernet"}
    assert Results.model_validate_json(results.model_dump_json()) == results
    assert results.settings == dataclasses.asdict(RECIPE)
    assert results.conditions.wall_s == pytest.approx(sum(p.wall_s for p in results.ledger))


@pytest.mark.parametrize("count", [1, 8, 10])
def test_one_standalone_trial_per_architecture(seeds: list[Seed], count: int) -> None:
    trials = [*seeds[0].standalone, seeds[0].standalone[0]][:count]
    wrong = dataclasses.replace(seeds[0], standalone=trials)
    with pytest.raises(SpaceError, match=rf"seed 0 has {count} standalone trials; .*\(1, 1\)"):
        compare(nine(), tiny_data(), [wrong])


def test_a_supernet_is_no_standalone_network(seeds: list[Seed]) -> None:
    trials = [seeds[0].supernet, *seeds[0].standalone[1:]]
    with pytest.raises(SpaceError, match="one of a plain network for each"):
        compare(nine(), tiny_data(), [dataclasses.replace(seeds[0], standalone=trials)])


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
