"""The function `make_elastic`, from a network to a supernet with its weights.

`make_elastic` runs the model once on an example, traces it (`tracing`), follows the widths of its
layers through sums and concatenations (`rules`, `groups`), finds repeated blocks (`stacks`),
decides (`planning`), puts choice modules in the places of layers and blocks (`rewriting`,
`narrowing`), tries the result out (`trying`), and says what it did (`report`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from supernet.errors import SpaceError
from supernet.networks.conversion.inputs import Inputs
from supernet.networks.conversion.planning import ConversionPlan, Wishes, make_plan
from supernet.networks.conversion.refusals import check_model, find_refusals
from supernet.networks.conversion.report import (
    Line as Line,
    Report as Report,
    name_reasons,
    write_report,
)
from supernet.networks.conversion.rewriting import rewrite
from supernet.networks.conversion.tracing import observe
from supernet.networks.conversion.trying import Trial, find_failures, require_same
from supernet.networks.conversion.weights import accept_weights, named_tensors
from supernet.nn.supernet import Supernet
from supernet.tasks import describe


def make_elastic(
    model: nn.Module,
    *,
    depth: bool | int = True,
    width: Sequence[float] | None = (0.5, 0.75, 1.0),
    kernel: Sequence[int] | None = (3, 5),
    example: Any = None,
    include: str | Sequence[str] = "*",
    exclude: str | Sequence[str] = (),
) -> tuple[Supernet, Report]:
    """Make a supernet of a network, with its weights; the given model itself is not changed.

    * *Depth*: neighbors of one class in a `Sequential`, a `ModuleList` or among the attributes,
      which the model runs in order and which keep the shape of what they are given, may be left out
      from the last one on.
    * *Width*: the output width of a convolution, linear layer or embedding. Widths that are added
      up are one choice; whatever reads them follows: norms, depthwise convolutions, parameters of
      the model's own. A grouped convolution keeps the size of its groups. Used are the first
      channels of each.
    * *Kernel*: of an odd, square kernel its center, smaller by steps.

    The largest architecture computes what the model does, bit for bit in training mode, and in
    evaluation mode once batch norms have statistics of their own; extracted, its weights have the
    names they have in the model. All choices were tried out in both modes: one with which the model
    can't run is given up, and the report says so. The classes of the model remain, and so does
    their code. `supernet.load_state_dict` also takes what was saved of the model.

    Example:
        >>> import torch
        >>> images = torch.zeros(2, 3, 8, 8)
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 10))
        >>> supernet, report = make_elastic(model, example=images, width=(0.5,), kernel=None)
        >>> print(report)
        module  what it is          choices        what is not chosen, and why
        0       Conv2d 3 to 8, 3x3  0.width (4 8)
        2       Linear 288 to 10    0.width (4 8)  output width: the model returns it
        >>> supernet(images, supernet.space.smallest).shape
        torch.Size([2, 10])

    Args:
        model: The network.
        depth: Whether blocks may be left out, or the least number of blocks of a stage that run. A
            first block of the same class that changes the shape is one of them. True is 1.
        width: Shares of each width, above 0 up to 1, rounded to multiples of 8 where the width is
            one. The whole width is always an option. None or () for no choices of width.
        kernel: Odd kernel sizes. A convolution gets those smaller than its own, and its own. None
            or () for no choices of kernel size.
        example: A batch such as the model takes, on the model's device: a tensor, a tuple of what
            its `forward` takes by place, or a dict of what it takes by name. Not needed for
            kernels. The supernet takes the first input first, and the others by name: it is called
            as `supernet(first, arch, mask=mask)`.
        include: Patterns of the names of choices, such as `"layer1.*"` or `"*.kernel"`; only
            those that match one are made. A width is named after the first layer that makes it.
        exclude: Patterns of the names of choices that are not made.

    Returns:
        The supernet, and what became of each module.

    Raises:
        SpaceError: If a share is not above 0 and up to 1, a kernel size is even or below one, or
            the least depth below 0; if the example is missing or holds no tensor, or the model
            can't run on it; if
            the model is wrapped for parallel training, or holds choices already; if nothing can be
            chosen; then the error says why for every module.

    References:
        Widths that must be equal as groups: Fang et al., "DepGraph: Towards Any Structural
        Pruning", CVPR 2023, arXiv:2301.12900. First channels: Yu et al., "Slimmable Neural
        Networks", ICLR 2019, arXiv:1812.08928.
    """
    wishes = Wishes(
        None if depth is False else int(depth),
        _several("width", width, "shares, such as (0.5, 1.0)"),
        _several("kernel", kernel, "odd sizes, such as (3, 5)"),
        (include,) if isinstance(include, str) else tuple(include),
        (exclude,) if isinstance(exclude, str) else tuple(exclude),
    )
    _check(model, wishes)
    if example is None and (wishes.least is not None or wishes.shares):
        raise SpaceError(
            "depths and widths are found by running the model; give `example`, a batch such as "
            "it is trained with, or depth=False and width=None"
        )
    inputs = None if example is None else Inputs.of(example, model)
    observed = () if inputs is None else observe(model, inputs)
    refused = find_refusals(model)
    failed: dict[str, str] = {}
    while True:  # ends: each time round, at least one choice less
        plan = make_plan(model, observed, wishes, refused, failed)
        report = write_report(model, plan)
        if not report.choices:
            raise SpaceError(
                "there is nothing to choose in this model:\n"
                f"{name_reasons(report.lines) or '  it has no layers with weights'}"
            )
        supernet = _convert(model, plan)
        if inputs is None:
            return supernet, report
        # In training mode too, if the model can run in it.
        trial = Trial(supernet, inputs.at_least_two(), (False, True)[: len(observed)])
        try:
            more = find_failures(trial, plan.decisive)
            if not more:
                require_same(trial, model)
                return supernet, report
        except SpaceError as error:
            more = _give_up(report, str(error))
            if len(more) == len(report.choices):
                raise
        failed |= more


def _give_up(report: Report, why: str) -> dict[str, str]:
    """Return the choices of one kind, widths first, if nobody knows which one is to blame.

    To find that out would take many more conversions.
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for choice in report.choices:
        kinds[choice.name.endswith((".depth", ".kernel"))].append(choice.name)
    return dict.fromkeys(kinds[False] or kinds[True], why)


