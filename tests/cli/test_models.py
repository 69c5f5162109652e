"""`extract`, `finetune` and `predict`, on a run that takes a second."""

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import supernet as sn
from supernet.errors import RunFolderError, SpaceError
from supernet.experiments.extraction import (
    check_score,
    choose,
    parse_architecture,
    take_out,
)
from supernet.experiments.loading import LoadedRun, load_run
from supernet.experiments.tuning import checkpoints_of
from supernet.export.card import Facts, ScoreRecord
from supernet.records import Estimate
from supernet.runs.lock import hold
from tests.conftest import nine
from tests.experiments.tinyruns import options, write_data
from tests.faults.runs import call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = write_data(tmp_path_factory.mktemp("data"))
    code, _, told = call("compare", *options(data, longest=2, epochs=1), "--out", folder / "r")
    assert code == 0, told
    return folder / "r"


@pytest.fixture(scope="module")
def loaded(run: Path) -> LoadedRun:
    return load_run(run)


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "m"
    code, out, told = call("extract", run, "--best", "--out", folder)
    assert code == 0, told
    assert f"{folder}: (" in out
    return folder


def test_the_best_comes_out_as_it_was_scored(model: Path, loaded: LoadedRun) -> None:
    net, x = sn.load(model), next(loaded.data.validation.inputs(60))
    assert torch.equal(net(x), take_out(loaded, loaded.best)(x))
    hits = (net(x).argmax(1) == loaded.data.validation.labels).double().mean().item()
    assert hits == pytest.approx(loaded.scores[loaded.best])
    config = json.loads((model / "config.json").read_text())
    assert config["facts"]["options"] == dict(loaded.best)
    assert config["facts"]["scores"][0]["split"] == "test"
    card = (model / "README.md").read_text()
    assert "supernet extract" in card
    assert "supernet compare" in card


def test_one_is_named_by_its_options(run: Path, tmp_path: Path, loaded: LoadedRun) -> None:
    arch = "block1.depth=2, block2.depth=1"
    code, out, told = call("extract", run, "--arch", arch, "--out", tmp_path / "m", "--json")
    assert code == 0, told
    (found,) = json.loads(out)
    assert found["architecture"] == {"block1.depth": 2, "block2.depth": 1}
    assert "self.block1 = nn.Sequential(" in (tmp_path / "m" / "model.py").read_text()


def test_a_front_is_cheap_to_dear_and_no_other_beats_it(loaded: LoadedRun) -> None:
    front = choose(loaded, front=9)
    macs = {a: r.macs for a, r in zip(loaded.archs, loaded.results.architectures, strict=True)}
    assert [macs[a] for a in front] == sorted(macs[a] for a in front)
    for arch in front:
        assert not any(
            macs[other] <= macs[arch] and loaded.scores[other] > loaded.scores[arch]
            for other in loaded.archs
        )
    assert choose(loaded, best=True)[0] in front
    assert choose(loaded, front=1) == choose(loaded, best=True)


def test_a_limit_alone_means_the_best_that_keeps_it(loaded: LoadedRun) -> None:
    macs = sorted(record.macs for record in loaded.results.architectures)
    (found,) = choose(loaded, limit=f"macs <= {macs[0]}")
    assert found == loaded.supernet.space.smallest
    (found,) = choose(loaded, limit="block1.depth == 2")
    assert found["block1.depth"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "say which architecture"),
        (["--best", "--front", "2"], 2, "give one of"),
        (["--arch", "block1.depth=2", "--limit", "macs <= 1"], 2, "give one of"),
        (["--limit", "macs <= 1"], 2, "the cheapest has"),
        (["--limit", "flops <= 1"], 2, "unknown name"),
        (["--front", "0"], 2, "at least 1"),
        (["--arch", "block1.depth=7,block2.depth=1"], 7, "no option '7'; the nearest are 2, 1"),
        (["--arch", "blok1.depth=1,block2.depth=1"], 7, "the nearest are block1.depth"),
        (["--arch", "block1.depth=1"], 7, "says nothing about block2.depth=1|2"),
        (["--arch", "block1.depth"], 7, "write CHOICE=OPTION"),
        (["--arch", "block1.depth=1,block1.depth=1"], 7, "given twice"),
        (["--best", "--format", "docx"], 2, "choose among onnx, torch-export, int8"),
        (["--best", "--seed", "5"], 4, "has no seed 5"),
    ],
)
def test_what_cant_be_extracted_is_said(
    run: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    found, _, told = call("extract", run, *arguments, "--out", tmp_path / "m")
    assert (found, said in told) == (code, True), told
    assert not any(tmp_path.iterdir())


def test_other_folders_are_told_apart(run: Path, model: Path, tmp_path: Path) -> None:
    code, _, told = call("extract", model, "--best")
    assert code == 4, told
    code, _, told = call("predict", run, tmp_path)
    assert (code, "is no model folder" in told) == (4, True), told
    code, _, told = call("extract", run, "--best", "--out", model)
    assert (code, "exists already" in told) == (4, True), told


def test_pictures_are_classified(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 16), (20, 30, 40)).save(tmp_path / "a.png")
    code, out, told = call("predict", model, tmp_path / "a.png", "--json", "--top-k", "2")
    assert code == 0, told
    (found,) = json.loads(out)
    assert len(found["top"]) == 2
    assert "16 x 8 pixels, expected 8 x 8: scaled" in found["changes"]
    code, out, told = call("predict", model, tmp_path)
    assert code == 0, told
    assert "a.png" in out
    assert "expected gray: converted" in out


