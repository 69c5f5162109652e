"""The recipe of a training: every knob, written once. No torch, so the command line can read it.

The command line has an option for each field, with the field's description as its help.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from supernet.errors import SettingsError


def _knob(description: str, **rules: Any) -> Any:
    """Return what a field says about itself: its help, and what its value must be."""
    return Field(strict=True, description=description, **rules)


def _number(description: str, **rules: Any) -> Any:
    return _knob(description, allow_inf_nan=False, **rules)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. The defaults are the experiment's.

    Attributes:
        epochs: Passes over the training samples.
        seconds: If set, instead of `epochs`: what the steps of the training may take, in CPU
            seconds (on a GPU, in seconds). How long a step takes is measured first; that fixes the
            number of steps, from which schedule and everything else follow. The last pass may be
            one of half to one and a half.
        batch_size: Samples per batch. A loader of your own keeps its own.
        learning_rate: The peak, with `one-cycle`; the only one, with `constant`.
        optimizer: `sgd`, `adam` or `adamw`. The default learning rate is one for SGD; the others
            want something like 0.001. Any other is a function, given to `train` beside the recipe.
        accumulate: Batches per step, whose gradients are averaged: a step of that many times the
            samples, in the memory of one batch. What batch norms see is one batch.
        momentum: Of SGD; of the others, how much of the mean gradient is kept (the first beta).
        nesterov: Whether the momentum of SGD looks ahead.
        weight_decay: On weights only: biases and the vectors of norms are spared.
        schedule: `one-cycle` (linear up, linear down to zero; arXiv:1708.07120) or `constant`.
        warmup: The share of all steps in which a `one-cycle` rises.
        precision: Of convolutions and matrix products: `float32`, or `bfloat16` by autocast, on
            processors that have it.
        compile: Whether to compile the network, once for all its architectures. Takes a while
            first, and a sampler that draws the same architectures in every step.
        max_bytes: If set, the most memory that a step may fill with activations. Where its
            architectures would take more together, they are trained in parts whose gradients are
            added up: the same gradient, with less shared.
        on_nan: What to do about a loss or a gradient that is not a finite number: `stop`; `skip`
            the step, ten in a row at most; or `rollback` to the beginning of the epoch and resume
            there at half the learning rate, three times at most.
        distill: Whether all architectures but the largest learn from what the largest puts out for
            the batch, instead of from the labels (in-place distillation with soft targets, as in
            BigNAS, arXiv:2003.11142). Takes a sampler that draws the largest in every step.
        label_smoothing: The share of a label that is spread over all classes (arXiv:1512.00567).
        clip_norm: If set, what the norm of all gradients together is cut down to where it is above
            (arXiv:1211.5063).
        ema: The decay, per step, of an exponential moving average of the weights, which is then
            what is scored and kept (as the teacher's in arXiv:1703.01780); 0 keeps none.

    Raises:
        SettingsError: If a value makes no sense.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epochs: Annotated[int, _knob("Epochs of every training.", ge=1, le=10_000)] = 3
    batch_size: Annotated[int, _knob("Images per step.", ge=1)] = 128
    learning_rate: Annotated[float, _number("Learning rate at its peak.", gt=0)] = 0.3
    momentum: Annotated[float, _number("Momentum of SGD.", ge=0, lt=1)] = 0.9
    nesterov: Annotated[bool, _knob("Use Nesterov momentum.")] = True
    weight_decay: Annotated[float, _number("Weight decay, on weights only.", ge=0)] = 5e-4
    schedule: Annotated[
        Literal["one-cycle", "constant"], Field(description="Schedule of the learning rate.")
    ] = "one-cycle"
    warmup: Annotated[float, _number("Share of steps in which one-cycle rises.", gt=0, lt=1)] = 0.3
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="Precision of convolutions and matrix products in training."),
    ] = "float32"
    compile: Annotated[bool, _knob("Compile the networks for training.")] = False
    max_bytes: Annotated[
        int | None,
        _knob("Most bytes of activations in a training step; above, it is done in parts.", ge=1),
    ] = None
    on_nan: Annotated[
        Literal["stop", "rollback", "skip"],
        Field(
            description="What to do when a loss isn't a finite number: stop; rollback to the "
            "beginning of the epoch, at half the learning rate; or skip the step."
        ),
    ] = "stop"
    distill: Annotated[
        bool,
        _knob(
            "Train smaller architectures on the outputs of the largest, which every step then "
            "includes."
        ),
    ] = False
    label_smoothing: Annotated[
        float, _number("Share of a label that is spread over all classes.", ge=0, lt=1)
    ] = 0.0
    clip_norm: Annotated[
        float | None,
        _number("Largest norm of the gradients; a larger one is scaled down.", gt=0),
    ] = None
    ema: Annotated[
        float,
        _number(
            "Score an average of the weights, with this decay per step; 0 for none.", ge=0, lt=1
        ),
    ] = 0.0
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="The optimizer.")] = (
        "sgd"
    )
    accumulate: Annotated[
        int, _knob("Batches per step, whose gradients are averaged.", ge=1, le=10_000)
    ] = 1
    seconds: Annotated[
        float | None,
        _number(
            "CPU seconds of a supernet's training, instead of epochs; how many steps these are is "
            "measured first.",
            gt=0,
            le=10_000_000,
        ),
    ] = None

    def __post_init__(self) -> None:
        for name, adapter in _adapters().items():
            value = getattr(self, name)
            if name == "optimizer" and callable(value):
                raise SettingsError(
                    "optimizer is a function, which a recipe can't hold; give it beside the "
                    "recipe: train(supernet, data, recipe, optimizer=function)"
                )
            try:
                adapter.validate_python(value)
            except ValidationError as error:
                rule = error.errors()[0]["msg"].replace("Input should be", "it must be")
                raise SettingsError(f"{name} is {value!r}; {rule}") from None
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise SettingsError("nesterov is True; it must be False where momentum is 0")


@functools.cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """Return what checks each field, made from what is written beside it."""
    hints = get_type_hints(Recipe, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(Recipe)}
