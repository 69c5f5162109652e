"""Made-up results that look like real ones, for tests of everything that reads records."""

import itertools
import math
import random
from collections.abc import Sequence

from supernet.records import (
    ArchitectureRecord,
    ChoiceRecord,
    Conditions,
    DataRecord,
    Epoch,
    Estimate,
    NetworkRecord,
    Phase,
    Results,
    SeedRecord,
    Stage,
    Training,
    Verdict,
)

#: What names of folders, choices, options and networks may try.
ATTACKS = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "template": "{{ 7 * 7 }}{% raw %}",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(1)",
    "tab and lines": "\ta\r\n=1+1\x0b\x85\u2028b",
    "zero": "a\0b",
    "escape codes": "\x1b]0;owned\x07\x1b[2J",
    "300 characters": "W" * 300,
    "300 words": "ab " * 100,
    "way out": "../../../out",
    "absolute": "/etc/passwd",
    "right to left": "a\u202egnp.exe\u2066",
    "other letters": "\u6f22\u5b57 \u05d0\u05d1 \U0001f600",
    "no letters": "\ufffe\U0010ffff",
    "math": "$x^{2}_\\frac$ $\\oops{",
    "comment": "--><script>-->]]>&#60;",
    "rich": "[red]a[/]",
    "nothing": "",
}

PIXELS = (28 * 28, 14 * 14)


def sample_results(
    *,
    seeds: int = 1,
    epochs: int = 3,
    depths: Sequence[int] = (3, 3),
    longer: bool = False,
    standalone: bool = True,
    verdict: bool = True,
    spread: float = 1.0,
    label: str = "({})",
) -> Results:
    """Return results of a space with one variable-length block per entry of `depths`.

    `spread` scales the differences between architectures (0.1: within 0.3 points), `label` is a
    format for what is unusual about the names.
    """
    archs = [tuple(a) for a in itertools.product(*(range(1, d + 1) for d in depths))]
    records = [_architecture(a, label) for a in archs]
    rng = random.Random(f"{seeds} {epochs} {depths} {spread}")
    trained = [
        SeedRecord(
            seed=seed,
            supernet=_training([_skill(a, spread, 0.984) for a in archs], epochs, 0.12, rng),
            standalone=[
                _training([_skill(a, 0.7 * spread, 0.991)], epochs, 0.08, rng) for a in archs
            ]
            if standalone
            else [],
            longer=_training([_skill(a, spread, 0.988) for a in archs], 2 * epochs, 0.1, rng)
            if longer
            else None,
        )
        for seed in range(seeds)
    ]
    network = _network(depths, records)
    ledger = _ledger(records, network, trained, epochs)
    return Results(
        conditions=_conditions(ledger),
        settings={
            "epochs": epochs,
            "batch_size": 128,
            "supernet_rate": 0.3,
            "standalone_rate": 0.1,
            "momentum": 0.9,
            "seeds": list(range(seeds)),
            "augment": False,
            "limit": None,
        },
        data=DataRecord(
            name="MNIST",
            classes=10,
            train=55_000,
            validation=5_000,
            test=10_000,
            calibration=2_048,
            shape=(1, 28, 28),
            sha256={f"{part}-images": "0123456789abcdef" * 4 for part in ("train", "test")},
        ),
        network=network,
        architectures=records,
        seeds=trained,
        ledger=ledger,
        verdict=_verdict(records, trained, ledger, longer) if verdict and standalone else None,
    )


