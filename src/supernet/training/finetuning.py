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
from typing import Any, final

import torch
from torch import Tensor, nn

from supernet.errors import DataError, SettingsError
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batches import call, device_of, even_size, moved
from supernet.evaluation.batchnorm import evaluating, recalibrate
from supernet.evaluation.intervals import estimate_difference, estimate_mean
from supernet.evaluation.ranking.bootstrap import Samples
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import ACCURACY, Estimate, Measure, Phase, Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture
from supernet.tasks import Task, count_samples
from supernet.training.data import SplitData, count_batches
from supernet.training.losses import task_of
from supernet.training.recipe import Recipe
from supernet.training.session import SCORING_BATCH, train

#: What a fine-tuning starts with: two epochs at a tenth of the rate that supernets learn at.
DEFAULT = Recipe(epochs=2, learning_rate=0.03)


@dataclass(frozen=True)
class Tuned:
    """A network that was trained on, and what that brought, on the same test samples.

    Attributes:
        net: The network, in evaluation mode, its batch norms recalibrated.
        arch: Which architecture it is.
        inherited: The score of the inherited weights, with a 95 % interval; of a classifier, its
            accuracy.
        tuned: That of the tuned ones.
        gain: By how much it went up, paired.
        standalone: That of the same architecture trained from scratch, if it is known.
        behind: By how much standalone is above the tuned, paired.
        phases: What it cost: time, samples and work, by kind.
        calibration_images: From how many training samples the batch norms' statistics are.
        taught: Whether it learned from the largest architecture's outputs.
        measure: What the scores are.
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
    measure: Measure = ACCURACY

    @property
    def cpu_s(self) -> float:
        """The CPU seconds it took, scoring included."""
        return sum(phase.cpu_s for phase in self.phases)


def finetune(
    supernet: Supernet,
    arch: Architecture,
    data: SplitData,
    recipe: Recipe = DEFAULT,
    *,
    task: Task | None = None,
    taught: bool = False,
    standalone: Samples | None = None,
    seed: int = 0,
    calibration_images: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
    distributed: Ranks = ALONE,
) -> Tuned:
    """Take an architecture out of a trained supernet and train it on, on its own.

    The supernet is left as it is. Both networks are scored on the test samples, once, at the end.

    Args:
        supernet: The trained supernet.
        arch: Which architecture.
        data: Training, validation and test samples.
        recipe: How to train on.
        task: What the network is for; classification by default.
        taught: Whether it learns from what the largest architecture puts out, instead of targets.
        standalone: What the architecture scores on each test sample when trained from scratch, to
            compare with, (samples,): bool for hits.
        seed: Of the data order.
        calibration_images: From how many training samples the batch norms' statistics are taken; by
            default 1,000, or all there are.
        watch: As for `train`.
        checkpoints: As for `train`: with the same arguments it goes on where it was killed.
        stop: As for `train`.
        distributed: As for `train`; what comes before and after, all ranks do alike.

    Example:
        tuned = sn.finetune(supernet, best, data, sn.Recipe(epochs=2, learning_rate=0.03))
        sn.save(tuned.net, "my-model", data=data)

    Raises:
        DataError: If there are no test samples.
        SettingsError: If the recipe asks for distillation within the supernet, or the task doesn't
            say how to learn from a teacher.
        SpaceError: If `arch` is not in the supernet's space.

    and whatever `train` raises.
    """
    supernet.space.validate(arch)
    if recipe.distill:
        raise SettingsError(
            "distill is True; it is for supernets, whose architectures learn from the largest in "
            "the same step: for fine-tuning, give taught=True"
        )
    if data.test is None:
        raise DataError("fine-tuning is judged on test samples, and there are none; give some")
    if calibration_images is None:
        calibration_images = min(1000, len(data.train))
    judged = task_of(task, recipe)
    test = data.test

    def calibrated(which: Architecture) -> nn.Module:
        net = extract(supernet, which)
        recalibrate(net, _calibration(data.train.first(calibration_images)))
        return net

    net = calibrated(arch)
    before = _scores(net, test, judged)
    teacher = calibrated(supernet.space.largest) if taught else None
    result = train(
        Supernet(net),
        data if teacher is None else TaughtData(data, teacher),
        recipe,
        task=judged if teacher is None else Taught(judged),
        seed=seed,
        calibration_images=calibration_images,
        subject="standalone",
        job={"finetune": dict(arch), "taught": taught},
        watch=watch,
        checkpoints=checkpoints,
        stop=stop,
        distributed=distributed,
    )
    recalibrate(net, _calibration(data.train.first(calibration_images)))
    after = _scores(net.eval(), test, judged)
    return Tuned(
        net=net,
        arch=arch,
        inherited=estimate_mean(before),
        tuned=estimate_mean(after),
        gain=estimate_difference(after, before),
        standalone=None if standalone is None else estimate_mean(standalone),
        behind=None if standalone is None else estimate_difference(standalone, after),
        phases=tuple(result.phases),
        calibration_images=calibration_images,
        taught=taught,
        measure=judged.measure,
    )


def _calibration(samples: Any) -> Any:
    return samples.batches(even_size(len(samples), SCORING_BATCH))


def _scores(net: nn.Module, test: Any, task: Task) -> Samples:
    scores: Samples = score_network(net, test.batches(SCORING_BATCH), task).cpu().numpy()
    return scores


@final
@dataclass(frozen=True)
class Taught(Task):
    """A task that is learned from what a teacher puts out, and scored as always.

    Attributes:
        task: The task.
        measure: The task's.
    """

    task: Task
    measure: Measure = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "measure", self.task.measure)  # the only way in a frozen class

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss against a teacher's outputs, where targets are such."""
        if isinstance(targets, dict) and targets.keys() == {TEACHER}:
            return self.task.distill(outputs, targets[TEACHER])
        return self.task.loss(outputs, targets)

    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """See `Task.losses`."""
        return self.task.losses(outputs, targets)

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """Return the scores; those of a teacher's outputs are not asked for by anybody."""
        if isinstance(targets, dict) and targets.keys() == {TEACHER}:
            return torch.zeros(count_samples(targets, outputs))
        return self.task.score(outputs, targets)

    def check(self, outputs: Any, targets: Any) -> None:
        """See `Task.check`."""
        if not (isinstance(targets, dict) and targets.keys() == {TEACHER}):
            self.task.check(outputs, targets)


