"""Records of a run, as data: the one thing the report is made from.

Accuracies are fractions, times are seconds, work is in multiply-adds (MACs; 1 MAC = 2 FLOPs).
Lists over architectures are always in the order of `Results.architectures`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, model_validator


def _check_score(value: float) -> float:
    if math.isinf(value):
        raise ValueError("a score is a finite number, or NaN")
    return value


#: A mean score, higher is better: of a classifier its accuracy, a fraction from 0 to 1. NaN (in
#: JSON "NaN") if the evaluation failed, as an output was not a finite number.
Score = Annotated[float, AfterValidator(_check_score)]


def _check_whole_numbers(value: object) -> None:
    """Refuse whole numbers of more than 64 bits, which nothing here counts to."""
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError("it has a whole number of more than 64 bits")
    elif isinstance(value, list | tuple):
        for each in value:
            _check_whole_numbers(each)
    elif isinstance(value, dict):
        for each in value.values():
            _check_whole_numbers(each)


class _Checked(BaseModel):
    """Anything read from a run folder: its numbers are ones that can be calculated with."""

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        for value in (*self.__dict__.values(), *(self.__pydantic_extra__ or {}).values()):
            _check_whole_numbers(value)
        return self


class Record(_Checked):
    """Base of all records: immutable, and strict about names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Measure(Record):
    """What a score is called where people read it; see `supernet.tasks`.

    In code a score is always better when it is higher. Where `higher_is_better` is false, the
    score is minus the quantity that people know: a score of -0.25 prints as an error of 0.25. With
    the unit `%` the quantity is a fraction in code and percent in print.

    >>> Measure(name="accuracy", unit="%").shown(0.987)
    98.7
    >>> Measure(name="squared error", unit="", higher_is_better=False).shown(-0.25)
    0.25
    """

    name: str
    unit: str = ""
    higher_is_better: bool = True

    def shown(self, score: float) -> float:
        """Return what stands in print for a score, or for the mean of some."""
        return (score if self.higher_is_better else -score) * (100 if self.unit == "%" else 1)


ACCURACY = Measure(name="accuracy", unit="%")


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
    """One architecture and what it costs. `macs` is for one image, forward.

    `layers` is how many layers with weights it runs, one after the other or not, if counted.
    `scores` are scores without training, by name, if any were taken.
    """

    label: str
    options: dict[str, int | str]
    params: int
    macs: int
    layers: int | None = None
    scores: dict[str, float] = {}


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
    validation: list[Score]


class Progress(Record):
    """How far a training is. `done` runs from 0 to 1; `loss` is that of the last step, if any.

    `step` counts the steps so far. `ended` is there when an epoch was scored, `saved` set when a
    checkpoint was written, `steps` when a budget of seconds was found to be so many steps.
    """

    done: float
    epoch: int
    epochs: int
    loss: float | None = None
    step: int = 0
    ended: Epoch | None = None
    saved: bool = False
    steps: int | None = None


class Training(Record):
    """One training, from initialization to its scores; accuracies as in `Epoch`.

    `test` was measured once, after the last epoch; `validation` repeats the last epoch's.
    `skipped` counts the steps that were left out because their loss or gradient was not finite,
    `rollbacks` the returns to the beginning of an epoch for the same reason. `steps` is how many
    there were, 0 if nobody wrote that down.
    """

    epochs: list[Epoch]
    validation: list[Score]
    test: list[Score]
    skipped: int = 0
    rollbacks: int = 0
    steps: int = 0


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
    architectures on training, calibrating and scoring a supernet costs less; None if never.
    `failed`: labels of the architectures whose evaluation failed under some seed, so that their
    numbers are NaN, by the names of the fields of `Scores`. How each is computed stands in
    `supernet.evaluation.ranking`.

    `edition` 2: the intervals of `tau`, `spearman`, `macs_tau`, `baselines` and `advantage` are of
    the true scores, and `tau_p` is one-sided; in edition 1 the intervals were those of resamples,
    and `tau_p` two-sided. `measure` is what the scores are; `ranked_by` says whether networks are
    ranked and picked by `score` or by `loss`, and `tau_by` holds the tau of both where both were
    measured. `undertrained`: one-shot scores lie further below the standalone ones than these
    differ among themselves. `baselines` are the taus of rankings that need no training, by name;
    `baseline` is the best of them, `baseline_tau` its tau chosen by cross-validation, and
    `advantage` the tau of one-shot minus that, compared in pairs.
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
    failed: dict[str, list[str]] = {}
    edition: Literal[1, 2] = 1
    measure: Measure = ACCURACY
    ranked_by: str = "score"
    leans: bool = False
    tau_by: dict[str, Estimate] = {}
    undertrained: bool = False
    baselines: dict[str, Estimate] = {}
    baseline: str | None = None
    baseline_tau: Estimate | None = None
    advantage: Estimate | None = None


