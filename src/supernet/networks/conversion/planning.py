"""Plans of conversions: which choices a model gets."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx, nn
from torch.nn.utils.parametrize import is_parametrized

from supernet.networks.conversion.groups import Groups, Label, Segment
from supernet.networks.conversion.labeling import Labeling, Labels, Role
from supernet.networks.conversion.refusals import holders_of
from supernet.networks.conversion.rules import label_graphs
from supernet.networks.conversion.stacks import Stack, find_stacks, join
from supernet.networks.conversion.tracing import LAYERS, Call, Observed, Trace
from supernet.sharing.module_state import has_hooks
from supernet.space import Choice


@dataclass(frozen=True)
class Wishes:
    """What the caller of `make_elastic` wants.

    Attributes:
        least: How many blocks of a stage have to run; None for no choices of depth.
        shares: Of a width, in ascending order; none for no choices of width.
        kernels: Odd sizes, in ascending order.
        include: Patterns of the names of choices, of which one must match.
        exclude: Patterns of which none may match.
    """

    least: int | None
    shares: tuple[float, ...]
    kernels: tuple[int, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def refuse(self, name: str) -> str:
        """Return why a choice is not wanted; empty if it is."""
        for pattern in self.exclude:
            if fnmatch.fnmatchcase(name, pattern):
                return f"excluded by {pattern!r}"
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include):
            return ""
        return f"{name!r} matches nothing in `include`"


@dataclass
class ConversionPlan:
    """What is to become of a model.

    Attributes:
        depths: The stacks and their names, without ".depth".
        roles: By the name of a layer, of which widths it is.
        widths: The choices, by the number of a width.
        times: By the number of a width, how many of the positions that its choice counts each of
            its channels makes up.
        kernels: The choices, by the name of a convolution.
        tensors: By the name of a parameter or buffer that is cut, the widths along its axes.
        decisive: The names of choices by which the model's code decides what to do.
        reasons: By the name of a module, why something of it is not chosen, each said once.
    """

    depths: list[tuple[str, Stack]] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    widths: dict[int, Choice] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    kernels: dict[str, Choice] = field(default_factory=dict)
    tensors: dict[str, Labels] = field(default_factory=dict)
    decisive: frozenset[str] = frozenset()
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def say(self, name: str, why: str) -> None:
        """Write down a reason."""
        reasons = self.reasons.setdefault(name, [])
        if why and why not in reasons:
            reasons.append(why)

    def choices_along(self, label: Label | None) -> list[Choice]:
        """Return the choices that a label's widths follow from."""
        found = [self.widths.get(segment.width) for segment in label or ()]
        return list(dict.fromkeys(choice for choice in found if choice is not None))


def make_plan(
    model: nn.Module,
    observed: Sequence[Observed],
    wishes: Wishes,
    refused: Mapping[str, str],
    failed: Mapping[str, str],
) -> ConversionPlan:
    """Return which choices a model gets.

    Args:
        model: The model.
        observed: What was seen of it in each mode; nothing if that is not needed.
        wishes: What is wanted.
        refused: By the name of a layer, why it can't be replaced.
        failed: By the name of a choice, why it can't be made: it has been tried.
    """
    plan = ConversionPlan()
    stacks: list[Stack] = []
    if observed and wishes.least is not None:
        stacks, reasons = find_stacks(model, observed, wishes.least)
        for name, why in reasons.items():
            plan.say(name, f"depth: {why}")
    taken: set[str] = set()
    for stack in stacks:
        alone = sum(other.container == stack.container for other in stacks) == 1
        name = stack.container if alone else ""
        if not name or name in taken:  # by a stack of which this container is the first block
            name = stack.paths[0]
        taken.add(name)
        why = wishes.refuse(f"{name}.depth") or failed.get(f"{name}.depth", "")
        if why:
            for path in stack.paths:
                plan.say(path, f"depth: {why}")
        else:
            plan.depths.append((name, stack))
    if observed and wishes.shares:
        _plan_widths(plan, model, observed, wishes, refused, failed)
    for name, module in model.named_modules():
        if wishes.kernels and isinstance(module, nn.Conv2d):
            _plan_kernel(plan, name, module, refused.get(name, ""), wishes, failed)
    return plan