def attacked(attack: str) -> Results:
    """Return results in which an attack stands wherever a name may stand."""
    record = sample_results(epochs=2, depths=(2, 2)).model_dump()
    record["architectures"] = [
        arch | {"label": f"{attack}{i}" if i else attack}
        for i, arch in enumerate(record["architectures"])
    ]
    names = {f"block{i}.depth": f"{attack}{i or ''}" for i in (1, 2)}
    for choice in record["network"]["choices"]:
        choice["name"] = names[choice["name"]]
    for arch in record["architectures"]:
        arch["options"] = {names[name]: option for name, option in arch["options"].items()}
    for stage in record["network"]["stages"]:
        stage["name"] = names.get(stage["name"], attack)
        stage["blocks"] = [attack for _ in stage["blocks"]]
    record["network"]["name"] = record["data"]["name"] = attack
    record["data"]["sha256"] = {attack: attack}
    record["settings"] |= {attack: attack, "learning_rate": attack}
    record["conditions"] |= {"command": attack, "hardware": {attack: attack}}
    record["verdict"]["picked"] = record["verdict"]["best"] = attack
    record["verdict"]["sentences"] = [attack]
    record["verdict"]["failed"] = {"standalone_test": [attack]}
    for phase in record["ledger"]:
        phase["name"] = attack
    return Results.model_validate(record)


def with_failures(
    results: Results,
    *,
    one_shot: Sequence[int] = (),
    test: Sequence[int] = (),
    alone: Sequence[int] = (),
) -> Results:
    """Return the results as they would be had some evaluations failed under the last seed.

    Of the networks numbered in `one_shot` all within the supernet, in `test` those on the test
    images, in `alone` those of the standalone networks.
    """
    last = results.seeds[-1]
    changed = last.model_copy(
        update={
            "supernet": _failing(last.supernet, one_shot, [*one_shot, *test]),
            "longer": last.longer and _failing(last.longer, one_shot, [*one_shot, *test]),
            "standalone": [
                _failing(training, [0], [0]) if i in alone else training
                for i, training in enumerate(last.standalone)
            ],
        }
    )
    return results.model_copy(
        update={
            "seeds": [*results.seeds[:-1], changed],
            "verdict": results.verdict
            and _failed_verdict(results, results.verdict, one_shot, test, alone),
        }
    )


def _failing(training: Training, validation: Sequence[int], test: Sequence[int]) -> Training:
    def bad(scores: list[float], which: Sequence[int]) -> list[float]:
        return [math.nan if i in which else score for i, score in enumerate(scores)]

    last = training.epochs[-1]
    ended = last.model_copy(update={"validation": bad(last.validation, validation)})
    return training.model_copy(
        update={
            "epochs": [*training.epochs[:-1], ended],
            "validation": ended.validation,
            "test": bad(training.test, test),
        }
    )


def _failed_verdict(
    results: Results,
    verdict: Verdict,
    one_shot: Sequence[int],
    test: Sequence[int],
    alone: Sequence[int],
) -> Verdict:
    nothing = Estimate(value=math.nan, low=math.nan, high=math.nan)
    labels = [arch.label for arch in results.architectures]

    def without(estimates: list[Estimate], which: Sequence[int]) -> list[Estimate]:
        return [nothing if i in which else estimate for i, estimate in enumerate(estimates)]

    failed = {
        name: [labels[i] for i in which]
        for name, which in (
            ("one_shot_validation", one_shot),
            ("one_shot_test", [*one_shot, *test]),
            ("standalone_test", alone),
        )
        if which
    }
    left = {"picked": [*one_shot], "best": [*alone]}
    return verdict.model_copy(
        update={
            "one_shot": without(verdict.one_shot, [*one_shot, *test]),
            "standalone": without(verdict.standalone, alone),
            "gaps": without(verdict.gaps, [*one_shot, *test, *alone]),
            "failed": failed,
            "sentences": [*verdict.sentences, f"Evaluations failed: {failed}."],
        }
        | {
            name: next(label for i, label in enumerate(labels) if i not in which)
            for name, which in left.items()
        }
    )


def _skill(arch: tuple[int, ...], spread: float, top: float) -> float:
    return top - spread * sum(0.012 * 0.45**depth for depth in arch)


