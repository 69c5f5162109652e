"""The card of a model folder: the records, and the `README.md` made from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import Field

from supernet.export.description import Network, own_files
from supernet.records import ACCURACY, Estimate, Measure, Record
from supernet.tasks.naming import TaskName

CONFIG, WEIGHTS, SOURCE, CARD = "config.json", "model.safetensors", "model.py", "README.md"


class InputRecord(Record):
    """The images a network takes: bytes of this shape, scaled to 0..1, minus `mean`, over `std`.

    `shape` is channels, height, width.
    """

    shape: tuple[
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=65536)],
        Annotated[int, Field(ge=1, le=65536)],
    ]
    mean: list[float]
    std: list[float]


DType = Literal[
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]

#: The types that a network's inputs may have.
DTYPES: Final = get_args(DType)


class TensorRecord(Record):
    """A tensor that a network takes: what it is called, the shape for one sample, the type."""

    name: str
    shape: tuple[Annotated[int, Field(ge=0, lt=2**40)], ...]
    dtype: DType


class InputsRecord(Record):
    """What a network takes that is no picture: a tensor, or several in a tuple or dict.

    `apart`: whether its `forward` takes them as arguments of their own, and not the tuple or dict
    as a whole.
    """

    form: Literal["tensor", "tuple", "dict"]
    tensors: Annotated[list[TensorRecord], Field(min_length=1, max_length=1000)]
    apart: bool = False


class ScoreRecord(Record):
    """A score, with what it was measured on. `measure` says how its number is shown."""

    name: str
    estimate: Estimate
    images: int
    split: Literal["validation", "test"]
    measure: Measure = ACCURACY

    def shown(self, value: float) -> float:
        """Return what people know for a score: an error without its sign; fractions as such."""
        return value if self.measure.higher_is_better else -value


class Facts(Record):
    """What is known of a network. Whatever isn't known is None, and isn't mentioned.

    Attributes:
        options: Its architecture: each choice's option.
        params: Learned numbers.
        macs: Multiply-adds of one image.
        latency_ms: Milliseconds of one image, where that was measured, with the conditions.
        weights: Where the weights are from: inherited from a supernet, tuned, or trained alone.
        calibration_images: Training images that the batch norms' statistics are averages over.
        scores: What it scored.
        data: The name of the data.
        data_sha256: Of the data's files.
        seed: Of the training.
        command: The command line that made the folder.
        trained_by: The command line of the training.
        verdict: On the ranking of the supernet, in sentences.
        versions: Of the software.
    """

    options: dict[str, int | str] | None = None
    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    latency_conditions: str | None = None
    weights: str | None = None
    calibration_images: int | None = None
    scores: list[ScoreRecord] = Field(default_factory=list)
    data: str | None = None
    data_sha256: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    command: str | None = None
    trained_by: str | None = None
    verdict: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)


class Config(Record):
    """`config.json` of a model folder.

    `input` says what pictures the network takes, `inputs` what else; `unit` is that of the numbers
    that a regression puts out, where it is known.
    """

    format: Literal["supernet model folder"] = "supernet model folder"
    schema_version: Literal[1] = 1
    input: InputRecord | None = None
    inputs: InputsRecord | None = None
    task: TaskName | None = None
    unit: str = ""
    classes: list[str] | None = None
    facts: Facts = Facts()
    sha256: dict[str, str]
    network: Network

    @property
    def task_name(self) -> TaskName | None:
        """What the network is for; where nobody said, it classifies if there are classes."""
        return self.task or (None if self.classes is None else "classification")

    @property
    def classifies_pictures(self) -> bool:
        """Whether it is an image classifier."""
        return self.input is not None and self.task_name == "classification"


def write_card(config: Config, name: str) -> str:
    """Return the text of `README.md`, with the head that the Hugging Face hub reads."""
    body = "\n\n".join(_sections(config, name))
    head = yaml.safe_dump(_head(config, name), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{body}\n"


def _head(config: Config, name: str) -> dict[str, Any]:
    head: dict[str, Any] = {"library_name": "pytorch"}
    if config.classifies_pictures:
        head["pipeline_tag"] = "image-classification"
    head["tags"] = ["neural-architecture-search", "one-shot-nas", "supernet"]
    facts = config.facts
    if facts.data is not None and facts.scores:
        task = {"type": "image-classification" if config.classifies_pictures else "other"}
        metrics = [
            {
                "type": score.name,
                "name": f"{score.name} on {score.images} {score.split} {_samples(config)}",
                "value": round(score.shown(score.estimate.value), 6),
            }
            for score in facts.scores
        ]
        dataset = {"type": _slug(facts.data), "name": facts.data}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        head["model-index"] = [{"name": name, "results": results}]
    return head


def _sections(config: Config, name: str) -> Iterator[str]:
    facts = config.facts
    yield f"# {_plain(name)}"
    yield " ".join(_summary(config))
    yield "\n".join(
        [
            "## Use",
            "",
            "    pip install torch safetensors",
            "",
            "    import model                    # model.py in this folder",
            "    network = model.load()          # in evaluation mode",
            *_usage(config),
            "",
            f"`supernet` isn't needed. With it: `supernet predict FOLDER {_given(config)}`, or "
            "`sn.load(folder)`, which rebuilds the network from `config.json` and runs none of the "
            "code here.",
        ]
    )
    if own := own_files(config.network):
        listed = ", ".join(f"`{file}`" for file in own)
        yield f"`model.py` imports {listed}, which the author of the network wrote."
    if table := list(_table(config)):
        yield "\n".join(["## Facts", "", "| | |", "|---|---|", *table])
    if facts.verdict:
        yield "\n".join(["## How far the search can be trusted", "", *_quoted(facts.verdict)])
    yield (
        "## License\n\nNot stated here. Whoever publishes this says under which license, also in "
        "the head of this file (`license: ...`)."
    )


def _summary(config: Config) -> Iterator[str]:
    facts = config.facts
    kind = _KINDS.get(config.task_name or "", "A network")
    if config.classifies_pictures:
        kind = "An image classifier"
    classes = f" with {len(config.classes)} classes" if config.classes is not None else ""
    source = f", {_plain(facts.weights)}" if facts.weights else ""
    yield f"{kind}{classes}{source}."
    if facts.calibration_images:
        yield (
            "The statistics of its batch norms are averages over "
            f"{facts.calibration_images:,} training {_samples(config)}, taken while this network "
            "ran."
        )


def _usage(config: Config) -> Iterator[str]:
    if config.input is not None:
        shape = " x ".join(map(str, config.input.shape))
        yield f"    x = model.normalize(images)     # bytes, images x {shape}"
        yield "    logits = network(x)"
    elif config.inputs is not None:
        for tensor in config.inputs.tensors:
            shape = ", ".join(map(str, (1, *tensor.shape)))
            yield f"    {tensor.name} = torch.zeros({shape}, dtype=torch.{tensor.dtype})"
        yield f"    outputs = network({_arguments(config.inputs)})"


def _arguments(inputs: InputsRecord) -> str:
    names = [tensor.name for tensor in inputs.tensors]
    if inputs.form == "tensor":
        return names[0]
    if inputs.form == "tuple":
        return ", ".join(names) if inputs.apart else f"({', '.join(names)},)"
    if inputs.apart:
        return ", ".join(f"{name}={name}" for name in names)
    return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"


def _samples(config: Config) -> str:
    return "samples" if config.input is None and config.inputs is not None else "images"


def _given(config: Config) -> str:
    return "FILE.npz" if config.input is None and config.inputs is not None else "IMAGES..."


_KINDS: Final = {
    "classification": "A classifier",
    "multi-label": "A network that says which of several labels hold",
    "regression": "A network that puts out numbers (a regression)",
    "dense": "A network that classifies every pixel",
    "next token": "A network that says what comes next in a sequence",
}


def _table(config: Config) -> Iterator[str]:
    facts, samples = config.facts, _samples(config)

    def row(what: str, value: object) -> str:
        return f"| {what} | {_plain(value).replace('|', chr(92) + '|')} |"

    for score in facts.scores:
        e = score.estimate
        low, high = sorted((e.low, e.high), key=score.shown)
        yield row(
            f"{score.name}, {score.images:,} {score.split} {samples}",
            f"{_number(score, e.value)} (95 % interval {_number(score, low)} to "
            f"{_number(score, high)})",
        )
    if facts.options is not None:
        yield row("architecture", ", ".join(f"{k}={v}" for k, v in facts.options.items()))
    if facts.params is not None:
        yield row("parameters", f"{facts.params:,}")
    if facts.macs is not None:
        yield row(f"multiply-adds of one {samples[:-1]}", f"{facts.macs:,}")
    if facts.latency_ms is not None:
        where = f" ({facts.latency_conditions})" if facts.latency_conditions else ""
        yield row("latency", f"{facts.latency_ms:.3f} ms{where}")
    if facts.data is not None:
        yield row("data", facts.data)
    for file, digest in facts.data_sha256.items():
        yield row(f"SHA-256 of {file}", digest)
    if facts.seed is not None:
        yield row("seed", facts.seed)
    if facts.trained_by is not None:
        yield row("trained by", facts.trained_by)
    if facts.command is not None:
        yield row("written by", facts.command)
    if facts.versions:
        yield row("versions", ", ".join(f"{k} {v}" for k, v in facts.versions.items()))


def _number(score: ScoreRecord, value: float) -> str:
    shown, unit = score.shown(value), score.measure.unit
    return f"{shown:.4f}" if unit == "%" else f"{shown:.4g}{f' {unit}' if unit else ''}"


def _quoted(sentences: list[str]) -> Iterator[str]:
    for sentence in sentences:
        yield f"> {_plain(sentence)}"
        yield ">"


def _plain(value: object) -> str:
    """Return a text in one line that is no markup: names come from anywhere."""
    text = " ".join(str(value).split())
    return text.replace("<", "&lt;").replace("`", "'")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "data"
