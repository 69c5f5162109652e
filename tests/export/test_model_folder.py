import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import supernet as sn
from supernet.errors import CalibrationError, ExportError, ModelFolderError
from supernet.export.model_folder import load, read_config, save
from supernet.nn.extraction import extract
from tests.conftest import nine, noise, tiny_data
from tests.export.networks import ZOO, Branching, Reshaped, some, subnet

FILES = ["README.md", "config.json", "model.py", "model.safetensors"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with one of the nine networks, and what it was made from beside it."""
    supernet, data = nine(), tiny_data()
    model = subnet(supernet, list(supernet.space)[4], next(data.train.inputs(20)))
    return save(model, tmp_path / "mine", data=data)


def test_all_nine_come_back_bit_for_bit(tmp_path: Path) -> None:
    supernet, data = nine(), tiny_data()
    x = next(data.validation.inputs(12))
    for place, arch in enumerate(supernet.space):
        model = subnet(supernet, arch, next(data.train.inputs(20)))
        with torch.no_grad():
            expected = model(x)
            # The supernet's own path, with the statistics that the subnet has.
            statistics = sn.calibrate(supernet, [arch], [next(data.train.inputs(20))])
            supernet.eval()
            (group,) = statistics.run(x)
            assert torch.equal(group.value, expected)
            assert torch.equal(load(save(model, tmp_path / str(place), data=data))(x), expected)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ZOO)
def test_a_network_of_every_space_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, x = some(name, 1)[0]
    assert torch.equal(load(save(model, tmp_path / "m", example=x))(x), model(x))


def test_what_is_in_a_folder(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    config = read_config(folder)
    assert config.input is not None
    assert config.input.shape == (1, 8, 8)
    assert config.classes == ["0", "1", "2"]
    assert config.facts.params == sum(p.numel() for p in load(folder).parameters())


def test_the_card_has_the_head_that_the_hub_reads(folder: Path) -> None:
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["library_name"], card["pipeline_tag"]) == ("pytorch", "image-classification")
    assert "license" not in card  # that is the user's to say
    assert "model.load()" in body


def test_it_is_loaded_in_evaluation_mode_and_can_be_trained_on(folder: Path) -> None:
    net = load(folder)
    assert not net.training
    assert all(p.requires_grad and not p.is_inference() for p in net.parameters())
    net.train()(noise(4, 1, 8, 8)).sum().backward()


def test_a_loaded_network_can_be_saved_again(folder: Path, tmp_path: Path) -> None:
    again = save(load(folder), tmp_path / "again", data=tiny_data())
    for name in ("model.safetensors", "model.py"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


PROGRAM = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"supernet", "pydantic", "yaml", "scipy", "matplotlib"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import model, torch
network = model.load()
x = model.normalize(torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8))
print(network(x).tolist())
"""


def test_a_folder_works_in_a_python_that_has_torch_and_safetensors_only(folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    x = pixels.float().div(255).sub(0.45).div(0.3)
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), load(folder)(x))


def test_a_network_without_statistics_is_not_saved(tmp_path: Path) -> None:
    supernet = nine()
    with pytest.raises(CalibrationError, match="has no statistics yet"):
        save(extract(supernet, supernet.space.largest), tmp_path / "m")
    assert not any(tmp_path.iterdir())


def test_nothing_is_left_of_a_network_that_cant_be_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Reshaped"):
        save(nn.Sequential(Reshaped()), tmp_path / "m", example=noise(2, 2))
    assert not any(tmp_path.iterdir())


def test_nothing_is_left_if_what_was_written_computes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supernet.export import model_folder

    monkeypatch.setattr(
        model_folder, "weights_of", lambda net, network: {k: v + 1 for k, v in WEIGHTS(net).items()}
    )
    with pytest.raises(ExportError, match=r"in model.py computes something else.*differ by up to"):
        save(nn.Linear(2, 2), tmp_path / "m", example=noise(2, 2))
    assert not any(tmp_path.iterdir())


def WEIGHTS(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def test_what_is_there_is_not_overwritten(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ModelFolderError, match="exists already"):
        save(nn.Linear(2, 2), folder, example=noise(2, 2))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for trust in (False, True):
        with pytest.raises(ModelFolderError, match=r"model.safetensors is damaged: its SHA-256"):
            load(folder, trust=trust)


def test_an_edited_model_py_is_run_only_if_trusted(folder: Path) -> None:
    ran = folder.parent / "ran"
    with (folder / "model.py").open("a") as file:
        file.write(f"\nPath({str(ran)!r}).touch()\n")
    with pytest.raises(ModelFolderError, match=r"model.py in .* changed .*trust=True"):
        load(folder)
    assert not ran.exists()
    load(folder, trust=True)
    assert ran.exists()


def test_a_strangers_code_is_not_run_though_its_hash_is_right(folder: Path) -> None:
    # Whoever can write code into a folder can write its hash too.
    import hashlib

    ran = folder.parent / "ran"
    code = (folder / "model.py").read_bytes() + f"\nPath({str(ran)!r}).touch()\n".encode()
    (folder / "model.py").write_bytes(code)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["model.py"] = hashlib.sha256(code).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    load(folder)
    load(folder, trust=True)  # nor is there any need to
    assert not ran.exists()


def test_a_users_class_that_cant_be_followed_is_copied_and_needs_trust(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), Branching(3)).eval(), noise(4, 3)
    # The file of this class imports our package, which is what a user's file may do too.
    folder = save(model, tmp_path / "m", example=x)
    assert (folder / "networks.py").exists()
    with pytest.raises(ModelFolderError, match=r"has classes in networks.py.*--trust"):
        load(folder)
    for sign in (1, -1):
        assert torch.equal(load(folder, trust=True)(sign * x), model(sign * x))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "damaged"),
        ("{}", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"format": "something else"}', "damaged"),
    ],
)
def test_a_damaged_description_is_refused(folder: Path, config: str, said: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelFolderError, match=said):
        load(folder)


def test_what_is_no_model_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="there is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match=r"is no model folder: it has no config.json"):
        load(tmp_path)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"has no model.safetensors"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / name)
    with pytest.raises(ModelFolderError):
        load(tmp_path / "model")
