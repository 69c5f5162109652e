"""A search of a run ends in the same bytes however it was stopped, and says what it found."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from supernet.errors import DivergedError, RunFolderError, SettingsError
from supernet.evaluation.latency import measure_latency
from supernet.experiments import confirmation, search, worker
from supernet.experiments.loading import LoadedRun, load_run
from supernet.experiments.planning import Job
from supernet.experiments.search import SearchSettings, execute
from supernet.records import Progress
from supernet.report.searching import SearchReport, summarize
from supernet.runs.checkpoints import Checkpoints
from supernet.space import Architecture
from supernet.strategies import Evaluation
from supernet.training.session import read_saved
from tests.experiments.tinyruns import Notepad
from tests.faults.runs import draw_none, train_supernet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return load_run(train_supernet(tmp_path_factory.mktemp("searched")))


WANTED = SearchSettings(budget=7, generation=3, strategy="random", confirm=2, baseline=True)


def go(run: LoadedRun, settings: SearchSettings, folder: Path) -> SearchReport:
    *found, report = execute(run, settings, folder)
    assert isinstance(report, SearchReport)
    assert all(isinstance(one, Evaluation) for one in found)
    return report


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def without_figures(files: dict[str, bytes]) -> dict[str, bytes]:
    drawn = ("figures/", "search.html")
    return {name: content for name, content in files.items() if not name.startswith(drawn)}


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the second that drawing takes, where a test doesn't ask for figures."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(search, "render_figures", draw_none)


@pytest.fixture
def drawn() -> None:
    """Let a test have figures."""


@pytest.mark.usefixtures("drawn")
@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_a_search_stopped_anywhere_ends_with_the_same_bytes(
    run: LoadedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = go(run, WANTED, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert {"search.json", "evaluations.jsonl", "baseline.jsonl", "search.csv"} <= whole.keys()
    assert {"front.json", "search.html", "figures/search_front.svg"} <= whole.keys()
    assert len(report.found) == 7
    lines = (tmp_path / "whole" / "evaluations.jsonl").read_bytes().splitlines(keepends=True)
    events = execute(run, WANTED, tmp_path / "killed")
    next(events)
    events.close()
    go(run, WANTED, tmp_path / "killed")
    assert contents(tmp_path / "killed") == whole
    monkeypatch.setattr(search, "render_figures", draw_none)
    for cut in (3, 5):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        shutil.copy(tmp_path / "whole" / "search.json", folder)
        (folder / "evaluations.jsonl").write_bytes(b"".join(lines[:cut]))
        go(run, WANTED, folder)
        assert without_figures(contents(folder)) == without_figures(whole)


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_what_is_reported_is_what_was_found(run: LoadedRun, tmp_path: Path) -> None:
    report = go(run, WANTED, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "search.csv").read_text())))
    assert [float(row["score"]) for row in rows] == [one.values["score"] for one in report.found]
    front = json.loads((tmp_path / "front.json").read_text())
    assert [one["number"] for one in front] == [one.number for one in report.front]
    assert {int(row["number"]) for row in rows if row["front"] == "1"} == {
        one.number for one in report.front
    }
    for one in report.front:
        assert one.validation.value == pytest.approx(one.values["score"])
        assert one.validation.low <= one.validation.value <= one.validation.high
    assert sum(one.confirmed is not None for one in report.front) == min(2, len(report.front))
    assert report.samples == (60, 80)
    assert set(report.volumes) == {"search", "random"}
    for curve in report.volumes.values():
        assert len(curve) == 7
        assert list(curve) == sorted(curve)
        assert 0 <= curve[-1] <= 1 + 1e-6
    page = (tmp_path / "search.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "On 80 samples that the search never saw" in page


#: With objectives that contradict each other, several are on the front.
ALONE = SearchSettings(
    objectives=("score", "params", "max:macs"), budget=5, strategy="random", alone=2
)


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_the_chosen_few_are_trained_alone_as_a_comparison_does(
    run: LoadedRun, tmp_path: Path
) -> None:
    told = []
    *_, report = execute(
        run, ALONE, tmp_path / "whole", watch=lambda name, progress: told.append(name)
    )
    assert isinstance(report, SearchReport)
    whole = contents(tmp_path / "whole")
    chosen = [one for one in report.front if one.confirmed is not None]
    assert len(chosen) == 2
    assert set(told) == {one.label for one in chosen}
    assert report.samples == (60, 80)
    lines = whole["alone.jsonl"].splitlines(keepends=True)
    assert len(lines) == 2
    assert report.best is not None
    assert report.best.label in told
    one = chosen[0]
    arch = Architecture(report.found[one.number].options)
    (number,) = run.supernet.space.numbers(arch)
    job = Job("alone", "standalone", run.seed, number, run.settings.recipe.epochs, 0)
    state = tmp_path / "job"
    worker.do_job(run.settings, job, state, 10.0, False, Notepad())
    compared = read_saved(Checkpoints(state)).result
    assert compared is not None
    assert one.confirmed is not None
    assert one.confirmed.value == compared.training.test[0]
    assert json.loads(lines[0])["validation"] == compared.training.validation[0]
    page = (tmp_path / "whole" / "search.html").read_text()
    assert "Trained alone with the run&#39;s recipe (one epoch, seed 0)" in page
    assert not (tmp_path / "whole" / "alone").exists()
    # Killed in the middle of the first training, or of the second.
    for kept in (0, 1):
        folder = tmp_path / f"kept{kept}"
        folder.mkdir()
        for name in ("search.json", "evaluations.jsonl"):
            shutil.copy(tmp_path / "whole" / name, folder)
        (folder / "alone.jsonl").write_bytes(b"".join(lines[:kept]))
        with pytest.raises(KeyboardInterrupt):
            list(execute(run, ALONE, folder, every_s=0, watch=interrupt_at(2)))
        assert (folder / "alone").exists()
        go(run, ALONE, folder)
        assert contents(folder) == whole


def interrupt_at(step: int) -> Callable[[str, Progress], None]:
    """Return what is watched with, and interrupts the training after so many events."""
    events = iter(range(step))

    def watch(name: str, progress: Progress) -> None:
        if next(events, None) is None:
            raise KeyboardInterrupt

    return watch


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_a_training_alone_that_fails_is_said_and_never_best(
    run: LoadedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(confirmation, "train", diverge)
    report = go(run, ALONE, tmp_path)
    assert report.best is None
    assert all(one.confirmed is None for one in report.front)
    assert any("which failed: its loss" in sentence for sentence in summarize(report))
    assert json.loads((tmp_path / "front.json").read_text())[0]["unconfirmed"]
    assert go(run, ALONE, tmp_path) == report


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_damaged_results_of_training_alone_are_refused(run: LoadedRun, tmp_path: Path) -> None:
    go(run, ALONE, tmp_path)
    line = json.loads((tmp_path / "alone.jsonl").read_text().splitlines()[0])
    for damaged in ("{", "[]", json.dumps({**line, "test": []}), json.dumps({**line, "test": 3})):
        (tmp_path / "alone.jsonl").write_text(f"{damaged}\n")
        with pytest.raises(RunFolderError, match=r"alone.jsonl.* is damaged"):
            go(run, ALONE, tmp_path)


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_limits_and_measured_latency_hold(run: LoadedRun, tmp_path: Path) -> None:
    table = measure_latency(run.supernet, run.data.shape, rounds=3)
    path = table.save(tmp_path / "latency.json")
    cost = table.cost_of(run.supernet)
    most = sorted(map(cost, run.supernet.space))[5]
    report = go(
        run,
        SearchSettings(
            objectives=("score", "latency_ms"),
            limits=f"latency_ms <= {most} and block1.depth != 2",
            budget=9,
            latency=str(path),
        ),
        tmp_path / "search",
    )
    assert report.found
    assert all(one.values["latency_ms"] <= most for one in report.found)
    assert all(one.options["block1.depth"] != 2 for one in report.found)


def test_another_search_or_something_else_in_the_folder_is_refused(
    run: LoadedRun, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(RunFolderError, match="holds something else"):
        next(execute(run, WANTED, tmp_path / "other"))
    settings = SearchSettings(budget=2, generation=2, strategy="random")
    with pytest.warns():
        next(execute(run, settings, tmp_path / "mine"))
    with pytest.raises(RunFolderError, match=r"holds another search: .*budget was 2, and is 7"):
        next(execute(run, WANTED, tmp_path / "mine"))
    (tmp_path / "mine" / "evaluations.jsonl").write_text("{}\n")
    with pytest.raises(RunFolderError, match="is damaged"):
        next(execute(run, settings, tmp_path / "mine"))
    (tmp_path / "mine" / "search.json").write_text("{")
    with pytest.raises(RunFolderError, match="can't be read"):
        next(execute(run, settings, tmp_path / "mine"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SearchSettings(budget=0), "the budget is 0"),
        (SearchSettings(confirm=1, alone=1), "confirm and alone are both set"),
        (SearchSettings(alone=-1), "the number to train alone is -1"),
        (SearchSettings(limits="macs <"), "can't read the limit"),
        (SearchSettings(limits="macs <= 1"), "no architecture meets macs <= 1; the least macs"),
        (SearchSettings(objectives=("score", "latency_ms")), "latency_ms needs a table"),
        (SearchSettings(strategy="annealing"), "unknown strategy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    run: LoadedRun, tmp_path: Path, settings: SearchSettings, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        next(execute(run, settings, tmp_path / "search"))


def test_a_folder_by_default_is_the_same_for_the_same_settings(run: LoadedRun) -> None:
    first = search.default_folder(run, WANTED)
    assert first.parent == run.folder
    assert first == search.default_folder(run, WANTED)
    assert first != search.default_folder(run, SearchSettings())


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")
def test_a_run_with_networks_trained_alone_is_searched_by_what_they_tell(
    run: LoadedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say that the smallest are best, whatever their scores in the supernet."""
    wanted = SearchSettings(objectives=("corrected", "macs"), budget=9, generation=4)
    with pytest.raises(SettingsError, match="compare --alone 20"):
        go(run, wanted, tmp_path / "without")
    assert not (tmp_path / "without").exists()
    layers = {arch: sum(int(option) for option in dict(arch).values()) for arch in run.archs}
    told = {arch: 0.9 - 0.1 * count for arch, count in list(layers.items())[:7]}
    monkeypatch.setattr(LoadedRun, "standalone_validation", told)
    report = go(run, wanted, tmp_path / "whole")
    best = max(report.found, key=lambda one: one.values["corrected"])
    assert layers[Architecture(best.options)] == 2
    assert "as seven networks of the run tell that were trained alone." in summarize(report)[1]
    assert "corrected" in (tmp_path / "whole" / "search.csv").read_text().splitlines()[0]
    cut = tmp_path / "cut"
    events = execute(run, wanted, cut)
    next(events)
    events.close()
    go(run, wanted, cut)
    assert contents(cut) == contents(tmp_path / "whole")
