"""Reader of image folders: one subfolder per class, one picture per file."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from supernet.datasets.raw import (
    Bytes,
    Labeled,
    RawData,
    check_arrays,
    check_fits,
    name_of,
    opened,
    unreadable,
)
from supernet.datasets.splits import divide_by_class
from supernet.errors import DataError
from supernet.reading import read_up_to
from supernet.text import show

SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
"""How the name of a picture may end, in either case."""

LARGEST_FILE: Final = 2**26
"""No picture may have more bytes than this (64 MiB)."""

LARGEST_IMAGE: Final = 2**24
"""No picture may have more pixels than this (4096 x 4096), whatever its file says."""

MOST_IMAGES: Final = 2_000_000
"""No folder may hold more pictures than this; ImageNet's has 1.3 million."""

#: Decoders that are let near a file. Among the others are some that start other programs.
FORMATS: Final = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_VALIDATION: Final = ("val", "valid", "validation")
#: What file managers leave behind, besides hidden files.
_LITTER: Final = ("desktop.ini", "thumbs.db")


@dataclass(frozen=True, slots=True)
class _Picture:
    """Where a picture is, what it is of, and its name for the digest."""

    path: Path
    label: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Scaling:
    """To which size pictures are scaled, and what becomes of those that are no squares.

    With `crop` the shorter side gets `size` pixels, and the ends of the longer one are cut off
    alike. With `pad` the longer side does, and the shorter one gets black on both sides.
    """

    size: int
    by: Literal["crop", "pad"] = "crop"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the picture as a square of that size."""
        square = (self.size, self.size)
        if self.by == "crop":
            return ImageOps.fit(image, square, Image.Resampling.BILINEAR)
        return ImageOps.pad(image, square, Image.Resampling.BILINEAR)


def read_image_folder(folder: Path, scaling: Scaling | None = None) -> RawData:
    """Read a folder of pictures that are sorted into one subfolder per class.

    The folder has one of these:

    * `train` and `test`, each with one subfolder per class, and perhaps `val` (or `valid`,
      `validation`);
    * `train` and `val` only, as ImageNet is published: then `val` is for the test, as it is what
      others report, and images to choose by are set aside from `train`;
    * the class folders themselves, or `train` alone with them: then one picture in seven, by a
      fixed rule and class by class, is for the test.

    Classes are numbered in the order of their names, and so are the pictures within a class. Hidden
    files are passed over; anything else that is no picture is an error, as is a link that leads out
    of the folder.

    All pictures must have the same size unless they are scaled, and must all be gray or all in
    color; palettes are resolved, and a channel of transparency must be opaque everywhere. Pixels
    are taken as stored: notes on orientation and color profiles are not followed.

    Args:
        folder: Where the subfolders are.
        scaling: The size that all get, if any.

    Returns:
        The pictures; its `sha256` has one digest for each of the folders, over the names and the
        SHA-256 of all its pictures.

    Raises:
        DataError: If a folder or picture is missing, unreadable, damaged, too large, of another
            size than the rest, or of a kind that isn't read. The message says which, and what to
            do.
    """
    root = _resolved(folder)
    parts = _find_parts(root)
    found = _find_classes(root, parts)
    training = next(iter(parts))
    numbers = {name: number for number, name in enumerate(found[training])}
    pictures = {
        part: list(_list_pictures(root, path, {name: numbers[name] for name in found[part]}))
        for part, path in parts.items()
    }
    first = pictures[training][0]
    sample = _decode(first.path, read_file(first.path), None, scaling)
    count = sum(map(len, pictures.values()))
    check_fits(root, count, sample.size)
    read: dict[str, Labeled] = {}
    sha256: dict[str, str] = {}
    for part, those in pictures.items():
        read[part], sha256[part] = _read_all(those, first.path, sample, scaling)
    if "all" in read:
        read |= _set_test_aside(read.pop("all"))
    named = {part: (str(parts.get(part, root)),) * 2 for part in read}
    others = {named[part]: those for part, those in read.items() if part != "train"}
    check_arrays({named["train"]: read["train"]}, others, len(numbers))
    return RawData(
        name_of(root),
        read["train"],
        read["test"],
        len(numbers),
        sha256,
        read.get("validation"),
        class_names=tuple(numbers),
    )


def holds_pictures(folder: Path) -> bool:
    """Return whether there are pictures two or three levels down, where an image folder has them.

    Raises:
        OSError: If something there can't be looked at.
    """
    for subfolder in _subfolders(folder):
        if any(_is_picture(path) for path in subfolder.iterdir()):
            return True
        if any(_is_picture(path) for below in _subfolders(subfolder) for path in below.iterdir()):
            return True
    return False


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve(strict=True)
    except RuntimeError:  # how Python 3.11 and 3.12 say that links go round in circles
        raise DataError(f"{show(folder)} is a link to itself; give the folder") from None
    except OSError as error:
        raise unreadable(folder, error) from error


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder and isn't hidden, once it is known not to lead out of `root`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _LITTER:
                    continue
                if entry.is_symlink():
                    _check_link(Path(entry.path), root)
                yield entry
    except OSError as error:
        raise unreadable(folder, error) from error


def _check_link(link: Path, root: Path) -> None:
    target = _resolved(link)
    if not target.is_relative_to(root):
        raise DataError(
            f"{show(link)} is a link that leads out of {show(root)}; put the file itself there"
        )


def _find_parts(root: Path) -> dict[str, Path]:
    """Say which folder plays which role: `train`, `test` and perhaps `validation`, or `all`."""
    there = {entry.name: Path(entry.path) for entry in _entries(root, root) if entry.is_dir()}
    if "train" not in there and "test" not in there:
        return {"all": root}
    held = [name for name in _VALIDATION if name in there]
    if "train" not in there or len(held) > 1:
        raise DataError(
            f"{show(root)} holds {_listed(there)}; it must hold train and test, or train and one "
            f"of {', '.join(_VALIDATION)}, or all three, or else the folders of the classes"
        )
    others = {name: path for name, path in there.items() if name not in ("train", "test", *held)}
    if others:
        raise DataError(
            f"{show(root)} holds train, and beside it {_listed(others)}, which is neither test nor "
            "validation; move that elsewhere"
        )
    if "test" in there:
        parts = {"train": there["train"], "test": there["test"]}
        return parts | ({"validation": there[held[0]]} if held else {})
    if held:
        return {"train": there["train"], "test": there[held[0]]}
    return {"all": there["train"]}


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    """Return some of the names that are there."""
    shown = [repr(show(name, 40)) for name in sorted(names)[:8]]
    return ", ".join(shown + ["..."] * (len(names) > 8)) or "no folders"


def _find_classes(root: Path, parts: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the names of the classes in each part; training, which is the first, has them all."""
    found = {
        part: sorted(entry.name for entry in _entries(path, root) if entry.is_dir())
        for part, path in parts.items()
    }
    (first, names), *rest = found.items()
    if len(names) < 2:
        raise DataError(
            f"{show(parts[first])} holds {_listed(names)}; it must hold one folder for each of at "
            "least 2 classes"
        )
    for part, those in rest:
        unknown = sorted(set(those) - set(names))
        if unknown or not those:
            raise DataError(
                f"{show(parts[part])} holds {_listed(unknown)}"
                + (f", which {show(parts[first])} does not" if unknown else "")
                + "; its folders must be named as those of the training images"
            )
    return found


