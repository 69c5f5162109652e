import torch
from torch import Tensor, nn

from supernet.evaluation.works import Tracer
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticLinear, Residual
from supernet.nn.supernet import Supernet
from supernet.space import Choice

X = torch.empty(2, 6, device="meta")


class Adds(nn.Module):
    """Multiplies outside of modules, too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x @ x.T @ self.inner(x)
        return y


def test_places_have_what_an_architecture_does_there() -> None:
    width = Choice("width", (2, 4))
    net = nn.Sequential(
        ElasticLinear(6, width),
        ElasticLinear(width, 6),
        Depth("block", [nn.Linear(6, 6), nn.Linear(6, 6)]),
        OneOf("last", {"skip": nn.Identity(), "linear": nn.Linear(6, 3)}),
    )
    supernet = Supernet(net)
    tracer = Tracer(supernet, X)
    small = tracer.works_of(supernet.space.smallest)
    large = tracer.works_of(supernet.space.largest)
    assert list(small) == ["0", "1", "2.blocks.0", "3.operations.0"]
    assert list(large) == ["0", "1", "2.blocks.0", "2.blocks.1", "3.operations.1"]
    per_batch = 2 * 2  # two samples, and 1 MAC is 2 FLOPs
    assert [work.flops for work in small.values()] == [per_batch * n for n in (12, 12, 36, 0)]
    assert [work.flops for work in large.values()] == [per_batch * n for n in (24, 24, 36, 36, 18)]
    # Two layers that do the same are the same work.
    assert large["2.blocks.0"].key == large["2.blocks.1"].key
    assert small["0"].key != large["0"].key


def test_what_a_module_computes_itself_is_a_piece_of_its_own() -> None:
    inside = Adds(Depth("block", [nn.Linear(6, 6), nn.Linear(6, 6)]))
    supernet = Supernet(nn.Sequential(inside))
    found = Tracer(supernet, X).works_of(supernet.space.largest)
    assert list(found) == ["0.inner.blocks.0", "0.inner.blocks.1", "0: itself"]
    assert found["0: itself"].flops == 2 * (2 * 6 * 2 + 2 * 2 * 6)


def test_blocks_of_few_architectures_are_taken_whole() -> None:
    width = Choice("width", (2, 4))
    body = nn.Sequential(ElasticLinear(6, width), nn.ReLU(), ElasticLinear(width, 6))
    supernet = Supernet(nn.Sequential(nn.Linear(6, 6), Residual(body)))
    fine = Tracer(supernet, X).works_of(supernet.space.largest)
    whole = Tracer(supernet, X, block=2).works_of(supernet.space.largest)
    assert len(fine) == 4
    assert list(whole) == ["0", "1"]
    assert whole["1"].flops == sum(work.flops for work in fine.values()) - fine["0"].flops


def test_origins_say_where_to_find_each_piece() -> None:
    supernet = Supernet(nn.Sequential(Depth("block", [nn.Linear(6, 6), nn.Linear(6, 6)])))
    tracer = Tracer(supernet, X)
    works = tracer.works_of(supernet.space.largest)
    origin = tracer.origins[works["0.blocks.1"].key]
    assert origin.path == "0.blocks.0"  # the first that does the same
    assert [(tuple(t.shape), t.dtype, t.is_meta) for t in origin.args] == [
        ((2, 6), torch.float32, True)
    ]


def test_a_module_that_runs_twice_counts_twice() -> None:
    twice = nn.Linear(6, 6)
    supernet = Supernet(nn.Sequential(twice, Depth("block", [nn.Linear(6, 6)]), twice))
    found = Tracer(supernet, X).works_of(supernet.space.largest)
    assert list(found) == ["0", "1.blocks.0", "0, time 2"]
