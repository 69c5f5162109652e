"""Data-parallel training: each rank takes its part of every batch, and one sum makes them one step.

All ranks read the same batches and draw the same architectures, as both follow from the seed and
the step. Each runs its own samples; the gradients of all architectures of a step are added up where
they arise, and then over ranks, in one flat sum of the parameters that the step touched. So what is
sent is as large as what was drawn, which no wrapper for whole networks gives: it reduces them all.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from supernet.errors import SettingsError
from supernet.evaluation.batches import device_of, samples_in
from supernet.evaluation.batchnorm import has_batch_norms
from supernet.runs.ranks import Ranks
from supernet.sharing.structure import replace
from supernet.tasks import Task, tensors_in
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw

#: Hexadecimal digits of a digest that is compared or told.
_DIGITS: Final = 16

#: Draws that are remembered; a large space never draws the same twice.
_MOST_KNOWN: Final = 4096

#: Between the seeds of two ranks: far apart in whatever bits a generator looks at first.
_STRIDE: Final = 0x9E3779B97F4A7C15


@final
@dataclass(frozen=True)
class Portion:
    """The samples of a batch that one rank takes, and how much they count in it.

    Attributes:
        inputs: Their inputs.
        targets: Their targets.
        of_loss: How much their loss counts, of 1 in all; None if they are the whole batch.
        of_samples: The same for a mean over samples, whatever the task takes its mean over.
    """

    inputs: Any
    targets: Any
    of_loss: float | None = None
    of_samples: float | None = None


def take_portion(x: Any, y: Any, task: Task, ranks: Ranks) -> Portion:
    """Return this rank's samples of a batch: neighbors, as evenly as can be.

    Raises:
        SettingsError: If a rank would have none.
    """
    if not ranks.several:
        return Portion(x, y)
    samples = samples_in(x)
    if samples < ranks.size:
        raise SettingsError(
            f"a batch of {samples} can't be shared among {ranks.size} ranks; choose a larger "
            "batch_size, or start fewer"
        )
    rows = ranks.part(samples)
    own = slice(rows.start, rows.stop)
    targets = take_rows(y, own)
    return Portion(
        take_rows(x, own),
        targets,
        of_loss=share_of(task.weight(targets, len(rows)), task.weight(y, samples)),
        of_samples=len(rows) / samples,
    )


def require_divisible(samples: int, archs: int, ranks: Ranks) -> None:
    """Raise `SettingsError` if some rank had no sample of an architecture of a divided batch."""
    if ranks.several and samples // archs < ranks.size:
        raise SettingsError(
            f"a batch of {samples}, divided among {archs} architectures, can't be shared among "
            f"{ranks.size} ranks too; choose a larger batch_size, or start fewer"
        )


def take_rows(value: Any, rows: slice | Tensor) -> Any:
    """Return some samples of inputs or targets."""
    return replace(value, Tensor, lambda tensor: tensor[rows])


def share_of(own: float, of_all: float) -> float:
    """Return a share; NaN of nothing, as a mean over nothing is."""
    return own / of_all if of_all else math.nan


def weigh(loss: Callable[[], Tensor], outputs: Any, share: float | None) -> Tensor:
    """Return how much the loss of some samples adds to that of all.

    Where nothing of them counts, as of pictures without a labeled pixel, it is 0, with a gradient
    of 0: the other ranks wait for this one on their way back too.
    """
    if share is None:
        return loss()
    if share == 0:
        numbers = [tensor for tensor in tensors_in(outputs) if tensor.requires_grad]
        return torch.stack([tensor.sum() for tensor in numbers]).sum() * 0.0
    return loss() * share


def largest_part(samples: int, ranks: Ranks) -> int:
    """Return how many samples of a batch the rank with the most of them takes."""
    return -(-samples // ranks.size)


@final
class Together:
    """What the ranks of one training do together in its steps.

    Args:
        net: What is trained. All ranks go on from the first one's weights.
        ranks: Who they are.

    Raises:
        SettingsError: If its parameters can't be added up.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, ranks: Ranks) -> None:
        self.ranks = ranks
        self._net = net
        self._parameters = tuple(net.parameters())
        self._drawn = hashlib.sha256()
        self._known: set[Draw] = set()  # whose parameters all ranks were seen to agree on
        if ranks.several:
            _require_shareable(net, recipe)
            _start_alike(net, ranks)

    def agree(self, step: int, draw: Draw, batches: Sequence[tuple[Any, Any]] = ()) -> None:
        """See that all ranks do the same step, with the same batches if any are given.

        Raises:
            RankError: If they don't.
        """
        if not self.ranks.several:
            return
        what = _digest([repr(draw).encode()])
        self._drawn.update(what.encode())
        facts: dict[str, object] = {f"the architectures of step {step + 1}": _in_words(draw, what)}
        if batches:
            facts[f"the batches of step {step + 1}"] = _digest(map(_bytes_of, tensors_in(batches)))
        self.ranks.require_same(facts)

    def reduce(self, draw: Draw, loss: float) -> float:
        """Add up over ranks, in place, all gradients there are, and the loss, which is returned.

        Raises:
            RankError: If ranks have gradients of other parameters than these.
            SettingsError: If a gradient is sparse.
        """
        if not self.ranks.several:
            return loss
        gradients = self._gradients(draw)
        wide = functools.reduce(torch.promote_types, (g.dtype for g in gradients), torch.float32)
        parts = [gradient.reshape(-1).to(wide) for gradient in gradients]
        device = gradients[0].device if gradients else torch.device("cpu")
        flat = torch.cat([*parts, torch.tensor([loss], dtype=wide, device=device)])
        self.ranks.add(flat)
        *sums, total = flat.split([*map(len, parts), 1])
        for gradient, found in zip(gradients, sums, strict=True):
            gradient.copy_(found.view(gradient.shape))
        return float(total)

    def _gradients(self, draw: Draw) -> list[Tensor]:
        """Return the gradients there are, which must be of the same parameters on all ranks."""
        there = {at: p.grad for at, p in enumerate(self._parameters) if p.grad is not None}
        if any(gradient.is_sparse for gradient in there.values()):
            raise SettingsError(
                "the network has sparse gradients, which can't be added up over ranks; make its "
                "embeddings with sparse=False"
            )
        if draw not in self._known:
            # Before they are added up: a sum of unlike tensors ends a process without a word.
            self.ranks.require_same({"which parameters have gradients": list(there)})
            if len(self._known) == _MOST_KNOWN:
                self._known.clear()
            self._known.add(draw)
        return list(there.values())

    def require_same(self, step: int) -> None:
        """See that all ranks have come to the same weights by the same draws.

        Raises:
            RankError: If not, with the first tensor that differs.
        """
        if not self.ranks.several:
            return
        tensors = _tensors_of(self._net).items()
        facts: dict[str, object] = {
            "the step": step,
            "the draws": self._drawn.hexdigest()[:_DIGITS],
        }
        facts |= {f"the weights {name!r}": _digest([_bytes_of(tensor)]) for name, tensor in tensors}
        self.ranks.require_same(facts)

    def forget(self) -> None:
        """Begin again with the draws, where a training goes on from a state."""
        self._drawn = hashlib.sha256()


