import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.datasets.pictures import Picture, find_pictures, read_picture
from supernet.errors import DataError
from tests.datasets.idxfiles import idx_bytes

GRAY, COLOR = (1, 8, 8), (3, 8, 8)
PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def written(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def one(tmp_path: Path, image: Image.Image, shape: tuple[int, int, int] = GRAY) -> Picture:
    return read_picture(written(tmp_path / "a.png", image), shape)


def test_a_picture_that_fits_is_taken_as_it_is(tmp_path: Path) -> None:
    found = one(tmp_path, Image.fromarray(PIXELS))
    assert (found.pixels == PIXELS).all()
    assert found.changes == ()
    color = np.stack([PIXELS, PIXELS // 2, 255 - PIXELS], 2)
    found = one(tmp_path, Image.fromarray(color), COLOR)
    assert (found.pixels == color.transpose(2, 0, 1)).all()
    assert found.changes == ()


@pytest.mark.parametrize(
    ("image", "shape", "said"),
    [
        (Image.new("L", (16, 12), 9), GRAY, "12 x 16 pixels, expected 8 x 8: scaled"),
        (Image.new("RGB", (8, 8), (9, 9, 9)), GRAY, "in color, expected gray: converted"),
        (Image.new("L", (8, 8), 9), COLOR, "gray, expected in color: converted"),
        (Image.new("I;16", (8, 8), 9 * 257), GRAY, "16 bits of gray: the upper 8 were taken"),
        (Image.new("LA", (8, 8), (200, 0)), GRAY, "transparent in places: put on black"),
    ],
)
def test_every_change_is_named(
    tmp_path: Path, image: Image.Image, shape: tuple[int, int, int], said: str
) -> None:
    found = one(tmp_path, image, shape)
    assert said in found.changes
    assert found.pixels.shape == shape
    assert found.pixels.dtype == np.uint8
    value = 0 if "transparent" in said else 9
    assert (found.pixels == value).all()


def test_a_palette_and_black_and_white_are_no_change(tmp_path: Path) -> None:
    gray = Image.fromarray((PIXELS > 30).astype(np.uint8) * 255)
    assert one(tmp_path, gray.convert("1")).changes == ()
    assert one(tmp_path, gray.convert("P")).changes == ()


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    found = read_picture(path, GRAY)
    assert (found.pixels[0] == PIXELS[::-1, ::-1]).all()
    assert found.changes == ("turned as its camera says",)


def test_folders_and_idx_files_are_gone_through_in_order(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.bmp"):
        written(tmp_path / "in" / name, Image.fromarray(PIXELS))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    packed = tmp_path / "x-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(idx_bytes(np.stack([PIXELS, PIXELS + 1]))))
    found = list(find_pictures([tmp_path / "in", packed], GRAY))
    names = [picture.name.removeprefix(f"{tmp_path}/") for picture in found]
    assert names == ["in/a.bmp", "in/b.png", f"{packed.name}[0]", f"{packed.name}[1]"]
    assert (found[3].pixels == PIXELS + 1).all()


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing of the kind")
    (tmp_path / "cut.png").write_bytes(
        written(tmp_path / "whole.png", Image.fromarray(PIXELS)).read_bytes()[:60]
    )
    (tmp_path / "empty").mkdir()
    for path, said in (
        (tmp_path / "a.png", "is no picture"),
        (tmp_path / "cut.png", "damaged"),
        (tmp_path / "nowhere.png", "there is no"),
        (tmp_path / "empty", "holds no pictures"),
    ):
        with pytest.raises(DataError, match=said):
            list(find_pictures([path], GRAY))
    with pytest.raises(DataError, match="5 channels"):
        read_picture(tmp_path / "whole.png", (5, 8, 8))
