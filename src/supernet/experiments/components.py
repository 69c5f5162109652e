"""Data, network, recipe and sampler, made from settings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from supernet.datasets import ImageData, load_folder, load_mnist
from supernet.errors import DataError, SettingsError
from supernet.evaluation.cost import empty_batch
from supernet.experiments.settings import DataSettings, Settings, require_images
from supernet.experiments.userdata import take_data
from supernet.networks.named import NamedNetwork, build_network
from supernet.nn.supernet import Supernet
from supernet.records import ACCURACY, Measure
from supernet.runs.functions import call_function, load_function, parse_function, source_sha256
from supernet.runs.launch import find_launch
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture, SearchSpace
from supernet.tasks import Task, make_task
from supernet.training.data import form_of_samples
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler, default_sampler, make_sampler
from supernet.training.scored import choose_scored

#: The kinds of networks of a run; their places are part of the seeds of initial weights.
KINDS = ("supernet", "longer", "standalone")


@functools.lru_cache(maxsize=1)
def load_data(settings: DataSettings) -> ImageData:
    """Return the data that the settings name, as few of them as they say.

    The last are kept for the next call.

    Raises:
        DataError: If they are missing or damaged, or there are too few.
    """
    return limit_data(settings, load_whole(settings))


def limit_data(settings: DataSettings, data: ImageData) -> ImageData:
    """Return as few of the data as the settings say, and changed at random as they say.

    Raises:
        DataError: If there are too few.
    """
    there, held = len(data.train), len(data.validation)
    require_images(settings.train_images, there)
    data = data.limit(
        train=settings.train_images,
        validation=min(settings.validation_images or held, held),
        test=settings.test_images,
    )
    if not (settings.crop or settings.flip or settings.cutout):
        return data
    return data.augmented(crop=settings.crop, flip=settings.flip, cutout=settings.cutout)


def fit_counts(settings: Settings, whole: ImageData) -> Settings:
    """Return the settings with counts that the data have: `all`, and what is only a most."""
    data, there = settings.data, len(whole.train)
    train = data.train_images
    if train is not None and "train_images" in data.at_most:
        train = min(train, there)
    calibration, most = data.calibration_images, min(train or there, there)
    if calibration is None or "calibration_images" in data.at_most:
        calibration = min(calibration or most, most)
    if (train, calibration) == (data.train_images, data.calibration_images):
        return settings
    return settings.but(train_images=train, calibration_images=calibration)


def load_whole(settings: DataSettings) -> ImageData:
    """Return all of the data that the settings name.

    Raises:
        DataError: If they are missing or damaged.
    """
    source = settings.source
    name = parse_function(source, DataError) if source else None
    if source is not None and name is None:
        return load_folder(source, resize=settings.resize, resize_by=settings.resize_by)
    if settings.resize is not None:
        raise DataError("only pictures in a folder are scaled; leave out --resize")
    if name is None:
        return load_mnist()
    data = call_function(name, load_function(name), offered={}, arguments={}, option="--data")
    return cast(ImageData, take_data(str(name), data))  # it has the same methods


def sources_of(settings: Settings) -> dict[str, str]:
    """Return the SHA-256 of the user's source files that give data and task, by name."""
    names = [
        parse_function(settings.data.source or "", DataError),
        parse_function(settings.run.task, SettingsError),
    ]
    return {k: v for name in names if name for k, v in source_sha256(name).items()}


def task_of(settings: Settings) -> Task | None:
    """Return the task of the settings; None for plain classification.

    Raises:
        SettingsError: If there is no such task, or its function returns something else.
    """
    wanted = settings.run.task
    if wanted == "classification":
        return None  # which knows of the recipe's label smoothing
    name = parse_function(wanted, SettingsError)
    if name is None:
        return make_task(wanted)
    task = call_function(name, load_function(name), offered={}, arguments={}, option="--task")
    if not isinstance(task, Task):
        raise SettingsError(
            f"{name} gives a value of type {type(task).__name__}; it must be a subclass of "
            "supernet.Task, or a function that returns a task"
        )
    return task


