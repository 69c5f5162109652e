"""The settings of a comparison: three presets, each of whose values can be overridden. No torch."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from supernet.errors import SettingsError


class Settings(BaseModel):
    """Everything that decides what a run computes, and how it is spread over the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    data: str | None = Field(
        None,
        description="A folder with four IDX files named as MNIST's, the binary CIFAR-10 or "
        "CIFAR-100, or pictures in a subfolder per class; or a .npz file. By default the packaged "
        "MNIST.",
    )
    train_images: int | None = Field(
        None,
        ge=1,
        description="Train on the first so many images of the training split; all if unset.",
    )
    validation_images: int = Field(
        5000,
        ge=1,
        le=5000,
        description="Images of the validation split used for scores and ranking.",
    )
    calibration_images: int = Field(
        1000, ge=2, description="Training images from which batch-norm statistics are taken."
    )
    crop: int = Field(
        0, ge=0, description="Shift training images at random by up to so many pixels."
    )
    flip: bool = Field(False, description="Whether to mirror half of the training images.")
    cutout: int = Field(
        0, ge=0, description="Blank a square of so many pixels' width in training images."
    )
    epochs: int = Field(ge=1, le=10_000, description="Epochs of every training.")
    batch_size: int = Field(ge=1, description="Images per step.")
    supernet_rate: float = Field(gt=0, description="Peak learning rate of the supernet.")
    standalone_rate: float = Field(gt=0, description="Peak learning rate of standalone networks.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    nesterov: bool = Field(True, description="Whether the momentum looks ahead.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay, on weights only.")
    schedule: Literal["one-cycle", "constant"] = Field(
        "one-cycle", description="Learning-rate schedule: one-cycle or constant."
    )
    warmup: float = Field(0.3, gt=0, lt=1, description="Share of steps in which one-cycle rises.")
    sampler: Literal["every", "uniform", "fair", "sandwich", "shrinking", "subtree", "split"] = (
        Field(
            "every",
            description="Architectures a supernet step trains: every one; one, drawn uniformly; "
            "several that use each option equally often (fair); the largest, the smallest and "
            "random ones (sandwich); ever smaller ones (shrinking); a subtree of several that "
            "begin alike; or several among which the batch is split.",
        )
    )
    budget: float = Field(
        2.0, ge=1, description="Work of a step with subtree, in largest architectures."
    )
    paths: int = Field(
        4, ge=1, le=4096, description="Architectures of a step with sandwich, shrinking or split."
    )
    order: str = Field(
        "*",
        min_length=1,
        description="Choices in the order in which shrinking opens them: names or patterns, with "
        "commas between them.",
    )
    largest_first: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the training in which the largest architecture trains alone first.",
    )
    distill: bool = Field(
        False,
        description="Whether the others learn from what the largest puts out, which is then added "
        "to every step.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of a label that is spread over all classes."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Cut the norm of the gradients down to this where it is above."
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Score an average of the weights, with this decay per step; 0 for none.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of convolutions and matrix products, in training."
    )
    compile: bool = Field(False, description="Whether to compile the networks for training.")
    max_bytes: int | None = Field(
        None,
        ge=1,
        description="Most bytes of activations in a training step; above, it is done in parts.",
    )
    on_nan: Literal["stop", "rollback", "skip"] = Field(
        "stop",
        description="What to do when a loss is no finite number: stop; rollback to the beginning "
        "of the epoch, at half the learning rate; or skip the step.",
    )
    longer: bool = Field(
        False,
        description="Also train a supernet with the compute of all standalone networks together.",
    )
    wide: int = Field(64, ge=1, le=1024, description="Channels before the stride-2 convolution.")
    narrow: int = Field(32, ge=1, le=1024, description="Channels after it.")
    longest: int = Field(3, ge=1, le=8, description="Most convolutions in a variable-length block.")
    seed: int = Field(0, ge=0, lt=2**31, description="The first seed.")
    seeds: int = Field(
        1, ge=1, le=100, description="How many seeds: everything is trained for each."
    )
    threads: int = Field(1, ge=1, le=256, description="Threads of each worker process.")
    workers: int | None = Field(
        None, ge=1, le=256, description="Worker processes; as many as there are cores if unset."
    )

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.data is not None and not _is_text(self.data):
            raise ValueError(
                f"data is {_shown(self.data)}, which is not UTF-8, so no record can name it; "
                "rename the folder, or lead to it by a symbolic link"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set nesterov to false")
        if self.compile and self.sampler != "every":
            raise ValueError(
                f"compile needs the same architectures in every step; with the sampler "
                f"{self.sampler} it can't be had: use every"
            )
        if self.sampler == "split" and self.distill:
            raise ValueError(
                "with the sampler split nothing can be distilled: the largest architecture sees "
                "its own part of the batch only; use sandwich, or don't distill"
            )
        if self.sampler == "sandwich" and self.paths < 2:
            raise ValueError("the sampler sandwich needs at least 2 paths, largest and smallest")
        if self.sampler == "split" and self.paths > self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} can't be split among {self.paths} architectures; "
                "choose fewer paths or a larger batch_size"
            )
        if self.train_images is not None and self.batch_size > self.train_images:
            raise ValueError(
                f"a batch of {self.batch_size} is larger than the training data "
                f"({self.train_images} images); choose a smaller batch_size or more train_images"
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "train_images": 3000,
        "validation_images": 2000,
        "epochs": 3,
        "batch_size": 16,
        "supernet_rate": 0.1,
        "standalone_rate": 0.1,
    },
    "standard": {
        "epochs": 1,
        "batch_size": 32,
        "supernet_rate": 0.2,
        "standalone_rate": 0.2,
        "seeds": 3,
        "longer": True,
    },
    "original": {
        "epochs": 20,
        "batch_size": 128,
        "supernet_rate": 0.1,
        "standalone_rate": 0.1,
        "nesterov": False,
        "weight_decay": 0.0,
        "schedule": "constant",
        "sampler": "uniform",
    },
}


