"""Descriptions of a network and its space, for `describe` and `spaces`."""

from __future__ import annotations

import inspect
import random
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from supernet import sharing
from supernet.evaluation.batches import planner_for
from supernet.evaluation.cost import Form, count_network_macs, count_params, empty_batch
from supernet.networks import zoo
from supernet.networks.fitting import require_fit, word_form
from supernet.networks.named import ZOO, NamedNetwork, NetworkName, build_network, space_sha256
from supernet.nn.extraction import extract
from supernet.nn.outline import outline
from supernet.nn.supernet import Supernet
from supernet.records import ArchitectureRecord, Stage
from supernet.report.wording import count
from supernet.space import Architecture, SearchSpace
from supernet.training.samplers import default_sampler, make_sampler, sampler_at

#: Plans and choices are shown in so many lines, unless somebody wants all.
_LINES = 12

#: What a network is built for where nobody says.
_SHAPE, _CLASSES = (1, 28, 28), 10


@dataclass(frozen=True)
class Description:
    """A network and its space.

    Attributes:
        name: The name it goes by.
        shape: Of one sample, such as channels, height, width.
        samples: What one sample is, in words.
        classes: How many classes there are; 0 if that makes no sense.
        space: Its space.
        extremes: The smallest and the largest architecture, with their costs.
        params: Those of the supernet.
        stages: The parts of the network, in order.
        sampler: The sampler that fits the space.
        step: What a training step does for a batch of `batch` samples, with this sampler.
        batch: How many samples that is for.
        named: The network itself, and how it was made elastic, if it was.
    """

    name: str
    shape: tuple[int, ...]
    samples: str
    classes: int
    space: SearchSpace = field(repr=False)
    extremes: tuple[ArchitectureRecord, ArchitectureRecord] = field(repr=False)
    params: int
    stages: Sequence[Stage] = field(repr=False)
    sampler: str
    step: sharing.PassPlan = field(repr=False)
    batch: int
    named: NamedNetwork = field(repr=False)

    @property
    def sha256(self) -> str:
        """A digest of the space."""
        return space_sha256(self.space)

    def content(self) -> dict[str, Any]:
        """Return the description as plain data."""
        smallest, largest = self.extremes
        return {
            "name": self.name,
            "shape": list(self.shape),
            "classes": self.classes,
            "architectures": self.space.size,
            "space_sha256": self.sha256,
            "choices": {choice.name: list(choice.options) for choice in self.space.choices},
            "smallest": smallest.model_dump(),
            "largest": largest.model_dump(),
            "params": self.params,
            "stages": [stage.model_dump() for stage in self.stages],
            "sampler": self.sampler,
            "step": {
                "samples": self.step.samples,
                "architectures": len(self.step.archs),
                "macs": self.step.macs,
                "training_macs": self.step.training_macs,
                "training_bytes": self.step.training_bytes,
            },
            "conversion": None if self.named.report is None else str(self.named.report),
        }

    def lines(self, *, everything: bool = False) -> Iterator[str]:
        """Yield the description as text, at most 80 columns wide unless names are longer.

        Args:
            everything: Whether to show all choices, all pieces of work, and what became of every
                module of a network that was made elastic.
        """
        most = 10_000 if everything else _LINES
        smallest, largest = self.extremes
        classes = f" in {self.classes:,} classes" if self.classes else ""
        yield f"{self.name}, for samples of {self.samples}{classes}"
        yield f"architectures: {self.space.size:,}, from {len(self.space.choices)} choices"
        for what, record in (("smallest", smallest), ("largest", largest)):
            yield f"{what}: {count(record.params)} parameters, {count(record.macs)} MACs"
            yield from _wrapped(record.label, "  ")
        yield f"supernet: {count(self.params)} parameters"
        yield f"space digest: {self.sha256[:12]}"
        yield ""
        yield "Choices, from least to most costly option"
        yield from _limited(_choice_lines(self.space), most)
        yield ""
        yield "Parts, in the order they run"
        yield from _limited(_stage_lines(self.stages), most)
        yield ""
        yield f"A training step with the sampler {self.sampler}, for {self.batch} samples"
        for line in self.step.lines(most=most):
            yield from _wrapped(line, "")
        if self.named.report is not None:
            yield ""
            made = self.named.report.choices
            yield f"Made elastic: {len(made)} choices in {len(self.named.report.lines)} modules"
            if everything:
                yield from str(self.named.report).splitlines()


