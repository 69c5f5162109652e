"""A finished run, loaded again, with weights and scores."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch

from supernet.datasets import ImageData
from supernet.errors import RunFolderError
from supernet.evaluation.accuracy import find_best
from supernet.experiments.components import build_named, example_of, load_data
from supernet.experiments.settings import Settings, make_settings
from supernet.networks.named import space_sha256
from supernet.nn.supernet import Supernet
from supernet.reading import find_memory, read_regular
from supernet.records import Manifest, Results, SeedRecord
from supernet.report.summary import what_ranked
from supernet.runs.folder import read_manifest, read_results
from supernet.space import Architecture
from supernet.training.recipe import Recipe


@dataclass(frozen=True)
class LoadedRun:
    """A finished run.

    Attributes:
        folder: Its folder.
        settings: What it was asked to do.
        results: Its records.
        supernet: The network, with the weights that the supernet of a seed ended with.
        seed: Which seed.
        archs: The architectures that were scored.
    """

    folder: Path
    settings: Settings = field(repr=False)
    results: Results = field(repr=False)
    supernet: Supernet = field(repr=False)
    seed: int
    archs: tuple[Architecture, ...] = field(repr=False)

    @property
    def scores(self) -> dict[Architecture, float]:
        """The one-shot scores on validation data, from the last epoch; NaN where it failed."""
        return dict(zip(self.archs, self._record.supernet.validation, strict=True))

    @property
    def standalone_validation(self) -> dict[Architecture, float]:
        """The scores on validation data of architectures trained on their own, if any were."""
        return {
            arch: training.validation[0]
            for arch, training in zip(self._alone, self._record.standalone, strict=False)
        }

    @property
    def standalone(self) -> dict[Architecture, float]:
        """The scores on test data of architectures that were trained on their own, if any were."""
        return {
            arch: training.test[0]
            for arch, training in zip(self._alone, self._record.standalone, strict=False)
        }

    @property
    def _alone(self) -> Sequence[Architecture]:
        """The architectures that were trained on their own, if any were, in their order."""
        numbers = self.results.alone
        return self.archs if numbers is None else [self.archs[number] for number in numbers]

    @property
    def ranked(self) -> dict[Architecture, float]:
        """What the run ranks and picks by, higher is better: its scores; or losses, negated.

        Losses are means over the seeds of the run. A lean to larger networks is added.
        """
        ranked = what_ranked(self.results, list(self.scores.values()))
        return dict(zip(self.archs, ranked, strict=True))

    @property
    def best(self) -> Architecture:
        """The best architecture, by what the run ranks by: see `ranked`."""
        return find_best(self.ranked)

    @property
    def recipe(self) -> Recipe:
        """How it was trained."""
        return self.settings.recipe

    @functools.cached_property
    def data(self) -> ImageData:
        """The data it was trained on, loaded when first asked for.

        Raises:
            DataError: If they are not where they were, or are not what they were.
        """
        return load_data(self.settings.data)

    @property
    def _record(self) -> SeedRecord:
        return next(record for record in self.results.seeds if record.seed == self.seed)

    def __repr__(self) -> str:
        best = self.best
        return (
            f"LoadedRun({str(self.folder)!r}: {self.supernet.space.size:,} architectures, "
            f"{len(self.archs):,} scored; best {best.label} at {self.scores[best]:.4f})"
        )


def load_run(
    folder: str | Path,
    *,
    seed: int | None = None,
    data: str | None = None,
    allow_mismatch: bool = False,
) -> LoadedRun:
    """Load a finished run of `supernet train` or `supernet compare`.

    If its network comes from a function of the user's, that function is called again.

    Args:
        folder: The run's folder.
        seed: Which seed's supernet; by default the first.
        data: Where the data are now, if they were moved.
        allow_mismatch: Whether to load it even if the network's source file, or its space, is not
            what it was.

    Returns:
        The run, with `supernet`, `scores`, `best`, `data` and `settings`.

    Raises:
        NetworkError: If its network can't be built any more.
        RunFolderError: If it is no finished run, is damaged, or its network is not what it was.

    Example:
        >>> run = load_run("runs/20261126-101500-train-quick")  # doctest: +SKIP
        >>> model = supernet.extract(run.supernet, run.best)  # doctest: +SKIP
    """
    folder = Path(folder)
    results = read_results(folder)
    manifest = read_manifest(folder)
    changes = {} if data is None else {"data": data}
    settings = make_settings(manifest.settings, changes)
    seeds = [record.seed for record in results.seeds]
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise RunFolderError(f"the run in {folder} has no seed {seed}; it has {seeds}")
    supernet = _rebuild(folder, manifest, settings, results, allow_mismatch)
    weights = folder / f"supernet-seed{seed}.safetensors"
    _load_weights(supernet, weights, results.weights_sha256.get(weights.name))
    archs = tuple(Architecture(record.options) for record in results.architectures)
    return LoadedRun(folder, settings, results, supernet, seed, archs)


def _rebuild(
    folder: Path, manifest: Manifest, settings: Settings, results: Results, allow_mismatch: bool
) -> Supernet:
    # What a network is made elastic with is all that needs the data.
    example = example_of(load_data(settings.data)) if settings.network.elastic else None
    named = build_named(
        settings,
        shape=results.data.shape,
        classes=results.data.classes,
        seed=0,
        example=example,
    )
    differences = [
        f"{name} is not the file it was"
        for name, digest in named.sources.items()
        if manifest.sources_sha256.get(name) != digest
    ]
    if manifest.space_sha256 and manifest.space_sha256 != space_sha256(named.supernet.space):
        differences.append("the search space is not what it was")
    if differences and not allow_mismatch:
        raise RunFolderError(
            f"the run in {folder} had another network: {'; '.join(differences)}; put back what it "
            "was, or allow the mismatch"
        )
    return named.supernet


def _load_weights(supernet: Supernet, path: Path, expected: str | None) -> None:
    """Load weights from a file whose SHA-256 is what it was, where that is known."""
    try:
        content = read_regular(path, find_memory() // 2, follow=False)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise RunFolderError(
                f"{path} is not what the run wrote (its SHA-256 differs), so its weights aren't "
                "those of the scores; put the file back, or make the run again"
            )
        supernet.net.load_state_dict(safetensors.torch.load(content))
    except FileNotFoundError:
        raise RunFolderError(f"there are no weights {path}; they were removed") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise RunFolderError(f"{path} can't be read: {error}") from None
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise RunFolderError(f"{path} holds the weights of another network: {first}") from None
