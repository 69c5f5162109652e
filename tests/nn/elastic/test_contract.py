"""Every elastic module keeps the contract of choice modules."""

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.nn.supernet import Supernet
from supernet.sharing import inplace
from supernet.sharing.programs import ApplyRestricted
from supernet.space import Architecture
from supernet.testing import ChoiceModuleContract
from tests.nn.elastic.cases import CASES


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CASES)
class TestElastic(ChoiceModuleContract):
    most = 18  # all of a space with two choices among three options and one between two

    @pytest.fixture(autouse=True)
    def _take(self, name: str) -> None:
        self.case = CASES[name]

    def build(self) -> nn.Module:
        return self.case.build()

    def example(self) -> Tensor:
        return self.case.x.clone()

    def params(self, arch: Architecture) -> int:
        return self.case.params(arch)

    def macs(self, arch: Architecture) -> int:
        return self.case.macs(arch)

    def reached(self, arch: Architecture) -> int | None:
        return self.case.reached(arch) if self.case.reached else None


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_known_to_leave_its_input_alone(name: str) -> None:
    """Otherwise every input that others still need would be copied, in inference mode."""
    supernet = Supernet(CASES[name].build())
    archs = [supernet.space.smallest, supernet.space.largest]
    program, _ = sharing.prepare(supernet, CASES[name].x, archs)
    layers = [step for step in program.instructions if isinstance(step.operation, ApplyRestricted)]
    assert layers
    assert all(map(inplace.spares, layers))


@pytest.mark.parametrize("name", ["normed", "attention", "operations"])
def test_many_architectures_compile_to_one_graph(name: str) -> None:
    supernet, x = Supernet(CASES[name].build()).train(), CASES[name].x
    for module in supernet.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    archs = [supernet.space.smallest, supernet.space.largest]
    compiled = sharing.Compiled(supernet, backend="eager", fullgraph=True)
    found = {arch: group.value for group in compiled.run(x, archs) for arch in group.archs}
    for arch in archs:
        torch.testing.assert_close(found[arch], supernet(x, arch))
