"""The command line: every run ends in a result or in one sentence, nothing is half done."""

import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer

import supernet
from supernet import report
from supernet.cli import app, signals
from supernet.cli.help import EXAMPLES
from supernet.experiments import describing, execution, planning, running
from supernet.experiments.describing import SpaceSummary
from supernet.experiments.settings import KNOBS, PRESETS, resolve_settings, settings_beyond
from supernet.networks.named import ZOO
from supernet.records import Results
from supernet.runs.folder import read_manifest, read_results
from supernet.runs.workers import WorkerMessage, run_tasks
from tests.cli.fresh import give_all
from tests.datasets.idxfiles import NAMES, idx_bytes, random_arrays, write_bytes, write_folder
from tests.experiments.tinyruns import options, stay_here, wanted, write_data
from tests.limits import HANG_S
from tests.report.samples import sample_results

SUPERNET = Path(sys.executable).with_name("supernet")
ENDINGS = [(signal.SIGINT, 130, "stopped by Ctrl-C"), (signal.SIGTERM, 143, "terminated")]

#: Runs the command in this process; returns exit code, standard output and standard error.
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("it's data"))


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Call]:
    """Leave signals, folder and environment as they were, and start no processes."""
    handlers = {number: signal.getsignal(number) for number, _, _ in ENDINGS}
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    stay_here(monkeypatch)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SUPERNET), *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return code or 0, *capsys.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that drawing takes."""
    for module in (report, running):
        monkeypatch.setattr(module, "write_report", lambda results, folder: [])


def shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def strict_json(text: str) -> Any:
    """Read one document of JSON in which there is no NaN."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def next_command(output: str) -> str:
    last = output.splitlines()[-1]
    assert last.startswith("Next: ")
    return last.removeprefix("Next: ")


def assert_sentence(error: str) -> str:
    """Standard error is one sentence, perhaps after a line on how long loading took."""
    *before, sentence = error.splitlines()
    assert all(line.startswith(("loading PyTorch", "run folder: ")) for line in before), error
    assert sentence.startswith("supernet: ")
    assert "Traceback" not in error
    return sentence


# A real run, as a reader of the README has it: what --dry-run says comes next, pasted into a shell.


@pytest.fixture(scope="module")
def dry_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    cwd = tmp_path_factory.mktemp("real run")
    arguments = [
        *options(data, epochs=1, longest=2, workers=1),
        "--out",
        "a [bold] folder; it's :smile: é",
    ]
    done = shell(shlex.join([str(SUPERNET), "compare", "--dry-run", *arguments]), cwd)
    assert done.returncode == 0, done.stderr
    assert list(cwd.iterdir()) == []
    return done.stdout, cwd


