"""Conditions of a measurement, as sentences."""

from __future__ import annotations

from supernet.records import Results
from supernet.report.wording import brief, several

_SETTINGS = {
    "seconds": "CPU seconds of the supernet",
    "epochs": "epochs",
    "batch_size": "batch",
    "learning_rate": "learning rate",
    "supernet_rate": "learning rate: supernet",
    "standalone_rate": "standalone",
}


def seeds(results: Results) -> str:
    """Say over how many seeds a number was averaged."""
    n = len(results.seeds)
    return "one seed" if n == 1 else f"mean of {several(n, 'seed')}"


def training(results: Results) -> str:
    """Say how the networks were trained, as far as the settings tell."""
    known = {key: value for key, value in results.settings.items() if value is not None}
    if "seconds" in known and not any(seed.standalone for seed in results.seeds):
        known.pop("epochs", None)  # which nothing was trained for
    found = [f"{name} {brief(str(known[key]))}" for key, name in _SETTINGS.items() if key in known]
    return ", ".join([f"{results.data.train:,} training images", *found])


def everything(results: Results, images: str, n: int) -> str:
    """Say what a figure was measured on: data, images, seeds and training."""
    parts = [
        f"{brief(results.data.name)}: {n:,} {images} images",
        seeds(results),
        training(results),
    ]
    return "; ".join(parts) + "."


def caveats(results: Results) -> list[str]:
    """Return, as sentences, what a reader of the results must know about how they came to be."""
    found = []
    if mismatches := results.conditions.mismatches:
        found.append(
            "This run was stopped, and resumed although not everything was as before: "
            f"{'; '.join(mismatches)}."
        )
    trainings = [
        (subject, seed.seed, training)
        for seed in results.seeds
        for subject, own in (
            ("the supernet", [seed.supernet]),
            ("the longer supernet", [seed.longer] if seed.longer else []),
            ("the standalone networks", seed.standalone),
        )
        for training in own
    ]
    for field, what in (
        ("skipped", "steps were skipped"),
        ("rollbacks", "returns were made to the beginning of an epoch"),
    ):
        amounts: dict[str, int] = {}
        for subject, seed, training in trainings:
            if number := getattr(training, field):
                name = f"{subject} of seed {seed}"
                amounts[name] = amounts.get(name, 0) + number
        if amounts:
            of = ", ".join(f"{number} of {name}" for name, number in amounts.items())
            found.append(f"Because a loss or gradient was not a finite number, {what}: {of}.")
    return found
