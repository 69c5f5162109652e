"""A plan tells what a pass does before it does it, and cuts it to size."""

import gc
import itertools
import re
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from supernet import sharing
from supernet.errors import SharingError, SpaceError
from supernet.evaluation.cost import count_macs
from supernet.networks.zoo import build_nasbench201_net, build_residual_net
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing import PassPlan, Planner, planning
from supernet.sharing.kinds import Remembered
from supernet.space import Architecture
from tests.conftest import nested, nine, noise
from tests.sampling import examples
from tests.sharing.networks import PLANS, Network, copied, sharing_warnings, some_archs

NINE = nine()
IMAGES = torch.empty(4, 1, 8, 8, device="meta")


def counted(supernet: Supernet, x: Tensor, archs: Iterable[Architecture], *, backward: bool) -> int:
    """What PyTorch's counter sees while the pass runs."""
    sharing.prepare(supernet, x, archs)  # which checks traced graphs by running them
    with FlopCounterMode(display=False) as counter:
        groups = sharing.run(supernet, x, archs)
        if backward:
            torch.stack([group.value.sum() for group in groups]).sum().backward()
    return int(counter.get_total_flops()) // 2


# -- work ---------------------------------------------------------------------------------------


def test_a_plan_counts_what_a_counter_sees_while_it_runs() -> None:
    for supernet, x in (
        (nine(), noise(4, 1, 8, 8)),
        (nested(), noise(6, 4)),
        (Supernet(build_residual_net(seed=0, widths=(4, 6), deepest=2)), noise(2, 1, 28, 28)),
    ):
        plan = sharing.plan(supernet, supernet.space, x)
        assert plan.macs == counted(supernet, x, supernet.space, backward=False)
        assert plan.training_macs == counted(supernet, x, supernet.space, backward=True)


def test_frozen_weights_cost_no_gradient() -> None:
    supernet, x = nine(), noise(4, 1, 8, 8)
    before = sharing.plan(supernet, supernet.space, x).training_macs
    for parameter in supernet.get_submodule("net.1.blocks").parameters():
        parameter.requires_grad_(False)
    plan = sharing.plan(supernet, supernet.space, x)
    assert plan.training_macs < before
    assert plan.training_macs == counted(supernet, x, supernet.space, backward=True)


def alike_or_not() -> Supernet:
    """Pairs of blocks of which some cost the same, and others hardly look different."""

    def convolution(**how: Any) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(4, 4, 3, bias=False, **{"padding": 1, **how}), nn.BatchNorm2d(4)
        )

    frozen, replaced = convolution(), convolution()
    frozen[0].weight.requires_grad_(False)
    replaced.forward = lambda x: x[:, :2]  # type: ignore[method-assign]
    others = [convolution(groups=2), convolution(padding=3, dilation=3), convolution(stride=2)]
    blocks = [convolution(), convolution(), frozen, replaced, nn.Identity(), *others]
    return Supernet(
        nn.Sequential(convolution(), OneOf("end", dict(zip("abcdefgh", blocks, strict=True))))
    )


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (alike_or_not, torch.empty(2, 4, 8, 8, device="meta")),
        (nine, IMAGES),
        (nested, torch.empty(6, 4, device="meta")),
        (
            lambda: Supernet(build_nasbench201_net(seed=0, width=2, cells=2)),
            torch.empty(2, 3, 32, 32, device="meta"),
        ),
    ],
)
def test_modules_that_are_measured_once_for_all_alike_cost_what_each_does(
    build: Callable[[], Supernet], x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet, measured = build(), Planner._measure
    archs = some_archs(supernet, 8)
    counts: list[int] = []

    def counting(self: Planner, *given: Any) -> Any:
        before = len(self._known)
        result = measured(self, *given)
        counts[-1] += len(self._known) - before
        return result

    monkeypatch.setattr(Planner, "_measure", counting)
    plans = []
    for kind in (planning._kind, lambda operation: operation):
        monkeypatch.setattr(planning, "_kind", kind)
        counts.append(0)
        plans.append(sharing.plan(supernet, archs, x))
    assert plans[0] == plans[1]
    assert counts[0] < counts[1]


def test_what_was_measured_for_one_network_is_not_measured_again_for_one_like_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def planned(build: Callable[[], Supernet], x: Tensor, known: Remembered[Any]) -> PassPlan:
        monkeypatch.setattr(planning, "_MEASURED", known)
        supernet = build()
        return sharing.plan(supernet, some_archs(supernet, 8), x)

    def frozen() -> Supernet:
        supernet = nine()
        for norm in supernet.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.requires_grad_(False)
        return supernet

    kept = Remembered[Any]()
    images = torch.empty(2, 4, 8, 8, device="meta")
    cases = [(alike_or_not, images), (nine, IMAGES), (frozen, IMAGES), (nine, IMAGES[:3])]
    for build, x in cases:
        assert planned(build, x, kept) == planned(build, x, Remembered())
    with torch.no_grad():
        without = planned(nine, IMAGES, kept)
        assert without == planned(nine, IMAGES, Remembered())
    assert without.training_macs < planned(nine, IMAGES, kept).training_macs
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "conv2d", None)  # so that nothing can be measured
        for build, x in cases[1:]:
            planned(build, x, kept)


