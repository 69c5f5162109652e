"""From settings to what they stand for: data, network, recipe, sampler."""

from __future__ import annotations

import functools

from supernet.datasets import ImageData, load_folder, load_mnist
from supernet.evaluation.cost import empty_batch
from supernet.experiments.settings import Settings
from supernet.networks.zoo import build_mnist_net
from supernet.nn.supernet import Supernet
from supernet.training.samplers import AnySampler, make_sampler


@functools.lru_cache(maxsize=1)
def load_data(settings: Settings) -> ImageData:
    """Return the data that the settings name, as few of them as they say.

    The last are kept for the next call.
    """
    data = load_mnist() if settings.data is None else load_folder(settings.data)
    data = data.limit(
        train=settings.train_images,
        validation=min(settings.validation_images, len(data.validation)),
    )
    if not (settings.crop or settings.flip or settings.cutout):
        return data
    return data.augmented(crop=settings.crop, flip=settings.flip, cutout=settings.cutout)


def build_supernet(settings: Settings, data: ImageData, *, seed: int) -> Supernet:
    """Return the supernet of the settings, its weights initialized from `seed`."""
    return Supernet(
        build_mnist_net(
            seed=seed,
            classes=data.classes,
            shape=data.shape,
            widths=(settings.wide, settings.narrow),
            longest=settings.longest,
        )
    )


def sampler_of(settings: Settings, supernet: Supernet, data: ImageData) -> AnySampler:
    """Return the sampler of the settings."""
    return make_sampler(
        settings.sampler,
        supernet,
        empty_batch(data.shape),
        budget=settings.budget,
        paths=settings.paths,
        order=tuple(name.strip() for name in settings.order.split(",")),
        largest_first=settings.largest_first,
        with_largest=settings.distill,
    )
