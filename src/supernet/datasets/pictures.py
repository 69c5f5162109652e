"""Pictures of any kind, converted to what a network takes; changes are named.

Training data are read by `folders`, which changes nothing and refuses what differs. A picture from
somewhere else rarely has the size that a network was trained on.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from supernet.datasets.folders import FORMATS, LARGEST_IMAGE, SUFFIXES, read_file
from supernet.datasets.idx import read_idx_images
from supernet.datasets.raw import Bytes
from supernet.errors import DataError
from supernet.text import show

#: No more pictures than this are taken from one folder.
_MOST = 1_000_000

_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I"}


@dataclass(frozen=True)
class Picture:
    """One picture as a network takes it.

    Attributes:
        name: Where it is from.
        pixels: uint8, channels x height x width.
        changes: What it was, and what was done to it, as sentences; none if nothing was.
    """

    name: str
    pixels: Bytes
    changes: tuple[str, ...] = ()


def find_pictures(paths: Sequence[Path], shape: tuple[int, int, int]) -> Iterator[Picture]:
    """Yield the pictures at `paths`, brought to the shape.

    Args:
        paths: Pictures, folders of pictures, and IDX files of images (their names say which).
        shape: Channels, height, width.

    Raises:
        DataError: If something is missing, damaged or no picture, or there are none.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, shape)
        elif _is_idx(path):
            yield from _in_idx(path, shape)
        else:
            yield read_picture(path, shape)


def read_picture(path: Path, shape: tuple[int, int, int]) -> Picture:
    """Return a picture file, brought to the shape: channels, height, width.

    Raises:
        DataError: If it is missing, damaged or no picture, or the shape has neither one channel nor
            three.
    """
    if shape[0] not in (1, 3):
        raise DataError(
            f"the network takes images of {shape[0]} channels, and pictures have 1 or 3; run it "
            "from Python, on tensors"
        )
    if not path.exists():
        raise DataError(f"there is no {show(path)}; give pictures, folders or IDX files")
    data = read_file(path)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > LARGEST_IMAGE:
                    raise DataError(
                        f"{show(path)} says it has more than the {LARGEST_IMAGE} pixels "
                        "allowed; scale it down"
                    )
                image.verify()  # checksums, which decoding alone may pass over
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _brought(show(path), image, shape)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{show(path)} is no picture in the format of {', '.join(FORMATS)}, nor is it named "
            "like an IDX file of images"
        ) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(
            f"{show(path)} can't be decoded ({show(error, 200)}); it is damaged: fetch it again"
        ) from error


def _brought(name: str, image: Image.Image, shape: tuple[int, int, int]) -> Picture:
    changes = []
    if getattr(image, "n_frames", 1) > 1:
        changes.append("moving: the first frame was taken")
    image.load()
    turned = ImageOps.exif_transpose(image)
    if turned.size != image.size or turned.tobytes() != image.tobytes():
        changes.append("turned as its camera says")
    image = turned
    if image.mode in _DEEP:
        changes.append("16 bits of gray: the upper 8 were taken")
        deep = np.asarray(image).astype(np.int64)
        image = Image.fromarray((deep.clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            changes.append("transparent in places: put on black")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
        if image.convert("L").convert("RGB").tobytes() == image.tobytes():
            image = image.convert("L")
    wanted = "L" if shape[0] == 1 else "RGB"
    if image.mode != wanted:
        if {image.mode, wanted} == {"L", "RGB"} or image.mode not in ("1", "P"):
            said = {"L": "gray", "RGB": "in color"}
            was = said.get(image.mode, f"of mode {image.mode}")
            changes.append(f"{was}, expected {said[wanted]}: converted")
        image = image.convert(wanted)
    size = (shape[2], shape[1])
    if image.size != size:
        changes.append(
            f"{image.height} x {image.width} pixels, expected {shape[1]} x {shape[2]}: scaled"
        )
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels: Any = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Picture(name, np.ascontiguousarray(pixels), tuple(changes))


def _in_folder(folder: Path, shape: tuple[int, int, int]) -> Iterator[Picture]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{show(folder)} holds no pictures ({', '.join(SUFFIXES)})")
    if len(found) > _MOST:
        raise DataError(f"{show(folder)} holds more than {_MOST:,} pictures; give a part of them")
    for path in found:
        yield read_picture(path, shape)


def _is_idx(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(("idx3-ubyte", ".idx3", ".idx"))


def _in_idx(path: Path, shape: tuple[int, int, int]) -> Iterator[Picture]:
    for place, image in enumerate(read_idx_images(path)):
        name = f"{show(path)}[{place}]"
        if image.shape == shape[1:] and shape[0] == 1:
            yield Picture(name, image[None])
        else:
            yield _brought(name, Image.fromarray(image), shape)
