"""Networks by name, as `--net` takes them: the zoo, the user's own function, or timm.

What can be checked without running anything is checked without PyTorch: see `check_network`.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import util
from typing import TYPE_CHECKING, Any

from supernet.errors import NetworkError, SpaceError
from supernet.runs.functions import (
    FunctionName,
    call_function,
    check_function,
    failing_as,
    load_function,
    match_arguments,
    parse_arguments,
    parse_function,
    source_sha256,
)
from supernet.space import Option, SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from supernet.networks.conversion.report import Report
    from supernet.nn.supernet import Supernet

#: The spaces of the zoo: the functions of `supernet.networks.zoo` that build them.
ZOO: dict[str, str] = {
    "mnist": "build_mnist_net",
    "nasbench-macro": "build_nasbench_macro_net",
    "nasbench-201": "build_nasbench201_net",
    "ofa-mobilenet": "build_ofa_mobilenet",
    "ofa-resnet": "build_ofa_resnet",
    "autoformer": "build_autoformer_net",
    "residual": "build_residual_net",
    "operations": "build_operations_net",
}

#: The network of the experiment.
DEFAULT = "mnist"

_TIMM = "timm:"
_ELASTIC = ("depth", "width", "kernel")


@dataclass(frozen=True)
class NetworkName:
    """A network as it is asked for.

    Attributes:
        name: A name of the zoo, `FILE.py:FUNCTION`, `MODULE:FUNCTION`, or `timm:MODEL`.
        arguments: Arguments for its function, each `NAME=VALUE`.
        elastic: What to make elastic in a plain network, such as `depth,width=0.5:1.0,kernel`.
        keep: What to keep of the space, each `PATTERN=OPTION|OPTION`, such as
            `position*.op=identity|mb3_k3`.
    """

    name: str = DEFAULT
    arguments: tuple[str, ...] = ()
    elastic: str | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedNetwork:
    """A network that was built by its name.

    Attributes:
        supernet: The network, with as much of its space as is kept.
        report: What became of each module, if it was made elastic.
        sources: SHA-256 of the user's source file, by its name; empty for others.
    """

    supernet: Supernet
    report: Report | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def check_network(wanted: NetworkName) -> None:
    """Find out what can be known without running anything: names, files and forms. No torch.

    Raises:
        NetworkError: If the network can't be had.
    """
    parse_arguments(wanted.arguments, "--net-arg", NetworkError)
    _parse_elastic(wanted.elastic)
    _parse_keep(wanted.keep)
    if wanted.name in ZOO:
        if wanted.elastic:
            raise NetworkError(
                f"{wanted.name} has choices already, so it can't be made elastic; leave --elastic "
                "out, or choose some of its options with --keep"
            )
    elif wanted.name.startswith(_TIMM):
        if util.find_spec("timm") is None:
            raise NetworkError(
                f"{wanted.name} needs timm, which is not installed: pip install 'supernet[timm]'"
            )
        if not wanted.elastic:
            _find_timm(wanted.name.removeprefix(_TIMM))  # a typo is told first
        _require_elastic(wanted)
    elif function := parse_function(wanted.name, NetworkError):
        check_function(function)
    else:
        close = difflib.get_close_matches(wanted.name, ZOO, n=1)
        hint = f"did you mean {close[0]}? There are" if close else "there are"
        raise NetworkError(
            f"there is no network {wanted.name!r}; {hint} {', '.join(ZOO)}, your own as "
            "FILE.py:FUNCTION or MODULE:FUNCTION, and timm:MODEL"
        )


def build_network(
    wanted: NetworkName,
    *,
    shape: Sequence[int],
    classes: int | None,
    seed: int,
    example: Any = None,
) -> NamedNetwork:
    """Return the network, newly initialized.

    The function is given `shape`, `classes` and `seed` if its signature has them. Weights that it
    draws from PyTorch's default generator come from `seed` too.

    Args:
        wanted: Which network.
        shape: Of one sample, such as channels, height, width.
        classes: How many classes there are, if that makes sense.
        seed: Of the initial weights. No generator outside is touched.
        example: Some inputs, to try a plain network on that is made elastic, if they are anything
            else than one floating-point tensor.

    Raises:
        NetworkError: If there is no such network, or its function fails or returns something else.
        SpaceError: If the choices of the network contradict each other.
    """
    from supernet.networks.zoo.parts import seeded
    from supernet.nn.choices import ChoiceModule
    from supernet.nn.supernet import Supernet

    check_network(wanted)
    offered = {"shape": tuple(shape), "seed": seed}
    if classes is not None:
        offered["classes"] = classes
    with seeded(seed):
        net, sources = _build(wanted, offered)
        report = None
        if isinstance(net, Supernet):
            supernet = net
        elif any(isinstance(module, ChoiceModule) for module in net.modules()):
            supernet = Supernet(net)
        else:
            _require_elastic(wanted)
            supernet, report = _make_elastic(wanted, net, shape, example)
    if wanted.elastic and report is None:
        raise NetworkError(
            f"{wanted.name} has choices already, so it can't be made elastic; leave --elastic out"
        )
    supernet.space = keep_options(supernet.space, wanted.keep)
    return NamedNetwork(supernet, report, sources)


def _build(wanted: NetworkName, offered: Mapping[str, Any]) -> tuple[nn.Module, dict[str, str]]:
    from torch import nn

    from supernet.networks import zoo

    arguments = parse_arguments(wanted.arguments, "--net-arg", NetworkError)
    sources: dict[str, str] = {}
    if wanted.name in ZOO:
        build = getattr(zoo, ZOO[wanted.name])
        given = _matched(wanted.name, build, offered, arguments)
        with failing_as(NetworkError, wanted.name):
            net = build(**given)
    elif wanted.name.startswith(_TIMM):
        net = _build_timm(wanted.name.removeprefix(_TIMM), offered, arguments)
    else:
        function = parse_function(wanted.name, NetworkError)
        assert function
        build = load_function(function)
        net = call_function(
            function, build, offered=offered, arguments=arguments, option="--net-arg"
        )
        sources = source_sha256(function)
    if not isinstance(net, nn.Module):
        raise NetworkError(
            f"{wanted.name} returns {_kind_of(net)}; it must return a torch.nn.Module: a network "
            "with choices, a Supernet, or a plain network to be made elastic"
        )
    return net, sources


def _matched(
    name: str, build: Callable[..., Any], offered: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    return match_arguments(
        name, build, offered=offered, arguments=arguments, option="--net-arg", error=NetworkError
    )


def _find_timm(model: str) -> Any:
    """Return timm, which has this model."""
    with failing_as(NetworkError, "importing timm"):
        import timm
    known: list[str] = timm.list_models()
    if model not in known:
        close = difflib.get_close_matches(model, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise NetworkError(f"timm has no model {model!r}; {hint}")
    return timm


def _build_timm(model: str, offered: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    timm = _find_timm(model)
    given = {"num_classes": offered.get("classes"), "in_chans": offered["shape"][0], **arguments}
    with failing_as(NetworkError, f"timm:{model}"):
        return timm.create_model(
            model, **{name: value for name, value in given.items() if value is not None}
        )


def _kind_of(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _require_elastic(wanted: NetworkName) -> None:
    if not wanted.elastic:
        raise NetworkError(
            f"{wanted.name} has no choices, so there is nothing to search; make it elastic, such "
            "as with --elastic depth,width=0.5:1.0,kernel"
        )


def _make_elastic(
    wanted: NetworkName, net: nn.Module, shape: Sequence[int], example: Any
) -> tuple[Supernet, Report]:
    import torch

    from supernet.networks.conversion import make_elastic

    if example is None:
        example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        return make_elastic(net, example=example, **_parse_elastic(wanted.elastic))
    except SpaceError as error:
        raise NetworkError(f"{wanted.name} can't be made elastic: {error}") from error


def _parse_elastic(text: str | None) -> dict[str, Any]:
    """Return the arguments of `make_elastic` that a text such as `depth,width=0.5:1.0` asks for."""
    if text is None:
        return {}
    wishes: dict[str, Any] = {"depth": False, "width": None, "kernel": None}
    defaults = {"depth": True, "width": (0.5, 0.75, 1.0), "kernel": (3, 5)}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in _ELASTIC:
            raise NetworkError(
                f"--elastic is {text!r}, and {name!r} is none of {', '.join(_ELASTIC)}; write "
                "such as depth,width=0.5:1.0,kernel=3:5"
            )
        try:
            numbers = [float(number) for number in value.split(":")] if equals else []
        except ValueError:
            raise NetworkError(
                f"--elastic is {text!r}, and {value!r} must be numbers with colons between them"
            ) from None
        whole = [int(number) for number in numbers if number == number and abs(number) < 1e6]
        if not equals:
            wishes[name] = defaults[name]
        elif name == "width":
            wishes[name] = tuple(numbers)
        elif whole != numbers or (name == "depth" and len(whole) != 1):
            raise NetworkError(
                f"--elastic is {text!r}; {name} takes "
                + ("one whole number" if name == "depth" else "whole numbers")
            )
        else:
            wishes[name] = whole[0] if name == "depth" else tuple(whole)
    return wishes


def keep_options(space: SearchSpace, keep: Sequence[str]) -> SearchSpace:
    """Return the part of a space in which choices have some of their options only.

    Args:
        space: The space.
        keep: Each `PATTERN=OPTION|OPTION`; the pattern is for names of choices, and the last one
            that matches counts.

    Raises:
        NetworkError: If a pattern matches no choice, or a choice has none of the options.
    """
    kept: dict[str, list[Option]] = {}
    for pattern, options in _parse_keep(keep):
        matching = [c for c in space.choices if fnmatch.fnmatchcase(c.name, pattern)]
        if not matching:
            names = [choice.name for choice in space.choices]
            raise NetworkError(f"--keep: no choice matches {pattern!r}; there are {_some(names)}")
        for choice in matching:
            found = [option for option in choice.options if str(option) in options]
            if foreign := sorted(set(options) - {str(option) for option in choice.options}):
                raise NetworkError(
                    f"--keep: {choice.name} has no option {foreign[0]!r}; it has "
                    f"{_some([str(option) for option in choice.options])}"
                )
            kept[choice.name] = found
    return space.keep(kept) if kept else space


def _parse_keep(keep: Sequence[str]) -> list[tuple[str, list[str]]]:
    found = []
    for text in keep:
        pattern, equals, options = text.partition("=")
        wanted = [option.strip() for option in options.split("|") if option.strip()]
        if not pattern.strip() or not equals or not wanted:
            raise NetworkError(
                f"--keep is {text!r}; it must be PATTERN=OPTION|OPTION, such as "
                "'position*.op=identity|mb3_k3'"
            )
        found.append((pattern.strip(), wanted))
    return found


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def space_sha256(space: SearchSpace) -> str:
    """Return a digest of a space: its choices, options and conditions."""
    return space.sha256


def source_of(wanted: NetworkName) -> FunctionName | None:
    """Return the user's function that builds the network, if it is one."""
    with suppress(NetworkError):
        if wanted.name not in ZOO and not wanted.name.startswith(_TIMM):
            return parse_function(wanted.name, NetworkError)
    return None