#: The name of a teacher's outputs among targets.
TEACHER = "what the teacher puts out"


class TaughtData:
    """Data whose training targets are what a teacher puts out; see `Taught`.

    Args:
        data: The data.
        teacher: A plain network with statistics.
    """

    def __init__(self, data: SplitData, teacher: nn.Module) -> None:
        self.train = _TaughtSamples(data.train, teacher)
        self.validation, self.test = data.validation, data.test
        self.shape, self.example = getattr(data, "shape", None), getattr(data, "example", None)


class _TaughtSamples:
    def __init__(self, samples: Any, teacher: nn.Module) -> None:
        self.samples, self.teacher = samples, teacher

    def __len__(self) -> int:
        return len(self.samples)

    def count_batches(self, batch_size: int) -> int:
        """Return how many batches there are in an epoch."""
        return count_batches(self.samples, batch_size)

    def first(self, count: int) -> Any:
        """Return the first samples, with their own targets."""
        return self.samples.first(count)

    def batches(self, size: int) -> Any:
        """Yield samples in order, with their own targets."""
        return self.samples.batches(size)

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield inputs and what the teacher makes of them."""
        device = device_of(self.teacher)
        for x, _ in self.samples.shuffled(batch_size, seed=seed, epoch=epoch):
            with torch.no_grad(), evaluating(self.teacher):
                said = call(self.teacher, moved(x, device))
            yield x, {TEACHER: said}
