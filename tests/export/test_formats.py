"""ONNX, torch.export and int8 together, as one network is exported for all."""

import importlib.util
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import CalibrationError, ExportError
from supernet.export import onnx
from supernet.export.onnx import export_onnx, open_session
from supernet.export.quantization import Quantized, export_int8
from supernet.export.torch_export import export_program
from supernet.export.verification import Exported, compare
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from tests.conftest import nine, noise, tiny_data
from tests.export.networks import ZOO, subnet

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

DATA = tiny_data()
X = next(DATA.validation.inputs(12))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    supernet = nine()
    return subnet(supernet, supernet.space.largest, next(DATA.train.inputs(20)))


def simple() -> nn.Module:
    """A network that takes less long to export."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture(scope="module")
def exported(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(model, tmp_path_factory.mktemp("onnx") / "m.onnx", X)


@pytest.fixture(scope="module")
def quantized(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    path = tmp_path_factory.mktemp("int8") / "m.onnx"
    calibration = next(DATA.train.inputs(20))
    return export_int8(
        model, path, calibration=calibration, batches=DATA.validation.batches(5), most_cost=1.0
    )


def test_onnx_computes_what_the_network_does_for_any_number_of_samples(
    model: nn.Module, exported: Exported
) -> None:
    run = open_session(exported.path, threads=1)
    for count in (1, 2, 7, 12):
        torch.testing.assert_close(run(X[:count]), model(X[:count]).detach(), atol=1e-4, rtol=0)
    assert exported.difference <= 1e-4
    assert (exported.samples, exported.same_top1) == (12, 12)
    assert exported.size == exported.path.stat().st_size


def test_onnx_is_one_file(exported: Exported) -> None:
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_exporting_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(simple(), tmp_path / "m.onnx", X)
    assert capfd.readouterr() == ("", "")


def test_a_program_of_torch_export_computes_the_same_bits(model: nn.Module, tmp_path: Path) -> None:
    written = export_program(model, tmp_path / "m.pt2", X)
    assert written.difference == 0
    again = torch.export.load(written.path)  # our own file
    assert torch.equal(again.module()(X[:5]), model(X[:5]))
    assert list(tmp_path.iterdir()) == [written.path]


def test_int8_says_what_it_cost(model: nn.Module, quantized: Quantized) -> None:
    assert quantized.cost.value == pytest.approx(
        quantized.float_score.value - quantized.score.value
    )
    assert quantized.calibration_samples == 20
    hits = (open_session(quantized.file.path)(X).argmax(1) == DATA.validation.labels).double()
    assert quantized.score.value == pytest.approx(hits.mean().item())


def test_int8_computes_with_integers(quantized: Quantized) -> None:
    import onnx as library

    graph = library.load(str(quantized.file.path)).graph
    weights = {entry.data_type for entry in graph.initializer if len(entry.dims) == 4}
    assert weights == {library.TensorProto.INT8}
    scales = [entry for entry in graph.initializer if "weight_scale" in entry.name]
    assert any(len(scale.dims) == 1 and scale.dims[0] > 1 for scale in scales)  # per channel


def test_int8_that_costs_too_much_is_not_written(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cost .* of accuracy .* nothing was written"):
        export_int8(
            model,
            tmp_path / "m.onnx",
            calibration=next(DATA.train.inputs(20)),
            batches=DATA.validation.batches(5),
            most_cost=-2.0,
        )
    assert not any(tmp_path.iterdir())


class Bessel(nn.Module):
    """Uses an operator that ONNX doesn't have."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.special.bessel_j0(x)
        return y


def test_an_operator_that_onnx_lacks_is_named_with_its_module(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), Bessel())
    with pytest.raises(ExportError, match=r"the module '1' \(Bessel\) uses .*bessel_j0"):
        export_onnx(net, tmp_path / "m.onnx", noise(4, 2))
    assert not any(tmp_path.iterdir())


class Branching(nn.Module):
    """Can't be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cant_be_traced_is_refused(tmp_path: Path) -> None:
    for export in (export_onnx, export_program):
        with pytest.raises(ExportError, match="the network can't be exported"):
            export(Branching(), tmp_path / "m", noise(4, 2))
    assert not any(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = simple()
    monkeypatch.setattr(onnx, "open_session", lambda path: lambda x: model(x) + 1e-3)
    (tmp_path / "m.onnx").write_text("what was there")
    with pytest.raises(ExportError, match=r"differ by up to 0\.001"):
        export_onnx(model, tmp_path / "m.onnx", X)
    assert (tmp_path / "m.onnx").read_text() == "what was there"
    assert len(list(tmp_path.iterdir())) == 1


def test_more_is_allowed_where_the_network_itself_rounds_more() -> None:
    class Steep(nn.Module):
        """Loses most digits: the difference of two large numbers."""

        def forward(self, x: Tensor) -> Tensor:
            return (1e5 * x + 1e6) - 1e6

    x = noise(6, 3)

    def exact(part: Tensor) -> Tensor:
        return (1e5 * part.double()).float()

    model = Steep()
    own = (model(x) - exact(x)).abs().max().item()
    assert own > 1e-7 * exact(x).abs().max().item()
    largest, same = compare(model, exact, x, what="it", tolerance=1e-9)
    assert largest == pytest.approx(own)
    assert same == 6
    with pytest.raises(ExportError, match="computes something else"):
        compare(model, lambda part: exact(part) + 10 * own, x, what="it", tolerance=1e-9)


def test_a_network_without_statistics_is_refused(tmp_path: Path) -> None:
    supernet = nine()
    net = extract(supernet, supernet.space.largest)
    with pytest.raises(CalibrationError):
        export_onnx(net, tmp_path / "m.onnx", X)


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install supernet\[onnx\]"):
        onnx.require("onnxruntime")


def test_exporting_changes_nothing_in_the_network(model: nn.Module, tmp_path: Path) -> None:
    trained = model.train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    export_program(trained, tmp_path / "m.pt2", X)
    assert trained.training
    assert all(p.requires_grad for p in trained.parameters())
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_networks_of_every_space_are_the_same_in_onnx(name: str, tmp_path: Path) -> None:
    make, shape = ZOO[name]
    supernet, rng, x = Supernet(make()), random.Random(0), noise(8, *shape)
    for number in range(5):
        net = subnet(supernet, supernet.space.sample(rng), x)
        export_onnx(net, tmp_path / f"{number}.onnx", x)
