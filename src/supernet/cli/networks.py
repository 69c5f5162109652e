"""The commands `spaces` and `describe`. Nothing is trained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from supernet.cli.options import (
    ElasticOption,
    JsonOption,
    KeepOption,
    NetArgOption,
    NetOption,
    parse_shape,
)
from supernet.cli.output import print_json, say, show_spaces
from supernet.experiments.settings import check_data
from supernet.networks.named import DEFAULT, NetworkName, check_network


def spaces(*, as_json: JsonOption = False) -> None:
    """List the built-in search spaces with sizes and costs."""
    from supernet.experiments.describing import summarize_zoo

    if as_json:
        print_json([asdict(summary) for summary in summarize_zoo()])
        return
    show_spaces(summarize_zoo())


def describe(
    *,
    net: NetOption = DEFAULT,
    net_arg: NetArgOption = None,
    elastic: ElasticOption = None,
    keep: KeepOption = None,
    data: Annotated[str | None, typer.Option(help="Data that the network is built for.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Shape of a sample instead, such as 3,224,224.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of classes.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Samples in a training step.")] = 32,
    everything: Annotated[bool, typer.Option("--all", help="Show every choice and layer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a network, its space, and the cost of a step.

    Nothing is trained.
    """
    wanted = NetworkName(net, tuple(net_arg or ()), elastic, tuple(keep or ()))
    check_network(wanted)
    check_data(data)
    form, example = parse_shape(shape), None
    from supernet.experiments.describing import describe as describe_network

    if data is not None:
        from supernet.experiments.components import example_of, load_data
        from supernet.experiments.settings import DataSettings

        found = load_data(DataSettings(source=data))
        example = example_of(found) if form is None else None
        form, classes = form or found.shape, found.classes if classes is None else classes
    description = describe_network(
        wanted, shape=form, classes=classes, batch=batch_size, example=example
    )
    if as_json:
        print_json(description.content())
        return
    console = Console()
    for line in description.lines(everything=everything):
        say(console, line)
