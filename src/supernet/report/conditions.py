"""The conditions a number was measured under, as sentences for captions and notes."""

from __future__ import annotations

from supernet.records import Results
from supernet.report.wording import brief, several

_SETTINGS = {
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
    found = [
        f"{name} {brief(str(results.settings[key]))}"
        for key, name in _SETTINGS.items()
        if key in results.settings
    ]
    return ", ".join([f"{results.data.train:,} training images", *found])


def everything(results: Results, images: str, n: int) -> str:
    """Say what a figure was measured on: data, images, seeds and training."""
    parts = [
        f"{brief(results.data.name)}: {n:,} {images} images",
        seeds(results),
        training(results),
    ]
    return "; ".join(parts) + "."
