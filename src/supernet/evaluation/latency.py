"""Latency of every architecture, from measured parts.

Every distinct piece of work of the space is measured once. What an architecture takes is the sum of
its pieces, times one factor, plus one constant; the two are fitted on whole networks that were
measured too, and others show how far the prediction can be trusted.
"""

from __future__ import annotations

import copy
import json
import random
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.errors import LatencyError
from supernet.evaluation.batches import as_arguments
from supernet.evaluation.cost import Form, empty_batch
from supernet.evaluation.works import Origin, Tracer, Work
from supernet.nn.choices import to_plain
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet, fresh_statistics
from supernet.reading import LARGE, parse_json, read_regular
from supernet.runs.environment import hardware, version_of, versions
from supernet.runs.files import write
from supernet.sharing.structure import replace
from supernet.space import Architecture
from supernet.strategies.costs import Parts, TableCost
from supernet.tasks import tensors_in

Runtime = Literal["torch", "onnxruntime"]

#: A module with choices is measured whole if it has at most so many architectures of its own.
_BLOCK = 64

#: The percentile that is taken of repeated measurements: low, as others only ever add time.
_PERCENTILE = 20

_TRACED = 2  # samples: batch norms need two
_LEAST_S = 0.002  # that one measurement takes, by repetition
_COLD = 3  # times as many rounds for pieces, which are not repeated
_FINE_S = 1e-6  # what a clock must tell apart
_FORMAT = 1


@dataclass(frozen=True)
class Check:
    """How well latencies are predicted, on networks that nothing was fitted on.

    Attributes:
        networks: How many.
        median_error: Of the prediction, relative, such as 0.03.
        repeat_error: Of measuring the same networks once more.
        tau: Kendall's tau between prediction and measurement.
        repeat_tau: Between the two measurements.
        bias: The median of sum of pieces over measurement, less 1: what the two coefficients mend.
        held_out: Whether the coefficients were fitted on other networks; not where the space is too
            small for that.
    """

    networks: int
    median_error: float
    repeat_error: float
    tau: float
    repeat_tau: float
    bias: float
    held_out: bool


@dataclass(frozen=True)
class LatencyTable:
    """What every piece of work of a space takes, on one device with one runtime.

    Attributes:
        runtime: "torch" (eager) or "onnxruntime".
        batch: How many samples at a time.
        threads: How many threads.
        shape: Of one sample; of the first tensor of one, where there are several.
        inputs: What samples are, as plain data.
        device: Processor, vector instructions and the like.
        versions: Of what ran it.
        space_sha256: A digest of the space.
        works: Milliseconds of each distinct piece of work, by its text.
        factor: See `supernet.evaluation.latency`.
        constant: In milliseconds.
        check: How well that predicts.
    """

    runtime: Runtime
    batch: int
    threads: int
    shape: tuple[int, ...]
    inputs: Any
    device: dict[str, str]
    versions: dict[str, str]
    space_sha256: str
    works: dict[str, float] = field(repr=False)
    factor: float
    constant: float
    check: Check

    def cost_of(self, supernet: Supernet, *, any_device: bool = False) -> TableCost:
        """Return the predicted latency in milliseconds as a function of an architecture.

        Args:
            supernet: A network of the space that was measured.
            any_device: Whether the table may be of another device or other versions than this
                process runs on: measure there, search here.

        Raises:
            LatencyError: If the table is of another space, or device; it says what differs.
        """
        return self._cost(
            supernet, _parts(supernet, _decode(self.inputs))[0], any_device=any_device
        )

    def _cost(self, supernet: Supernet, parts: Parts, *, any_device: bool) -> TableCost:
        differing = list(self._differences(supernet, any_device))
        missing = [work for work in parts.distinct if _key(work) not in self.works]
        if missing and not differing:
            differing = [f"it lacks {len(missing)} pieces of work of this network"]
        if differing:
            raise LatencyError(
                f"the latency table doesn't fit: {'; '.join(differing)}; measure again"
            )
        return TableCost(
            parts,
            lambda work: self.works[_key(work)],
            factor=self.factor,
            constant=self.constant,
        )

    def _differences(self, supernet: Supernet, any_device: bool) -> Iterator[str]:
        if self.space_sha256 != supernet.space.sha256:
            yield "it is of another search space"
        here = {**hardware(), **_versions(self.runtime)}
        for name, value in {**self.device, **self.versions}.items():
            if not any_device and here.get(name) != value:
                yield f"{name} was {value}, and is {here.get(name)} (any_device allows that)"

    def save(self, path: str | Path, *, root: Path | None = None) -> Path:
        """Write the table as JSON; below `root`, no link is followed to where it goes."""
        content = {"format": _FORMAT, **asdict(self)}
        return write(Path(path), json.dumps(content, indent=1).encode(), root=root)