def _convert(model: nn.Module, plan: ConversionPlan) -> Supernet:
    copied = copy.deepcopy(model)
    given = named_tensors(copied)
    supernet = Supernet(rewrite(copied, plan))
    accept_weights(supernet, given)
    return supernet


def _several(name: str, given: Any, what: str) -> tuple[Any, ...]:
    """Return the numbers of an argument in order, each once.

    Raises:
        SpaceError: If it is something else.
    """
    if given is None or given is False:
        return ()
    numbers = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
    if numbers is None or not all(isinstance(each, int | float) for each in numbers):
        raise SpaceError(f"{name} is {given!r}; give several {what}, or None")
    return tuple(sorted(set(numbers)))


def _check(model: Any, wishes: Wishes) -> None:
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}" if isinstance(model, type) else describe(model)
        raise SpaceError(f"make_elastic takes a torch.nn.Module, an object, and was given {given}")
    check_model(model)
    if wishes.least is not None and wishes.least < 0:
        raise SpaceError(f"depth is {wishes.least}; the least number of blocks is 0 or more")
    for share in wishes.shares:
        if not 0 < share <= 1:
            raise SpaceError(
                f"a width share is {share!r}; shares are above 0 and at most 1, such as 0.5"
            )
    for size in wishes.kernels:
        if size < 1 or size % 2 == 0:
            raise SpaceError(
                f"kernel size {size!r} has no center; give odd ones of at least 1, such as 3"
            )
