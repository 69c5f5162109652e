"""Settings of a run, from presets, YAML files and options. No torch.

A setting is written in a file under its part (`recipe: {epochs: 5}`), and asked for on the command
line by a flat name (`--epochs 5`), which a file may use too. The part `recipe` is `Recipe` itself.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from supernet.errors import DataError, SettingsError
from supernet.networks.named import DEFAULT, ZOO, NetworkName, check_network
from supernet.reading import SMALL, parse_yaml, read_regular
from supernet.runs.functions import check_function, parse_function
from supernet.text import show
from supernet.training.recipe import Recipe
from supernet.training.samplers.naming import SAMPLERS, require_fitting, require_sampler


def _as_text(name: str) -> str:
    """Refuse what no record could name: bytes of a command line that are no characters."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(
            "it is not UTF-8, so no record can name it; rename the file, or use a symbolic link"
        )
    return name


def _known_sampler(name: str) -> str:
    require_sampler(name)
    return name


_Text = Annotated[str, AfterValidator(_as_text)]

#: What may be given several times on the command line, and is a list in a file.
_Texts = Annotated[tuple[_Text, ...], Field(strict=False)]


#: Training images of the packaged MNIST, known without reading it.
PACKAGED = 55_000

#: How many images are used; each may be `all`.
COUNTS = ("train_images", "validation_images", "calibration_images")


def _count(value: object) -> object:
    """Take the word `all`, and the digits that a command line has for numbers."""
    if value == "all":
        return None
    if not isinstance(value, str):
        return value
    if value.removeprefix("-").isdecimal():
        return int(value)
    raise ValueError("it should be a number of images, or all")


def _word(count: int | None) -> int | str:
    return "all" if count is None else count


#: Numbers of images, or None for all; in records the word.
_Count = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(_count),
    PlainSerializer(_word, when_used="json"),
]
_Several = Annotated[
    Annotated[int, Field(ge=2)] | None,
    BeforeValidator(_count),
    PlainSerializer(_word, when_used="json"),
]


#: By what architectures are called larger; see `make_size`.
_Size = Literal["layers", "macs", "params"] | None


