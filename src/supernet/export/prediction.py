"""Classification of pictures with a model folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from supernet.datasets.pictures import Picture, find_pictures
from supernet.errors import ModelFolderError, SettingsError
from supernet.export.card import Config, InputRecord
from supernet.export.model_folder import load, read_checked, read_config
from supernet.export.onnx import open_session

#: What can run a network.
RUNTIMES = ("torch", "onnxruntime")

#: What the file for onnxruntime is called in a model folder.
ONNX = "model.onnx"

#: Pictures that go through at a time.
_BATCH = 100


@dataclass(frozen=True)
class Prediction:
    """What a network says of one picture.

    Attributes:
        picture: Where the picture is from.
        top: The likeliest classes with their probabilities, the likeliest first.
        changes: What was done to the picture before, as sentences.
    """

    picture: str
    top: tuple[tuple[str, float], ...]
    changes: tuple[str, ...]


def predict(
    folder: str | Path,
    pictures: Sequence[str | Path],
    *,
    top: int = 3,
    runtime: str = "torch",
    trust: bool = False,
) -> Iterator[Prediction]:
    """Classify pictures with the network of a model folder.

    A picture of another size, mode or bit depth is brought to what the network takes, and every
    such change is named in the result.

    Args:
        folder: A model folder of an image classifier.
        pictures: Files, folders of pictures, IDX files of images.
        top: How many classes to name; all, if there are fewer.
        runtime: What runs the network: `torch`, or `onnxruntime` if the folder has a `model.onnx`.
        trust: As for `load`.

    Yields:
        A prediction for each picture, in order.

    Raises:
        DataError: If a picture is missing or damaged.
        ExportError: If onnxruntime isn't installed.
        ModelFolderError: If it is no model folder of a classifier, or `load` refuses it.
        SettingsError: If there is no such runtime.
    """
    folder = Path(folder)
    if runtime not in RUNTIMES:
        raise SettingsError(f"there is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")
    config = read_config(folder)
    run, shape, classes = _open(folder, config, runtime, trust)
    for batch in _batched(find_pictures([Path(p) for p in pictures], shape.shape)):
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in batch]))
        logits = run(normalized(pixels, shape))
        if logits.ndim != 2 or logits.shape[1] != len(classes):
            raise ModelFolderError(
                f"the network in {folder} puts out {tuple(logits.shape[1:])} numbers for a "
                f"picture, and config.json names {len(classes)} classes; make them as many"
            )
        best = logits.softmax(1).topk(min(top, len(classes)), 1)
        for picture, values, places in zip(
            batch, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            named = zip((classes[place] for place in places), values, strict=True)
            yield Prediction(picture.name, tuple(named), picture.changes)


def normalized(pixels: Tensor, images: InputRecord) -> Tensor:
    """Return what a network takes for pixels: uint8, images x channels x height x width."""
    x = pixels.float().div_(255)
    for channel, (mean, std) in enumerate(zip(images.mean, images.std, strict=True)):
        x[:, channel].sub_(mean).div_(std)
    return x


def _open(
    folder: Path, config: Config, runtime: str, trust: bool
) -> tuple[Callable[[Tensor], Tensor], InputRecord, list[str]]:
    if config.input is None or config.classes is None:
        raise ModelFolderError(
            f"config.json in {folder} doesn't say what images the network takes, or which classes "
            "it knows; save it with `sn.save(model, folder, data=data)`"
        )
    images = config.input
    if not len(images.mean) == len(images.std) == images.shape[0] or 0 in images.std:
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
        return open_session(folder / ONNX), images, config.classes
    return torch.no_grad()(load(folder, trust=trust)), images, config.classes


def _batched(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
