"""Samplers: which architectures a training step draws.

`every`, `subtree`, `Fair` and `Sandwich` train several architectures on each batch, in one shared
pass: a richer step that costs more. `uniform` and `uniform_options` train one. `Split` trains
several at the price of one, each on a part of the batch. More architectures per step mean fewer
steps in the same time; docs/experiments.md says where we found which to win.

A sampler is a function of the space and a generator. One that changes as the training proceeds has
a method `at` instead, which returns such a function for every point of the training: `Shrinking`,
`Phases`. What combines with what is in docs/training-rules.md.
"""

from supernet.training.samplers.balanced import Fair, Split
from supernet.training.samplers.costs import parts_of, training_macs
from supernet.training.samplers.draws import (
    AnySampler,
    Draw,
    Prior,
    Sampler,
    Staged,
    name_of,
    sampler_at,
)
from supernet.training.samplers.naming import SAMPLERS, default_sampler, make_sampler
from supernet.training.samplers.paths import (
    MOST_AT_ONCE,
    Sandwich,
    every,
    largest,
    uniform,
    uniform_options,
)
from supernet.training.samplers.sizes import (
    ArchitectureSize,
    Favoring,
    Ordering,
    Pacing,
    Power,
    SizeKind,
    make_size,
)
from supernet.training.samplers.stages import Phases, Shrinking, Weighted, WithLargest, warm_up
from supernet.training.samplers.subtrees import Subtree, make_subtree

__all__ = [
    "MOST_AT_ONCE",
    "SAMPLERS",
    "AnySampler",
    "ArchitectureSize",
    "Draw",
    "Fair",
    "Favoring",
    "Ordering",
    "Pacing",
    "Phases",
    "Power",
    "Prior",
    "Sampler",
    "Sandwich",
    "Shrinking",
    "SizeKind",
    "Split",
    "Staged",
    "Subtree",
    "Weighted",
    "WithLargest",
    "default_sampler",
    "every",
    "largest",
    "make_sampler",
    "make_size",
    "make_subtree",
    "name_of",
    "parts_of",
    "sampler_at",
    "training_macs",
    "uniform",
    "uniform_options",
    "warm_up",
]
