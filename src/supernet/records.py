"""What a run leaves behind, as data: the one thing the report is made from.

Accuracies are fractions, times are seconds, work is in multiply-adds (MACs; 1 MAC = 2 FLOPs).
Lists over architectures are always in the order of `Results.architectures`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: immutable, and strict about names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Estimate(Record):
    """A number with a 95 % interval."""

    value: float
    low: float
    high: float


class ChoiceRecord(Record):
    """One choice of the search space."""

    name: str
    options: list[int | str]


class ArchitectureRecord(Record):
    """One architecture and what it costs. `macs` is for one image, forward."""

    label: str
    options: dict[str, int | str]
    params: int
    macs: int


class Stage(Record):
    """One stage of the network, as the drawing shows it.

    A `layer` always runs, and needs no name. A `depth` runs the first so many of its `blocks`, as
    the choice called `name` has it.
    """

    kind: Literal["layer", "depth"]
    name: str
    blocks: list[str]
    shortest: int = 1


class NetworkRecord(Record):
    """The supernet: its parts, and the work of one image, forward.

    `macs_apart` is the sum over all architectures run one by one, `macs_shared` their distinct
    work, done once, and `macs_largest` that of the largest architecture alone.
    """

    name: str
    choices: list[ChoiceRecord]
    stages: list[Stage]
    params: int
    macs_apart: int
    macs_shared: int
    macs_largest: int


class Epoch(Record):
    """One epoch of training.

    `loss` is the mean training loss; `validation` has one accuracy per architecture trained: all of
    them for a supernet, one for a standalone network.
    """

    epoch: int
    loss: float
    validation: list[float]


class Progress(Record):
    """How far a training is. `done` runs from 0 to 1; `ended` is there when an epoch was scored."""

    done: float
    epoch: int
    epochs: int
    loss: float
    ended: Epoch | None = None


class Training(Record):
    """One training, from initialisation to its scores; accuracies as in `Epoch`.

    `test` was measured once, after the last epoch; `validation` repeats the last epoch's.
    """

    epochs: list[Epoch]
    validation: list[float]
    test: list[float]


class SeedRecord(Record):
    """Everything trained under one seed. `standalone` has one training per architecture.

    `longer` is a supernet trained for about as much compute as all standalone networks together
    (`longer_epochs` of them); absent unless the settings ask for it.
    """

    seed: int
    supernet: Training
    standalone: list[Training]
    longer: Training | None = None


class Phase(Record):
    """A line of the time account. `arch` is the label of a standalone network's architecture.

    `images` counts images that went through (an image passed through nine architectures at once
    is one image), `macs` the multiply-adds that took, forward and backward.
    """

    name: str
    kind: Literal["data", "training", "recalibration", "scoring"]
    subject: Literal["supernet", "standalone", "longer", "all"]
    seed: int | None
    arch: str | None
    wall_s: float
    cpu_s: float
    images: int
    macs: int


class Verdict(Record):
    """How far the shared weights can be trusted, and what they saved.

    Rankings: one-shot scores on validation images against standalone accuracy on test images.
    `one_shot`, `standalone`: accuracies on the test images, and `gaps` their differences (negative:
    one-shot is worse). `chance_tau` is what a random ranking reaches one time in twenty,
    `ceiling_tau` the tau between two seeds of the standalone networks themselves. `cost_ratio`:
    CPU seconds of all standalone trainings over those of the supernet's. `breakeven`: from how many
    architectures on training, calibrating and scoring a supernet costs less; None if never. How
    each is computed stands in `supernet.agreement`.
    """

    networks: int
    seeds: int
    validation_images: int
    test_images: int
    tau: Estimate
    tau_p: float
    spearman: Estimate
    chance_tau: float
    ceiling_tau: Estimate | None
    macs_tau: Estimate
    picked: str
    best: str
    regret: Estimate
    mean_gap: Estimate
    gaps: list[Estimate]
    longer_gap: Estimate | None
    one_shot: list[Estimate]
    standalone: list[Estimate]
    cost_ratio: float
    cost_ratio_range: tuple[float, float]
    breakeven: float | None
    sentences: list[str]


class Conditions(Record):
    """Where, when and with what a run was made."""

    command: str
    started: str
    versions: dict[str, str]
    hardware: dict[str, str]
    threads: int
    workers: int
    wall_s: float
    cpu_s: float


class DataRecord(Record):
    """The data of a run: images per split, and SHA-256 of the unpacked files."""

    name: str
    classes: int
    train: int
    validation: int
    test: int
    calibration: int
    shape: tuple[int, int, int]
    sha256: dict[str, str]


class Results(Record):
    """A whole run: `results.json`."""

    schema_version: Literal[1] = 1
    conditions: Conditions
    settings: dict[str, int | float | str | bool | list[int] | None]
    data: DataRecord
    network: NetworkRecord
    architectures: list[ArchitectureRecord]
    seeds: list[SeedRecord]
    ledger: list[Phase]
    verdict: Verdict | None
