"""Help texts in groups, with a preset's values and with examples. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from supernet.experiments.settings import KNOBS, PRESETS, Knob, resolve_settings

#: The heading over the options of each part of the settings.
PANELS: Mapping[str, str] = {
    "data": "Data",
    "network": "Network",
    "sampler": "Sampler",
    "recipe": "Training",
    "run": "Run",
}

#: Three ways to call each command.
EXAMPLES: Mapping[str, Sequence[str]] = {
    "compare": (
        "supernet compare",
        "supernet compare --net=nasbench-macro --data=data/cifar10 --alone=6",
        "supernet compare --preset=standard --seeds=5 --on=ray://cluster:10001",
    ),
    "train": (
        "supernet train",
        "supernet train --net=model.py:make --elastic=depth,width=0.5:1.0",
        "supernet train --config=settings.yaml --epochs=10 --out=runs/mine",
    ),
    "resume": (
        "supernet resume runs/mine",
        "supernet resume runs/mine --workers=4",
        "supernet resume runs/mine --data=/new/place/of/data",
    ),
    "status": (
        "supernet status",
        "supernet status runs/mine",
        "supernet status runs/mine --json",
    ),
    "report": (
        "supernet report runs/mine",
        "supernet report runs/mine --json",
    ),
    "extract": (
        "supernet extract runs/mine --best",
        "supernet extract runs/mine --limit='macs <= 5e6' --format=onnx",
        "supernet extract runs/mine --front=3 --out=models/front",
    ),
    "finetune": (
        "supernet finetune runs/mine --best",
        "supernet finetune runs/mine --best --taught --epochs=5",
        "supernet finetune runs/mine --limit='macs <= 5e6' --out=models/small",
    ),
    "predict": (
        "supernet predict models/mine picture.png",
        "supernet predict models/mine folder --top-k=1 --json",
        "supernet predict models/mine inputs.npz --out=predictions.npz",
    ),
    "spaces": ("supernet spaces", "supernet spaces --json"),
    "describe": (
        "supernet describe --net=nasbench-macro",
        "supernet describe --net=timm:resnet18 --elastic=depth,width=0.5:1.0",
        "supernet describe --net=model.py:make --shape=3,224,224 --all",
    ),
    "search": (
        "supernet search runs/mine --limit='macs <= 5e6'",
        "supernet search runs/mine --budget=1000 --strategy=nsga2 --baseline",
        "supernet search runs/mine --objective=score --objective=latency_ms \\\n"
        "    --latency=latency.json",
    ),
    "latency": (
        "supernet latency latency.json",
        "supernet latency latency.json --net=ofa-mobilenet --shape=3,224,224",
        "supernet latency latency.json --runtime=onnxruntime --threads=4",
    ),
}

#: How typer writes types, and a word for each that says more to people.
_TYPE = re.compile(r"<([^<>]*)>")
_TYPES = {
    "str": "TEXT",
    "list[str]": "TEXT",
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "path": "PATH",
    "list[path]": "PATH",
}


class HelpGroup(TyperGroup):
    """The commands, each with its whole summary, however narrow the terminal."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in the order in which they were defined."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            summary = (command.help or "").partition("\n\n")[0] if command else ""
            rows.append((name, " ".join(summary.split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class HelpCommand(TyperCommand):
    """A command whose help shows options in groups, their values, and examples at the end."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the headings of their groups."""
        preset = self._preset(ctx)
        values = resolve_settings(preset).flat() if preset else {}
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            record = (
                _TYPE.sub(lambda found: _TYPES.get(found[1].lower(), found[0]), record[0]),
                record[1],
            )
            kind = "Options" if parameter.param_type_name == "option" else "Arguments"
            heading = (getattr(parameter, "rich_help_panel", None) if values else None) or kind
            if parameter.name in values:
                record = _with_facts(parameter.name, record, values)
            groups.setdefault(heading, []).append(record)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=26)
        if values:
            formatter.write_paragraph()
            formatter.write_text(
                f"[...] shows the value of --preset={preset}, then what is allowed. Settings may "
                "also stand in a YAML file, see --config."
            )

    def _preset(self, ctx: Any) -> str | None:
        """Return the preset that is asked for before `--help`, else the default, if there is one.

        What stands behind `--help` is not read.
        """
        for parameter in self.params:
            if parameter.name == "preset":
                asked = ctx.params.get("preset")
                return asked if asked in PRESETS else str(parameter.default)
        return None

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, as they can be typed."""
        with formatter.section("Examples"):
            for example in EXAMPLES[str(self.name)]:
                for line in example.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def option_of(name: str, *, panel: bool = True) -> Any:
    """Return the command-line option of a setting."""
    knob = KNOBS[name]
    return typer.Option(
        help=knob.description,
        metavar=_metavar(knob),
        rich_help_panel=PANELS[knob.part] if panel else None,
        autocompletion=_completion(_choices(knob)),
    )


def preset_option() -> Any:
    """Return the option that names a preset; it is read first, so that help shows its values."""
    return typer.Option(
        help="Settings to start from.",
        metavar="|".join(PRESETS),
        is_eager=True,
        autocompletion=_completion(tuple(PRESETS)),
    )


def _with_facts(name: str, record: tuple[str, str], values: Mapping[str, Any]) -> tuple[str, str]:
    value, facts = values[name], []
    if isinstance(value, bool):
        facts.append("on" if value else "off")
    elif value not in (None, []):
        facts.append(f"{value:g}" if isinstance(value, float) else str(value))
    if bounds := KNOBS[name].bounds:
        facts.append(bounds)
    text = record[1]
    return record[0], f"{text}  [{'; '.join(facts)}]" if facts else text


def _choices(knob: Knob) -> tuple[str, ...]:
    """Return the values that a setting may have, if they are few words."""
    kinds = [knob.annotation, *get_args(knob.annotation)]
    words = next((kind for kind in kinds if get_origin(kind) is Literal), None)
    return tuple(map(str, get_args(words)))


def _metavar(knob: Knob) -> str | None:
    if choices := _choices(knob):
        return "|".join(choices)
    kinds = {knob.annotation, *get_args(knob.annotation)}
    if bool in kinds:
        return None
    if float in kinds:
        return "NUMBER"
    if int in kinds:
        return "N"
    return "N|all" if knob.field.endswith("_images") else "TEXT"


def _completion(choices: Sequence[str]) -> Any:
    if not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete
