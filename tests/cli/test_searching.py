"""The commands `search` and `latency`: a result, or one sentence."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from supernet.cli.output import telling_warnings
from supernet.errors import DataWarning, UntrainedWarning
from tests.experiments.tinyruns import write_data
from tests.faults.runs import call, train_supernet

#: An epoch of noise teaches nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_supernet(tmp_path_factory.mktemp("searched"))


def test_a_search_ends_in_a_front_and_a_page(run: Path) -> None:
    wanted = ("search", run, "--limit", "macs <= 1e6", "--budget", "9", "--confirm", "1")
    code, out, told = call(*wanted)
    assert code == 0, told
    assert "Nine architectures evaluated for score (max), macs (min)" in " ".join(out.split())
    page = next(run.glob("search-*/search.html"))
    before = page.read_bytes()
    code, out, told = call(*wanted, "--json")
    assert code == 0, told
    assert json.loads(out)["front"]
    assert page.read_bytes() == before


def test_the_chosen_few_are_trained_alone(run: Path) -> None:
    code, out, told = call("search", run, "--budget", "5", "--confirm", "alone:1")
    assert code == 0, told
    assert "alone: epoch 1 of 1" in told
    said = " ".join(out.split())
    assert "Trained alone with the run's recipe (one epoch, seed 0), then scored once on 80" in said


def test_that_a_supernet_seems_untrained_is_a_sentence(run: Path, tmp_path: Path) -> None:
    warnings.simplefilter("always", UntrainedWarning)  # pytest puts that back
    wanted = ("--budget", "2", "--generation", "2", "--strategy", "random")
    code, out, told = call("search", run, *wanted, "--out", tmp_path / "new", "--json")
    assert code == 0
    assert json.loads(out)
    (line,) = [line for line in told.splitlines() if "untrained" in line]
    assert line.startswith("supernet: warning: the best of 2 architectures scores")
    assert "UntrainedWarning" not in told
    assert ".py" not in told


def test_other_warnings_are_shown_as_python_does(capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        warnings.warn("of another package", UserWarning, stacklevel=1)
        warnings.warn("of ours", DataWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="of another package") as shown, telling_warnings():
        warn()
    assert len(shown) == 1
    assert capsys.readouterr().err == "supernet: warning: of ours\n"


def test_latency_is_measured_here_once_where_no_table_is_named(run: Path) -> None:
    wanted = ("search", run, "--objective", "score", "--budget", "3", "--limit")
    code, _, told = call(*wanted, "latency_ms <= 1e4")
    assert code == 0, told
    table = run / "latency.json"
    assert f"latency table: {table} (PyTorch, one sample, 1 thread; median error" in told
    before = table.read_bytes()
    code, out, told = call(*wanted[:-1], "--objective", "min:latency_ms", "--json")
    assert code == 0, told
    assert table.read_bytes() == before
    for network in json.loads(out)["front"]:
        assert network["values"]["latency_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget is 0"),
        (["--budget", "-3"], "--budget is -3"),
        (["--generation", "0"], "--generation is 0"),
        (["--confirm", "some"], "a number of networks, alone, or alone:NUMBER"),
        (["--confirm", "-1"], "--confirm is -1"),
        (["--confirm", "alone:0"], "--confirm is 0; it must be at least 1"),
        (["--confirm", "alone:"], "--confirm is 'alone:'"),
        (["--limit", "macs <"], "can't read the limit"),
        (["--limit", "macs <= 1"], "the least macs there is is"),
        (["--limit", "block1.depth == 1 and block1.depth == 2"], "no option of 'block1.depth'"),
        (["--limit", "macs <= 1e6 and macs > 2e6"], "contradict"),
        (["--limit", "macks <= 1e9"], "unknown name 'macks'"),
        (["--objective", "speed"], "unknown objective 'speed'"),
        (["--strategy", "annealing"], "unknown strategy"),
        (["--objective", "latency_ms", "--latency", "none.json"], "can't read the latency table"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(run: Path, arguments: list[str], message: str) -> None:
    before = sorted(run.iterdir())
    code, _, told = call("search", run, *arguments)
    assert code == 2
    assert message in " ".join(told.split())
    assert "Traceback" not in told
    assert sorted(run.iterdir()) == before  # no folder of a search that never was


def test_what_is_no_run_is_said_before_pytorch_is_loaded(tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["supernet", "search", {str(tmp_path / "none")!r}]
from supernet.cli.app import main
try:
    main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["4", "False"], done.stderr


def test_data_and_shape_are_one_too_many(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    given: list[str | Path] = ["latency", tmp_path / "l.json", "--data", data, "--shape", "1,8,8"]
    code, _, told = call(*given)
    assert (code, "give one of --data and --shape" in told) == (2, True)


def test_latency_is_measured_and_searched_for(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    net = ["--net-arg", "widths=4,3", "--shape", "1,8,8", "--classes", "3"]
    code, out, told = call("latency", path, *net, "--rounds", "3")
    assert code == 0, told
    assert "pieces of work measured with torch" in out
    code, out, told = call(
        "search", run, "--objective", "score", "--objective", "latency_ms", "--latency", path
    )
    assert code == 0, told
    assert "latency_ms (min)" in " ".join(out.split())
    code, _, told = call("latency", path, "--shape", "1,a")
    assert code == 2
    assert "shape is '1,a'" in told