# -- kernels -------------------------------------------------------------------------------------


def _plan_kernel(
    plan: ConversionPlan,
    name: str,
    conv: nn.Conv2d,
    why: str,
    wishes: Wishes,
    failed: Mapping[str, str],
) -> None:
    choice, size = join(name, "kernel"), conv.kernel_size[0]
    options = tuple(k for k in wishes.kernels if k < size)
    why = why or wishes.refuse(choice) or failed.get(choice, "")
    if not why and not is_regular(conv):
        why = "only odd, square kernels that keep height and width at stride 1 have a center to use"
    if not why and not options:
        why = f"of {wishes.kernels} none is smaller than {size}"
    if why:
        plan.say(name, f"kernel: {why}")
    else:
        plan.kernels[name] = Choice(choice, (*options, size))


def is_regular(conv: nn.Conv2d) -> bool:
    """Say whether `ElasticConv2d` does what a convolution does."""
    size, dilation = conv.kernel_size[0], conv.dilation[0]
    same = (dilation * (size // 2),) * 2
    return (
        type(conv) is nn.Conv2d
        and "forward" not in vars(conv)
        and size % 2 == 1
        and conv.padding_mode == "zeros"
        and all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.dilation))
        and (conv.padding == same or (conv.padding == "same" and conv.stride[0] == 1))
    )


# -- widths --------------------------------------------------------------------------------------


def _plan_widths(
    plan: ConversionPlan,
    model: nn.Module,
    observed: Sequence[Observed],
    wishes: Wishes,
    refused: Mapping[str, str],
    failed: Mapping[str, str],
) -> None:
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS)}
    for seen in observed:
        if isinstance(seen.trace, str):
            for name in layers:
                plan.say(name, f"width: the model can't be traced: {seen.trace}")
            return
    traces = [seen.trace for seen in observed if isinstance(seen.trace, Trace)]
    modules = dict(model.named_modules(remove_duplicate=False))
    labeling = label_graphs(traces, modules)
    for trace in traces:
        for _, stack in plan.depths:
            _keep_equal(labeling, [c for p in stack.paths for c in trace.calls.get(p, [])])
    _fix_what_stays(labeling, model, traces, refused)
    groups = labeling.groups
    choices: dict[int, Choice] = {}
    places = {name: place for place, name in enumerate(labeling.roles)}
    for number in groups:
        writers = sorted(groups.writers(number), key=lambda n: (_is_part(labeling, n), places[n]))
        if groups.reasons(number) or not writers:
            continue
        name = _free_name(writers, {choice.name for choice in choices.values()})
        count, multiple = groups.count(number), groups.multiple(number)
        times = _times(labeling, writers[0], number)
        options = _options(count * times, multiple * times, wishes.shares)
        why = wishes.refuse(name) or failed.get(name, "")
        if not why and len(options) == 1:
            why = f"{count * times} channels have no other width among the shares"
        if why:
            groups.fix((Segment(number, count),), why)
        else:
            choices[number] = Choice(name, options)
            plan.times[number] = times
    plan.widths = choices
    for name, role in labeling.roles.items():
        plan.roles[name] = Role(
            None if role.inp is None else groups.resolve(role.inp),
            None if role.out is None else groups.resolve(role.out),
            role.block,
        )
        for what, label in (("input width", role.inp), ("output width", role.out)):
            if what == "output width" and role.out is role.inp:
                continue  # said already
            for segment in groups.resolve(label or ()):
                for why in groups.reasons(segment.width)[:1]:
                    plan.say(name, f"{what}: {why}")
    for name, labels in labeling.tensors.items():
        whole = tuple(None if label is None else groups.resolve(label) for label in labels)
        owner, _, last = name.rpartition(".")
        if any(map(plan.choices_along, whole)):
            plan.tensors[name] = whole
        elif last in labeling.modules[owner]._parameters:
            widths = [segment.width for label in whole for segment in label or ()]
            why = next((why for width in widths for why in groups.reasons(width)), "")
            plan.say(owner, f"{last}: {why or 'no layer makes its sizes'}")
    for name in layers.keys() - labeling.roles.keys():
        why = refused.get(name, "") or "a module that holds it is taken as a whole"
        plan.say(name, f"width: {why}")
    decided = {
        choice.name
        for trace in traces
        for node, axis in trace.decided
        if isinstance(node, fx.Node) and isinstance(axis, int)
        for choice in plan.choices_along(_resolved(groups, labeling.of(node)[axis]))
    }
    plan.decisive = frozenset(decided)


