"""Users' own functions by name: found, checked before they are run, loaded, called, hashed.

Names are `path/to/file.py:function` or `package.module:function`. Running a user's own code is what
such a name asks for; nothing else in the package does that.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from supernet.errors import SupernetError

#: Source files larger than this are not somebody's function.
_LARGEST_SOURCE = 10_000_000


@dataclass(frozen=True)
class FunctionName:
    """Where a function is.

    Attributes:
        source: A file, or a module by its dotted name.
        function: The function's name in there.
        error: What is raised if something is wrong with it.
    """

    source: str
    function: str
    error: type[SupernetError]

    @property
    def is_file(self) -> bool:
        """Whether the source is a file."""
        return self.source.endswith(".py")

    def __str__(self) -> str:
        return f"{self.source}:{self.function}"


def parse_function(text: str, error: type[SupernetError]) -> FunctionName | None:
    """Return the parts of a function's name, or None if the text has another form.

    Args:
        text: Such as `my_net.py:build` or `package.module:build`.
        error: What to raise, then and later, if something is wrong.

    Raises:
        SupernetError: `error`, if the text is a name with something missing.
    """
    source, colon, function = text.rpartition(":")
    if not colon and not text.endswith(".py"):
        return None
    if not colon:
        raise error(f"{text} names no function; write {text}:FUNCTION, such as {text}:build")
    if not source.endswith(".py") and not all(part.isidentifier() for part in source.split(".")):
        return None
    if not function.isidentifier():
        raise error(
            f"{function!r} in {text!r} can't be a function's name; write FILE.py:FUNCTION or "
            "MODULE:FUNCTION"
        )
    return FunctionName(source, function, error)


def check_function(name: FunctionName) -> None:
    """Find out what can be known without running anything: a file that is whole and has the name.

    Raises:
        SupernetError: If the file can't be read, has a syntax error, or doesn't define the name.
    """
    if not name.is_file:
        return  # finding a module would run its packages
    content = _read(name)
    try:
        tree = ast.parse(content, name.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        what = getattr(error, "msg", None) or str(error)
        raise name.error(f"{name.source} has a syntax error{where}: {what}") from None
    known = set(_names(tree.body))
    if name.function not in known and not known & {"*", "__getattr__"}:
        raise _lacking(name, sorted(known))


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield what statements at the top of a module define, those inside `if` and `try` too."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
                elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                    yield node.name
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    yield from ((a.asname or a.name).partition(".")[0] for a in node.names)


def load_function(name: FunctionName) -> Callable[..., Any]:
    """Return the function, running the file or module that it is in, once per process.

    Raises:
        SupernetError: If that fails, or there is no such function in it.
    """
    if name.is_file:
        check_function(name)
        module = _run_file(name, hashlib.sha256(_read(name)).hexdigest())
    else:
        module = _import_module(name)
    found = getattr(module, name.function, None)
    if found is None:
        raise _lacking(name, [each for each in vars(module) if not each.startswith("_")])
    if not callable(found):
        raise name.error(
            f"{name} is {type(found).__name__} and not a function; name one that can be called"
        )
    return found  # type: ignore[no-any-return]


@functools.cache
def _run_file(name: FunctionName, sha256: str) -> ModuleType:
    path = Path(name.source).resolve()
    module_name = f"{path.stem}_{sha256[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # as dataclasses in it need
    with _importing_beside(path.parent), failing_as(name.error, name.source):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return module


def _import_module(name: FunctionName) -> ModuleType:
    with _importing_beside(Path.cwd()):
        try:
            return importlib.import_module(name.source)
        except ModuleNotFoundError as error:
            if error.name and name.source.startswith(error.name):
                raise name.error(
                    f"there is no module {error.name!r} for {name}; install it, or name a file: "
                    "FILE.py:FUNCTION"
                ) from None
            raise name.error(f"{name.source} needs the module {error.name!r}") from None
        except SupernetError:
            raise
        except (Exception, SystemExit) as error:
            raise name.error(describe_failure(error, name.source)) from error


@contextmanager
def _importing_beside(folder: Path) -> Iterator[None]:
    """Let modules that lie in a folder be imported inside the block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def call_function(
    name: FunctionName,
    function: Callable[..., Any],
    *,
    offered: Mapping[str, Any],
    arguments: Mapping[str, Any],
    option: str,
) -> Any:
    """Call a user's function with what it takes of what is offered, and with arguments asked for.

    Args:
        name: Its name, for errors.
        function: The function.
        offered: Arguments it is given if its signature names them.
        arguments: Arguments it must take; they go before those offered.
        option: The command-line option that gives arguments, for errors.

    Raises:
        SupernetError: If it takes other arguments, or raises something itself.
    """
    given = match_arguments(
        str(name), function, offered=offered, arguments=arguments, option=option, error=name.error
    )
    with failing_as(name.error, str(name)):
        return function(**given)


