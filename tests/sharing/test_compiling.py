"""One graph is compiled for all architectures, and it computes what the network computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, fx, nn

from supernet import sharing
from supernet.errors import SharingError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing.checking import find_copies
from supernet.sharing.compiling import to_graph
from tests.conftest import Residual, nested, nine, noise, stir
from tests.sampling import examples
from tests.sharing.networks import PLANS, Network, assert_same, copied, one_by_one, sharing_warnings


class Backend:
    """Counts the graphs that `torch.compile` hands over, and runs them as they are."""

    def __init__(self) -> None:
        self.graphs: list[fx.GraphModule] = []

    def __call__(self, graph: fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        self.graphs.append(graph)
        return graph.forward


@pytest.fixture(autouse=True)
def forget_compiled() -> None:
    torch.compiler.reset()


def by_arch(groups: list[sharing.Group]) -> dict[Any, Tensor]:
    return {arch: group.value for group in groups for arch in group.archs}


def test_all_nine_are_one_compilation() -> None:
    supernet, backend = nine(), Backend()
    compiled = sharing.Compiled(supernet, backend=backend)
    for seed in range(3):
        x = noise(4, 1, 8, 8, seed=seed)
        outputs = by_arch(compiled.run(x, supernet.space))
        archs = list(supernet.space)
        assert_same([outputs[arch] for arch in archs], one_by_one(supernet, x, archs))
    assert len(backend.graphs) == 1


def test_compiled_training_follows_the_weights() -> None:
    supernet, twin = nine(), nine()
    compiled = sharing.Compiled(supernet, backend=Backend())
    for net, run in (
        (supernet, compiled.run),
        (twin, lambda x, archs: sharing.run(twin, x, archs)),
    ):
        for seed in range(2):
            x = noise(4, 1, 8, 8, seed=seed)
            loss = torch.stack([group.value.square().sum() for group in run(x, net.space)]).sum()
            loss.backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    assert parameter.grad is not None
                    parameter.sub_(1e-3 * parameter.grad)
                    parameter.grad = None
    for ours, theirs in zip(supernet.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_networks_that_are_walked_into_or_run_whole() -> None:
    for supernet, x in ((nested(), noise(6, 4)),):
        archs = list(supernet.space)
        outputs = by_arch(sharing.Compiled(supernet, backend=Backend()).run(x, archs))
        assert_same([outputs[arch] for arch in archs], one_by_one(supernet, x, archs))


@settings(max_examples=examples(60))
@given(PLANS)
def test_a_program_as_a_graph_does_the_same(plan: Any) -> None:
    supernet, x = Network(plan).supernet, noise(5, 3)
    archs = list(supernet.space)[:8]
    with sharing_warnings():
        program, tensors = sharing.prepare(supernet, copied(x), archs)
        copies = find_copies(supernet, archs, (copied(x),), {})
        values = to_graph(program, supernet, copies)(*tensors)
        groups = [sharing.Group(v, o.archs) for v, o in zip(values, program.outputs, strict=True)]
        outputs = by_arch(groups)
        assert_same([outputs[arch] for arch in archs], one_by_one(supernet, x, archs))


class Overwrites(nn.Module):
    """Changes its input without saying so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def test_what_is_known_to_change_its_input_gets_a_copy() -> None:
    ops = {"skip": nn.Identity(), "act": nn.LeakyReLU(0.2, inplace=True)}
    supernet = Supernet(stir(nn.Sequential(nn.Linear(3, 3), OneOf("op", ops), nn.Linear(3, 3))))
    x, archs = noise(4, 3), list(supernet.space)
    outputs = by_arch(sharing.Compiled(supernet, backend=Backend()).run(x, archs))
    assert_same([outputs[arch] for arch in archs], one_by_one(supernet, x, archs))


class Flat(nn.Module):
    """Overwrites a view of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Depth("inner", [nn.Tanh(), nn.Tanh()])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x.view(-1, 3).relu_())
        return y


def test_a_view_of_what_others_need_is_copied_too() -> None:
    ops = {"skip": nn.Tanh(), "flat": Flat()}
    supernet = Supernet(stir(nn.Sequential(nn.Linear(3, 3), OneOf("op", ops))))
    x, archs = noise(4, 3), list(supernet.space)[::-1]
    with torch.no_grad():
        outputs = by_arch(sharing.Compiled(supernet, backend=Backend()).run(x, archs))
        assert_same([outputs[arch] for arch in archs], one_by_one(supernet, x, archs))


def test_what_changes_its_input_unannounced_is_refused() -> None:
    blocks = [nn.Linear(3, 3), Overwrites()]
    supernet = Supernet(stir(nn.Sequential(nn.Linear(3, 3), Depth("d", blocks))))
    with pytest.raises(SharingError, match="Overwrites changes its input in place"):
        sharing.Compiled(supernet, backend=Backend()).run(noise(4, 3), supernet.space)


def test_hooks_run_when_the_code_does_and_not_for_checks() -> None:
    supernet = Supernet(
        stir(nn.Sequential(nn.Linear(3, 3), Residual(Depth("d", [nn.Linear(3, 3)] * 1))))
    )
    calls: list[int] = []
    supernet.get_submodule("net.0").register_forward_hook(lambda *_: calls.append(1))
    sharing.run(supernet, noise(4, 3), supernet.space)
    assert len(calls) == 1


def test_ever_new_architectures_are_refused() -> None:
    supernet = nine()
    compiled = sharing.Compiled(supernet, backend=Backend())
    archs, x = list(supernet.space), noise(4, 1, 8, 8)
    for arch in archs[:8]:
        compiled.run(x, [arch])
    with pytest.raises(SharingError, match=r"8 sets .* compiled already.*sampler `every`"):
        compiled.run(x, archs[8:])
    compiled.run(x, archs[7:8])  # known already
