"""The card of a model folder: the records, and the `README.md` made from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from supernet.export.description import Network, own_files
from supernet.records import Estimate, Record

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


class ScoreRecord(Record):
    """A score, with what it was measured on."""

    name: str
    estimate: Estimate
    images: int
    split: Literal["validation", "test"]


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
    """`config.json` of a model folder."""

    format: Literal["supernet model folder"] = "supernet model folder"
    schema_version: Literal[1] = 1
    input: InputRecord | None = None
    classes: list[str] | None = None
    facts: Facts = Facts()
    sha256: dict[str, str]
    network: Network


def write_card(config: Config, name: str) -> str:
    """Return the text of `README.md`, with the head that the Hugging Face hub reads."""
    body = "\n\n".join(_sections(config, name))
    head = yaml.safe_dump(_head(config, name), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{body}\n"


def _head(config: Config, name: str) -> dict[str, Any]:
    head: dict[str, Any] = {"library_name": "pytorch"}
    if config.classes is not None:
        head["pipeline_tag"] = "image-classification"
    head["tags"] = ["neural-architecture-search", "one-shot-nas", "supernet"]
    facts = config.facts
    if facts.data is not None and facts.scores:
        task = {"type": "image-classification"}
        metrics = [
            {
                "type": score.name,
                "name": f"{score.name} on {score.images} {score.split} images",
                "value": round(score.estimate.value, 6),
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
            "`supernet` isn't needed. With it: `supernet predict FOLDER IMAGES...`, or "
            "`sn.load(folder)`, which rebuilds the network from `config.json` and runs none of the "
            "code here.",
        ]
    )
    if own := own_files(config.network):
        listed = ", ".join(f"`{file}`" for file in own)
        yield f"`model.py` imports {listed}, which the author of the network wrote."
    if table := list(_table(facts)):
        yield "\n".join(["## Facts", "", "| | |", "|---|---|", *table])
    if facts.verdict:
        yield "\n".join(["## How far the search can be trusted", "", *_quoted(facts.verdict)])
    yield (
        "## License\n\nNot stated here. Whoever publishes this says under which license, also in "
        "the head of this file (`license: ...`)."
    )


def _summary(config: Config) -> Iterator[str]:
    facts = config.facts
    kind = "An image classifier" if config.classes is not None else "A network"
    classes = f" with {len(config.classes)} classes" if config.classes is not None else ""
    source = f", {_plain(facts.weights)}" if facts.weights else ""
    yield f"{kind}{classes}{source}."
    if facts.calibration_images:
        yield (
            "The statistics of its batch norms are averages over "
            f"{facts.calibration_images:,} training images, taken while this network ran."
        )


def _usage(config: Config) -> Iterator[str]:
    if config.input is not None:
        shape = " x ".join(map(str, config.input.shape))
        yield f"    x = model.normalize(images)     # bytes, images x {shape}"
        yield "    logits = network(x)"


def _table(facts: Facts) -> Iterator[str]:
    def row(what: str, value: object) -> str:
        return f"| {what} | {_plain(value).replace('|', chr(92) + '|')} |"

    for score in facts.scores:
        e = score.estimate
        yield row(
            f"{score.name}, {score.images:,} {score.split} images",
            f"{e.value:.4f} (95 % interval {e.low:.4f} to {e.high:.4f})",
        )
    if facts.options is not None:
        yield row("architecture", ", ".join(f"{k}={v}" for k, v in facts.options.items()))
    if facts.params is not None:
        yield row("parameters", f"{facts.params:,}")
    if facts.macs is not None:
        yield row("multiply-adds of one image", f"{facts.macs:,}")
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
