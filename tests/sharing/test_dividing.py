"""A batch divided among architectures gives each what it would make of its samples alone."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from tests.conftest import Counted, Residual, nine, noise, stir
from tests.sampling import examples


def row_by_row(*, depth: int = 3) -> Supernet:
    """A network in which samples don't see each other."""
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4)) for _ in range(depth)]
    ops = {"skip": nn.Identity(), "linear": nn.Linear(4, 4), "act": nn.LeakyReLU(0.2, True)}
    inner = Depth("inner", [nn.Linear(4, 4), nn.Linear(4, 4)])
    return Supernet(
        stir(nn.Sequential(nn.Linear(4, 4), Depth("d", blocks), OneOf("op", ops), Residual(inner)))
    )


@settings(max_examples=examples(40))
@given(st.data())
def test_every_architecture_gets_its_samples(data: st.DataObject) -> None:
    supernet = row_by_row()
    archs = data.draw(
        st.lists(st.sampled_from(list(supernet.space)), min_size=1, max_size=9, unique=True)
    )
    x = noise(data.draw(st.integers(len(archs), 23)), 4)
    parts = sharing.divide(supernet, x.clone(), archs)
    rows = torch.cat([part.rows for part in parts])
    assert sorted(rows.tolist()) == list(range(len(x)))
    assert sorted((arch for part in parts for arch in part.archs), key=str) == sorted(
        archs, key=str
    )
    for part in parts:
        assert len(part.value) == len(part.rows)
        assert len(x) // len(archs) * len(part.archs) <= len(part.rows)
        expected = supernet(x[part.rows], part.archs[0])
        torch.testing.assert_close(part.value, expected)


def test_gradients_are_those_of_the_parts_alone() -> None:
    supernet, x = row_by_row().double(), noise(12, 4).double()
    archs = list(supernet.space)[:6]
    parts = sharing.divide(supernet, x.clone(), archs)
    parameters = list(supernet.parameters())

    def gradients(values: list[Tensor]) -> tuple[Tensor, ...]:
        loss = torch.cat([value * value for value in values]).sum()
        return torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)

    together = gradients([part.value for part in parts])
    alone = gradients([supernet(x[part.rows], part.archs[0]) for part in parts])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_what_is_common_runs_once_on_all_samples() -> None:
    stem, *blocks = (Counted(nn.Linear(4, 4)) for _ in range(4))
    sizes: list[int] = []
    stem.register_forward_hook(lambda m, args, y: sizes.append(len(y)))
    supernet = Supernet(nn.Sequential(stem, Depth("d", blocks), nn.Linear(4, 2)))
    sharing.divide(supernet, noise(9, 4), supernet.space)
    assert sizes == [9]
    assert [m.calls for m in (stem, *blocks)] == [1, 1, 1, 1]


def test_a_batch_norm_sees_the_samples_of_all_that_come_this_far() -> None:
    supernet, x = nine(), noise(9, 1, 8, 8)
    seen: list[Tensor] = []
    stem = supernet.get_submodule("net.0.1")
    stem.register_forward_hook(lambda m, args, y: seen.append(args[0]))
    sharing.divide(supernet, x, supernet.space)
    assert [len(value) for value in seen] == [9]


class Spread(nn.Module):
    """Uses the number of samples that came in after a choice, and a parameter before and after."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.early = early
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 4))
        self.inner = Depth("inner", [nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        before = x.size(0)
        y: Tensor = self.inner(x)
        samples = before if self.early else y.size(0)
        return F.relu(y.view(samples, 2, 2)).flatten(1) * self.scale


def test_parameters_are_for_everyone() -> None:
    """Four of them and four samples: they must not be taken for samples."""
    supernet, x = Supernet(stir(Spread(early=False))), noise(4, 4)
    for part in sharing.divide(supernet, x, supernet.space):
        expected = supernet(x[part.rows], part.archs[0])
        torch.testing.assert_close(part.value, expected)


def test_what_is_known_of_the_whole_batch_only_is_refused() -> None:
    supernet = Supernet(stir(Spread(early=True)))
    with pytest.raises(SharingError, match=r"view in Spread needs a part .*another sampler"):
        sharing.divide(supernet, noise(4, 4), supernet.space)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Depth("inner", [nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: Tensor, *, other: Tensor) -> dict[str, Any]:
        return {"y": self.inner(x) + other, "x": (x, other)}


def test_several_inputs_are_divided_alike() -> None:
    supernet, x, other = Supernet(stir(TwoInputs())), noise(6, 4), noise(6, 4, seed=1)
    for part in sharing.divide(supernet, x, supernet.space, other=other):
        expected = supernet(x[part.rows], part.archs[0], other=other[part.rows])
        torch.testing.assert_close(part.value, expected)
    with pytest.raises(SharingError, match=r"inputs have as many samples; these have \[5, 6\]"):
        sharing.divide(supernet, x, supernet.space, other=other[:5])


def test_more_architectures_than_samples_are_refused() -> None:
    supernet = nine()
    with pytest.raises(SharingError, match=r"a batch of 8 can't be divided among 9 architectures"):
        sharing.divide(supernet, noise(8, 1, 8, 8), supernet.space)
    assert sharing.divide(supernet, noise(8, 1, 8, 8), []) == []


class Unannounced(nn.Module):
    """Changes its input in place without saying so, and returns something else."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return x + 1


@pytest.mark.parametrize("inference", [False, True])
def test_what_changes_others_samples_unannounced_is_refused(inference: bool) -> None:
    """Whoever takes another way would find its samples changed."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ops = {"change": Unannounced(), "skip": nn.Tanh()}
            self.first, self.op = nn.Linear(4, 4), OneOf("op", ops)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            z: Tensor = self.op(y)
            total: Tensor = z + y

            return total

    supernet, x = Supernet(stir(Reads())), noise(6, 4)
    with (
        torch.inference_mode(inference),
        pytest.raises(SharingError, match="Unannounced changes its input in place"),
    ):
        sharing.divide(supernet, x, supernet.space)