class Part(BaseModel):
    """Base of the parts: immutable, and strict about names and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Part):
    """What is learned from, and how much of it."""

    source: _Text | None = Field(
        default=None,
        json_schema_extra={"option": "data"},
        description="A folder with four IDX files named as MNIST's, the binary CIFAR-10 or "
        "CIFAR-100, or pictures in a subfolder per class; a .npz file; or FILE.py:FUNCTION, your "
        "own function that returns data. By default the packaged MNIST.",
    )
    train_images: _Count = Field(
        default=None,
        description="Train on the first n images of the training split, or all. What a preset says "
        "is the most.",
    )
    validation_images: _Count = Field(
        default=5000,
        description="Images of the validation split used for scores and ranking, at most, or all.",
    )
    calibration_images: _Several = Field(
        default=1000,
        description="Training images from which batch-norm statistics are taken, or all. The "
        "default is the most.",
    )
    resize: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Scale pictures to N pixels in height and width.",
    )
    resize_by: Literal["crop", "pad"] = Field(
        default="crop",
        description="How to scale pictures that aren't square: crop cuts the ends of the longer "
        "side, pad adds black along the shorter one.",
    )
    test_images: int | None = Field(
        default=None, ge=1, description="Images of the test split used; all if unset."
    )
    crop: int = Field(
        default=0, ge=0, description="Shift training images at random by up to N pixels."
    )
    flip: bool = Field(default=False, description="Mirror half of the training images.")
    cutout: int = Field(
        default=0, ge=0, description="Blank a square of N pixels' width in training images."
    )

    @property
    def at_most(self) -> frozenset[str]:
        """Counts that nobody asked for: where there are fewer images, that many will do."""
        return frozenset(COUNTS) - self.model_fields_set


class NetworkSettings(Part):
    """Which network; see `supernet.networks.named`."""

    name: _Text = Field(
        default=DEFAULT,
        json_schema_extra={"option": "net"},
        description=f"The network: {', '.join(ZOO)}; FILE.py:FUNCTION or MODULE:FUNCTION, your own "
        "function that returns one; or timm:MODEL.",
    )
    arguments: _Texts = Field(
        default=(),
        json_schema_extra={"option": "net_arg"},
        description="An argument for the network's function, NAME=VALUE; may be given again.",
    )
    elastic: _Text | None = Field(
        default=None,
        description="What to make elastic in a plain network, such as depth,width=0.5:1.0,kernel.",
    )
    keep: _Texts = Field(
        default=(),
        description="Options to keep of the space, PATTERN=OPTION|OPTION, such as "
        "'position*.op=identity|mb3_k3'; may be given again.",
    )

    @property
    def wanted(self) -> NetworkName:
        """The same as a name for `build_network`."""
        return NetworkName(self.name, self.arguments, self.elastic, self.keep)


class SamplerSettings(Part):
    """Which architectures a step of the supernet trains."""

    name: Annotated[str, AfterValidator(_known_sampler)] | None = Field(
        default=None,
        json_schema_extra={"option": "sampler"},
        description="Architectures a supernet step trains: "
        + "; ".join(f"{name}: {kind.draws}" for name, kind in SAMPLERS.items())
        + ". By default every where some tens share most of their work, else uniform.",
    )
    budget: float = Field(
        default=2.0, ge=1, description="Work of a step with subtree, in largest architectures."
    )
    paths: int = Field(
        default=4,
        ge=1,
        le=4096,
        description="Architectures of a step with sandwich, shrinking or split.",
    )
    order: str = Field(
        default="*",
        min_length=1,
        description="Choices in the order in which shrinking opens them: names or patterns, with "
        "commas between them.",
    )
    largest_first: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the training in which the largest architecture trains alone first.",
    )
    favor: _Size = Field(
        default=None,
        description="Draw larger architectures more often, by this size.",
    )
    weigh: _Size = Field(
        default=None,
        description="Let the losses of larger architectures count more, by this size.",
    )
    power: float = Field(
        default=1.0, ge=-10, le=10, description="Power of the size in favor and weigh."
    )
    pace: _Size = Field(
        default=None,
        description="Let the learning rate of smaller architectures fall faster, by this size.",
    )
    decay: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="How much faster the rate of the smallest falls with pace; 1: as a square.",
    )
    prior: _Size = Field(
        default=None,
        description="Train for a ranking too, in which what is larger by this size is better.",
    )
    prior_weight: float = Field(
        default=1.0, gt=0, le=1000, description="How much the ranking counts beside the loss."
    )


class RunSettings(Part):
    """What is trained how often, and on how much of the machine."""

    standalone_rate: float | None = Field(
        default=None,
        gt=0,
        description="Peak learning rate of standalone networks; the supernet's if unset.",
    )
    longer: bool = Field(
        default=False,
        description="Also train a supernet with the compute of all standalone networks together.",
    )
    rank_by: Literal["score", "loss"] | None = Field(
        default=None,
        description="What one-shot ranks and picks by: mean scores, or mean losses; losses, if the "
        "task has them, if unset.",
    )
    lean: float = Field(
        default=0.0,
        ge=0,
        description="How much the ranking leans to networks of more multiply-adds; 0.4 ranked "
        "better where supernets were trained briefly.",
    )
    score: int | None = Field(
        default=None,
        ge=2,
        le=100_000,
        description="How many architectures are scored, the smallest and the largest among them; "
        "all of at most 256 if unset, else 64.",
    )
    alone: int = Field(
        default=9,
        ge=1,
        le=10_000,
        description="How many architectures `compare` trains on their own, spread over the "
        "multiply-adds.",
    )
    naswot: bool = Field(
        default=False,
        description="Also hold the ranking against naswot, a score without training.",
    )
    task: _Text = Field(
        default="classification",
        min_length=1,
        description="What the network is for: classification, multi-label, regression, dense, next "
        "token; or FILE.py:CLASS, your own subclass of Task.",
    )
    device: _Text = Field(
        default="cpu",
        description="Where to train: cpu, cuda, cuda:1, mps, or auto for what there is.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="The first seed.")
    seeds: int = Field(
        default=1, ge=1, le=100, description="How many seeds: everything is trained for each."
    )
    threads: int = Field(default=1, ge=1, le=256, description="Threads of each worker process.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Worker processes; as many as there are cores if unset.",
    )


class Settings(BaseModel):
    """Everything that decides what a run computes, and how it is spread over the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    sampler: SamplerSettings = SamplerSettings()
    recipe: Recipe = Recipe()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _check(self) -> Settings:
        sampler, recipe, images = self.sampler, self.recipe, self.data.train_images
        if recipe.compile and sampler.name not in (None, "every"):
            raise ValueError(
                f"compile needs the same architectures in every step, and the sampler "
                f"{sampler.name} draws others; use every"
            )
        if sampler.name == "split" and recipe.distill:
            raise ValueError(
                "with the sampler split nothing can be distilled: the largest architecture sees "
                "its own part of the batch only; use sandwich, or don't distill"
            )
        if sampler.name is not None:
            require_fitting(
                sampler.name,
                favor=sampler.favor,
                weigh=sampler.weigh,
                prior=sampler.prior,
                distills=recipe.distill,
            )
        if sampler.name == "sandwich" and sampler.paths < 2:
            raise ValueError("the sampler sandwich needs at least 2 paths, largest and smallest")
        if sampler.name == "split" and sampler.paths > recipe.batch_size:
            raise ValueError(
                f"a batch of {recipe.batch_size} can't be split among {sampler.paths} "
                "architectures; choose fewer paths or a larger batch_size"
            )
        if images is not None and recipe.batch_size > images:
            raise ValueError(
                f"a batch of {recipe.batch_size} is larger than the training data ({images} "
                "images); choose a smaller batch_size or more train_images"
            )
        return self

    def flat(self) -> dict[str, Any]:
        """Return all settings by the names of their options, tuples as lists."""
        content = self.model_dump(mode="json")
        return {name: content[knob.part][knob.field] for name, knob in KNOBS.items()}

    def but(self, **changes: Any) -> Settings:
        """Return settings that differ in these, given by the names of their options.

        Raises:
            SettingsError: If one is unknown or impossible.
        """
        return make_settings({**self.flat(), **changes})