def load_latency(path: str | Path) -> LatencyTable:
    """Read a table that `LatencyTable.save` wrote.

    Raises:
        LatencyError: If it is none, or is damaged.
    """
    path = Path(path)
    try:
        content = parse_json(read_regular(path, LARGE))
        if content.pop("format", None) != _FORMAT:
            raise ValueError("it is no latency table of this version")
        check = Check(**content.pop("check"))
        found = LatencyTable(**content | {"shape": tuple(content["shape"])}, check=check)
        _decode(found.inputs)
        numbers = np.array([*found.works.values(), found.factor, found.constant], np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("a latency in it is no number")
    except OSError as error:
        raise LatencyError(f"can't read the latency table {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LatencyError(f"{path} is no latency table, or is damaged: {error}") from None
    return found


def measure_latency(
    supernet: Supernet,
    shape: Form,
    *,
    runtime: Runtime = "torch",
    batch: int = 1,
    rounds: int = 30,
    fitted: int = 8,
    checked: int = 16,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda what, done: None,
) -> LatencyTable:
    """Measure every distinct piece of work of a space, and how well their sums predict.

    All are measured in turns, so that a busy moment of the machine meets all alike. It runs with as
    many threads as PyTorch has in this process (`torch.get_num_threads`). With one thread, its CPU
    time is measured: what it takes while no other program computes.

    Example:
        table = sn.measure_latency(supernet, (1, 28, 28))
        for evaluation in sn.search(..., costs={"latency_ms": table.cost_of(supernet)}): ...

    Args:
        supernet: The network; it is not changed, and its weights don't matter.
        shape: Of one sample; or samples of another form, such as token numbers, or a dict of
            tensors.
        runtime: "torch" runs PyTorch eagerly, "onnxruntime" needs the extra `onnx`.
        batch: How many samples at a time.
        rounds: How often each network is measured, each piece three times as often.
        fitted: On how many whole networks the two coefficients are fitted; 8 at least.
        checked: On how many others the prediction is checked.
        seed: Of the networks drawn.
        progress: Told what is being done, and which share of it is done.

    Raises:
        LatencyError: If the runtime isn't installed, or a number makes no sense.
    """
    _require(runtime, batch, rounds, fitted, checked)
    parts, tracer = _parts(supernet, shape)
    works = {_key(work): tracer.origins[_key(work)] for work in parts.distinct if _key(work)}
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    archs = _draw(supernet, fitted + checked, rng)
    with _runner(runtime) as prepare:
        pieces = []
        for done, origin in enumerate(works.values()):
            pieces.append(_piece(supernet, origin, batch, prepare, generator))
            progress("preparing pieces", (done + 1) / len(works))
        times = _measure(
            pieces, rounds, rng, lambda done: progress("measuring pieces", done), cold=True
        )
        del pieces
        x = _samples(shape, batch, generator)
        nets = [_with_statistics(extract(supernet, arch)) for arch in archs]
        wholes = [prepare(net, *as_arguments(net, x)) for net in nets]
        first, again = (
            _measure(wholes, rounds, rng, lambda done: progress("measuring networks", done))
            for _ in range(2)
        )
    found = dict(zip(works, times.tolist(), strict=True))
    sums = TableCost(parts, lambda work: found.get(_key(work), 0.0))
    bare = np.array([sums(arch) for arch in archs])
    held_out = len(archs) == fitted + checked
    ours, others = (slice(fitted), slice(fitted, None)) if held_out else (slice(None), slice(None))
    factor, constant = _fit(bare[ours], first[ours])
    check = _check(bare[others], factor, constant, first[others], again[others], held_out)
    return LatencyTable(
        runtime=runtime,
        batch=batch,
        threads=torch.get_num_threads(),
        shape=tuple(next(tensors_in(empty_batch(shape))).shape[1:]),
        inputs=_encode(empty_batch(shape)),
        device=hardware(),
        versions=_versions(runtime),
        space_sha256=supernet.space.sha256,
        works=found,
        factor=factor,
        constant=constant,
        check=check,
    )


def _require(runtime: str, batch: int, rounds: int, fitted: int, checked: int) -> None:
    if runtime not in ("torch", "onnxruntime"):
        raise LatencyError(f"unknown runtime {runtime!r}; known are torch and onnxruntime")
    least = {"batch": (batch, 1), "rounds": (rounds, 3), "fitted": (fitted, 8)}
    for name, (value, smallest) in {**least, "checked": (checked, 2)}.items():
        if value < smallest:
            raise LatencyError(f"{name} is {value}; it must be at least {smallest}")


def _samples(form: Form, count: int, generator: torch.Generator) -> Any:
    """Return samples with numbers: noise; or those given, as often as there have to be."""
    if next(tensors_in(form), None) is None:
        return torch.randn(count, *form, generator=generator)
    return replace(form, Tensor, lambda tensor: tensor[torch.arange(count) % len(tensor)])


def _encode(form: Any) -> Any:
    """Return what samples are as plain data; see `_decode`."""
    if isinstance(form, Tensor):
        return {"shape": list(form.shape[1:]), "dtype": str(form.dtype).removeprefix("torch.")}
    if isinstance(form, dict):
        return {"dict": {str(name): _encode(part) for name, part in form.items()}}
    return {"tuple": [_encode(part) for part in form]}


def _decode(said: Any) -> Any:
    """Return samples without content from what `_encode` made of some.

    Raises:
        KeyError, TypeError, ValueError: If it is something else.
    """
    if "dict" in said:
        return {name: _decode(part) for name, part in said["dict"].items()}
    if "tuple" in said:
        return tuple(_decode(part) for part in said["tuple"])
    dtype = getattr(torch, said["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError("it names no type of numbers")
    return torch.empty(_TRACED, *map(int, said["shape"]), dtype=dtype, device="meta")


def _parts(supernet: Supernet, form: Form) -> tuple[Parts, Tracer]:
    tracer = Tracer(supernet, empty_batch(form, _TRACED), block=_BLOCK)
    return Parts(supernet.space, tracer.works_of), tracer


def _key(work: Hashable) -> str:
    """Return what is looked up; what a module does outside of modules is left to the fit."""
    assert isinstance(work, Work)
    return work.key if not work.key.endswith((": itself", "outside of modules")) else ""


def _draw(supernet: Supernet, count: int, rng: random.Random) -> list[Architecture]:
    """Return architectures that differ, as far as there are enough of them."""
    found = {supernet.space.smallest: None, supernet.space.largest: None}
    for _ in range(50 * count):
        if len(found) >= min(count, supernet.space.size):
            break
        found[supernet.space.sample(rng, by="options")] = None
    archs = list(found)
    rng.shuffle(archs)
    return archs[:count]


def _piece(
    supernet: Supernet,
    origin: Origin,
    batch: int,
    prepare: Prepare,
    generator: torch.Generator,
) -> Callable[[], object]:
    """Return a function that does a piece of work once."""
    module = copy.deepcopy(supernet.net.get_submodule(origin.path))
    plain = _with_statistics(to_plain(module, origin.arch))

    def filled(tensor: Tensor) -> Tensor:
        size = tensor.shape
        if tensor.ndim:
            size = torch.Size((size[0] * batch // _TRACED, *size[1:]))
        if not tensor.is_floating_point():
            return torch.zeros(size, dtype=tensor.dtype)
        return torch.randn(size, generator=generator).to(tensor.dtype)

    return prepare(plain, *replace((origin.args, origin.kwargs), Tensor, filled))


def _with_statistics(net: nn.Module) -> nn.Module:
    """Give batch norms statistics, as a network in use has them; return the network."""
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = True
            mean, variance, count = fresh_statistics(module, net)
            module.running_mean, module.running_var, module.num_batches_tracked = (
                mean,
                variance,
                count,
            )
    return net.eval()


#: Makes a module, with arguments by position and by name, into something to be called and timed.
Prepare = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Callable[[], object]]


@contextmanager
def _runner(runtime: Runtime) -> Iterator[Prepare]:
    """Give what prepares a module to be timed with a runtime."""
    if runtime == "torch":
        yield _eager
        return
    from supernet.export.onnx import open_session, quiet, require

    require("onnx", "onnxscript", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:

        def prepare(
            net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Callable[[], object]:
            path = Path(folder) / "piece.onnx"
            with quiet():
                program = torch.onnx.export(net, args, kwargs=kwargs, dynamo=True, verbose=False)
                assert program is not None
                program.save(str(path), external_data=False)
            run = open_session(path, threads=torch.get_num_threads())
            inputs = tuple(tensors_in((args, kwargs)))
            return lambda: run(inputs)

        yield prepare


def _eager(net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    def run() -> Any:
        with torch.inference_mode():
            return net(*args, **kwargs)

    return run


def _measure(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    rng: random.Random,
    progress: Callable[[float], None],
    *,
    cold: bool = False,
) -> NDArray[np.float64]:
    """Return a low percentile of the milliseconds that each takes, measured in turns.

    Whole networks follow themselves, as in use. Pieces are measured `cold`, each after another one
    and not repeated: within a network too, a layer finds the caches full of what ran before it.
    """
    clock = _clock()
    often = []
    for run in runs:  # warm, and see how often it has to be repeated to be measured at all
        run()
        start = clock()
        run()
        spent = max(clock() - start, 1e-7)
        often.append(1 if cold else max(1, min(1_000, round(_LEAST_S / spent))))
    rounds *= _COLD if cold else 1
    found, order = np.zeros((rounds, len(runs))), list(range(len(runs)))
    for number in range(rounds):
        rng.shuffle(order)
        for at in order:
            run = runs[at]
            if not cold:
                run()  # what ran before has filled the caches with its own
            start = clock()
            for _ in range(often[at]):
                run()
            found[number, at] = (clock() - start) / often[at]
        progress((number + 1) / rounds)
    return np.asarray(1e3 * np.percentile(found, _PERCENTILE, axis=0))


def _clock() -> Callable[[], float]:
    # One thread's CPU time is what it takes while nobody else computes, and doesn't count when the
    # thread was made to wait; of several threads only a clock on the wall tells the latency. So it
    # is where CPU time is counted in steps too large for a piece of work.
    fine = time.get_clock_info("thread_time").resolution <= _FINE_S
    return time.thread_time if torch.get_num_threads() == 1 and fine else time.perf_counter


def _fit(sums: NDArray[np.float64], measured: NDArray[np.float64]) -> tuple[float, float]:
    """Return factor and constant with the least squares of relative errors; neither is negative."""
    design = np.stack([sums / measured, 1 / measured], axis=1)
    (factor, constant), *_ = np.linalg.lstsq(design, np.ones(len(sums)), rcond=None)
    if constant < 0 or factor <= 0:
        return float(np.median(measured / np.maximum(sums, 1e-12))), 0.0
    return float(factor), float(constant)


def _check(
    sums: NDArray[np.float64],
    factor: float,
    constant: float,
    measured: NDArray[np.float64],
    again: NDArray[np.float64],
    held_out: bool,
) -> Check:
    predicted = factor * sums + constant
    return Check(
        networks=len(sums),
        median_error=float(np.median(np.abs(predicted / measured - 1))),
        repeat_error=float(np.median(np.abs(again / measured - 1))),
        tau=_tau(predicted, measured),
        repeat_tau=_tau(again, measured),
        bias=float(np.median(sums / measured) - 1),
        held_out=held_out,
    )


def _tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    tau = float(scipy.stats.kendalltau(first, second).statistic)
    return tau if np.isfinite(tau) else 0.0


def _versions(runtime: Runtime) -> dict[str, str]:
    found = {"torch": versions()["torch"]}
    if runtime == "onnxruntime":
        found["onnxruntime"] = version_of("onnxruntime")
    return found
