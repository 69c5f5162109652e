"""The command `predict`. No torch at import."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from supernet.cli.options import JsonOption, ThreadsOption
from supernet.cli.output import print_json, say
from supernet.errors import DataError, ModelFolderError, SettingsError
from supernet.report.progress import waiting
from supernet.runs.functions import FunctionName, check_function, parse_function
from supernet.text import show

if TYPE_CHECKING:
    from supernet.export.prediction import Prediction, Predictor

#: A table on a terminal has no more lines, and JSON no more numbers.
_MOST_LINES, _MOST_NUMBERS = 20, 1_000_000


def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, as `extract` writes them.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders of pictures, IDX files; for other networks .npz or .npy files; "
            "or FILE.py:FUNCTION, which returns inputs, or data, of which the test samples count."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Write all that the network says into this .npz file, as arrays."),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes or tokens to name.")] = 3,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="From which probability on a label of several holds."),
    ] = 0.5,
    runtime: Annotated[
        str, typer.Option(help="What runs the network: torch or onnxruntime.")
    ] = "torch",
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Allow running the folder's own model.py."),
    ] = False,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the network of a model folder, on pictures or other samples.

    It prints classes, numbers, labels or next tokens, as the task has it.
    """
    if out is not None and out.suffix != ".npz":
        raise SettingsError(f"--out is {show(out)}; name a file that ends in .npz")
    if not model.is_dir():  # before PyTorch loads
        raise ModelFolderError(f"there is no model folder {show(model)}; `ls models` shows yours")
    sources = [_source(text) for text in inputs]
    with waiting("loading PyTorch and the network", Console(stderr=True)):
        from supernet.export.prediction import Predictor
        from supernet.runs.process import set_up_process

        set_up_process(threads=threads)
        predictor = Predictor(model, top=top_k, threshold=threshold, runtime=runtime, trust=trust)
    found = _ask(predictor, sources)
    if out is not None:
        _keep(list(found), out, as_json=as_json)
    elif as_json:
        print_json([_as_json(one, predictor) for one in _few(found)])
    else:
        _show(found, predictor)


def _source(text: str) -> Path | FunctionName:
    """Return what an input is, and find out what can be known of it without PyTorch."""
    path = Path(text)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):
        pass  # no name for a file
    name = parse_function(text, DataError)
    if name is None:
        raise DataError(
            f"there is no {show(text)}; give pictures, folders, IDX files, .npz or .npy files, or "
            "FILE.py:FUNCTION"
        )
    check_function(name)
    return name


def _ask(predictor: Predictor, sources: Sequence[Path | FunctionName]) -> Iterator[Prediction]:
    from supernet.experiments.predicting import inputs_from

    for source in sources:
        if isinstance(source, Path):
            yield from predictor.files([source])
        else:
            yield from predictor.samples(inputs_from(source))


def _keep(found: Sequence[Prediction], out: Path, *, as_json: bool) -> None:
    """Write all that was found into a file, and say what is in it."""
    from supernet.runs import files

    arrays = {"names": np.array([one.name for one in found], dtype=np.str_)}
    for name in found[0].values if found else ():
        shapes = {one.values[name].shape for one in found}
        if len(shapes) > 1:
            raise DataError(
                f"what the network says of the samples has shapes {sorted(shapes)}, which don't go "
                "into one file; give samples of one size at a time"
            )
        arrays[name] = np.stack([one.values[name] for one in found])
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    files.write(out, content.getvalue())
    shapes_by_name = {name: list(array.shape) for name, array in arrays.items()}
    if as_json:
        print_json({"file": str(out), "samples": len(found), "arrays": shapes_by_name})
        return
    console = Console()
    say(console, f"{show(out)}: {len(found):,} samples")
    for name, array in arrays.items():
        say(console, f"  {name}: {tuple(array.shape)} {array.dtype}")
    _say_changes(found, console)