def test_an_edited_model_is_run_only_with_trust(model: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(tmp_path / "a.png")
    source = (model / "model.py").read_text()
    try:
        (model / "model.py").write_text(source + "\n# edited\n")
        code, _, told = call("predict", model, tmp_path)
        assert (code, "--trust" in told) == (4, True), told
        code, out, told = call("predict", model, tmp_path, "--trust", "--json")
        assert code == 0, told
        assert len(json.loads(out)) == 1
    finally:
        (model / "model.py").write_text(source)


def test_a_network_that_scores_otherwise_than_the_run_says_is_refused(loaded: LoadedRun) -> None:
    expected = loaded.scores[loaded.best]

    def facts(value: float) -> Facts:
        estimate = Estimate(value=value, low=0, high=1)
        score = ScoreRecord(name="accuracy", estimate=estimate, images=60, split="validation")
        return Facts(scores=[score])

    assert check_score(loaded, loaded.best, facts(expected)) == ()
    (note,) = check_score(loaded, loaded.best, facts(expected + 0.005))
    assert "rounds differently" in note
    with pytest.raises(RunFolderError, match="its weights or its data are not what they were"):
        check_score(loaded, loaded.best, facts(expected + 0.1))


def test_an_architecture_is_tuned_and_compared_with_one_trained_alone(
    run: Path, tmp_path: Path
) -> None:
    code, out, told = call(
        "finetune", run, "--best", "--epochs", "1", "--out", tmp_path / "m", "--json"
    )
    assert code == 0, told
    found = json.loads(out)
    assert found["gain"]["value"] == pytest.approx(
        found["tuned"]["value"] - found["inherited"]["value"]
    )
    assert found["standalone"]["value"] == pytest.approx(
        load_run(run).standalone[load_run(run).best]
    )
    assert found["cpu_s"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["m"]  # no state is left
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert "tuned for 1 epochs" in config["facts"]["weights"]
    sn.load(tmp_path / "m")


def test_two_at_once_are_told_apart(run: Path, tmp_path: Path) -> None:
    state = checkpoints_of(tmp_path / "m")
    state.mkdir()
    lock = hold(state)
    given: list[str | Path] = ["finetune", run, "--best", "--epochs=1", "--out", tmp_path / "m"]
    code, _, told = call(*given)
    assert (code, "is in use by process" in told) == (4, True), told
    os.close(lock)
    assert call(*given)[0] == 0
    assert not state.exists()


def test_one_that_is_refused_leaves_nothing(run: Path, tmp_path: Path) -> None:
    where = ["--batch-size=1", "--out", str(tmp_path / "m")]
    code, _, told = call("finetune", run, "--best", *where)
    assert (code, "batch_size is 1" in told) == (2, True), told
    assert not any(tmp_path.iterdir())


def test_choices_that_dont_count_may_be_left_out() -> None:
    space = nine().space
    arch = parse_architecture("block2.depth=3;block1.depth=1", space)
    assert dict(arch) == {"block1.depth": 1, "block2.depth": 3}


def test_every_architecture_is_found_by_the_label_that_tables_show() -> None:
    space = nine().space
    assert [parse_architecture(arch.label, space) for arch in space] == list(space)
    assert parse_architecture(" (2,3) ", space).label == "(2, 3)"
    with pytest.raises(SpaceError, match=r"\(1\) has 1 options, and the space has 2 choices"):
        parse_architecture("(1)", space)
    with pytest.raises(SpaceError, match=r"'block2\.depth' has no option '9'; the nearest"):
        parse_architecture("(2, 9)", space)
