"""A moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn


@final
class Average:
    """An exponential moving average of all parameters of a network.

    Buffers are not averaged: what a batch norm has counted is recalibrated before anything is
    scored. In the first steps the decay is smaller, `(1 + step) / (10 + step)`, so that the initial
    weights are soon forgotten.

    Args:
        net: The network.
        decay: How much of the average is kept in a step. With 0 it is the weights as they are, and
            takes neither time nor memory.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(net.named_parameters()) if decay else {}
        self._means = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after a step; `step` counts from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self._means[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the average for weights inside the block."""
        kept = {name: p.detach().clone() for name, p in self._parameters.items()}
        try:
            self.settle()
            yield
        finally:
            self._write(kept)

    def settle(self) -> None:
        """Give the network the average for weights, for good."""
        self._write(self._means)

    def state(self) -> dict[str, Tensor]:
        """Return the average, which the next step changes."""
        return self._means

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            ValueError: If it is not one of this network.
        """
        saved = {name: mean.shape for name, mean in state.items()}
        if saved != {name: mean.shape for name, mean in self._means.items()}:
            raise ValueError("its average of the weights is of other weights")
        for name, mean in self._means.items():
            mean.copy_(state[name])

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