@pytest.fixture(scope="module")
def run(dry_run: tuple[str, Path]) -> tuple[Path, str, str]:
    """The folder of the run, and what it printed."""
    said, cwd = dry_run
    done = shell(next_command(said), cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "a [bold] folder; it's :smile: é", done.stdout, done.stderr


def test_a_dry_run_shows_time_first_then_what_differs_from_the_preset(
    dry_run: tuple[str, Path], data: Path
) -> None:
    said, _ = dry_run
    start = " ".join(said.split("\n\n")[0].split())
    assert re.match(r"About \d+ seconds for 5 trainings with 1 worker: ", start)
    settings = resolve_settings("quick", None, wanted(data, epochs=1, longest=2))
    shown = re.findall(r"^  (\w+): ", said, re.MULTILINE)
    assert {*settings_beyond("quick", settings)} <= {*shown} < {*KNOBS}
    assert "momentum" not in shown
    assert re.search(r"\(2, 2\) +[\d,]+ +[\d,]+", said)


def test_a_run_leaves_its_records_and_says_where(run: tuple[Path, str, str]) -> None:
    folder, said, told = run
    names = set(files(folder))
    assert names >= {
        "config.yaml", "events.jsonl", "results.json", "results.csv", "report.html", "hits.npz",
        "supernet-seed0.safetensors", "figures/agreement.svg", "figures/agreement.png",
    }  # fmt: skip
    assert not [name for name in names if "/." in name or name.startswith(".")]
    assert f"Page: {folder.name}/report.html" in said.splitlines()
    assert f"run folder: {folder.name}" in told.splitlines()
    for phase in (
        "loading PyTorch and the data",
        "judging",
        "drawing figures and writing the page",
    ):
        assert re.search(rf"^{phase}: \d+\.\d s$", told, re.MULTILINE)
    assert len(re.findall(r"^.*: epoch 1/1, .*; all: .* left$", told, re.MULTILINE)) == 5
    strict_json((folder / "results.json").read_text())


def test_events_tell_the_run(run: tuple[Path, str, str]) -> None:
    folder = run[0]
    found = events(folder)
    results = read_results(folder)
    assert [event["event"] for event in (found[0], found[-1])] == ["started", "finished"]
    assert read_manifest(folder).arguments == results.conditions.command
    for kind in ("epoch", "trained"):
        jobs = [event["job"] for event in found if event["event"] == kind]
        assert sorted(jobs) == sorted(found[0]["jobs"])
    (one_shot,) = [e for e in found if e["event"] == "trained" and e["job"] == "supernet"]
    assert one_shot["test"] == results.seeds[0].supernet.test
    own = [phase.model_dump() for phase in results.ledger if phase.subject == "supernet"]
    assert one_shot["phases"] == own


def test_the_settings_of_a_run_can_be_given_back(run: tuple[Path, str, str], data: Path) -> None:
    config = run[0] / "config.yaml"
    given = resolve_settings("quick", None, wanted(data, epochs=1, longest=2, workers=1))
    for preset in PRESETS:
        assert resolve_settings(preset, config) == given


def test_the_next_command_works_too(
    run: tuple[Path, str, str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said, _ = run
    monkeypatch.chdir(folder.parent)
    code, out, told = call(*shlex.split(next_command(said))[1:], "--dry-run", "--json")
    assert code == 0, told
    settings = strict_json(out)["settings"]
    assert settings == {**read_manifest(folder).settings, "seeds": 3}


def test_no_line_but_commands_and_paths_is_wider_than_the_terminal(
    run: tuple[Path, str, str], dry_run: tuple[str, Path]
) -> None:
    for said in (run[1], dry_run[0]):
        lines = [x for x in said.splitlines() if not x.startswith(("Next: ", "Page: ", "data: "))]
        assert max(map(len, lines)) <= 80


@pytest.mark.usefixtures("no_figures")
def test_the_same_run_in_this_process_computes_the_same(
    run: tuple[Path, str, str], data: Path, call: Call, tmp_path: Path
) -> None:
    code, _, _ = call(
        "compare", *options(data, epochs=1, longest=2, workers=1), "--out", tmp_path / "out"
    )
    assert code == 0
    one, other = read_results(run[0]), read_results(tmp_path / "out")
    assert one.seeds == other.seeds
    names = ["hits.npz", "supernet-seed0.safetensors"]
    for name in names:
        assert (run[0] / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_report_made_again_has_the_same_bytes_and_needs_no_torch(
    run: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder = run[0]
    before = files(folder)
    made = {n: b for n, b in before.items() if n.startswith(("figures/", "report.", "results.csv"))}
    assert len(made) >= 12
    for name in made:
        (folder / name).unlink()
    code = f"""
import sys
sys.argv = ["supernet", "report", {str(folder)!r}]
from supernet.cli.app import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert files(folder) == before


# What is asked of the output, whatever the terminal.


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A run folder with records only: of one epoch and four networks, which are drawn sooner."""
    folder = tmp_path / "sample"
    folder.mkdir()
    results = sample_results(epochs=1, depths=(2, 2))
    (folder / "results.json").write_text(results.model_dump_json())
    return folder


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "arguments",
    [["compare"], ["compare", "--dry-run"], ["train"], ["compare", "--net-arg=longest=1"]],
)
@pytest.mark.usefixtures("no_figures")
def test_json_is_one_document_without_nan(arguments: list[str], call: Call, data: Path) -> None:
    code, out, told = call(*arguments, *options(data, epochs=1), "--json")
    assert code == 0, told
    content = strict_json(out)
    if "--dry-run" in arguments:
        assert content["settings"]["epochs"] == 1
        assert content["estimated_seconds"] > 0
    else:
        (folder,) = Path("runs").iterdir()
        assert content == strict_json((folder / "results.json").read_text())
        assert (content["verdict"] is None) == (arguments == ["train"])


def test_a_report_as_json_names_its_files(call: Call, sample: Path) -> None:
    code, out, told = call("report", sample, "--json")
    assert (code, told) == (0, "")
    content = strict_json(out)
    assert content["folder"] == str(sample)
    assert set(content["files"]) == {str(sample / n) for n in files(sample)} - {
        str(sample / "results.json")
    }


COMMANDS = sorted(EXAMPLES)


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_fits_and_ends_with_examples(command: str, option: str, call: Call) -> None:
    code, out, told = call(*command.split(), option)
    assert (code, told) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"[a-z]\.\.\.$", out, re.MULTILINE)  # nothing is cut off
    if command:
        assert all(line in out for text in EXAMPLES[command] for line in text.splitlines())


def test_help_lists_every_command_with_its_whole_summary(call: Call) -> None:
    _, out, _ = call("--help")
    listed = re.findall(r"^  (\w+)  +[A-Z].*\.$", out.split("Commands:")[1], re.MULTILINE)
    assert sorted(listed) == COMMANDS


@pytest.mark.parametrize("columns", ["60", "80"])
def test_no_summary_of_a_command_is_cut_off(
    columns: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = call("--help")
    listed = out.split("Commands:")[1]
    assert max(map(len, listed.splitlines())) <= int(columns)
    assert "..." not in listed
    words = " ".join(listed.split())
    for command in COMMANDS:
        _, text, _ = call(command, "--help")
        summary = text.split("\n\n")[1]
        assert " ".join(summary.split()) in words


@pytest.mark.parametrize("program", [["-m", "supernet"], [str(SUPERNET)]])
def test_the_shell_completes_commands_and_options(program: list[str]) -> None:
    def complete(words: str, at: int) -> list[str]:
        asked = {"_SUPERNET_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        done = subprocess.run(
            [sys.executable, *program],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            env=os.environ | asked,
        )
        return done.stdout.split()

    assert complete("supernet comp", 1) == ["compare"]
    assert "--seeds" in complete("supernet compare --see", 2)


MISTAKES = [
    ("extract nowhere --best", 4, "there is no run folder nowhere"),
    ("finetune nowhere --best", 4, "there is no run folder nowhere"),
    ("predict nowhere x.png", 4, "there is no model folder nowhere"),
    ("search nowhere", 4, "there is no run folder nowhere"),
    ("compare --data=nowhere", 3, "nowhere is not there"),
    ("compare --train-images=55001", 3, "55001 images were asked for; there are 1 to 55000"),
    ("train --net=mnits", 7, "did you mean mnist?"),
    ("train --epocs=3", 2, "--epochs"),
]


def test_mistakes_are_told_before_pytorch_is_loaded() -> None:
    found = give_all([command.split() for command, _, _ in MISTAKES])
    for said, (command, code, words) in zip(found, MISTAKES, strict=True):
        assert (said.code, said.imported) == (code, []), command
        assert words in said.told


@pytest.mark.parametrize("command", ["compare", "train"])
def test_help_names_the_settings_that_a_command_uses(command: str, call: Call) -> None:
    _, out, _ = call(command, "--help")
    unused = {"standalone_rate", "longer", "alone", "naswot"} if command == "train" else set()
    for name in KNOBS:
        assert (f"--{name.replace('_', '-')} " in out) == (name not in unused)
    for heading in ("Data:", "Network:", "Sampler:", "Training:", "Run:"):
        assert f"\n{heading}\n" in out
    assert "sgd|adam|adamw" in out


@pytest.mark.parametrize(("preset", "value"), [("quick", 16), ("standard", 32)])
def test_help_shows_the_values_of_the_preset(preset: str, value: int, call: Call) -> None:
    _, out, _ = call("compare", f"--preset={preset}", "--help")
    assert f"Images per step.  [{value}; at least 1]" in out
    assert f"the value of --preset={preset}" in " ".join(out.split())


def test_examples_are_commands_that_parse() -> None:
    group = typer.main.get_command(app.app)
    for name, examples in EXAMPLES.items():
        command = group.commands[name]  # type: ignore[attr-defined]
        for example in examples:
            words = shlex.split(example.replace("\\\n", " "))
            assert words[:2] == ["supernet", name]
            command.make_context(name, words[2:])


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_table_of_spaces_fits_60_columns_with_whole_names(
    real: bool, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers that there are, which take seconds to count, and with the widest of all."""
    if not real:
        widest = ((3, 224, 224), 22 * 10**18, 99, (9_990_000, 99_900_000), (999 * 10**6, 2 * 10**9))
        summaries = [SpaceSummary(name, *widest) for name in ZOO]
        monkeypatch.setattr(describing, "summarize_zoo", lambda: summaries)
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = call("spaces")
    table = out.split("Next: ")[0]
    assert max(map(len, table.splitlines())) <= 60
    assert "…" not in table
    assert all(re.search(rf"^{name} ", table, re.MULTILINE) for name in ZOO)


def test_train_has_no_option_that_it_ignores(call: Call) -> None:
    code, _, told = call("train", "--longer")
    assert code == 2
    assert "No such option" in told


def test_the_version(call: Call) -> None:
    assert call("--version") == (0, f"supernet {supernet.__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        f"'{SUPERNET}' --help | true",
        pytest.param(f"'{SUPERNET}' report sample | head -1", marks=pytest.mark.slow),
        f"'{SUPERNET}' report sample --json | true",
    ],
    ids=["help", "report", "json"],
)
def test_a_reader_who_leaves_is_no_trouble(command: str, sample: Path) -> None:
    done = shell(command, sample.parent)
    assert done.stderr == ""


def test_a_terminal_without_unicode_is_no_trouble(sample: Path) -> None:
    folder = sample.rename(sample.with_name("é"))
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = shell(f"'{SUPERNET}' report é", folder.parent, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "Page: \\" in done.stdout
    missing = shell(f"'{SUPERNET}' report ü", folder.parent, **environment)
    assert missing.returncode == 4
    assert_sentence(missing.stderr)


@pytest.mark.parametrize("no_color", ["1", ""])
def test_no_color_is_respected(
    no_color: str, call: Call, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    _, out, _ = call("compare", "--dry-run", *options(data))
    colored = re.search(r"\x1b\[[0-9;]*3[0-7]", out)
    assert not (no_color and colored)


@pytest.mark.usefixtures("no_figures")
def test_the_command_after_a_report_asks_for_what_is_missing(call: Call, sample: Path) -> None:
    def further(results: Results) -> list[str]:
        (sample / "results.json").write_text(results.model_dump_json())
        code, out, told = call("report", sample)
        assert (code, told) == (0, "")
        return shlex.split(next_command(out))[1:]

    settings = resolve_settings("standard", None, {"epochs": 2, "seeds": 1}).flat()
    alone = sample_results(standalone=False).model_copy(update={"settings": settings})
    assert further(alone)[:2] == ["compare", "--preset=standard"]
    one = sample_results().model_copy(update={"settings": settings})
    assert further(one) == ["compare", "--preset=standard", "--epochs=2"]  # three seeds, as it has
    three = sample_results(seeds=3).model_copy(update={"settings": {**settings, "seeds": 3}})
    assert "--sampler=uniform" in further(three)
    assert further(sample_results()) == ["compare"]  # made in Python, with settings of its own


# Bad input: one sentence, the documented exit code, and no run folder.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "fast"], "there is no preset 'fast'; choose one of quick"),
        (["--epochs", "0"], "epochs is 0"),
        (["--batch-size", "5000"], "a batch of 5000 is larger than the training data"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--standalone-rate", "inf"], "standalone_rate is inf"),
        (["--learning-rate", "-1"], "learning_rate is -1.0"),
        (["--schedule", "cosine"], "schedule is 'cosine'"),
        (["--sampler", "greedy"], "sampler is 'greedy'"),
        (["--config", "no.yaml"], "no.yaml can't be read"),
    ],
)
def test_an_impossible_setting_is_exit_code_2(
    arguments: list[str], words: str, call: Call, tmp_path: Path
) -> None:
    code, out, told = call("compare", *arguments)
    assert (code, out) == (2, "")
    assert words in assert_sentence(told)
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["epoch: 3", "epochs: three", "- epochs", "epochs: ["])
def test_an_impossible_settings_file_is_exit_code_2(text: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    code, out, told = call("compare", "--config", "c.yaml")
    assert (code, out) == (2, "")
    assert_sentence(told)
    assert os.listdir(tmp_path) == ["c.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--no-such-option"],
        ["compare", "--epochs", "three"],
        ["compare", "--epochs"],
        ["compare", "an argument"],
        ["no-such-command"],
        ["report"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], call: Call) -> None:
    code, out, told = call(*arguments)
    assert (code, out) == (2, "")
    assert told.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in told


def test_no_command_shows_the_help(call: Call) -> None:
    code, out, told = call()
    assert code == 2
    assert "Commands:" in out + told


def spoil(folder: Path, how: str) -> None:
    """Write a data folder with one thing wrong with it."""
    arrays = random_arrays(train=5100, test=80, height=8, width=8, classes=3)
    if how == "label":
        arrays[3][7] = 10
    if how == "counts":
        arrays[1] = arrays[1][:-1]
    if how == "few":
        arrays[:2] = [array[:60] for array in arrays[:2]]
    write_folder(folder, arrays)
    first = folder / NAMES[0]
    whole = idx_bytes(arrays[0])
    if how == "truncated":
        first.write_bytes(whole[:-1])
    elif how == "magic":
        first.write_bytes(b"\x00\x00\x08\x09" + whole[4:])
    elif how == "bomb":
        first.unlink()
        write_bytes(folder, f"{NAMES[0]}.gz", whole + bytes(50_000_000))
    elif how == "huge":
        first.write_bytes(struct.pack(">4I", 0x803, 2**31, 2**15, 2**15))
    elif how == "empty":
        for path in folder.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "holds no data of a known kind"),
        ("truncated", "header promises"),
        ("magic", "begins with the number 2057"),
        ("label", "is 10, but with 3 classes the largest is 2"),
        ("counts", "5100 image(s), but"),
        ("bomb", "more follow"),
        ("huge", "more than the"),
        ("few", "1 to 55 to have"),
    ],
)
def test_damaged_data_are_exit_code_3(how: str, words: str, call: Call, tmp_path: Path) -> None:
    spoil(tmp_path / "spoiled", how)
    code, out, told = call("compare", *options(tmp_path / "spoiled"))
    assert (code, out) == (3, "")
    assert words in assert_sentence(told)
    assert told.count("\n") == 1
    assert os.listdir(tmp_path) == ["spoiled"]


@pytest.mark.usefixtures("no_figures")
def test_a_label_that_training_data_have_too_makes_more_classes(call: Call, tmp_path: Path) -> None:
    arrays = random_arrays(train=5100, test=80, height=8, width=8, classes=3)
    arrays[1][:20] = arrays[3][0] = 3
    write_folder(tmp_path / "data", arrays)
    code, out, _ = call("train", *options(tmp_path / "data", epochs=1), "--json")
    assert code == 0
    assert json.loads(out)["data"]["classes"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "nowhere"}, "is not there"),
        ({"train_images": 4676}, "4676 images were asked for; there are 1 to 4675"),
        ({"calibration_images": 97}, "calibration_images is 97"),
    ],
)
def test_too_few_data_are_exit_code_3(
    changes: dict[str, Any], words: str, call: Call, data: Path, tmp_path: Path
) -> None:
    code, out, told = call("train", *options(**{"data": data, **changes}))
    assert (code, out) == (3, "")
    assert words in assert_sentence(told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "is a file"),
        ("file/run", "can't write"),
        ("/proc/run", "can't write"),
        ("taken", "not empty"),
    ],
)
def test_a_folder_that_cannot_be_used_is_exit_code_4(
    out: str, words: str, call: Call, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "results.json").write_text("{}")
    before = files(tmp_path)
    code, said, told = call("compare", *options(data), "--out", out)
    assert (code, said) == (4, "")
    assert words in assert_sentence(told)
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", [None, "{}", "{", '{"schema_version": 2}'])
def test_a_run_without_sound_results_has_no_report(
    content: str | None, call: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if content is not None:
        (folder / "results.json").write_text(content)
    before = files(tmp_path)
    code, out, told = call("report", folder)
    assert (code, out) == (4, "")
    assert_sentence(told)
    assert files(tmp_path) == before


@pytest.mark.parametrize("worker", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_is_exit_code_5(
    worker: bool, call: Call, data: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if worker:
            patch.setattr(execution, "run_tasks", run_tasks)  # the real thing, in another process
        code, out, told = call("train", *options(data, learning_rate=1e30), "--out", "run")
    assert (code, out) == (5, "")
    sentence = assert_sentence(told)
    for words in ("architecture (1, 1)", "at step 2", "learning rate of "):
        assert words in sentence
    assert ("in 'supernet'" in sentence) == worker
    assert "resume" not in sentence  # it would come to the same
    last = events(tmp_path / "run")[-1]
    assert (last["event"], sentence) == ("stopped", f"supernet: {last['reason']}")


def test_a_worker_that_fails_is_exit_code_6_and_its_traceback_stays_in_the_events(
    call: Call, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        error = supernet.errors.WorkerError("'supernet' failed with RuntimeError: no memory")
        error.add_note("Traceback and so on")
        raise error

    monkeypatch.setattr(execution, "run_tasks", fail)
    code, out, told = call("train", *options(data), "--out", "run")
    assert (code, out) == (6, "")
    assert "failed with RuntimeError: no memory" in assert_sentence(told)
    assert events(tmp_path / "run")[-1]["details"] == ["Traceback and so on"]


# Being stopped.


def stop_in(phase: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a signal come in the middle of a phase."""

    def stopped(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), number)
        time.sleep(60)

    where = {
        "loading": (planning, "plan"),
        "training": (execution, "run_tasks"),
        "judging": (execution, "judge"),
        "drawing": (running, "write_report"),
    }
    monkeypatch.setattr(*where[phase], stopped)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("number", "code", "words"), ENDINGS)
@pytest.mark.parametrize("phase", ["loading", "training", "judging", "drawing"])
@pytest.mark.usefixtures("no_figures")
def test_a_signal_in_any_phase_ends_in_a_sentence(
    phase: str, number: int, code: int, words: str, call: Call, data: Path, tmp_path: Path
) -> None:
    arguments = options(data, epochs=1, longest=1)
    with pytest.MonkeyPatch.context() as patch:
        stop_in(phase, number, patch)
        ended, out, told = call("compare", *arguments, "--out", "the run")
    assert (ended, out) == (code, "")
    sentence = told.splitlines()[-1]
    assert sentence.startswith(f"supernet: {words}")
    assert "Traceback" not in told
    if phase == "loading":
        assert list(tmp_path.iterdir()) == []
        return
    assert events(tmp_path / "the run")[-1]["reason"] == words
    command = re.findall("; resume with `(.*)`$", sentence)[0]
    assert shlex.split(command)[1:] == ["resume", "the run"]
    ended, _, told = call(*shlex.split(command)[1:])
    assert ended == 0, told
    assert ("standalone" in told) == (phase == "training")  # no more than what is left
    assert events(tmp_path / "the run")[-1]["event"] == "finished"


@pytest.mark.parametrize(("pause", "at_once"), [(0.0, False), (0.6, True)])
def test_a_second_ctrl_c_ends_at_once_but_one_sent_twice_is_one(
    pause: float, at_once: bool, call: Call, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def slow_to_end(*_: Any, **__: Any) -> Generator[WorkerMessage, None, None]:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
            yield WorkerMessage("", None)
        finally:
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    monkeypatch.setattr(execution, "run_tasks", slow_to_end)
    monkeypatch.setattr(signals.os, "_exit", ended.append)  # type: ignore[attr-defined]
    code, _, _ = call("train", *options(data))
    assert code == 130
    assert ended == ([130] if at_once else [])


def test_a_signal_that_is_ignored_stays_ignored(call: Call, data: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert call("--version")[0] == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
