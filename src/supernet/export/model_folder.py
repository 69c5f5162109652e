"""Model folders: one network, to publish, and to load without this package.

    config.json         the network as data, what images it takes, its classes, what is known of it
    model.safetensors   its weights
    model.py            the network in plain PyTorch: `import model; model.load()`
    README.md           the card that the Hugging Face hub shows

`load` doesn't run `model.py`: it rebuilds the network from `config.json`, which can name PyTorch's
layers and arithmetic and nothing else. So a folder from a stranger can't run code here, whatever is
in it. Hashes guard against damage, not against forgery.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from supernet.errors import ExportError, ModelFolderError, RunFolderError
from supernet.evaluation.batches import call
from supernet.evaluation.batchnorm import require_statistics
from supernet.evaluation.cost import count_params
from supernet.export.card import (
    CARD,
    CONFIG,
    SOURCE,
    WEIGHTS,
    Config,
    Facts,
    InputRecord,
    write_card,
)
from supernet.export.describing import describe, own_sources, rebuild, weights_of
from supernet.export.description import Network, own_files
from supernet.export.inputs import describe_inputs
from supernet.export.source import Pictures, write_source
from supernet.export.tidying import tidy
from supernet.reading import find_memory, read_regular
from supernet.runs import files
from supernet.sharing.structure import replace
from supernet.tasks import Classification, Regression, Task, name_of_task
from supernet.text import show

#: How many samples the network, the rebuilt one and `model.py` are compared on.
_PROBES = 8

#: No description is longer than this, in bytes; a folder with a longer one is refused unread.
_LONGEST = 64 * 2**20


class NamedSplits(Protocol):
    """What a model folder takes over of the data; see `supernet.datasets.ImageData`.

    Of pictures, `train` has `mean` and `std`, and the data the `shape` of one and perhaps
    `class_names`.
    """

    @property
    def name(self) -> str:
        """Of the data."""

    @property
    def sha256(self) -> Mapping[str, str]:
        """Of the files."""

    @property
    def train(self) -> Any:
        """The training samples."""

    @property
    def validation(self) -> Any:
        """The validation samples."""


def save(
    model: nn.Module,
    folder: str | Path,
    *,
    data: NamedSplits | None = None,
    example: Any = None,
    classes: list[str] | None = None,
    task: Task | None = None,
    facts: Facts | None = None,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write a network as a model folder, which loads anywhere, without this package.

    Before anything gets its name, the network is rebuilt from what was written, and `model.py` is
    run; on `example`, or samples of `data`, both must give the network's own outputs, bit for bit.

    Args:
        model: A plain network, such as `extract` returns; its batch norms have statistics.
        folder: Where to; there must be nothing yet.
        data: The data it was trained on: what images look like, and how they are normalized; or
            what else the network takes.
        example: A batch of inputs to compare on, a tensor, or tensors in a tuple or dict; by
            default the first validation samples.
        classes: The names of the classes; by default the data's, or numbers.
        task: What the network is for; with data or classes, classification by default.
        facts: What is known of the network, for the card.
        names: What to call the parts of a network that is a chain, by their numbers.

    Returns:
        The folder.

    Example:
        >>> import supernet as sn, torch, tempfile
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = sn.save(model, f"{parent}/my-model", example=torch.zeros(1, 1, 2, 2))
        ...     sorted(path.name for path in folder.iterdir())
        ...     sn.load(folder)(torch.ones(1, 1, 2, 2)).shape
        ['README.md', 'config.json', 'model.py', 'model.safetensors']
        torch.Size([1, 2])

    Raises:
        CalibrationError: If a batch norm has no statistics.
        ExportError: If something in the network can't be written down, which is named; or what was
            written computes something else. Nothing is left then.
        ModelFolderError: If the folder can't be written, or something is there.
    """
    folder = Path(folder)
    require_statistics(model)
    plain = copy.deepcopy(model).cpu()
    net = tidy(plain, names)
    network = describe(net)
    weights = weights_of(net, network)
    pictures = None if data is None else _pictures(data)
    if example is None and data is not None:
        example = next(iter(data.validation.batches(min(_PROBES, len(data.validation)))))[0]
    if task is None and data is not None:
        task = Classification()
    known = (facts or Facts()).model_copy(update={"params": count_params(net)})
    if data is not None:
        digests = known.data_sha256 or dict(data.sha256)
        known = known.model_copy(update={"data": known.data or data.name, "data_sha256": digests})
    heading = f"A network of {known.params:,} parameters, written by supernet."
    source = write_source(network, heading=heading, pictures=pictures).encode()
    content = safetensors.torch.save(weights, {"format": "pt"})
    own = {name: path.read_bytes() for name, path in own_sources(net).items()}
    parts = {WEIGHTS: content, SOURCE: source, **own}
    config = Config(
        input=None if pictures is None else _input(pictures),
        inputs=None if pictures is not None else describe_inputs(plain, example),
        task=None if task is None else name_of_task(task),
        unit=_unit_of(task),
        classes=classes or _class_names(plain, data, task, example),
        facts=known,
        sha256={name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
        network=network,
    )
    parts[CONFIG] = config.model_dump_json(indent=1).encode()
    parts[CARD] = write_card(config, folder.name).encode()
    with _all_or_nothing(folder) as place:
        for name, part in parts.items():
            (place / name).write_bytes(part)
        _check_written(plain, place, example)
    return folder


@torch.inference_mode(False)  # as for `extract`
def load(folder: str | Path, *, trust: bool = False) -> nn.Module:
    """Return the network of a model folder, in evaluation mode.

    It is rebuilt from `config.json`; no code in the folder is run. There are two exceptions, which
    both take `trust`: a network whose classes are in a file of its author, and a `model.py` that
    was changed since the folder was written.

    Args:
        folder: A model folder.
        trust: Whether to run `model.py` in these cases. Only for folders from somebody whose code
            you would run.

    Raises:
        ModelFolderError: If it is no model folder, something in it is damaged, or code would have
            to be run and `trust` isn't set.
    """
    folder = Path(folder)
    config = read_config(folder)
    content = read_checked(folder, WEIGHTS, config)
    edited = changed_files(folder, config)
    if edited and not trust:
        raise ModelFolderError(
            f"{', '.join(edited)} in {folder} changed after the folder was written, so the network "
            "in config.json may not be what it says; put the original back, or run the changed "
            "code with trust=True (on the command line: --trust)"
        )
    if edited or own_files(config.network):
        if not trust:
            raise ModelFolderError(
                f"the network in {folder} has classes in {', '.join(own_files(config.network))}, "
                "so to load it means to run that code; if you trust its author, say so with "
                "trust=True (on the command line: --trust)"
            )
        return _run_source(folder)
    try:
        return rebuild(config.network, safetensors.torch.load(content))
    except (ExportError, safetensors.SafetensorError) as error:
        raise ModelFolderError(f"the network in {folder} can't be rebuilt: {error}") from None


def read_config(folder: str | Path) -> Config:
    """Return what the `config.json` of a model folder says.

    Raises:
        ModelFolderError: If there is none, or it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"there is no folder {folder}; give one that `sn.save` wrote")
    path = folder / CONFIG
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no model folder: it has no {CONFIG}; `supernet extract` and `sn.save` "
            "write such folders"
        )
    text = _read(path, _LONGEST)
    try:
        return Config.model_validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise ModelFolderError(
            f"{path} is damaged, or of another program: {_first_line(error)}"
        ) from None


def add_file(folder: Path, name: str) -> None:
    """Note the SHA-256 of a file that was added to a model folder in its `config.json`.

    Raises:
        ModelFolderError: If that fails.
    """
    config = read_config(folder)
    digest = hashlib.sha256(_read(folder / name)).hexdigest()
    noted = config.model_copy(update={"sha256": {**config.sha256, name: digest}})
    try:
        files.write(folder / CONFIG, noted.model_dump_json(indent=1).encode())
    except RunFolderError as error:
        raise ModelFolderError(str(error)) from error


def changed_files(folder: Path, config: Config) -> list[str]:
    """Return the names of the files with code that are not as they were when they were written."""
    names = [name for name in config.sha256 if name.endswith(".py")]
    return [name for name in names if _digest(folder / name) != config.sha256[name]]


def _pictures(data: Any) -> Pictures | None:
    if not hasattr(data.train, "mean"):
        return None
    return Pictures(data.shape, tuple(data.train.mean), tuple(data.train.std))


def _input(pictures: Pictures) -> InputRecord:
    return InputRecord(shape=pictures.shape, mean=list(pictures.mean), std=list(pictures.std))


def _unit_of(task: Task | None) -> str:
    """Return the unit of what a network puts out, where it is that of the error."""
    return task.unit if isinstance(task, Regression) and task.error == "absolute" else ""


@torch.no_grad()
def _class_names(model: nn.Module, data: Any, task: Task | None, example: Any) -> list[str] | None:
    """Return the names of a classifier's classes: the data's, or a number for each output."""
    if data is None or not isinstance(task, Classification):
        return None
    if names := getattr(data, "class_names", None):
        return list(names)
    outputs = call(model.eval(), example)
    fits = isinstance(outputs, Tensor) and outputs.ndim == 2
    return [str(number) for number in range(outputs.shape[1] if fits else data.classes)]


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` that gets its name at the end, or else is removed."""
    if folder.is_symlink() or (folder.exists() and not _is_empty(folder)):
        raise ModelFolderError(f"{folder} exists already; give a new folder, or remove that one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield place
            place.chmod(0o777 & ~_umask())
            os.replace(place, folder)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    except OSError as error:
        if isinstance(error, ModelFolderError):
            raise
        reason = error.strerror or str(error)
        raise ModelFolderError(
            f"can't write {folder}: {reason}; free some space there, or choose another folder"
        ) from error


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@torch.no_grad()
def _check_written(model: nn.Module, folder: Path, example: Any) -> None:
    """Raise `ExportError` unless the folder's network is the one that was to be written."""
    written = {"model.py": _run_source(folder)}
    config = read_config(folder)
    if not own_files(config.network):
        written["config.json"] = load(folder)
    if example is None:
        return

    def outputs_of(net: nn.Module) -> Any:
        return call(net, replace(example, Tensor, lambda tensor: tensor.detach().cpu().clone()))

    expected = outputs_of(_in_layout(model, config.network))
    for name, network in written.items():
        found = outputs_of(network)
        if not _equal(found, expected):
            raise ExportError(
                f"the network in {name} computes something else than the one that was to be "
                f"written: {_difference(found, expected)}; nothing was kept"
            )


def _in_layout(model: nn.Module, network: Network) -> nn.Module:
    layout = torch.channels_last if network.channels_last else torch.contiguous_format
    return model.eval().to(memory_format=layout)  # type: ignore[no-any-return, call-overload]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, Tensor) and isinstance(expected, Tensor) and found.shape == expected.shape:
        return f"outputs differ by up to {(found - expected).abs().max().item():.3g}"
    return "outputs are of another kind or shape"


def _run_source(folder: Path) -> nn.Module:
    """Run a folder's `model.py`, and return what its `load` returns."""
    path = folder.resolve() / SOURCE
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with _importing_from(path.parent):
            spec.loader.exec_module(module)
            network = module.load()
    except Exception as error:  # whatever somebody's code raises
        raise ModelFolderError(
            f"{path} can't be run: {type(error).__name__}: {error}; its network is not loaded"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelFolderError(f"`load` in {path} returns a {type(network).__name__}, no network")
    return network


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Inside the block, imports look into a folder first, and none of its modules stays known."""
    names = {path.stem for path in folder.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    writes = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        with suppress(ValueError):
            sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def read_checked(folder: Path, name: str, config: Config) -> bytes:
    """Return the bytes of a file of a model folder, if its SHA-256 is the one in `config.json`.

    Raises:
        ModelFolderError: If it isn't, or the file is missing.
    """
    path = folder / name
    if not path.is_file():
        raise ModelFolderError(f"{folder} has no {name}; get the whole folder again")
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != config.sha256.get(name):
        raise ModelFolderError(
            f"{path} is damaged: its SHA-256 is not the one in {CONFIG}; get the folder again"
        )
    return content


def _digest(path: Path) -> str | None:
    return hashlib.sha256(_read(path)).hexdigest() if path.is_file() else None


def _read(path: Path, longest: int | None = None) -> bytes:
    try:
        return read_regular(path, find_memory() // 2 if longest is None else longest)
    except OSError as error:
        if error.errno == errno.EFBIG and longest is not None:
            raise ModelFolderError(
                f"{show(path)} is longer than {longest:,} bytes, so it is not read"
            ) from None
        raise ModelFolderError(f"can't read {show(path)}: {error.strerror or error}") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return "it is nested too deeply"
