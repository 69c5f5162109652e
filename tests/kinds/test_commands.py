"""Every command, for every kind of task and data: it ends, and what it leaves agrees."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import supernet as sn
from supernet.evaluation.batches import call as run_network
from supernet.export.model_folder import add_file
from supernet.runs.folder import read_results
from supernet.runs.functions import load_function, parse_function
from supernet.training.sources import as_data
from tests.faults.runs import Interrupted, call
from tests.kinds.mine import build_tokens
from tests.limits import HANG_S

MINE = Path(__file__).with_name("mine.py")


@dataclass(frozen=True)
class Kind:
    """A pair of functions in `mine.py`, the task, and what `predict` says of a sample."""

    name: str
    task: str
    says: dict[str, tuple[int, ...]]

    def options(self) -> list[str]:
        return [
            f"--net={MINE}:build_{self.name}",
            f"--data={MINE}:load_{self.name}",
            f"--task={self.task}",
            *("--epochs=2", "--batch-size=8", "--learning-rate=0.01", "--calibration-images=20"),
        ]

    def inputs(self) -> Any:
        function = parse_function(f"{MINE}:load_{self.name}", sn.errors.DataError)
        assert function is not None
        data = as_data(load_function(function)())
        assert data.test is not None
        return [x for x, _ in data.test.batches(100)]


KINDS = [
    Kind("regression", f"{MINE}:kilowatts", {"values": (1,)}),
    Kind("labels", "multi-label", {"labels": (3,), "probabilities": (3,)}),
    Kind("pixels", "dense", {"classes": (6, 6)}),
    Kind("tokens", "next token", {"tokens": (3,), "probabilities": (3,)}),
    Kind("pair", "classification", {"classes": (2,), "probabilities": (2,)}),
    Kind("named", f"{MINE}:Nearness", {"outputs": (1,)}),
]


def _marked(kind: Kind) -> Any:
    """Leave those to `make test-all` that differ the least from others."""
    quick = kind.name in ("tokens", "named")
    return pytest.param(kind, id=kind.name, marks=[] if quick else [pytest.mark.slow])


@pytest.fixture(scope="module", params=map(_marked, KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def run(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(kind.name) / "run"
    code, out, told = call("compare", *kind.options(), "--alone=2", "--out", folder)
    assert code == 0, told
    assert "±" in out
    return folder


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    code, _, told = call("extract", run, "--best", "--format", "onnx", "--out", folder)
    assert code == 0, told
    return folder


def test_a_comparison_scores_all_and_trains_some_alone(kind: Kind, run: Path) -> None:
    results = read_results(run)
    assert len(results.architectures) == 3
    assert len(results.seeds[0].standalone) == 2
    assert all(math.isfinite(score) for score in results.seeds[0].supernet.test)
    assert results.verdict is not None


def test_a_run_is_loaded_with_its_scores(kind: Kind, run: Path) -> None:
    loaded = sn.load_run(run)
    assert loaded.ranked[loaded.best] == max(loaded.ranked.values())
    assert repr(loaded).startswith("LoadedRun(")


def test_what_is_extracted_scores_what_the_run_says(kind: Kind, run: Path, model: Path) -> None:
    loaded = sn.load_run(run)
    config = json.loads((model / "config.json").read_text())
    kept = {score["split"]: score["estimate"]["value"] for score in config["facts"]["scores"]}
    assert kept["validation"] == pytest.approx(loaded.scores[loaded.best], abs=1e-6)
    place = loaded.archs.index(loaded.best)
    assert kept["test"] == pytest.approx(read_results(run).seeds[0].supernet.test[place])
    assert f"{'image' if config['input'] else 'sample'}" in (model / "README.md").read_text()


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_predictions_are_what_the_network_puts_out(
    kind: Kind, model: Path, tmp_path: Path, runtime: str
) -> None:
    net, out = sn.load(model), tmp_path / "said.npz"
    source = f"{MINE}:load_{kind.name}"
    code, _, told = call("predict", model, source, "--out", out, "--runtime", runtime)
    assert code == 0, told
    with np.load(out) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    assert found.pop("names").tolist() == [str(number) for number in range(11)]
    assert {name: array.shape[1:] for name, array in found.items()} == kind.says
    with torch.no_grad():
        outputs = torch.cat([run_network(net, x) for x in kind.inputs()])
    likeliest: dict[str, Any] = {
        "values": outputs,
        "labels": outputs > 0,
        "outputs": outputs,
        "tokens": outputs[:, -1].topk(3)[1],
        "classes": outputs.argmax(1)
        if outputs.ndim == 4
        else outputs.topk(min(2, outputs.shape[1]), 1)[1],
    }
    for name, array in found.items():
        if name != "probabilities":
            assert np.allclose(array, likeliest[name], atol=1e-5)


def test_predictions_of_files_are_those_of_the_function(
    kind: Kind, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "inputs.npz"
    batches = kind.inputs()
    if isinstance(batches[0], dict):
        named: dict[str, Any] = {k: torch.cat([b[k] for b in batches]) for k in batches[0]}
        np.savez(file, **named)
    elif isinstance(batches[0], tuple):
        np.savez(file, *(torch.cat(parts).numpy() for parts in zip(*batches, strict=True)))
    else:
        file = tmp_path / "inputs.npy"
        np.save(file, torch.cat(batches).numpy())
    source = f"{MINE}:load_{kind.name}"
    said = [call("predict", model, given, "--json") for given in (file, source)]
    assert [code for code, _, _ in said] == [0, 0], said[0][2]
    assert said[0][1] == said[1][1]
    assert len(json.loads(said[0][1])) == 11
    code, shown, told = call("predict", model, file)
    assert code == 0, told
    assert len(shown.splitlines()) >= 12


def test_an_architecture_is_tuned(kind: Kind, run: Path, tmp_path: Path) -> None:
    where: list[str | Path] = ["--epochs=1", "--out", tmp_path / "m"]
    code, out, told = call("finetune", run, "--best", "--json", *where)
    assert code == 0, told
    found = json.loads(out)
    measure = read_results(run).measure
    assert found["measure"] == measure.model_dump()
    gain = found["tuned"]["value"] - found["inherited"]["value"]
    assert found["gain"]["value"] == pytest.approx(gain, abs=1e-6)
    sn.load(tmp_path / "m")


def test_one_is_taught_where_the_task_says_how(kind: Kind, run: Path, tmp_path: Path) -> None:
    where: list[str | Path] = ["--epochs=1", "--out", tmp_path / "m"]
    code, out, told = call("finetune", run, "--best", "--taught", *where)
    if kind.name == "named":
        assert (code, "doesn't say how to learn from a teacher" in told) == (2, True), told
    else:
        assert code == 0, told
        assert "tuning changed it by" in out


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_a_search_ends_and_confirms(kind: Kind, run: Path) -> None:
    code, out, told = call(
        "search", run, "--budget=6", "--limit=macs <= 1e6", "--confirm=2", "--json"
    )
    assert code == 0, told
    assert json.loads(out)


def test_what_is_stopped_goes_on_to_the_same_bytes(kind: Kind, run: Path, tmp_path: Path) -> None:
    given: list[str | Path] = ["compare", *kind.options(), "--alone=2", "--out", tmp_path / "r"]
    assert call(*given, tasks=Interrupted(1, 3))[0] == 130
    code, _, told = call("resume", tmp_path / "r")
    assert code == 0, told
    for name in ("supernet-seed0.safetensors", "hits.npz"):
        assert (tmp_path / "r" / name).read_bytes() == (run / name).read_bytes()


def test_its_report_is_made_again(kind: Kind, run: Path) -> None:
    code, out, told = call("report", run)
    assert code == 0, told
    assert "report.html" in out


def test_it_is_described_before_anything_is_trained(kind: Kind) -> None:
    net, data, *_ = kind.options()
    code, out, told = call("describe", net, data)
    assert code == 0, told
    assert "body" in out


def test_its_latency_is_measured(kind: Kind, tmp_path: Path) -> None:
    net, data, *_ = kind.options()
    code, _, told = call("latency", tmp_path / "l.json", net, data, "--rounds=3")
    assert code == 0, told


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a network for tokens that learned nothing."""
    folder = tmp_path_factory.mktemp("tokens") / "m"
    net = sn.extract(sn.Supernet(build_tokens()), sn.Supernet(build_tokens()).space.smallest)
    rows = torch.zeros(4, 5, dtype=torch.int64)
    return sn.save(net, folder, example=rows, task=sn.NextToken())