def _list_pictures(root: Path, part: Path, numbers: Mapping[str, int]) -> Iterator[_Picture]:
    """Yield the pictures of one part, class by class, in the order of their names."""
    count = 0
    for name, number in numbers.items():
        files = []
        for entry in _entries(part / name, root):
            count += 1
            if count > MOST_IMAGES:
                raise DataError(
                    f"{show(part)} holds more than {MOST_IMAGES} files; use fewer, or give "
                    "supernet.wrap_datasets a Dataset that reads them one by one"
                )
            if entry.is_dir() or not _is_picture(Path(entry.path)):
                kind = "is a folder" if entry.is_dir() else "has a name that ends otherwise"
                raise DataError(
                    f"{show(entry.path)} {kind}, where pictures ({', '.join(SUFFIXES)}) are "
                    "expected; move it elsewhere"
                )
            files.append(entry.name)
        if not files:
            raise DataError(
                f"{show(part / name)} is empty; put the pictures of that class there, or remove it"
            )
        for file in sorted(files):
            digested = os.fsencode(f"{name}/{file}")
            yield _Picture(part / name / file, number, digested)


def _read_all(
    pictures: Sequence[_Picture], like: Path, sample: Bytes, scaling: Scaling | None
) -> tuple[Labeled, str]:
    """Return pictures and labels, and a digest over all names and contents."""
    images = np.empty((len(pictures), *sample.shape), np.uint8)
    digest = hashlib.sha256()
    for place, picture in enumerate(pictures):
        data = read_file(picture.path)
        digest.update(picture.name + b"\0" + hashlib.sha256(data).digest())
        images[place] = _decode(picture.path, data, (like, sample), scaling)
    labels = np.array([picture.label for picture in pictures], np.int64)
    return Labeled(images, labels), digest.hexdigest()