def _few(found: Iterable[Prediction]) -> Iterator[Prediction]:
    """Pass predictions on, while there are not too many to print."""
    numbers = 0
    for one in found:
        numbers += sum(array.size for array in one.values.values())
        if numbers > _MOST_NUMBERS:
            raise SettingsError(
                f"there are more than {_MOST_NUMBERS:,} numbers to print; keep them in a file with "
                "--out FILE.npz"
            )
        yield one


def _show(found: Iterable[Prediction], predictor: Predictor) -> None:
    pictures = predictor.config.input is not None
    shown: list[Prediction] = []
    count = 0
    for one in found:
        count += 1
        if pictures or count <= _MOST_LINES:
            shown.append(one)
    console = Console()
    console.print(_table(shown, predictor, "picture" if pictures else "sample"))
    if count > len(shown):
        say(console, f"and {count - len(shown):,} more; --out FILE.npz keeps all")
    _say_changes(shown, console)


def _table(found: Sequence[Prediction], predictor: Predictor, heading: str) -> Table:
    table = Table(box=None)
    table.add_column(heading)
    if any(one.top for one in found):
        word = "token" if "tokens" in found[0].values else "class"
        for place in range(max(len(one.top) for one in found)):
            table.add_column(word if place == 0 else "", justify="left")
            table.add_column("", justify="right")
    else:
        key = next(iter(found[0].values), "") if found else ""
        table.add_column({"classes": "share of pixels"}.get(key, key))
    for one in found:
        if one.top:
            cells = [text for name, p in one.top for text in (show(name), f"{100 * p:.1f} %")]
        else:
            cells = [_words(one.values, predictor)]
        table.add_row(escape(one.name), *map(escape, cells))
    return table


def _words(values: Mapping[str, Any], predictor: Predictor) -> str:
    """Return what a network says of a sample, in one line."""
    names, unit = predictor.config.classes, predictor.config.unit
    if "labels" in values:
        those = [
            f"{show(str(place) if names is None else names[place])} {100 * likely:.0f} %"
            for place, (holds, likely) in enumerate(
                zip(values["labels"], values["probabilities"], strict=True)
            )
            if holds
        ]
        return ", ".join(those) or "none"
    if "classes" in values:
        classes, counts = np.unique(values["classes"], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:4]
        size = values["classes"].size
        shares = [f"class {classes[n]} {100 * counts[n] / size:.1f} %" for n in order]
        return ", ".join(shares) + (", ..." if len(classes) > len(order) else "")
    return "; ".join(_numbers(array, unit) for array in values.values())


def _numbers(array: Any, unit: str) -> str:
    flat = array.reshape(-1)
    text = ", ".join(f"{value:.5g}" for value in flat[:6].tolist())
    shape = f", ... {tuple(array.shape)}" if flat.size > 6 else ""
    return f"{text}{shape}{f' {unit}' if unit else ''}"


def _say_changes(found: Sequence[Prediction], console: Console) -> None:
    changes: dict[str, list[str]] = {}
    for one in found:
        for change in one.changes:
            changes.setdefault(change, []).append(one.name)
    for change, those in changes.items():
        who = those[0] if len(those) == 1 else f"{len(those):,} of them"
        say(console, f"{who}: {change}")


def _as_json(one: Prediction, predictor: Predictor) -> dict[str, Any]:
    pictures, names = predictor.config.input is not None, predictor.config.classes
    said: dict[str, Any] = {"picture": one.name} if pictures else {"sample": int(one.name)}
    values = one.values
    if one.top:
        word = "token" if "tokens" in values else "class"
        said["top"] = [{word: name, "probability": p} for name, p in one.top]
    elif "labels" in values:
        places = np.flatnonzero(values["labels"]).tolist()
        said["labels"] = [str(place) if names is None else names[place] for place in places]
        said["probabilities"] = values["probabilities"].tolist()
    else:
        said.update({name: array.tolist() for name, array in values.items()})
    if predictor.config.unit and "values" in values:
        said["unit"] = predictor.config.unit
    said["changes"] = list(one.changes)
    return said
