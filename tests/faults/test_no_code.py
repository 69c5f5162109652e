"""Nothing that is loaded can run code, because the package has no means to: not in one module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import supernet

PACKAGE = Path(supernet.__file__).parent

#: Modules that turn bytes into objects of any class, and functions that do the like.
MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "imp"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.load",
    "torch.jit.load", "np.load", "numpy.load", "importlib.import_module", "runpy.run_path",
    "runpy.run_module", "os.system", "os.popen", "spec.loader.exec_module",
}  # fmt: skip

#: Arguments, and the only value they may have.
SAFE = {"allow_pickle": "False", "weights_only": "True", "shell": "False"}

#: What may be there nevertheless: the front door's lazy imports, of names that stand in it.
ALLOWED = {
    (place, name)
    for place in ("__init__.py", "training/__init__.py")
    for name in ("importlib.import_module", "import_module")
}
#: Numbers in a `.npz`, which numpy reads without what could be code: `allow_pickle` is checked.
ALLOWED |= {
    (f"{place}.py", "np.load")
    for place in ("datasets/arrays", "experiments/extraction", "experiments/tuning")
}
#: And what runs a model folder's code: what `save` has just written, or what a user trusts.
ALLOWED |= {("export/model_folder.py", "spec.loader.exec_module")}
#: And what the user asks for by name: running a function of theirs.
ALLOWED |= {
    ("runs/functions.py", name) for name in ("importlib.import_module", "spec.loader.exec_module")
}


def means(source: str) -> Iterator[str]:
    """Yield the names of all that could run code that isn't the package's own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [module, *names, *(f"{module}.{name}" for name in names)]
            yield from (n for n in names if {n.partition(".")[0]} & MODULES or n in CALLS)
            yield from (n for n in names if n in ("import_module", "multiprocessing.connection"))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield from {node.id} & BUILTINS
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in CALLS or node.attr == "recv":
                yield name
        elif isinstance(node, ast.keyword) and node.arg in (
            "allow_pickle",
            "weights_only",
            "shell",
        ):
            safe = {"allow_pickle": False, "weights_only": True, "shell": False}[node.arg]
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                yield ast.unparse(node)


def test_no_module_can_run_what_it_reads() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        for name in means(path.read_text(encoding="utf-8"))
    }
    pipe = {entry for entry in found if entry[0] == "runs/workers.py"}
    assert {name for _, name in pipe} == {
        "multiprocessing.connection", "self.pipe.recv", "context.pipe.recv",
    }  # fmt: skip
    assert found - pipe <= ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "from torch import load\nload()",
        "import torch\ntorch.load(path, weights_only=True)",
        "torch.load(path)",
        "yaml.load(text, Loader)",
        "from yaml import unsafe_load",
        "np.load(path)",
        "np.savez(file, allow_pickle=True)",
        "read(path, weights_only=no)",
        "eval(text)",
        "run = exec",
        "__import__(name)",
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module",
        "connection.recv()",
        "run(command, shell=True)",
    ],
)
def test_such_means_are_found(source: str) -> None:
    assert list(means(source))


HARMLESS = ["net.eval()", "re.compile(x)", "compile: bool", "yaml.safe_load(x)"]


@pytest.mark.parametrize("source", HARMLESS)
def test_what_is_harmless_is_not(source: str) -> None:
    assert not list(means(source))