class Ranking(Record):
    """A one-shot ranking by itself, without anything trained alone.

    `validation`, `test` and `losses` (on validation samples) are means over samples and seeds, with
    intervals over samples. `leaning` is what was added to each score (or loss, its sign turned)
    before it ranked. `picked` is the best, of equals the cheapest; `equals` are those that
    can't be told from it, compared in pairs. `halves_tau`: between rankings by two halves of the
    validation samples; `scoring_tau`: what that makes between two whole sets of as many samples;
    `drift_tau`: between the last two epochs; `enough_samples`: from how many samples on more of
    them steady the ranking less than more training would, if that can be told.
    """

    measure: Measure = ACCURACY
    ranked_by: Literal["score", "loss"] = "score"
    leaning: list[float] | None = None
    samples: int
    validation: list[Estimate]
    test: list[Estimate] | None = None
    losses: list[Estimate] | None = None
    picked: str
    equals: list[str]
    halves_tau: float
    scoring_tau: float
    drift_tau: float | None
    enough_samples: int | None = None
    sentences: list[str]


class Corrected(Record):
    """A ranking corrected by some networks that were trained alone.

    `predicted` is a score for every architecture of `Results.architectures`, with 95 % bounds.
    `taus` are leave-one-out taus against the trained networks, by what predicts: `one_shot`,
    `corrected` and `choices` (the trained networks alone, without a supernet). `error` is the root
    mean square of the leave-one-out errors.
    """

    trained: int
    measure: Measure = ACCURACY
    predicted: list[Estimate]
    taus: dict[str, float]
    error: float
    picked: str
    sentences: list[str]


class Conditions(Record):
    """Where, when and with what a run was made.

    Of a run that was killed and went on, the times are those of the work that was kept.
    `mismatches` says what had changed when it went on, if somebody let it nevertheless. `ranks` is
    how many processes trained a supernet together; `cluster` is what trained in place of this
    machine, in words, if anything did.
    """

    command: str
    started: str
    versions: dict[str, str]
    hardware: dict[str, str]
    threads: int
    workers: int
    ranks: int = 1
    wall_s: float
    cpu_s: float
    mismatches: list[str] = []
    cluster: str = ""


class Manifest(Record):
    """What a run was begun with: `manifest.json`. It says what going on with it must find again.

    `settings` are resolved, by the names of their options; `arguments` is the command line;
    `sources_sha256` are of the user's own source files, `space_sha256` is of the search space;
    `code_sha256` is of the package's own modules, and `commit` the one they were checked out from,
    if any.
    """

    schema_version: Literal[1] = 1
    command: Literal["compare", "train"]
    arguments: str
    preset: str
    settings: dict[str, int | float | str | bool | list[str] | None]
    data_sha256: dict[str, str]
    sources_sha256: dict[str, str] = {}
    space_sha256: str = ""
    versions: dict[str, str]
    code_sha256: str
    commit: str | None
    hardware: dict[str, str]
    host: str
    ranks: int = 1
    created: str


class Event(_Checked):
    """A line of `events.jsonl`: what happened in a run, and when; more may stand in it.

    `job` is the training it is about, `done` how much of that was done, from 0 to 1.
    """

    model_config = ConfigDict(extra="allow", frozen=True, ser_json_inf_nan="strings")

    event: str
    time: AwareDatetime
    job: str | None = None
    done: float = 0.0
    epoch: int = 0
    validation: list[float] = []
    jobs: list[str] = []
    measure: Measure = ACCURACY
    reason: str | None = None
    mismatches: list[str] = []


class DataRecord(Record):
    """The data of a run: images per split, and SHA-256 of the unpacked files."""

    name: str
    classes: int
    train: int
    validation: int
    test: int
    calibration: int
    shape: tuple[int, ...]
    sha256: dict[str, str]


class Results(Record):
    """A whole run: `results.json`.

    `changed` names the settings that are not those of the nearest preset; None if nobody knows.
    `architectures` are those scored. `alone` are the numbers, in that list, of those trained alone,
    in the order of `SeedRecord.standalone` and of the lists of the verdict; None if those are all
    of them, or none. `weights_sha256` is of the files that hold the supernets' weights, by name.
    """

    schema_version: Literal[1] = 1
    conditions: Conditions
    settings: dict[str, int | float | str | bool | list[int] | list[str] | None]
    data: DataRecord
    network: NetworkRecord
    architectures: list[ArchitectureRecord]
    seeds: list[SeedRecord]
    ledger: list[Phase]
    verdict: Verdict | None
    alone: list[int] | None = None
    measure: Measure = ACCURACY
    ranking: Ranking | None = None
    corrected: Corrected | None = None
    changed: list[str] | None = None
    weights_sha256: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_percents(self) -> Results:
        """Where scores are percents, they are fractions from 0 to 1."""
        if self.measure.unit != "%":
            return self
        trainings = [
            training
            for seed in self.seeds
            for training in (seed.supernet, *seed.standalone, seed.longer)
            if training is not None
        ]
        for training in trainings:
            of_epochs = [score for epoch in training.epochs for score in epoch.validation]
            for score in (*of_epochs, *training.validation, *training.test):
                if not (0 <= score <= 1 or math.isnan(score)):
                    raise ValueError(f"{self.measure.name} is a fraction from 0 to 1, or NaN")
        return self