def test_other_sizes_are_refused_by_files_that_hold_one(tokens: Path, tmp_path: Path) -> None:
    net = sn.load(tokens)
    sn.export_onnx(net, tokens / "model.onnx", torch.zeros(3, 5, dtype=torch.int64))
    add_file(tokens, "model.onnx")
    np.save(tmp_path / "x.npy", np.zeros((1, 3), int))
    code, _, told = call("predict", tokens, tmp_path / "x.npy", "--runtime=onnxruntime")
    (tokens / "model.onnx").unlink()
    assert (code, "invalid dimensions" in told) == (3, True), told


@pytest.mark.parametrize(
    ("array", "code", "said"),
    [
        (np.full((1, 5), 7), 3, "token numbers below the size of its vocabulary"),
        (np.full((1, 5), -1), 3, "can't take inputs"),
        (np.zeros((1, 5)), 3, "whole numbers"),
        (np.zeros(5, int), 3, "an axis of its own"),
        (np.zeros((0, 5), int), 3, "at least one"),
        (np.array([[None] * 5]), 3, "Python objects"),
        (np.zeros((1, 3), int), 0, "was trained on (5,)"),
    ],
)
def test_arrays_that_dont_fit_are_told_in_a_sentence(
    tokens: Path, tmp_path: Path, array: Any, code: int, said: str
) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    found, out, told = call("predict", tokens, tmp_path / "x.npy")
    assert (found, said in out + told) == (code, True), out + told


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.npz"], 3, "there is no nothing.npz; give pictures"),
        (["nothing.py:load"], 3, "there is no file nothing.py"),
        ([f"{MINE}:lod_tokens"], 3, "did you mean 'load_tokens'"),
        ([f"{MINE}:kilowatts"], 3, "data are a Regression"),
        ([str(MINE)], 3, "is no .npy or .npz file"),
        ([f"{MINE}:load_tokens", "--out=said.txt"], 2, "ends in .npz"),
        ([f"{MINE}:load_pair"], 3, "can't take inputs"),
        ([f"{MINE}:load_tokens", "--runtime=onnxruntime"], 4, "model.onnx"),
        ([f"{MINE}:load_tokens", "--threshold=2"], 2, "threshold"),
    ],
)
def test_what_cant_be_predicted_is_said(
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, told = call("predict", tokens, *arguments)
    assert (found, said in told) == (code, True), told
    assert not any(tmp_path.iterdir())


def test_missing_inputs_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    code = """
import json, sys
from supernet.cli.app import main
sys.argv[1:] = ["predict", "model", "nothing.npz"]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    (tmp_path / "model").mkdir()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, cwd=tmp_path)
    assert json.loads(done.stdout) == [3, False], done.stderr
