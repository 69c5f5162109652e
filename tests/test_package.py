"""Laws about the package as a whole: what importing it does, and what its source may contain."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import supernet
from tests.limits import HANG_S

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "main.py"]


def in_fresh_python(code: str, *arguments: str) -> Any:
    """Run code in a Python of its own; return the last line it printed, read as JSON."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_exported_name_resolves() -> None:
    assert supernet.__all__
    assert len(set(supernet.__all__)) == len(supernet.__all__)
    for name in supernet.__all__:
        assert getattr(supernet, name) is not None
    assert set(supernet.__all__) <= set(dir(supernet))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = supernet.no_such_name


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert supernet.__version__ == project["version"] == version("supernet")


def test_the_package_is_marked_as_typed() -> None:
    assert files("supernet").joinpath("py.typed").is_file()


def no_torch_modules() -> list[str]:
    """The modules that the import-linter contract names, and those it has to leave out."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}
    return [
        "supernet",
        *contracts["no-torch"]["source_modules"],
        "supernet.cli.app",
        "supernet.experiments.settings",
    ]


def test_what_needs_no_torch_does_not_import_it() -> None:
    code = """
import importlib, json, sys
guilty = None
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        guilty = name
        break
print(json.dumps(guilty))
"""
    assert in_fresh_python(code, *no_torch_modules()) is None


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compare", "--help"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = """
import json, sys
from supernet.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps(sorted({"torch", "scipy", "matplotlib"} & set(sys.modules))))
"""
    assert in_fresh_python(code, *arguments) == []


# Importing a module of somebody else may change a setting of the process. That is not ours, so a
# first Python only finds out which ones the package imports, and a second has them imported before
# it takes its first look.
IMPORT_ALL = """
import importlib, json, pkgutil, sys

def import_all():
    import supernet
    for name in supernet.__all__:
        getattr(supernet, name)
    for module in pkgutil.walk_packages(supernet.__path__, "supernet."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

def is_ours(name):
    return name.partition(".")[0] in ("supernet", "__main__")
"""
FIND_THEIRS = f"""
{IMPORT_ALL}
import_all()
print(json.dumps([name for name in sys.modules if not is_ours(name)]))
"""
COMPARE_STATE = f"""
{IMPORT_ALL}
import contextlib
for name in json.loads(sys.stdin.read()):
    with contextlib.suppress(Exception):
        importlib.import_module(name)

import decimal, gc, locale, logging, multiprocessing, os, random, signal, threading, warnings
import matplotlib, numpy, torch

def state():
    return {{
        "environment": dict(os.environ),
        "working folder": os.getcwd(),
        "sys.path": list(sys.path),
        "sys.flags": str(sys.flags),
        "recursion limit": sys.getrecursionlimit(),
        "hooks": [sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook],
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "garbage collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": threading.active_count(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "decimal context": str(decimal.getcontext()),
        "root logger": (logging.root.level, list(logging.root.handlers), logging.root.disabled),
        "warnings filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "random": random.getstate(),
        "numpy random": [str(part) for part in numpy.random.get_state()],
        "numpy errors": numpy.geterr(),
        "numpy printing": str(numpy.get_printoptions()),
        "torch random": torch.get_rng_state().tolist(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch types": (torch.get_default_dtype(), str(torch.get_default_device())),
        "torch gradients": (torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "torch precision": torch.get_float32_matmul_precision(),
        "torch determinism": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.mkldnn.enabled,
        ),
        "torch sharing": torch.multiprocessing.get_sharing_strategy(),
        "matplotlib": dict(dict.items(matplotlib.rcParams)),
    }}

before = state()
import_all()
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


@pytest.fixture(scope="module")
def theirs() -> list[str]:
    """Modules of others that are imported with the package, all of it."""
    found: list[str] = in_fresh_python(FIND_THEIRS)
    return found


def test_importing_changes_nothing(theirs: list[str]) -> None:
    """Law 6, for every module of the package and every name it exports."""
    assert "torch" in theirs
    command = [sys.executable, "-c", COMPARE_STATE]
    done = subprocess.run(
        command, input=json.dumps(theirs), capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def through_the_front_door(source: str, depth: int) -> set[str]:
    """Return what a source text, `depth` folders below src, imports from `supernet` itself."""
    names: set[str] = set()
    whole: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=imported):
                whole |= {name.name for name in imported if name.name == "supernet"}
            case ast.ImportFrom(module="supernet", level=0, names=imported):
                names |= {name.name for name in imported}
            case ast.ImportFrom(module=None, level=level, names=imported) if level == depth:
                names |= {name.name for name in imported}
    modules = {path.stem for path in (ROOT / "src" / "supernet").iterdir()}
    return whole | (names - modules - {"__version__"})


def test_nothing_imports_ray_unless_it_is_asked_for(theirs: list[str]) -> None:
    assert not {name.partition(".")[0] for name in theirs} & {"ray", "grpc"}


def test_no_module_goes_through_the_front_door() -> None:
    """Modules import from where a name lives, so that import-linter sees which floor that is."""
    package = ROOT / "src" / "supernet"
    for path in sorted(package.rglob("*.py")):
        depth = len(path.relative_to(package).parts)
        assert through_the_front_door(path.read_text(encoding="utf-8"), depth) == set(), path
    assert through_the_front_door("from supernet import records, train", 1) == {"train"}
    assert through_the_front_door("from .. import train", 2) == {"train"}
    assert through_the_front_door("import supernet", 1) == {"supernet"}


CODE_RUNNING_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
CODE_RUNNING_CALLS = {"__import__", "compile", "eval", "exec"}
YAML_READERS = {"safe_load", "safe_load_all"}


def offenses(source: str) -> Iterator[str]:
    """Yield what in a source text could run code that was loaded from disk (law 10)."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                tops = {name.name.partition(".")[0] for name in names}
                yield from sorted(f"import {top}" for top in tops & CODE_RUNNING_MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in CODE_RUNNING_MODULES:
                    yield f"from {module} import"
                elif module == "yaml":
                    loaders = {name.name for name in names if "load" in name.name.lower()}
                    yield from sorted(f"from yaml import {name}" for name in loaders - YAML_READERS)
            case ast.Call(func=ast.Name(id=name)) if name in CODE_RUNNING_CALLS:
                yield f"{name}()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name), keywords=given):
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in given}
                if module == "yaml" and "load" in name and name not in YAML_READERS:
                    yield f"yaml.{name}()"
                if (module, name) == ("torch", "load") and keywords.get("weights_only") != "True":
                    yield "torch.load() without weights_only=True"
                if keywords.get("allow_pickle", "False") != "False":
                    yield f"{module}.{name}(allow_pickle=...)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_runs_code_from_disk(path: Path) -> None:
    assert list(offenses(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "from yaml import load",
        "from yaml import UnsafeLoader",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.full_load(text)",
        "eval('1')",
        "exec('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_search_for_offenses_finds_them(source: str) -> None:
    assert len(list(offenses(source))) == 1


def test_the_search_for_offenses_lets_the_rest_pass() -> None:
    fine = "model.eval(); re.compile('a'); yaml.safe_load(t); torch.load(p, weights_only=True)"
    assert list(offenses(fine)) == []
