"""The options that commands share, and one option per setting. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from supernet.errors import SettingsError
from supernet.experiments.settings import KNOBS, PRESETS, resolve_settings

PresetOption = Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(PRESETS)}.")]


ConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file of settings, over the preset's.")
]


OutOption = Annotated[Path | None, typer.Option(help="Run folder; by default a new one in runs/.")]


ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Go on with a run that the same command began and that was stopped or killed.",
    ),
]


AllowMismatchOption = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Go on even where settings, data or versions are not what they were; recorded.",
    ),
]


CheckpointEveryOption = Annotated[
    float, typer.Option(min=0, help="Seconds between two checkpoints of a training, at least.")
]


RunArgument = Annotated[
    Path, typer.Argument(help="A run folder, as `compare` and `train` make them.")
]


DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, on standard output.")
]


def _option_of(name: str) -> Any:
    """Return the option of a setting, for a command that takes a few of them only."""
    return typer.Option(help=KNOBS[name].description)


NetOption = Annotated[str, _option_of("net")]
NetArgOption = Annotated[list[str] | None, _option_of("net_arg")]
ElasticOption = Annotated[str | None, _option_of("elastic")]
KeepOption = Annotated[list[str] | None, _option_of("keep")]


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the shape that a text such as `3,224,224` says.

    Raises:
        SettingsError: If it says something else.
    """
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1 or len(shape) > 8 or max(shape) > 10**6:
        raise SettingsError(f"shape is {text!r}; it must be sizes such as 3,224,224")
    return shape


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed, which changes nothing in its results."""

    out: Path | None
    resume: bool
    allow_mismatch: bool
    checkpoint_every: float
    as_json: bool


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting, and hand it those that were given, resolved."""

    def resolved(preset: str, config: Path | None, **options: Any) -> None:
        asked = {name: options.pop(name) for name in KNOBS}
        given = {name: value for name, value in asked.items() if value not in (None, [])}
        command(preset=preset, settings=resolve_settings(preset, config, given), **options)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_plain(knob.annotation), typer.Option(help=knob.description)],
        )
        for name, knob in KNOBS.items()
    ]
    own = [
        parameter
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name not in ("preset", "settings")
    ]
    first = [
        inspect.Parameter(
            "preset", inspect.Parameter.KEYWORD_ONLY, default="quick", annotation=PresetOption
        ),
        inspect.Parameter(
            "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigOption
        ),
    ]
    signature = inspect.Signature([*first, *own, *parameters])
    resolved.__signature__ = signature  # type: ignore[attr-defined]
    resolved.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    resolved.__doc__ = command.__doc__
    resolved.__name__ = command.__name__
    return resolved


def _plain(annotation: Any) -> Any:
    """Return the optional type that typer can parse: int, float, bool, str, or a list of str."""
    if get_origin(annotation) is tuple:
        return list[str] | None
    kinds = [annotation, *get_args(annotation)]
    plain = next((kind for kind in kinds if kind in (int, float, bool)), str)
    return plain | None  # what a text must be beyond that, the settings check