def test_what_was_measured_keeps_no_network_alive() -> None:
    supernet = nine(seed=3)
    twin = Planner(supernet, IMAGES)
    twin.plan(supernet.space)
    gone = [weakref.ref(p) for net in (supernet, twin.supernet) for p in net.parameters()]
    del supernet, twin
    gc.collect()
    assert not any(tensor() is not None for tensor in gone)


def test_one_by_one_is_the_sum_of_each_alone() -> None:
    plan = sharing.plan(NINE, NINE.space, IMAGES)
    assert plan.macs_apart == sum(4 * count_macs(NINE, arch, (1, 8, 8)) for arch in NINE.space)
    assert plan.ratio == plan.macs_apart / plan.macs
    assert plan.samples == 4


def test_a_plan_lists_distinct_pieces_with_who_needs_them() -> None:
    plan = sharing.plan(NINE, NINE.space, IMAGES)
    assert sorted(plan.archs, key=str) == sorted(NINE.space, key=str)
    needs = {piece.name: len(piece.archs) for piece in plan.pieces}
    assert (needs["0"], needs["1.blocks.0"], needs["1.blocks.2"]) == (9, 9, 3)
    assert [piece.name for piece in plan.pieces].count("3.blocks.1") == 3


def test_planning_changes_nothing_and_computes_nothing() -> None:
    supernet = nine().eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    random = torch.get_rng_state()
    sharing.plan(supernet, supernet.space, noise(4, 1, 8, 8))
    assert not any(module.training for module in supernet.modules())
    assert all(torch.equal(before[n], value) for n, value in supernet.state_dict().items())
    assert all(p.grad is None and not p.is_meta for p in supernet.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_architectures_outside_the_space_are_refused() -> None:
    bad = NINE.space.largest.but(**{"block1.depth": 9})
    with pytest.raises(SpaceError, match=r"'block1\.depth' is 9"):
        sharing.plan(NINE, [bad], IMAGES)


def test_a_plan_without_work_has_a_ratio() -> None:
    plan = sharing.plan(Supernet(nn.Sequential(nn.Tanh())), [Architecture()], noise(2, 3))
    assert (plan.macs, plan.ratio) == (0, 1.0)
    assert sharing.plan(NINE, [], IMAGES).pieces == ()


def test_changes_in_place_do_not_confuse_a_plan() -> None:
    """Equal pieces are measured once, so on `meta` one tensor stands for several values."""
    act = [nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)) for _ in range(2)]
    ops = [OneOf(f"o{i}", {"skip": nn.Identity(), "act": nn.ReLU(inplace=True)}) for i in range(2)]
    supernet = Supernet(nn.Sequential(Depth("d", act), *ops, nn.Linear(3, 2)))
    plan = sharing.plan(supernet, supernet.space, noise(4, 3))
    assert plan.macs == counted(supernet, noise(4, 3), supernet.space, backward=False)


# -- memory -------------------------------------------------------------------------------------


def kept_for_backward(supernet: Supernet, x: Tensor) -> int:
    """The bytes autograd keeps in a real pass, outputs included, weights and input not."""
    own = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    own.add(x.untyped_storage().data_ptr())
    found: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        groups = sharing.run(supernet, x, supernet.space)
    for group in groups:
        keep(group.value)
    return sum(t.untyped_storage().nbytes() for place, t in found.items() if place not in own)


def test_the_memory_of_training_is_what_autograd_keeps() -> None:
    supernet = nine(widths=(16, 8), size=16)
    x = noise(8, 1, 16, 16)
    plan = sharing.plan(supernet, supernet.space, x)
    assert plan.training_bytes == pytest.approx(kept_for_backward(supernet, x), rel=0.1)