def _training(tops: list[float], epochs: int, start: float, rng: random.Random) -> Training:
    def score(top: float, epoch: int, noise: float) -> float:
        return round((top - start * math.exp(-1.1 * epoch) + rng.gauss(0, noise)) * 5000) / 5000

    history = [
        Epoch(
            epoch=e,
            loss=1.5 * math.exp(-0.8 * e) + 0.02,
            validation=[
                score(top + 0.5 * start * math.exp(-1.1 * epochs), e, 8e-4) for top in tops
            ],
        )
        for e in range(1, epochs + 1)
    ]
    test = [round(v * 10_000 + rng.gauss(0, 6)) / 10_000 for v in history[-1].validation]
    return Training(epochs=history, validation=history[-1].validation, test=test)


def _architecture(arch: tuple[int, ...], label: str) -> ArchitectureRecord:
    params, macs = 2_500, 600_000
    for i, depth in enumerate(arch):
        channels, pixels = (64, PIXELS[0]) if i == 0 else (32, PIXELS[1])
        params += depth * (9 * channels**2 + 3 * channels)
        macs += depth * 9 * channels**2 * pixels
    return ArchitectureRecord(
        label=label.format(", ".join(map(str, arch))),
        options={f"block{i + 1}.depth": depth for i, depth in enumerate(arch)},
        params=params,
        macs=macs,
    )


def _network(depths: Sequence[int], records: list[ArchitectureRecord]) -> NetworkRecord:
    stages = [Stage(kind="layer", name="stem", blocks=["conv 3\u00d73 1\u219264, bn, relu"])]
    for i, depth in enumerate(depths):
        channels = 64 if i == 0 else 32
        if i == 1:
            stages.append(
                Stage(kind="layer", name="down", blocks=["conv 3\u00d73 /2 64\u219232, bn, relu"])
            )
        block = f"conv 3\u00d73 {channels}\u2192{channels}, bn, relu"
        stages.append(Stage(kind="depth", name=f"block{i + 1}.depth", blocks=[block] * depth))
    stages.append(Stage(kind="layer", name="head", blocks=["average pool", "linear 32\u219210"]))
    macs = [record.macs for record in records]
    return NetworkRecord(
        name="MNIST space",
        choices=[
            ChoiceRecord(name=f"block{i + 1}.depth", options=list(range(1, depth + 1)))
            for i, depth in enumerate(depths)
        ],
        stages=stages,
        params=max(record.params for record in records),
        macs_apart=sum(macs),
        macs_shared=min(round(1.19 * max(macs)), sum(macs)),
        macs_largest=max(macs),
    )


def _conditions(ledger: list[Phase]) -> Conditions:
    return Conditions(
        command="supernet compare --epochs 3",
        started="2026-07-14T09:30:00+00:00",
        versions={"python": "3.12.11", "torch": "2.13.0+cpu", "supernet": "0.1.0"},
        hardware={"cpu": "two AVX2 cores", "memory": "15.6 GiB"},
        threads=1,
        workers=2,
        wall_s=0.55 * sum(phase.wall_s for phase in ledger),
        cpu_s=1.01 * sum(phase.cpu_s for phase in ledger),
    )


