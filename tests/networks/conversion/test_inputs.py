"""Networks of several inputs."""

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.networks.conversion import make_elastic
from supernet.networks.conversion.inputs import Inputs
from supernet.nn.extraction import extract
from tests.conftest import noise, stir

A, B = noise(3, 4), noise(3, 6, seed=1)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 8), nn.Linear(6, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
        y: Tensor = self.head(torch.relu(self.left(a) + scale * self.right(b)))
        return y


class One(Two):
    def forward(self, both: tuple[Tensor, Tensor] | dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        a, b = both.values() if isinstance(both, dict) else both
        return super().forward(a, b)


@pytest.mark.parametrize("example", [(A, B), [A, B], {"a": A, "b": B}, {"b": B, "a": A}])
def test_inputs_by_place_and_by_name(example: object) -> None:
    model = stir(Two())
    supernet, report = make_elastic(model, example=example, width=(0.5,))
    assert [c.name for c in report.choices] == ["left.width"]
    for arch in supernet.space:
        expected = supernet(A, arch, b=B)
        assert torch.equal(extract(supernet, arch)(A, B), expected)
        assert torch.equal(sharing.outputs(supernet, A, [arch], b=B)[0], expected)
    assert torch.equal(supernet(A, supernet.space.largest, b=B), model(A, B))


@pytest.mark.parametrize("example", [(A, B), {"first": A, "second": B}])
def test_one_input_of_several_tensors(example: object) -> None:
    model = stir(One())
    supernet, _ = make_elastic(model, example=example, width=(0.5,))
    assert torch.equal(supernet(example, supernet.space.largest), model(example))
    assert supernet(example, supernet.space.smallest).shape == (3, 2)


def test_how_a_model_is_called() -> None:
    def called(example: object, model: nn.Module) -> tuple[int, list[str]]:
        inputs = Inputs.of(example, model)
        return len(inputs.args), sorted(inputs.kwargs)

    assert called(A, Two()) == (1, [])
    assert called((A, B), Two()) == (1, ["b"])
    assert called((A, B, 2.0), Two()) == (1, ["b", "scale"])
    assert called({"a": A, "b": B, "scale": 2.0}, Two()) == (1, ["b", "scale"])
    assert called({"a": A, "c": B}, One()) == (1, [])
    assert called((A, B), One()) == (1, [])


def test_other_inputs_than_tensors_are_handed_on() -> None:
    model = stir(Two())
    supernet, _ = make_elastic(model, example=(A, B, 0.5), width=(0.5,))
    assert torch.equal(supernet(A, supernet.space.largest, b=B, scale=0.5), model(A, B, 0.5))


@pytest.mark.parametrize("example", [(), {}, 3, "x", {"a": 1}, [None]])
def test_an_example_without_a_tensor_is_refused(example: object) -> None:
    with pytest.raises(SpaceError, match="without a tensor in it"):
        make_elastic(Two(), example=example)


def test_what_the_model_cannot_take_is_said() -> None:
    with pytest.raises(SpaceError, match=r"can't run on the example, of shape \(3, 6\), \(3, 4\)"):
        make_elastic(Two(), example=(B, A))