@dataclass(frozen=True)
class Knob:
    """One setting as the command line has it.

    Attributes:
        part: The part it belongs to.
        field: Its name there.
        annotation: Its type.
        description: What it is for.
        bounds: Between which numbers it must be, in words; empty if anywhere.
    """

    part: str
    field: str
    annotation: Any
    description: str
    bounds: str = ""


def _knobs() -> Iterator[tuple[str, Knob]]:
    for part, info in Settings.model_fields.items():
        kind = info.annotation
        fields = (
            kind.model_fields
            if isinstance(kind, type) and issubclass(kind, BaseModel)
            else {
                name: FieldInfo.from_annotation(hint)
                for name, hint in get_type_hints(kind, include_extras=True).items()
                if not name.startswith("_")
            }
        )
        for name, field in fields.items():
            extra = field.json_schema_extra
            option = extra.get("option", name) if isinstance(extra, dict) else name
            yield (
                str(option),
                Knob(part, name, field.annotation, field.description or "", _bounds(field)),
            )


def _bounds(field: FieldInfo) -> str:
    """Return the bounds of a number in words, such as `1 to 10000` or `above 0, below 1`."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = {
        name: getattr(rule, name)
        for rule in field.metadata
        for name in words
        if getattr(rule, name, None) is not None
    }
    if found.keys() == {"ge", "le"}:
        return f"{found['ge']} to {found['le']}"
    return ", ".join(f"{words[name]} {bound}" for name, bound in found.items())


#: Every setting, by the name of its option, in the order of the parts.
KNOBS: dict[str, Knob] = dict(_knobs())

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "train_images": 3000,
        "validation_images": 2000,
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.1,
    },
    "standard": {
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.2,
        "seeds": 3,
        "longer": True,
    },
    "original": {
        "epochs": 20,
        "batch_size": 128,
        "learning_rate": 0.1,
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
    given = [_read_yaml(config) if config else {}, overrides or {}]
    settings = make_settings(PRESETS[preset], *given)
    # What only the preset says counts as unset: see `DataSettings.at_most`.
    settings.data.model_fields_set.difference_update(set(COUNTS) - _names(*given))
    return settings


def _names(*sources: Mapping[str, Any]) -> set[str]:
    """Return which settings of the data are given, by their names or under their part."""
    parts = [source["data"] for source in sources if isinstance(source.get("data"), Mapping)]
    return {name for source in (*sources, *parts) for name in source}


def check_sources(settings: Settings) -> None:
    """Find out what can be known of data and network without PyTorch, and without running anything.

    Raises:
        DataError: If there are no data where they should be.
        NetworkError: If there is no such network.
    """
    check_network(settings.network.wanted)
    check_data(settings.data.source)
    if settings.data.source is None and "train_images" not in settings.data.at_most:
        require_images(settings.data.train_images, PACKAGED)
    if function := parse_function(settings.run.task, SettingsError):
        check_function(function)


def check_data(source: str | None) -> None:
    """Find out what can be known of data without PyTorch, and without running anything.

    Raises:
        DataError: If there are none where they should be.
    """
    if source is None:
        return
    if function := parse_function(source, DataError):
        check_function(function)
    elif not _exists(source):
        raise DataError(f"{source} is not there; check the path")


def require_images(asked: int | None, there: int) -> None:
    """Raise unless so many training images can be had.

    Raises:
        DataError: If there are fewer.
    """
    if asked is not None and asked > there:
        raise DataError(
            f"{asked} images were asked for; there are 1 to {there} to have to learn from; choose "
            "fewer with --train-images, or all"
        )


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def make_settings(*sources: Mapping[str, Any]) -> Settings:
    """Return settings, made of values by part or by the names of options; later sources win.

    >>> make_settings({"epochs": 3, "seeds": 2}, {"recipe": {"epochs": 5}}).recipe.epochs
    5

    Raises:
        SettingsError: If a setting is unknown, or a value impossible.
    """
    parts: dict[str, dict[Any, Any]] = {part: {} for part in Settings.model_fields}
    problems: list[str] = []
    for source in sources:
        for name, value in source.items():
            if name in parts and isinstance(value, Mapping):
                parts[name] |= value
            elif name in KNOBS:
                parts[KNOBS[name].part][KNOBS[name].field] = value
            elif name not in parts:
                problems.append(_unknown(name))
            elif value is not None:
                problems.append(
                    f"{name} is {_shown(value)}; it is a part of the settings, and must hold lines "
                    "of the form `name: value`"
                )
    try:
        settings = Settings.model_validate(parts)
    except ValidationError as error:
        problems += [_sentence({**e}) for e in error.errors()]
    if problems:
        more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise SettingsError("; ".join(problems[:20]) + more)
    return settings


def to_yaml(settings: Settings) -> str:
    """Return settings as the text of a file that gives them, part by part."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def to_options(settings: Settings, **changes: Any) -> list[str]:
    """Return command-line options that ask for these settings, but for some changes.

    They start from the preset that needs the fewest others for the settings as they are.
    """
    ways = {preset: settings_beyond(preset, settings) for preset in PRESETS}
    # No option unsets what a preset sets.
    possible = [name for name, own in ways.items() if None not in own.values()]
    preset = min(possible, key=lambda name: len(ways[name]))
    own = settings_beyond(preset, settings.but(**changes))
    options = [option for name, value in own.items() for option in _options(name, value)]
    return [f"--preset={preset}", *options]