def _ledger(
    records: list[ArchitectureRecord],
    network: NetworkRecord,
    trained: list[SeedRecord],
    epochs: int,
) -> list[Phase]:
    phases = [_phase("read the data", "data", "all", None, None, 1.2, 70_000, 0)]
    for record in trained:
        seed, images = record.seed, 55_000 * epochs
        work = 3 * images * network.macs_shared
        phases.append(
            _phase("train", "training", "supernet", seed, None, 290.0 * epochs, images, work)
        )
        for kind, share in (("recalibration", 0.02), ("scoring", 0.05)):
            s = 290.0 * epochs * share
            phases.append(_phase(kind, kind, "supernet", seed, None, s, 10_000, work // 50))
        if record.longer:
            phases.append(
                _phase(
                    "train", "training", "longer", seed, None, 580.0 * epochs, 2 * images, 2 * work
                )
            )
        for arch in records if record.standalone else []:
            s = epochs * (30 + 240 * arch.macs / network.macs_largest) * (1 + 0.02 * seed)
            work = 3 * images * arch.macs
            phases.append(
                _phase("train", "training", "standalone", seed, arch.label, s, images, work)
            )
            phases.append(
                _phase(
                    "score", "scoring", "standalone", seed, arch.label, 0.04 * s, 15_000, work // 40
                )
            )
    return phases


def _phase(
    name: str,
    kind: str,
    subject: str,
    seed: int | None,
    arch: str | None,
    cpu_s: float,
    images: int,
    macs: int,
) -> Phase:
    return Phase.model_validate(
        {
            "name": name,
            "kind": kind,
            "subject": subject,
            "seed": seed,
            "arch": arch,
            "wall_s": cpu_s / 1.9,
            "cpu_s": cpu_s,
            "images": images,
            "macs": macs,
        }
    )


def _verdict(
    records: list[ArchitectureRecord], trained: list[SeedRecord], ledger: list[Phase], longer: bool
) -> Verdict:
    n = range(len(records))
    one_shot = [_proportion([s.supernet.test[i] for s in trained]) for i in n]
    alone = [_proportion([s.standalone[i].test[0] for s in trained]) for i in n]
    gaps = [_around(a.value - b.value, 0.0018) for a, b in zip(one_shot, alone, strict=True)]
    validation = [_mean([s.supernet.validation[i] for s in trained]) for i in n]
    picked = max(n, key=validation.__getitem__)
    best = max(n, key=lambda i: alone[i].value)
    mean_gap = _around(_mean([gap.value for gap in gaps]), 0.0009)
    tau = _tau(validation, [a.value for a in alone])
    ratio = _cpu(ledger, "standalone") / _cpu(ledger, "supernet")
    ranking = (
        f"The shared weights rank the {len(records)} architectures much as training each on its "
        f"own does: Kendall tau {tau:.2f} "
        f"(95 % interval {tau - 0.2:.2f} to {min(tau + 0.2, 1):.2f})."
        if math.isfinite(tau)
        else "One architecture has no ranking: can't tell."
    )
    return Verdict(
        networks=len(records),
        seeds=len(trained),
        validation_images=5_000,
        test_images=10_000,
        tau=_correlation(tau, 0.2),
        tau_p=0.004 if math.isfinite(tau) else math.nan,
        spearman=_correlation(tau, 0.15),
        chance_tau=0.5,
        ceiling_tau=_correlation(0.9, 0.08) if len(trained) > 1 else None,
        macs_tau=_correlation(0.78, 0.15),
        picked=records[picked].label,
        best=records[best].label,
        regret=_around(alone[best].value - alone[picked].value, 0.001),
        mean_gap=mean_gap,
        gaps=gaps,
        longer_gap=_around(mean_gap.value + 0.004, 0.0008) if longer else None,
        one_shot=one_shot,
        standalone=alone,
        cost_ratio=ratio,
        cost_ratio_range=(ratio - 0.1, ratio + 0.1),
        breakeven=2.0,
        sentences=[
            ranking,
            f"The architecture they pick, {records[picked].label}, loses "
            f"{100 * (alone[best].value - alone[picked].value):.2f} points to the best one.",
            f"The supernet took {ratio:.1f} times less CPU time than the standalone trainings "
            "together.",
        ],
    )


def _proportion(values: list[float]) -> Estimate:
    value = _mean(values)
    return _around(value, 1.96 * math.sqrt(value * (1 - value) / 10_000 / len(values)))


def _around(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def _correlation(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0))


def _cpu(ledger: list[Phase], subject: str) -> float:
    return sum(
        phase.cpu_s for phase in ledger if (phase.kind, phase.subject) == ("training", subject)
    )


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _tau(a: list[float], b: list[float]) -> float:
    pairs = list(itertools.combinations(range(len(a)), 2))
    signs = [(a[i] - a[j]) * (b[i] - b[j]) for i, j in pairs]
    return sum((s > 0) - (s < 0) for s in signs) / len(pairs) if pairs else math.nan
