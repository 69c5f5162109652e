"""The report on a conversion, module by module: as data, and as a table to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from supernet.networks.conversion.planning import ConversionPlan
from supernet.networks.conversion.stacks import join
from supernet.networks.conversion.tracing import LAYERS
from supernet.space import Choice


@dataclass(frozen=True)
class Line:
    """What became of a module.

    Attributes:
        module: Its name in the given model.
        kind: What it is.
        choices: The choices it takes part in; none if it stays as it was.
        reasons: Why the rest of it is not chosen.
    """

    module: str
    kind: str
    choices: tuple[Choice, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What became of every module that was considered. Printed, it is a table.

    Attributes:
        lines: One per module, in the order of the model.
    """

    lines: tuple[Line, ...]

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All choices, each once."""
        return tuple(dict.fromkeys(choice for line in self.lines for choice in line.choices))

    def __str__(self) -> str:
        rows = [("module", "what it is", "choices", "what is not chosen, and why")]
        for line in self.lines:
            chosen = ", ".join(f"{c.name} {_shown(c)}" for c in line.choices)
            rows.append((line.module, line.kind, chosen or "-", "; ".join(line.reasons)))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join((*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3])).rstrip()
            for row in rows
        )


def _shown(choice: Choice) -> str:
    return f"({' '.join(map(str, choice.options))})"


def write_report(model: nn.Module, plan: ConversionPlan) -> Report:
    """Return what a plan makes of a model."""
    depths = {
        path: Choice(f"{name}.depth", stack.options)
        for name, stack in plan.depths
        for path in stack.paths
    }
    return Report(tuple(_lines(model, plan, depths)))


def _lines(model: nn.Module, plan: ConversionPlan, depths: dict[str, Choice]) -> Iterator[Line]:
    for name, module in model.named_modules():
        layer = isinstance(module, LAYERS)
        weighty = bool(module._parameters) and not layer
        if not layer and not weighty and name not in depths and name not in plan.reasons:
            continue
        choices: list[Choice] = [depths[name]] if name in depths else []
        if role := plan.roles.get(name):
            choices += plan.choices_along(role.inp) + plan.choices_along(role.out)
        for tensor in (*module._parameters, *module._buffers):
            for label in plan.tensors.get(join(name, tensor), ()):
                choices += plan.choices_along(label)
        if name in plan.kernels:
            choices.append(plan.kernels[name])
        reasons = plan.reasons.get(name, [])
        if weighty and not choices and not reasons:
            reasons = ["modules of this kind have no elastic counterpart"]
        yield Line(name, _kind(module), tuple(dict.fromkeys(choices)), tuple(reasons))


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, nn.Conv2d):
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        size = "x".join(map(str, module.kernel_size))
        return f"{name} {module.in_channels} to {module.out_channels}, {size}{groups}"
    if isinstance(module, nn.Linear):
        return f"{name} {module.in_features} to {module.out_features}"
    return name


def name_reasons(lines: Iterable[Line]) -> str:
    """Return, for an error, why nothing of each module is chosen."""
    return "\n".join(
        f"  {line.module or 'the model itself'} ({line.kind}): {'; '.join(line.reasons)}"
        for line in lines
    )
