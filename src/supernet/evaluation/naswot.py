"""A score without training: how differently a network at initialization switches on its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.errors import DataError, SettingsError
from supernet.evaluation.batches import call, device_of, moved, samples_in
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture

_ATEN: Final = torch.ops.aten

_STEMS: Final = [
    "relu",
    "leaky_relu",
    "elu",
    "celu",
    "gelu",
    "silu",
    "hardswish",
    "mish",
    "threshold",
]

#: Activations that pass what is above 0 and hold back what is below, wholly or nearly.
_ALWAYS: Final = {
    getattr(_ATEN, name) for stem in _STEMS for name in (stem, f"{stem}_") if hasattr(_ATEN, name)
} | {_ATEN._prelu_kernel}

#: Those that do so if their lower bound is 0.
_BOUNDED: Final = {
    _ATEN.hardtanh,
    _ATEN.hardtanh_,
    _ATEN.clamp,
    _ATEN.clamp_,
    _ATEN.clamp_min,
    _ATEN.clamp_min_,
}


def naswot(
    supernet: Supernet | nn.Module,
    archs: Iterable[Architecture] | Architecture | None = None,
    *,
    inputs: Any,
) -> dict[Architecture, float]:
    """Return a score of architectures that needs no training and no labels; higher is better.

    Which of its activations are above 0 is a code that a network gives to an input. The score is
    the logarithm of the determinant of the matrix that counts, for every two inputs, in how many
    activations their codes agree: the more the codes differ, the higher, and the more activations
    there are. It is minus infinity where two inputs have the same code.

    It depends on the initial weights, so hand in a network that was not trained, and expect another
    network to give somewhat other numbers. Batch norms take the statistics of the inputs, dropout
    is left out. Nothing is changed.

    Args:
        supernet: With its initial weights; or a plain network.
        archs: Which architectures; by default all.
        inputs: A batch of the data, some 64 to 256 samples.

    Returns:
        A score for each architecture.

    Raises:
        DataError: If there are fewer than two samples, or an activation doesn't have them along its
            first axis.
        SettingsError: If an architecture has no activation that is like ReLU.
        SpaceError: If an architecture is not in the space.

    References:
        Mellor et al., "Neural Architecture Search without Training", ICML 2021, arXiv:2006.04647.

    Example:
        >>> from supernet import Depth
        >>> blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2)]
        >>> supernet = Supernet(nn.Sequential(Depth("body", blocks), nn.Linear(4, 2)))
        >>> found = naswot(supernet, inputs=torch.randn(16, 4))
        >>> [arch.label for arch in found]
        ['(1)', '(2)']
    """
    supernet = supernet if isinstance(supernet, Supernet) else Supernet(supernet)
    wanted = [archs] if isinstance(archs, Architecture) else archs
    inputs = moved(inputs, device_of(supernet))
    count = samples_in(inputs)
    if count < 2:
        raise DataError("naswot compares inputs with one another; give at least 2 samples")
    return {arch: _score(supernet, arch, inputs, count) for arch in wanted or supernet.space}


@torch.no_grad()
def _score(supernet: Supernet, arch: Architecture, inputs: Any, count: int) -> float:
    net = extract(supernet, arch).eval()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    with _Codes(count) as codes:
        call(net, inputs)
    if not codes.units:
        who = f"architecture {arch.label}" if arch else "the network"
        raise SettingsError(
            f"naswot looks at activations like ReLU, and {who} runs none; leave naswot out"
        )
    sign, logarithm = torch.linalg.slogdet((codes.units + codes.products) / 2)
    return float(logarithm) if sign > 0 else -math.inf


class _Codes(TorchDispatchMode):
    """Adds up, over activations, the products of the codes of every two inputs.

    A code has 1 where an activation is above 0 and -1 elsewhere, so that a product is how often two
    codes agree less how often they differ, and half of its sum with their length how often they
    agree.

    Attributes:
        units: How many activations there were for one input.
        products: Of codes, (count, count).
    """

    def __init__(self, count: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.count, self.units = count, 0
        self.products = torch.zeros(count, count, dtype=torch.float64)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        kind: Callable[..., Any] = func.overloadpacket
        if kind in _ALWAYS or (kind in _BOUNDED and _lower_bound(args, options) == 0):
            self._note(args[0])
        return func(*args, **options)

    def _note(self, before: Tensor) -> None:
        if before.shape[:1] != (self.count,):
            raise DataError(
                f"an activation is of shape {tuple(before.shape)} for {self.count} samples; naswot "
                "needs them along its first axis"
            )
        code = (before > 0).flatten(1).to(torch.float32) * 2 - 1
        self.units += code.shape[1]
        self.products += (code @ code.T).double().cpu()


def _lower_bound(args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    given = args[1] if len(args) > 1 else options.get("min", options.get("min_val", -1))
    return given if isinstance(given, int | float) else None
