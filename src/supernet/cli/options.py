"""Options that commands share, and one option per setting. No torch."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from supernet.cli.help import option_of, preset_option
from supernet.errors import SettingsError
from supernet.experiments.settings import KNOBS, resolve_settings

_Command = Callable[..., None]

PresetOption = Annotated[str, preset_option()]


ConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file of settings, over the preset's.")
]


OutOption = Annotated[
    Path | None,
    typer.Option(help="Run folder; by default a new one in runs/.", rich_help_panel="Run"),
]


ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Resume a stopped or killed run of the same command.",
        rich_help_panel="Run",
    ),
]


AllowMismatchOption = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Resume even if settings, data or versions changed; this is recorded.",
        rich_help_panel="Run",
    ),
]


CheckpointEveryOption = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Least time between two checkpoints of a training.",
        rich_help_panel="Run",
    ),
]


OnOption = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray|ray://HOST:PORT|ray:HOST:PORT",
        help="Train on a Ray cluster: one of this machine's own, or the one at an address; by "
        "default in worker processes here.",
        rich_help_panel="Run",
    ),
]


RunArgument = Annotated[
    Path, typer.Argument(help="A run folder, as `compare` and `train` make them.")
]


TensorBoardOption = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Also write curves for TensorBoard, into the run folder, while it trains.",
        rich_help_panel="Run",
    ),
]


DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say how long it will take and what it will do, and stop.")
]


ThreadsOption = Annotated[int, typer.Option(min=1, max=256, help="Threads to compute with.")]


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


NetOption = Annotated[str, option_of("net", panel=False)]
NetArgOption = Annotated[list[str] | None, option_of("net_arg", panel=False)]
ElasticOption = Annotated[str | None, option_of("elastic", panel=False)]
KeepOption = Annotated[list[str] | None, option_of("keep", panel=False)]


def require_tensorboard() -> None:
    """Find out whether TensorBoard's package is there, without importing it or PyTorch.

    Raises:
        SettingsError: If it isn't.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError(
            "--tensorboard needs tensorboard, which is not installed; run "
            "`pip install supernet[tensorboard]`, or leave the option out: the run folder has the "
            "curves as a page too"
        )


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
    tensorboard: bool
    as_json: bool
    on: str | None = None


def with_settings(*, without: Collection[str] = ()) -> Callable[[_Command], _Command]:
    """Give a command an option for every setting, and hand it those that were given, resolved.

    Args:
        without: Settings that the command doesn't use: they get no option.

    Returns:
        The decorator of a command that takes `preset`, `settings`, and options of its own.
    """
    return lambda command: _resolving(command, without)


def _resolving(command: _Command, without: Collection[str]) -> _Command:
    knobs = [name for name in KNOBS if name not in without]

    def resolved(preset: str, config: Path | None, **options: Any) -> None:
        asked = {name: options.pop(name) for name in knobs}
        given = {name: value for name, value in asked.items() if value not in (None, [])}
        command(preset=preset, settings=resolve_settings(preset, config, given), **options)

    own = inspect.signature(command, eval_str=True).parameters
    parameters = [
        _keyword("preset", PresetOption, "quick"),
        _keyword("config", ConfigOption, None),
        *(own[name] for name in own if name in ("dry_run", "as_json")),
        *(
            _keyword(name, Annotated[_plain(KNOBS[name].annotation), option_of(name)], None)
            for name in knobs
        ),
        *(own[name] for name in own if name not in ("preset", "settings", "dry_run", "as_json")),
    ]
    resolved.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    resolved.__annotations__ = {p.name: p.annotation for p in parameters}
    resolved.__doc__ = command.__doc__
    resolved.__name__ = command.__name__
    return resolved


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _plain(annotation: Any) -> Any:
    """Return the optional type that typer can parse: int, float, bool, str, or a list of str."""
    if get_origin(annotation) is tuple:
        return list[str] | None
    kinds = [annotation, *get_args(annotation)]
    plain = next((kind for kind in kinds if kind in (int, float, bool)), str)
    return plain | None  # what a text must be beyond that, the settings check