def resolve_settings(
    preset: str, config: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the preset's settings, with a YAML file's values over them, and `overrides` on top.

    Raises:
        SettingsError: If the preset or a setting is unknown, a value is impossible, or the file
            can't be read.
    """
    if preset not in PRESETS:
        raise SettingsError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    values = {**PRESETS[preset], **(_read_yaml(config) if config else {}), **(overrides or {})}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence({**e}) for e in error.errors())) from None


def to_options(settings: Settings, **changes: Any) -> list[str]:
    """Return command-line options that ask for these settings, but for some changes.

    They start from the preset that needs the fewest others for the settings as they are.
    """
    ways = {preset: _beyond(preset, settings) for preset in PRESETS}
    possible = [name for name, own in ways.items() if None not in own.values()]  # no option unsets
    preset = min(possible, key=lambda name: len(ways[name]))
    own = _beyond(preset, settings.model_copy(update=changes))
    return [f"--preset={preset}", *map(_option, own, own.values())]


def _beyond(preset: str, settings: Settings) -> dict[str, Any]:
    """Return the settings that are not the preset's."""
    known = Settings(**PRESETS[preset]).model_dump()
    return {name: v for name, v in settings.model_dump().items() if v != known[name]}


def _option(name: str, value: object) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option}={value}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"the settings file {path} can't be read: {reason}; it must hold lines of the form "
            "`name: value`"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(f"the settings file {path} must hold lines of the form `name: value`")
    return content


def _is_text(name: str) -> bool:
    """Whether a name from a command line has nothing in it but characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _sentence(error: Mapping[str, Any]) -> str:
    name, value = ".".join(str(part) for part in error["loc"]), error["input"]
    if error["type"] == "extra_forbidden":
        return f"there is no setting {_shown(name)}; there are {', '.join(Settings.model_fields)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    hint = ""
    if isinstance(value, str) and error["type"] == "float_type":
        hint = " (YAML takes 1e-3 for text: write 1.0e-3)"
    return f"{name} is {_shown(value)}: {message.replace('Input should be', 'it should be')}{hint}"


def _shown(value: object) -> str:
    """Return a value for a message, not longer than a line, however large it is."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