def measure_of(settings: Settings) -> Measure:
    """Return what the scores of a run are called, and their unit."""
    task = task_of(settings)
    return ACCURACY if task is None else task.measure


def build_named(
    settings: Settings,
    *,
    shape: Sequence[int],
    classes: int | None,
    seed: int,
    example: Any = None,
) -> NamedNetwork:
    """Return the network of the settings, its weights initialized from `seed`.

    Args:
        settings: Of the run.
        shape: Of one sample, or of the first tensor of one.
        classes: How many there are; None or 0 if that makes no sense.
        seed: Of the weights.
        example: Some inputs, if they are anything else than one floating-point tensor.

    Raises:
        NetworkError: If it can't be had.
    """
    return build_network(
        settings.network.wanted, shape=shape, classes=classes or None, seed=seed, example=example
    )


def example_of(data: ImageData) -> Any:
    """Return some inputs of data that are anything else than one floating-point tensor, or None."""
    return getattr(data, "example", None)


def initial_seed(seed: int, kind: str, arch: int | None) -> int:
    """Return the seed of initial weights: every network of a run starts from weights of its own.

    Args:
        seed: The seed that all trainings of one repetition share.
        kind: One of `KINDS`.
        arch: The number of a standalone network's architecture in its space.
    """
    entropy = (seed, KINDS.index(kind), arch or 0)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1


def scored_of(settings: Settings, space: SearchSpace) -> tuple[Architecture, ...]:
    """Return the architectures that a run scores: the same ones under each of its seeds."""
    return choose_scored(space, settings.run.score, settings.run.seed)


def device_of(settings: Settings, ranks: Ranks = ALONE) -> str:
    """Return the device of the settings, `auto` resolved.

    Args:
        settings: Of the run.
        ranks: Who trains together: each on a GPU of its own, if they are wanted.

    Raises:
        SettingsError: If there is no such device here, or not one for every rank.
    """
    wanted = settings.run.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    _require_device(wanted)
    if not ranks.several or not wanted.startswith("cuda"):
        return wanted
    launched, there = find_launch(), torch.cuda.device_count()
    own = ranks.rank if launched is None else launched.local
    if wanted != "cuda" or own >= there:
        raise SettingsError(
            f"device is {wanted!r}, and rank {ranks.rank} of {ranks.size} needs a GPU of its own "
            f"of the {there} here; give --device cuda, and start as many ranks as there are GPUs"
        )
    return f"cuda:{own}"


def _require_device(wanted: str) -> None:
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": _has_mps(), "meta": False}
    if not there.get(kind, False):
        have = ", ".join(name for name, is_there in there.items() if is_there)
        raise SettingsError(f"device is {wanted!r}; here there is {have}")


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def recipe_of(
    settings: Settings, *, standalone: bool, epochs: int, seconds: float | None = None
) -> Recipe:
    """Return how a network is trained: for so many epochs, or for seconds, if there are some."""
    rate = settings.run.standalone_rate if standalone else None
    return replace(
        settings.recipe,
        epochs=epochs,
        seconds=seconds,
        learning_rate=settings.recipe.learning_rate if rate is None else rate,
    )


def sampler_of(settings: Settings, supernet: Supernet, data: ImageData) -> AnySampler:
    """Return the sampler of the settings.

    Raises:
        SettingsError: If there is none such for this space.
    """
    wanted, x = settings.sampler, empty_batch(form_of_samples(data))
    name = wanted.name or default_sampler(supernet, x)
    if settings.recipe.compile and name != "every":
        raise SettingsError(
            f"compile needs the same architectures in every step, and the sampler {name}, which "
            "fits this space, draws others; leave compile out"
        )
    return make_sampler(
        name,
        supernet,
        x,
        budget=wanted.budget,
        paths=wanted.paths,
        order=tuple(part.strip() for part in wanted.order.split(",")),
        largest_first=wanted.largest_first,
        with_largest=settings.recipe.distill,
        favor=wanted.favor,
        weigh=wanted.weigh,
        power=wanted.power,
        pace=wanted.pace,
        decay=wanted.decay,
        prior=wanted.prior,
        prior_weight=wanted.prior_weight,
    )