def _resolved(groups: Groups, label: Label | None) -> Label | None:
    return None if label is None else groups.resolve(label)


def _is_part(labeling: Labeling, writer: str) -> bool:
    """Say whether what a layer makes consists of several widths."""
    label = labeling.groups.resolve(labeling.roles[writer].out or ())
    return len({segment.width for segment in label}) > 1


def _times(labeling: Labeling, writer: str, number: int) -> int:
    """Return how many channels of the layer that names a width belong to each of its own."""
    out = labeling.roles[writer].out
    label = labeling.groups.resolve(out or ())
    return sum(segment.repeat for segment in label if segment.width == number) or 1


def _free_name(writers: Sequence[str], taken: Collection[str]) -> str:
    """Return a name for a width: that of the first layer which makes it and has none yet."""
    names = [f"{writer}.width" for writer in writers]
    names += (f"{writers[0]}.width_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in names if name not in taken)


def _fix_what_stays(
    labeling: Labeling,
    model: nn.Module,
    traces: Sequence[Trace],
    refused: Mapping[str, str],
) -> None:
    """Fix the widths of layers and tensors that can't be cut."""
    groups = labeling.groups
    for name, role in labeling.roles.items():
        why = refused.get(name, "")
        if not why and name in labeling.read_layers:
            why = "its weights are read by the model's own code"
        if why:
            for label in (role.inp, role.out):
                groups.fix(label, f"{name!r} can't be a part of itself: {why}")
    called = {name for trace in traces for name in trace.calls} | {""}
    holders = holders_of(model)
    for name, labels in labeling.tensors.items():
        owner, _, last = name.rpartition(".")
        why = ""
        if len(holders[id(getattr(labeling.modules[owner], last))]) > 1:
            why = "several modules share it"
        elif owner not in called:
            why = "the module that holds it is not called itself"
        elif has_hooks(labeling.modules[owner]):
            why = "the module that holds it has hooks, which would be lost"
        elif is_parametrized(labeling.modules[owner]):
            why = "it is computed from other parameters"
        for label in labels if why else ():
            groups.fix(label, f"it is combined with {name!r}: {why}")


def _keep_equal(labeling: Labeling, calls: Sequence[Call]) -> None:
    """A block may be left out, so what goes into it is as wide as what comes out."""
    for call in calls:
        assert call.source is not None
        assert call.output is not None
        before, after = labeling.of(call.source), labeling.of(call.output)
        for one, other in zip(before, after, strict=True):
            if one is not None and other is not None:
                labeling.equal(one, other)
            else:
                why = "a block that may be left out returns it, and is given a fixed width"
                labeling.groups.fix(one or other, why)


def _options(count: int, multiple: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Return the widths for some shares of a width, from small to large; the whole is the last.

    They are multiples of what they have to be, and where it can be of 8, 4 or 2 as well: of the
    largest of these that divides the width and does not exceed the smallest share.
    """
    for nice in (8, 4, 2, 1):
        step = math.lcm(nice, multiple)
        if count % step == 0 and (step == multiple or step <= shares[0] * count):
            break
    rounded = {max(step, int(share * count / step + 0.5) * step) for share in shares}
    return tuple(sorted({min(width, count) for width in rounded} | {count}))