def changed_settings(settings: Settings) -> list[str]:
    """Return the names of the settings that are not those of the nearest preset.

    The number of workers is none of them: it changes no result, and not a byte of the records.
    """
    settings = settings.but(workers=None)
    return min((list(settings_beyond(preset, settings)) for preset in PRESETS), key=len)


def settings_beyond(preset: str, settings: Settings) -> dict[str, Any]:
    """Return the settings that are not the preset's."""
    known = resolve_settings(preset).flat()
    return {name: v for name, v in settings.flat().items() if v != known[name]}


def _options(name: str, value: object) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    if isinstance(value, list):
        return [f"--{option}={entry}" for entry in value]
    return [f"--{option}={value}"]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(read_regular(path, SMALL))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"the settings file {show(path)} can't be read: {reason}; it must hold lines of the "
            "form `name: value`"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(
            f"the settings file {show(path)} must hold lines of the form `name: value`"
        )
    return content


def _sentence(error: Mapping[str, Any]) -> str:
    where, value = [str(place) for place in error["loc"]], error["input"]
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(".".join(where))
    message = str(error["msg"]).removeprefix("Value error, ")
    names = [n for n, knob in KNOBS.items() if [knob.part, knob.field] == where[:2]]
    if not names:
        return message
    hint = ""
    if isinstance(value, str) and error["type"] == "float_type":
        hint = " (YAML takes 1e-3 for text: write 1.0e-3)"
    rule = message.replace("Input should", "it should").replace("String should", "it should")
    return f"{names[0]} is {_shown(value)}: {rule}{hint}"


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.rpartition(".")[2], KNOBS, n=1)
    hint = f"did you mean {close[0]}? There" if close else "there"
    return f"there is no setting {_shown(name)}; {hint} are {', '.join(KNOBS)}"


def _shown(value: object) -> str:
    """Return a value for a message, not longer than a line, however large it is."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
