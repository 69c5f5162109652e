"""Predictions of a model folder's network, for pictures and for arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.datasets.arrays import is_arrays, read_arrays
from supernet.datasets.pictures import Picture, find_pictures
from supernet.errors import DataError, ModelFolderError, SettingsError
from supernet.evaluation.batches import call, not_finite, samples_in
from supernet.export.card import Config, InputRecord
from supernet.export.inputs import fit_arrays, resized, word_inputs
from supernet.export.model_folder import load, read_checked, read_config
from supernet.export.onnx import open_session
from supernet.export.outputs import Reader, named
from supernet.sharing.structure import replace
from supernet.tasks import describe, tensors_in
from supernet.text import show

#: What can run a network.
RUNTIMES = ("torch", "onnxruntime")

#: What the file for onnxruntime is called in a model folder.
ONNX = "model.onnx"

#: Samples that go through at a time.
_BATCH = 100


@dataclass(frozen=True)
class Prediction:
    """What a network says of one sample.

    Attributes:
        name: Where the picture is from; of other samples, their number, from 0 on.
        top: The likeliest classes, or next tokens, with their probabilities, the likeliest first;
            empty for other tasks.
        values: Everything that the outputs say, by name; see `Reader.read`.
        changes: What was done to a picture before, as sentences.
    """

    name: str
    top: tuple[tuple[str, float], ...]
    values: Mapping[str, NDArray[Any]] = field(repr=False)
    changes: tuple[str, ...] = ()


def predict(
    folder: str | Path,
    inputs: Any,
    *,
    top: int = 3,
    threshold: float = 0.5,
    runtime: str = "torch",
    trust: bool = False,
) -> Iterator[Prediction]:
    """Run the network of a model folder on pictures or other samples, and say what it says.

    A picture of another size, mode or bit depth is brought to what the network takes, and every
    such change is named in the result. Tensors are taken as they are.

    Args:
        folder: A model folder.
        inputs: Of a network for pictures: files, folders of pictures, IDX files of images. Of any
            other: `.npy` and `.npz` files; or tensors as the network takes them, one, or several in
            a tuple or dict.
        top: How many classes or tokens to name; all, if there are fewer.
        threshold: From which probability on one of several labels is taken to hold.
        runtime: What runs the network: `torch`, or `onnxruntime` if the folder has a `model.onnx`.
        trust: As for `load`.

    Yields:
        A prediction for each sample, in order.

    Raises:
        DataError: If something is missing or damaged, or not what the network takes.
        ExportError: If onnxruntime isn't installed.
        ModelFolderError: If it is no model folder, `load` refuses it, or it doesn't say what its
            network takes.
        SettingsError: If there is no such runtime.
    """
    predictor = Predictor(folder, top=top, threshold=threshold, runtime=runtime, trust=trust)
    if next(tensors_in(inputs), None) is not None:
        yield from predictor.samples([inputs])
    else:
        yield from predictor.files([inputs] if isinstance(inputs, str | Path) else inputs)


class Predictor:
    """The network of a model folder, ready to be asked. The arguments are those of `predict`.

    Attributes:
        config: What the folder says of it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        top: int = 3,
        threshold: float = 0.5,
        runtime: str = "torch",
        trust: bool = False,
    ) -> None:
        self.folder = Path(folder)
        if runtime not in RUNTIMES:
            raise SettingsError(
                f"there is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}"
            )
        if not 0 <= threshold <= 1:
            raise SettingsError(f"threshold is {threshold:g}; it must be from 0 to 1")
        self.config = read_config(self.folder)
        self._run = _open(self.folder, self.config, runtime, trust)
        self._reader = Reader(self.config.task_name, top, threshold)

    def files(self, paths: Sequence[str | Path]) -> Iterator[Prediction]:
        """Yield predictions for files: pictures, or arrays, as the network takes them."""
        found = [Path(path) for path in paths]
        if self.config.input is not None:
            yield from self._pictures(self.config.input, found)
            return
        record = self.config.inputs
        if record is None:
            raise ModelFolderError(
                f"config.json in {self.folder} doesn't say what the network takes; save it with "
                "`sn.save(model, folder, data=data)`, or run it from Python: sn.load(folder)(x)"
            )
        for path in found:
            if not is_arrays(path):
                raise DataError(
                    f"{show(path)} is no .npy or .npz file; the network in {self.folder} takes "
                    f"{word_inputs(record)}, from such a file or from FILE.py:FUNCTION"
                )
        yield from self.samples(fit_arrays(read_arrays(p), record, str(show(p))) for p in found)

    def samples(self, batches: Iterable[Any]) -> Iterator[Prediction]:
        """Yield predictions for batches of inputs, tensors as the network takes them."""
        number = 0
        for batch in batches:
            changes = () if self.config.inputs is None else resized(batch, self.config.inputs)
            for start in range(0, samples_in(batch), _BATCH):
                part = _part(batch, start)
                for values in self._ask(part, number):
                    yield self._prediction(str(number), values, tuple(changes))
                    number += 1

    def _pictures(self, images: InputRecord, paths: Sequence[Path]) -> Iterator[Prediction]:
        for batch in _batched(find_pictures(paths, images.shape)):
            pixels = torch.from_numpy(np.stack([picture.pixels for picture in batch]))
            found = self._ask(normalized(pixels, images), 0)
            for picture, values in zip(batch, found, strict=True):
                yield self._prediction(picture.name, values, picture.changes)

    def _prediction(
        self, name: str, values: Mapping[str, NDArray[Any]], changes: tuple[str, ...]
    ) -> Prediction:
        key = "tokens" if "tokens" in values else "classes"
        return Prediction(name, named(values, key, self.config.classes), values, changes)

    def _ask(self, inputs: Any, before: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what the network says of each sample of a batch."""
        if fault := not_finite(inputs, "the inputs", before=before):
            raise DataError(fault)
        try:
            outputs = self._run(inputs)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            record = self.config.inputs
            takes = "" if record is None else f"; it takes {word_inputs(record)}"
            reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"the network in {self.folder} can't take inputs {describe(inputs)}: {reason}"
                f"{takes}, and token numbers below the size of its vocabulary"
                if isinstance(error, IndexError)
                else f"the network in {self.folder} can't take inputs {describe(inputs)}: "
                f"{reason}{takes}"
            ) from error
        self._check_classes(outputs)
        arrays = self._reader.read(outputs)
        for place in range(samples_in(inputs)):
            yield {name: array[place] for name, array in arrays.items()}

    def _check_classes(self, outputs: Any) -> None:
        names = self.config.classes
        if names is None or self.config.task_name not in ("classification", "multi-label"):
            return
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] != len(names):
            raise ModelFolderError(
                f"the network in {self.folder} puts out {describe(outputs)}, and config.json names "
                f"{len(names)} classes; make them as many"
            )


def normalized(pixels: Tensor, images: InputRecord) -> Tensor:
    """Return what a network takes for pixels: uint8, images x channels x height x width."""
    x = pixels.float().div_(255)
    for channel, (mean, std) in enumerate(zip(images.mean, images.std, strict=True)):
        x[:, channel].sub_(mean).div_(std)
    return x


def _open(folder: Path, config: Config, runtime: str, trust: bool) -> Callable[[Any], Any]:
    images = config.input
    if images is not None and (
        not len(images.mean) == len(images.std) == images.shape[0] or 0 in images.std
    ):
        raise ModelFolderError(
            f"config.json in {folder} has {images.shape[0]} channels, {len(images.mean)} means and "
            f"{len(images.std)} deviations, or a deviation of 0; get the folder again"
        )
    if runtime == "onnxruntime":
        if ONNX not in config.sha256:
            raise ModelFolderError(
                f"{folder} has no {ONNX}; write one with `supernet extract ... --format onnx`"
            )
        read_checked(folder, ONNX, config)
        return open_session(folder / ONNX)
    net = load(folder, trust=trust)

    @torch.no_grad()
    def run(inputs: Any) -> Any:
        return call(net, inputs)

    return run


def _part(batch: Any, start: int) -> Any:
    return replace(batch, Tensor, lambda tensor: tensor[start : start + _BATCH])


def _batched(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