def describe(
    wanted: NetworkName,
    *,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    batch: int = 32,
    example: Any = None,
) -> Description:
    """Describe a network and its space; nothing is trained.

    Args:
        wanted: Which network.
        shape: Of one sample; by default what a network of the zoo was published with, and for
            others that of MNIST.
        classes: How many classes there are, 0 if that makes no sense; by default likewise.
        batch: How many samples a training step is planned for.
        example: Some inputs, if they are anything else than one floating-point tensor.

    Raises:
        NetworkError: If the network can't be had, or can't be run on such samples.
    """
    shape, classes = _form(wanted, shape, classes)
    form: Form = shape if example is None else example
    named = _build(wanted, shape, classes, example)
    supernet, space = named.supernet, named.supernet.space
    require_fit(supernet, form)
    x = empty_batch(form, batch)
    sampler = default_sampler(supernet, x)
    draw = sampler_at(make_sampler(sampler, supernet, x), 0.0)
    archs = draw(space, random.Random(0)).archs
    return Description(
        name=wanted.name,
        shape=shape,
        samples=word_form(x),
        classes=classes,
        space=space,
        extremes=(
            _record(supernet, space.smallest, form),
            _record(supernet, space.largest, form),
        ),
        params=count_params(supernet),
        stages=outline(supernet),
        sampler=sampler,
        step=planner_for(supernet, x).plan(archs),
        batch=batch,
        named=named,
    )


def _form(
    wanted: NetworkName, shape: Sequence[int] | None, classes: int | None
) -> tuple[tuple[int, ...], int]:
    own: tuple[tuple[int, ...], int] = (_SHAPE, _CLASSES)
    if wanted.name in ZOO:
        parameters = inspect.signature(getattr(zoo, ZOO[wanted.name])).parameters
        own = parameters["shape"].default, parameters["classes"].default
    return tuple(shape or own[0]), own[1] if classes is None else classes


def _build(
    wanted: NetworkName, shape: tuple[int, ...], classes: int, example: Any = None
) -> NamedNetwork:
    """Build a network; one of the zoo without numbers, which takes no time and no memory."""
    if wanted.name not in ZOO:
        return build_network(wanted, shape=shape, classes=classes or None, seed=0, example=example)
    with torch.device("meta"):
        return build_network(wanted, shape=shape, classes=classes, seed=0)


def _record(supernet: Supernet, arch: Architecture, shape: Form) -> ArchitectureRecord:
    net = extract(supernet, arch)
    return ArchitectureRecord(
        label=arch.label,
        options=dict(arch),
        params=count_params(net),
        macs=count_network_macs(net, shape),  # last: it leaves no numbers in the network
    )


def _choice_lines(space: SearchSpace) -> Iterator[str]:
    conditional = {condition.choice for condition in space.conditions}
    for choice in space.choices:
        options = " | ".join(map(str, choice.options))
        when = "  (counts where it is reached)" if choice.name in conditional else ""
        yield from _wrapped(f"  {choice.name}: {options}{when}", "      ")


def _stage_lines(stages: Sequence[Stage]) -> Iterator[str]:
    for stage in stages:
        if stage.kind == "depth":
            blocks = len(stage.blocks)
            yield f"  {stage.name}: the first {stage.shortest} to {blocks} of {blocks} blocks"
            yield from _wrapped(f"      {stage.blocks[-1]}", "      ")
        else:
            name = f"{stage.name}: " if stage.name else ""
            yield from _wrapped(f"  {name}{', '.join(stage.blocks)}", "      ")


def _limited(lines: Iterator[str], most: int) -> Iterator[str]:
    shown = list(lines)
    yield from shown[:most]
    if len(shown) > most:
        yield f"  ... {len(shown) - most} more lines; --all shows them"


def _wrapped(text: str, indent: str, width: int = 80) -> Iterator[str]:
    if len(text) <= width:
        yield text
        return
    lead = text[: len(text) - len(text.lstrip())]
    yield from textwrap.wrap(
        text.strip(), width, initial_indent=lead or indent, subsequent_indent=lead + indent or "  "
    )


@dataclass(frozen=True)
class SpaceSummary:
    """A space of the zoo in one line: its size, and the costs of smallest and largest."""

    name: str
    shape: tuple[int, ...]
    size: int
    choices: int
    params: tuple[int, int]
    macs: tuple[int, int]


def summarize_zoo() -> Iterator[SpaceSummary]:
    """Yield what spaces there are in the zoo, as they were published."""
    for name in ZOO:
        wanted = NetworkName(name)
        shape, classes = _form(wanted, None, None)
        supernet = _build(wanted, shape, classes).supernet
        space = supernet.space
        ends = [_record(supernet, arch, shape) for arch in (space.smallest, space.largest)]
        yield SpaceSummary(
            name,
            shape,
            space.size,
            len(space.choices),
            (ends[0].params, ends[1].params),
            (ends[0].macs, ends[1].macs),
        )