def _require_shareable(net: nn.Module, recipe: Recipe) -> None:
    devices = sorted({str(parameter.device) for parameter in net.parameters()})
    if len(devices) > 1:
        raise SettingsError(
            f"the network has parameters on {' and '.join(devices)}; ranks can share the training "
            "of a network on one device each: move it with net.to(device)"
        )
    if devices and devices[0].partition(":")[0] not in ("cpu", "cuda"):
        raise SettingsError(
            f"the network is on {devices[0]}, from where nothing can be added up over ranks; train "
            "on cpu or cuda, or with one process"
        )
    if recipe.compile and has_batch_norms(net):
        raise SettingsError(
            "a compiled network can't take the statistics of its batch norms over ranks; leave "
            "compile out, or train with one process"
        )


@torch.no_grad()
def _start_alike(net: nn.Module, ranks: Ranks) -> None:
    """Give all ranks the first one's weights, and others random numbers of their own.

    They would else drop the same units of different samples.
    """
    tensors = _tensors_of(net)
    ranks.require_same(
        {f"the network's tensor {name!r}": _form_of(tensor) for name, tensor in tensors.items()}
    )
    for tensor in tensors.values():
        told = ranks.tell(_bytes_of(tensor))
        if told:
            tensor.copy_(torch.frombuffer(bytearray(told), dtype=tensor.dtype).view(tensor.shape))
    for generator in _generators_of(device_of(net)) if not ranks.first else ():
        generator.manual_seed((generator.initial_seed() + ranks.rank * _STRIDE) % 2**63)


def _generators_of(device: torch.device | None) -> Iterator[torch.Generator]:
    """Yield the generators that a network on a device draws from."""
    yield torch.default_generator
    if device is not None and device.type == "cuda":
        yield torch.cuda.default_generators[device.index or 0]


def _tensors_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in net.state_dict().items() if isinstance(t, Tensor)}


def _form_of(tensor: Tensor) -> tuple[tuple[int, ...], str, str]:
    return tuple(tensor.shape), str(tensor.dtype), tensor.device.type


def _digest(contents: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for content in contents:
        found.update(content)
    return found.hexdigest()[:_DIGITS]


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _in_words(draw: Draw, digest: str) -> str:
    names = ", ".join(arch.label for arch in draw.archs[:3])
    return f"{names}{', ...' if len(draw.archs) > 3 else ''} [{digest}]"