def test_the_memory_of_scoring_grows_with_depth_not_with_the_number_of_architectures() -> None:
    def deep(blocks: int) -> PassPlan:
        parts = [Depth(f"d{i}", [nn.Linear(8, 8), nn.Linear(8, 8)]) for i in range(blocks)]
        supernet = Supernet(nn.Sequential(*parts))
        return sharing.plan(supernet, supernet.space, noise(16, 8))

    one = 16 * 8 * 4
    for blocks in (2, 4, 8):
        assert deep(blocks).scoring_bytes <= (blocks + 3) * one
    assert deep(8).training_bytes >= 2**8 * one


# -- splitting ----------------------------------------------------------------------------------


def test_parts_keep_to_the_bound_and_hold_everybody_once() -> None:
    planner = Planner(NINE, IMAGES)
    whole = planner.plan(NINE.space)
    for share in (0.76, 0.9):
        for bound in (
            {"max_bytes": int(share * whole.training_bytes)},
            {"max_macs": int(0.95 * whole.macs)},
        ):
            parts = whole.split(**bound)
            assert sorted(itertools.chain(*parts), key=str) == sorted(NINE.space, key=str)
            assert len(parts) > 1
            for part in parts:
                plan = planner.plan(part)
                assert plan.training_bytes <= bound.get("max_bytes", plan.training_bytes)
                assert plan.macs <= bound.get("max_macs", plan.macs)


def test_no_other_way_to_cut_shares_more() -> None:
    planner = Planner(NINE, IMAGES)
    whole = planner.plan(NINE.space)
    bound = int(0.8 * whole.training_bytes)
    work = sum(planner.plan(part).macs for part in whole.split(max_bytes=bound))
    for count in range(1, 9):
        for cuts in itertools.combinations(range(1, 9), count):
            edges = [0, *cuts, 9]
            plans = [planner.plan(whole.archs[a:b]) for a, b in itertools.pairwise(edges)]
            if all(plan.training_bytes <= bound for plan in plans):
                assert work <= sum(plan.macs for plan in plans)


def test_what_fits_is_not_cut_and_what_cannot_fit_is_an_error() -> None:
    whole = sharing.plan(NINE, NINE.space, IMAGES)
    assert whole.split() == [whole.archs]
    assert whole.split(max_bytes=whole.training_bytes, max_macs=whole.macs) == [whole.archs]
    with pytest.raises(SharingError, match=r"\(\d, \d\) alone needs [\d,]+ bytes .* is 99; raise"):
        whole.split(max_bytes=99)
    with pytest.raises(SharingError, match=r"alone needs [\d,]+ MACs .* max_macs is 99; raise the"):
        whole.split(max_macs=99)


# -- reading it ---------------------------------------------------------------------------------


def test_a_plan_reads_as_a_tree() -> None:
    lines = str(sharing.plan(NINE, NINE.space, IMAGES)).splitlines()
    assert lines[0] == "architectures: 9; samples: 4; distinct pieces of work: 43"
    assert re.match(r"MACs: [\d.]+ k; one by one: [\d.]+ k, \d\.\d\d times as many$", lines[1])
    assert re.match(r" *[\d.]+ k      9  0 > 1\.blocks\.0$", lines[4])
    assert re.match(r" *[\d.]+ k      3  \| 2 > 3\.blocks\.0$", lines[5])
    assert max(line.count("| ") for line in lines) == 4


def test_a_plan_is_one_line_until_its_table_is_asked_for() -> None:
    planned = sharing.plan(NINE, NINE.space, IMAGES)
    assert re.fullmatch(
        r"PassPlan\(9 architectures, 43 pieces of work, [\d.]+ k MACs, \d\.\d\d times as many .*\)",
        repr(planned),
    )
    assert str(planned) == planned.table()
    assert planned._repr_html_().startswith("<pre>architectures: 9;")


def test_a_long_plan_is_cut_short_and_says_so() -> None:
    supernet = Supernet(nn.Sequential(*[Depth(f"d{i}", [nn.Linear(2, 2)] * 2) for i in range(7)]))
    lines = list(sharing.plan(supernet, supernet.space, noise(4, 2)).lines(most=10))
    assert len(lines) == 4 + 10 + 1
    assert re.search(r" in \d+ more pieces$", lines[-1])


# -- random networks ----------------------------------------------------------------------------


@settings(max_examples=examples(60))
@given(PLANS)
def test_random_networks_do_what_was_planned(plan: Any) -> None:
    supernet, x = Network(plan).supernet, noise(5, 3)
    archs = some_archs(supernet, most=8)
    with sharing_warnings():
        planned = sharing.plan(supernet, archs, copied(x))
        assert planned.macs == counted(supernet, copied(x), archs, backward=False)
