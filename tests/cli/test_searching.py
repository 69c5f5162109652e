"""The commands `search` and `latency`: a result, or one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.tinyruns import options, write_data
from tests.faults.runs import call

#: An epoch of noise teaches nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    data = write_data(folder / "data")
    code, _, told = call("train", *options(data, epochs=1), "--out", folder / "run")
    assert code == 0, told
    return folder / "run"


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget is 0"),
        (["--limit", "macs <"], "can't read the limit"),
        (["--limit", "macs <= 1"], "the least macs there is is"),
        (["--limit", "macks <= 1e9"], "unknown name 'macks'"),
        (["--objective", "speed"], "unknown objective 'speed'"),
        (["--objective", "latency_ms"], "latency_ms needs a table"),
        (["--strategy", "annealing"], "unknown strategy"),
        (["--objective", "latency_ms", "--latency", "none.json"], "can't read the latency table"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(run: Path, arguments: list[str], message: str) -> None:
    code, _, told = call("search", run, *arguments)
    assert code == 2
    assert message in " ".join(told.split())
    assert "Traceback" not in told


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
