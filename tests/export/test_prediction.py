import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from supernet.errors import ModelFolderError, SettingsError
from supernet.export.model_folder import add_file, load, save
from supernet.export.onnx import export_onnx
from supernet.export.prediction import predict
from tests.conftest import nine, tiny_data
from tests.export.networks import subnet

DATA = tiny_data()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    supernet = nine()
    model = subnet(supernet, supernet.space.smallest, next(DATA.train.inputs(20)))
    return save(
        model,
        tmp_path_factory.mktemp("models") / "m",
        data=DATA,
        classes=["stripes", "bars", "checks"],
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for place, image in enumerate(DATA.validation.images.numpy()):
        Image.fromarray(image[0]).save(tmp_path / f"{place:02}.png")
    return tmp_path


def test_pictures_are_classified_from_the_folder_alone(folder: Path, pictures: Path) -> None:
    found = list(predict(folder, [pictures], top=2))
    logits = load(folder)(next(DATA.validation.inputs(12))).detach()
    expected = logits.softmax(1).topk(2, 1)
    names = ["stripes", "bars", "checks"]
    assert [[name for name, _ in one.top] for one in found] == [
        [names[place] for place in row] for row in expected.indices.tolist()
    ]
    probabilities = [[p for _, p in one.top] for one in found]
    torch.testing.assert_close(torch.tensor(probabilities), expected.values)
    assert [Path(one.name).name for one in found] == [f"{n:02}.png" for n in range(12)]


def test_what_was_done_to_a_picture_is_in_the_result(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (90, 20, 60)).save(tmp_path / "a.png")
    (found,) = predict(folder, [tmp_path / "a.png"])
    assert found.changes == (
        "in color, expected gray: converted",
        "10 x 20 pixels, expected 8 x 8: scaled",
    )


def test_more_classes_than_there_are_can_be_asked_for(folder: Path, pictures: Path) -> None:
    (found, *_) = predict(folder, [pictures], top=99)
    assert len(found.top) == 3
    assert sum(p for _, p in found.top) == pytest.approx(1)


def test_onnxruntime_says_the_same(folder: Path, pictures: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    with pytest.raises(ModelFolderError, match=r"has no model.onnx; .*--format onnx"):
        list(predict(folder, [pictures], runtime="onnxruntime"))
    export_onnx(load(folder), folder / "model.onnx", next(DATA.validation.inputs(12)))
    add_file(folder, "model.onnx")
    one, other = (list(predict(folder, [pictures], runtime=r)) for r in ("torch", "onnxruntime"))
    assert [p.top[0][0] for p in one] == [p.top[0][0] for p in other]
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model.onnx is damaged"):
        list(predict(folder, [pictures], runtime="onnxruntime"))
    (folder / "model.onnx").unlink()


def test_a_folder_that_doesnt_fit_itself_is_refused(
    folder: Path, pictures: Path, tmp_path: Path
) -> None:
    text = (folder / "config.json").read_text()
    for change, said in (
        ({"classes": ["one"]}, "puts out .*3.* and config.json names 1"),
        ({"task": "next token"}, "not what networks for the task next token do"),
        ({"input": None}, "doesn't say what the network takes"),
        ({"input": {"shape": [1, 8, 8], "mean": [0.0], "std": [0.0]}}, "a deviation of 0"),
        ({"input": {"shape": [3, 8, 8], "mean": [0.0], "std": [1.0]}}, "3 channels, 1 means"),
    ):
        try:
            (folder / "config.json").write_text(json.dumps({**json.loads(text), **change}))
            with pytest.raises(ModelFolderError, match=said):
                list(predict(folder, [pictures]))
        finally:
            (folder / "config.json").write_text(text)


def test_an_unknown_runtime_is_refused(folder: Path, pictures: Path) -> None:
    with pytest.raises(SettingsError, match="choose one of torch, onnxruntime"):
        list(predict(folder, [pictures], runtime="abacus"))
