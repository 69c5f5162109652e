"""Fine-tuning of one architecture from its weights in a supernet.

Inherited weights are a compromise between all architectures. A few epochs alone, from there, give
most of what a training from scratch would, at a fraction of its cost; how much is measured here, on
the same samples before and after.

References:
    Cai et al., "Once-for-All", ICLR 2020, arXiv:1908.09791, and Yu et al., "BigNAS", ECCV 2020,
    arXiv:2003.11142: specialized networks with and without tuning. Learning from a larger network:
    Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.errors import SettingsError
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batchnorm import evaluating, recalibrate
from supernet.evaluation.intervals import estimate_difference, estimate_share
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Estimate, Phase, Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.session import SCORING_BATCH, Data, train

Bools = NDArray[np.bool_]

#: What a fine-tuning starts with: two epochs at a tenth of the rate that supernets learn at.
DEFAULT = Recipe(epochs=2, learning_rate=0.03)


@dataclass(frozen=True)
class Tuned:
    """A network that was trained on, and what that brought, on the same test samples.

    Attributes:
        net: The network, in evaluation mode, its batch norms recalibrated.
        arch: Which architecture it is.
        inherited: The accuracy of the inherited weights, with a 95 % interval.
        tuned: That of the tuned ones.
        gain: By how much it went up, paired.
        standalone: That of the same architecture trained from scratch, if it is known.
        behind: By how much standalone is above the tuned, paired.
        phases: What it cost: time, samples and work, by kind.
        calibration_images: From how many training samples the batch norms' statistics are.
        taught: Whether it learned from the largest architecture's outputs.
    """

    net: nn.Module = field(repr=False)
    arch: Architecture
    inherited: Estimate
    tuned: Estimate
    gain: Estimate
    standalone: Estimate | None
    behind: Estimate | None
    phases: tuple[Phase, ...] = field(repr=False)
    calibration_images: int
    taught: bool

    @property
    def cpu_s(self) -> float:
        """The CPU seconds it took, scoring included."""
        return sum(phase.cpu_s for phase in self.phases)


def finetune(
    supernet: Supernet,
    arch: Architecture,
    data: Data,
    recipe: Recipe = DEFAULT,
    *,
    taught: bool = False,
    standalone: Bools | None = None,
    seed: int = 0,
    calibration_images: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Take an architecture out of a trained supernet and train it on, on its own.

    The supernet is left as it is. Both networks are scored on the test samples, once, at the end.

    Args:
        supernet: The trained supernet.
        arch: Which architecture.
        data: Training, validation and test samples.
        recipe: How to train on.
        taught: Whether it learns from what the largest architecture puts out, instead of labels.
        standalone: Which test samples the architecture gets right when trained from scratch, to
            compare with; bool, (samples,).
        seed: Of the data order.
        calibration_images: From how many training samples the batch norms' statistics are taken; by
            default 1,000, or all there are.
        watch: As for `train`.
        checkpoints: As for `train`: with the same arguments it goes on where it was killed.
        stop: As for `train`.

    Example:
        tuned = sn.finetune(supernet, best, data, sn.Recipe(epochs=2, learning_rate=0.03))
        sn.save(tuned.net, "my-model", data=data)

    Raises:
        SettingsError: If the recipe asks for distillation within the supernet.
        SpaceError: If `arch` is not in the supernet's space.

    and whatever `train` raises.
    """
    supernet.space.validate(arch)
    if recipe.distill:
        raise SettingsError(
            "distill is True; it is for supernets, whose architectures learn from the largest in "
            "the same step: for fine-tuning, give taught=True"
        )
    if calibration_images is None:
        calibration_images = min(1000, len(data.train))

    def calibrated(which: Architecture) -> nn.Module:
        net = extract(supernet, which)
        recalibrate(net, _inputs(data.train.first(calibration_images)))
        return net

    net = calibrated(arch)
    before = _hits(net, data)
    teacher = calibrated(supernet.space.largest) if taught else None
    result = train(
        Supernet(net),
        data if teacher is None else TaughtData(data, teacher),
        recipe,
        seed=seed,
        calibration_images=calibration_images,
        subject="standalone",
        job={"finetune": dict(arch), "taught": taught},
        watch=watch,
        checkpoints=checkpoints,
        stop=stop,
    )
    recalibrate(net, _inputs(data.train.first(calibration_images)))
    after = _hits(net.eval(), data)
    return Tuned(
        net=net,
        arch=arch,
        inherited=estimate_share(before),
        tuned=estimate_share(after),
        gain=estimate_difference(after, before),
        standalone=None if standalone is None else estimate_share(standalone),
        behind=None if standalone is None else estimate_difference(standalone, after),
        phases=tuple(result.phases),
        calibration_images=calibration_images,
        taught=taught,
    )


def _inputs(samples: Any) -> Iterator[Tensor]:
    return (x for x, _ in samples.batches(SCORING_BATCH))


def _hits(net: nn.Module, data: Data) -> Bools:
    hits: Bools = score_network(net, data.test.batches(SCORING_BATCH)).cpu().numpy().astype(bool)
    return hits


class TaughtData:
    """Data whose training labels are what a teacher makes of the images: probabilities.

    Args:
        data: The data.
        teacher: A plain network with statistics.
    """

    def __init__(self, data: Data, teacher: nn.Module) -> None:
        self.train = _TaughtSamples(data.train, teacher)
        self.validation, self.test, self.shape = data.validation, data.test, data.shape


class _TaughtSamples:
    def __init__(self, samples: Any, teacher: nn.Module) -> None:
        self.samples, self.teacher = samples, teacher

    def __len__(self) -> int:
        return len(self.samples)

    def first(self, count: int) -> Any:
        """Return the first samples, with their own labels."""
        return self.samples.first(count)

    def batches(self, size: int) -> Any:
        """Yield samples in order, with their own labels."""
        return self.samples.batches(size)

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield inputs in order."""
        return (x for x, _ in self.samples.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches of inputs and what the teacher makes of them."""
        for x, _ in self.samples.shuffled(batch_size, seed=seed, epoch=epoch):
            with torch.no_grad(), evaluating(self.teacher):
                soft = self.teacher(x).softmax(dim=1)
            yield x, soft