def read_file(file: Path) -> bytes:
    """Return the bytes of a picture's file, if they are not too many."""
    with opened(file) as stream:
        data = bytes(read_up_to(stream, LARGEST_FILE + 1))
    if len(data) > LARGEST_FILE:
        raise DataError(
            f"{show(file)} has more than the {LARGEST_FILE} bytes allowed; make it smaller"
        )
    return data


def _decode(
    file: Path, data: bytes, like: tuple[Path, Bytes] | None, scaling: Scaling | None
) -> Bytes:
    """Return the pixels of a picture, (C, H, W), if they are as many as those of another one."""
    try:
        # Pillow only warns of large pictures; our limit is below that, and an error.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(file, image, None if scaling else like)
                image.verify()  # checksums, which decoding alone may pass over
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                pixels = _pixels(file, image, scaling)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{show(file)} is no picture in the format of {', '.join(FORMATS)}; it is damaged or "
            "of another kind: fetch it again, or move it elsewhere"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(file) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(
            f"{show(file)} can't be decoded ({show(error, 200)}); it is damaged: fetch it again"
        ) from error
    if like is not None and pixels.shape[0] != like[1].shape[0]:
        kinds = {1: "gray", 3: "in color"}
        raise DataError(
            f"{show(file)} is {kinds[pixels.shape[0]]} and {show(like[0])} is "
            f"{kinds[like[1].shape[0]]}; save all alike"
        )
    return pixels


def _check_size(file: Path, image: Image.Image, like: tuple[Path, Bytes] | None) -> None:
    """Refuse by its header what would be too large, moves, or differs from the rest."""
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise _too_large(file)
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{show(file)} is a moving picture; save one frame of it")
    if like is not None and (height, width) != like[1].shape[1:]:
        other = like[1].shape
        raise DataError(
            f"{show(file)} has {height} x {width} pixels and {show(like[0])} {other[1]} x "
            f"{other[2]}; scale all to one size, which --resize N does (resize=N in Python)"
        )


def _too_large(file: Path) -> DataError:
    return DataError(
        f"{show(file)} says it has more than the {LARGEST_IMAGE} pixels allowed; scale it "
        "down, if it isn't damaged"
    )


def _pixels(file: Path, image: Image.Image, scaling: Scaling | None) -> Bytes:
    """Return the pixels of a picture, (C, H, W), gray or RGB, unless that would change them."""
    image.load()
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema()[0] != 255:
            raise DataError(f"{show(file)} is transparent in places; save it without that")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if "transparency" in image.info:  # one color that stands for nothing
        raise DataError(f"{show(file)} has a transparent color; save it without that")
    if image.mode not in ("L", "RGB"):
        raise DataError(
            f"{show(file)} has pixels of kind {image.mode}; save it with 8 bits of gray, or 8 each "
            "of red, green and blue"
        )
    pixels = np.asarray(scaling(image) if scaling else image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _set_test_aside(whole: Labeled) -> dict[str, Labeled]:
    """Divide one folder into training and test: one picture in seven, or one of each class."""
    counts = np.unique(whole.labels, return_counts=True)[1]
    kept, aside = divide_by_class(
        whole.labels, max(len(whole.labels) // 7, int((counts > 1).sum()), 1)
    )
    return {"train": whole.take(kept), "test": whole.take(aside)}