def match_arguments(
    name: str,
    function: Callable[..., Any],
    *,
    offered: Mapping[str, Any],
    arguments: Mapping[str, Any],
    option: str,
    error: type[SupernetError],
) -> dict[str, Any]:
    """Return the keyword arguments to call a function with; see `call_function`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a class or builtin that doesn't say
        return dict(arguments)
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
    if positional:
        raise error(f"{name} takes {positional} by position only; let it take names")
    named = [p for p in parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for argument in arguments:
            if argument not in takes:
                close = difflib.get_close_matches(argument, takes, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise error(
                    f"{name} takes no argument {argument!r}{hint} It takes "
                    f"{', '.join(takes) or 'none'}"
                )
    given = {**{n: value for n, value in offered.items() if n in takes}, **arguments}
    if missing := [p.name for p in named if p.default is p.empty and p.name not in given]:
        raise error(
            f"{name} wants the argument {missing[0]!r}, which nobody gives; add "
            f"{option} {missing[0]}=VALUE, or give it a default"
        )
    return given


@contextmanager
def failing_as(error: type[SupernetError], name: str) -> Iterator[None]:
    """Turn what a user's code raises inside the block into one sentence with its place."""
    try:
        yield
    except SupernetError:
        raise
    except (Exception, SystemExit) as failure:
        raise error(describe_failure(failure, name)) from failure


def describe_failure(failure: BaseException, name: str) -> str:
    """Return what somebody's code raised, and the line of theirs in which it did."""
    what = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
    frames = traceback.extract_tb(failure.__traceback__)
    own = name.rpartition(":")[0] if ".py:" in name else name
    here = [f for f in frames if own.endswith(".py") and Path(f.filename).name == Path(own).name]
    where = f" (line {here[-1].lineno} of {own})" if here else ""
    return f"{name} failed with {what}{where}"


def source_sha256(name: FunctionName) -> dict[str, str]:
    """Return the SHA-256 of the file that a function is in, by the source's name.

    A module that has no file of its own has none.
    """
    if name.is_file:
        return {name.source: hashlib.sha256(_read(name)).hexdigest()}
    file = getattr(sys.modules.get(name.source), "__file__", None)
    if not file or not file.endswith(".py"):
        return {}
    return {name.source: hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _read(name: FunctionName) -> bytes:
    path = Path(name.source)
    try:
        if not path.exists():
            raise name.error(f"there is no file {name.source}; check the path")
        if not path.is_file():
            raise name.error(f"{name.source} is not a regular file; name a file of Python code")
        if path.stat().st_size > _LARGEST_SOURCE:
            raise name.error(f"{name.source} is too large to be a source file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, SupernetError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise name.error(f"can't read {name.source}: {reason}") from None


def _lacking(name: FunctionName, known: Sequence[str]) -> SupernetError:
    close = difflib.get_close_matches(name.function, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "check the name after the colon"
    return name.error(f"{name.source} has no {name.function!r}; {hint}")


def parse_arguments(
    texts: Sequence[str], option: str, error: type[SupernetError]
) -> dict[str, Any]:
    """Return keyword arguments from texts such as `width=16`, `widths=8,16` or `name=wide`.

    >>> parse_arguments(["width=16", "widths=8,16", "bias=false"], "--net-arg", SupernetError)
    {'width': 16, 'widths': (8, 16), 'bias': False}

    Args:
        texts: Each `NAME=VALUE`; the value is a number, text, true, false, none, or several of
            these with commas between them.
        option: The command-line option they came with, for errors.
        error: What to raise.

    Raises:
        SupernetError: If one has another form, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise error(f"{option} is {text!r}; it must be NAME=VALUE, such as width=16")
        if name in found:
            raise error(f"{option} gives {name!r} twice; give it once")
        found[name] = _parse_value(value.strip())
    return found


def _parse_value(text: str) -> Any:
    word = {"true": True, "false": False, "none": None}
    if text.lower() in word:
        return word[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    if "," in text:
        return tuple(_parse_value(part.strip()) for part in text.split(",") if part.strip())
    return text
