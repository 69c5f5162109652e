import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from supernet.errors import CalibrationError, DataError
from supernet.evaluation.accuracy import score, score_network
from supernet.evaluation.batchnorm import (
    Statistics,
    averaging,
    calibrate,
    recalibrate,
    require_statistics,
)
from supernet.nn.choices import Depth
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.sharing import Group
from tests.conftest import block, nested, nine, noise, plain_net, stir

SIZES = (8, 5, 3)  # samples count equally, however they are cut


def batches(*shape: int) -> list[Tensor]:
    return [noise(size, *shape, seed=size) + size / 4 for size in SIZES]


def state(net: nn.Module) -> dict[str, object]:
    """Everything that calibration might disturb."""
    return {
        "tensors": {key: value.clone() for key, value in net.state_dict().items()},
        "modes": [m.training for m in net.modules()],
        "norms": [
            (m.momentum, m.track_running_stats, m.running_mean is None)
            for m in net.modules()
            if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
        ],
    }


def assert_untouched(net: nn.Module, before: dict[str, object]) -> None:
    after = state(net)
    assert after["modes"] == before["modes"]
    assert after["norms"] == before["norms"]
    old, new = before["tensors"], after["tensors"]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)


def fails_after(good: list[Tensor]) -> Iterator[Tensor]:
    yield from good
    raise ZeroDivisionError


def _fail(*_: object) -> None:
    raise ZeroDivisionError


# -- one plain network --------------------------------------------------------------------------


def by_hand(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel over all there is, in float64."""
    channels = x.double().transpose(0, 1).flatten(1)
    return channels.mean(dim=1), channels.var(dim=1)


CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1)


@given(sizes=CUTS, seed=st.integers(0, 99), shape=st.sampled_from([(3,), (3, 5), (3, 2, 2)]))
def test_any_cut_into_batches_gives_the_statistics_of_all_samples(
    sizes: list[int], seed: int, shape: tuple[int, ...]
) -> None:
    """Also where the mean is large against the spread, which sums of squares don't survive."""
    x = noise(sum(sizes), *shape, seed=seed) * torch.linspace(0.5, 2, sum(sizes)).view(
        -1, *[1] * len(shape)
    )
    x += 100
    norm = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(3)
    norm.get_buffer("running_mean").fill_(math.nan)  # nothing of what was there may remain
    recalibrate(nn.Sequential(norm, nn.Dropout(0.5)), x.split(sizes))
    mean, var = by_hand(x)
    torch.testing.assert_close(norm.running_mean, mean.float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var, var.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_a_compiled_network_gets_the_same_statistics(inside: bool) -> None:
    x, plain = noise(9, 3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    net = copy.deepcopy(plain)
    if inside:
        net[1].compile(backend="eager")
    recalibrate(net if inside else torch.compile(net, backend="eager"), x.split((7, 2)))  # type: ignore[arg-type]
    recalibrate(plain, x.split((7, 2)))
    for ours, theirs in zip(net.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_in_float64_they_are_those_by_hand_to_the_last_digits() -> None:
    x = noise(23, 3, 4, 4).double()
    norm = nn.BatchNorm2d(3).double()
    recalibrate(norm, x.split((7, 7, 7, 2)))
    mean, var = by_hand(x)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-12, atol=1e-14)
    assert norm.num_batches_tracked == 3  # the last two came together


def test_a_remainder_moves_a_deep_network_no_more_than_any_other_batch() -> None:
    """One odd image as a batch of its own moved accuracies by up to 11 points."""
    net = nine(widths=(8, 6)).net
    net = extract(Supernet(net), Supernet(net).space.largest)
    x = noise(81, 1, 8, 8, seed=5) + torch.arange(81).view(-1, 1, 1, 1) / 81
    x[-1] *= 8  # an outlier is what the last one may be
    last = [norm for norm in net.modules() if isinstance(norm, nn.BatchNorm2d)][-1]

    def statistics(*sizes: int) -> Tensor:
        recalibrate(net, x[: sum(sizes)].split(sizes))
        assert last.running_var is not None
        return last.running_var.clone()

    usual = statistics(20, 20, 20, 20)
    uneven = (statistics(20, 20, 20, 20, 1) / usual).log().abs().max()
    even = (statistics(21, 20, 20, 20) / usual).log().abs().max()
    assert uneven < 2 * even + 0.05


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8)])
def test_no_batch_of_one_reaches_a_batch_norm(shape: tuple[int, ...]) -> None:
    supernet, x = (nested() if len(shape) == 1 else nine()), noise(9, *shape)
    seen: list[int] = []
    handle = supernet.net[0].register_forward_hook(lambda m, args, y: seen.append(len(y)))  # type: ignore[index]
    for sizes in ((4, 4, 1), (1,) * 9, (1, 8), (8, 1), (3, 1, 5)):
        calibrate(supernet, [supernet.space.largest], x.split(sizes))
        recalibrate(supernet.net[0], x.split(sizes))  # type: ignore[index]
    handle.remove()
    assert min(seen) > 1
    assert sum(seen) == 2 * 5 * 9
    for one in ([x[:1]], x[:1]):
        with pytest.raises(CalibrationError, match=r"given one sample, which has no variance"):
            calibrate(supernet, supernet.space.largest, one)
        with pytest.raises(CalibrationError, match=r"given one sample, which has no variance"):
            recalibrate(nn.BatchNorm1d(4), one)


def test_one_value_per_channel_is_refused_in_a_sentence() -> None:
    """Two samples, of which the second goes another way, as in a mixture of experts."""

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:1]

    with pytest.raises(CalibrationError, match=r"given \(1, 3\), one value per channel"):
        recalibrate(nn.Sequential(Half(), nn.BatchNorm1d(3)), [noise(4, 3)])


def test_a_failed_recalibration_leaves_nothing_that_looks_like_statistics() -> None:
    net = plain_net()
    with pytest.raises(ZeroDivisionError):
        recalibrate(net, fails_after(batches(1, 8, 8)))
    with pytest.raises(CalibrationError, match="no statistics yet"):
        require_statistics(net)
    assert net.eval()(noise(2, 1, 8, 8)).isnan().all()


@pytest.mark.parametrize("fails", [False, True])
def test_recalibration_puts_modes_and_momenta_back(fails: bool) -> None:
    net = plain_net().train()
    net[0].eval()
    net.get_submodule("1").momentum = 0.3  # type: ignore[assignment]
    before = state(net)
    data = batches(1, 8, 8)
    if fails:
        with pytest.raises(ZeroDivisionError):
            recalibrate(net, fails_after(data))
    else:
        recalibrate(net, data)
    after = state(net)
    assert (after["modes"], after["norms"]) == (before["modes"], before["norms"])


def test_dropout_stays_off_while_recalibrating() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    recalibrate(net, batches(4))
    same = nn.Sequential(nn.Identity(), nn.BatchNorm1d(4))
    recalibrate(same, batches(4))
    for ours, theirs in zip(net.buffers(), same.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_recalibration_needs_a_batch_if_there_is_a_norm() -> None:
    with pytest.raises(CalibrationError, match="at least one batch"):
        recalibrate(plain_net(), [])
    recalibrate(nn.Linear(3, 3), [])


def test_a_fresh_batch_norm_is_named() -> None:
    net = plain_net()
    with pytest.raises(CalibrationError, match=r"'1' has no statistics yet.*call `recalibrate"):
        require_statistics(net)
    recalibrate(net, batches(1, 8, 8))
    require_statistics(net)
    require_statistics(nn.Linear(3, 3))


# -- many at once -------------------------------------------------------------------------------


def with_dropout() -> Supernet:
    net = nn.Sequential(
        nn.Linear(4, 4), nn.Dropout(0.5), Depth("d", [block(), block()]), nn.Linear(4, 3)
    )
    return Supernet(stir(net)).train()


def odd_norms() -> Supernet:
    """Batch norms without parameters, and with unusual momenta, in float64."""
    first, second = (
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, momentum=m))
        for m in (0.9, None)
    )
    return Supernet(stir(nn.Sequential(Depth("d", [first, second]), nn.Linear(4, 3))).double())


NETS: dict[str, tuple[Callable[[], Supernet], tuple[int, ...]]] = {
    "nine": (nine, (1, 8, 8)),
    "nested": (nested, (4,)),
    "dropout": (with_dropout, (4,)),
    "odd norms": (odd_norms, (4,)),
    "plain": (lambda: Supernet(stir(plain_net())), (1, 8, 8)),
}
each_net = pytest.mark.parametrize("name", NETS)


def prepare(name: str) -> tuple[Supernet, list[Tensor], list[tuple[Tensor, Tensor]]]:
    build, shape = NETS[name]
    supernet = build()
    dtype = next(supernet.parameters()).dtype
    inputs = [x.to(dtype) for x in batches(*shape)]
    labeled = [
        (x, torch.arange(len(x)) % 3) for x in (noise(n, *shape, seed=n).to(dtype) for n in (6, 2))
    ]
    return supernet, inputs, labeled


@each_net
@pytest.mark.parametrize("inference", [False, True])
def test_calibrating_many_is_bit_for_bit_recalibrating_each(name: str, inference: bool) -> None:
    supernet, inputs, labeled = prepare(name)
    archs = list(supernet.space)
    with torch.inference_mode(inference):
        statistics = calibrate(supernet, archs, inputs)
        hits = score(statistics, labeled)
        supernet.eval()
        together = {
            arch: group.value for group in statistics.run(labeled[0][0]) for arch in group.archs
        }
    for arch in archs:
        net = extract(supernet, arch)
        recalibrate(net, inputs)
        assert torch.equal(net.eval()(labeled[0][0]), together[arch])
        right = hits[arch]
        assert right is not None
        assert torch.equal(score_network(net, labeled), right)


def test_statistics_are_of_the_architecture_and_not_pooled() -> None:
    supernet, inputs, _ = prepare("nine")
    archs = list(supernet.space)
    values = [g.value for g in _evaluated(calibrate(supernet, archs, inputs), inputs[0])]
    pooled = supernet.eval()  # batch statistics
    assert len(values) == 9
    assert not any(torch.equal(pooled(inputs[0], a), v) for a, v in zip(archs, values, strict=True))


def _evaluated(statistics: Statistics, x: Tensor) -> list[Group]:
    statistics.supernet.eval()
    return list(statistics.run(x))


@each_net
@pytest.mark.parametrize("fails", [False, True])
def test_the_supernet_is_untouched(name: str, fails: bool) -> None:
    supernet, inputs, labeled = prepare(name)
    next(m for m in supernet.modules() if isinstance(m, nn.Linear)).eval()
    archs, before = list(supernet.space), state(supernet)
    if fails:
        with pytest.raises(ZeroDivisionError):
            calibrate(supernet, archs, fails_after(inputs))
        norm = [m for m in supernet.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)][-1]
        handle = norm.register_forward_hook(_fail)
        with pytest.raises(ZeroDivisionError):
            calibrate(supernet, archs, inputs)
        handle.remove()
    else:
        score(calibrate(supernet, archs, inputs), labeled)
    assert_untouched(supernet, before)


def test_a_plain_networks_own_statistics_stay() -> None:
    net = stir(plain_net())
    net(noise(4, 1, 8, 8))
    untracked = nn.Sequential(copy.deepcopy(net), nn.BatchNorm1d(3, track_running_stats=False))
    frozen = copy.deepcopy(net)
    frozen.get_submodule("1").track_running_stats = False  # type: ignore[assignment]  # has some, keeps them
    for each in (net, untracked, frozen):
        supernet, before = Supernet(each), state(each)
        archs = list(supernet.space)
        statistics = calibrate(supernet, archs, batches(1, 8, 8))
        x = noise(6, 1, 8, 8)
        (group,) = _evaluated(statistics, x)
        supernet.train()
        assert_untouched(each, before)
        recalibrate(each, batches(1, 8, 8))
        assert torch.equal(each.eval()(x), group.value)


def test_calibration_needs_a_batch_if_there_is_a_norm() -> None:
    supernet = nine()
    with pytest.raises(CalibrationError, match="at least one batch"):
        calibrate(supernet, list(supernet.space), [])
    bare = Supernet(nn.Sequential(Depth("d", [nn.Linear(3, 3), nn.Linear(3, 3)])))
    calibrate(bare, list(bare.space), [])


def test_architectures_that_were_not_calibrated_are_refused() -> None:
    supernet, inputs, labeled = prepare("nine")
    archs = list(supernet.space)
    with pytest.raises(CalibrationError, match="not calibrated together; call `calibrate`"):
        score(Statistics(supernet, archs), labeled)
    some = calibrate(supernet, archs[:4], inputs)
    some.archs = tuple(archs)
    with pytest.raises(CalibrationError, match="not calibrated together"):
        score(some, labeled)


def test_a_batch_norm_at_two_places_is_refused() -> None:
    norm = nn.BatchNorm1d(4)
    net = nn.Sequential(nn.Linear(4, 4), norm, Depth("d", [nn.Linear(4, 4), nn.Linear(4, 4)]), norm)
    supernet = Supernet(stir(net))
    before = state(supernet)
    with pytest.raises(CalibrationError, match=r"two places of architecture \(1\)"):
        calibrate(supernet, list(supernet.space), batches(4))
    assert_untouched(supernet, before)


def test_a_repeated_block_with_a_batch_norm_is_refused() -> None:
    same = block()
    supernet = Supernet(nn.Sequential(Depth("d", [same, same])))
    with pytest.raises(CalibrationError, match="two places"):
        calibrate(supernet, list(supernet.space), batches(4))


def test_averaging_turns_on_batch_norms_and_nothing_else() -> None:
    norm = nn.BatchNorm1d(3, momentum=0.2)
    net = nn.Sequential(nn.Linear(3, 3), norm, nn.Dropout()).train()
    found = []
    with averaging(net):
        found.append(([m.training for m in net], norm.momentum))
    found.append(([m.training for m in net], norm.momentum))
    assert found == [([False, True, False], None), ([True, True, True], 0.2)]


def test_global_random_state_is_left_alone() -> None:
    supernet, inputs, labeled = prepare("dropout")
    before = torch.get_rng_state()
    score(calibrate(supernet, [*supernet.space], inputs), labeled)
    assert torch.equal(torch.get_rng_state(), before)


def test_architecture_given_twice_counts_once() -> None:
    supernet, inputs, labeled = prepare("nine")
    arch = supernet.space.largest
    statistics = calibrate(supernet, [arch, arch], inputs)
    assert statistics.archs == (arch,)
    assert list(score(statistics, labeled)) == [arch]


@pytest.mark.parametrize("size", [2, 7, 16])
def test_inputs_that_are_no_numbers_are_blamed_and_not_the_network(size: int) -> None:
    x = noise(16, 1, 8, 8, seed=1)
    x[11, 0, 3, 3] = math.nan
    supernet = nine()
    arch = supernet.space.smallest
    with pytest.raises(DataError, match=r"calibration hold .*1 NaN.* first in sample 11;"):
        calibrate(supernet, supernet.space, x.split(size))
    net = extract(supernet, arch)
    with pytest.raises(DataError, match=r"calibration hold .*1 NaN.* first in sample 11;"):
        recalibrate(net, x.split(size))
    with pytest.raises(CalibrationError, match="no statistics"):
        require_statistics(net)


def test_numbers_that_a_network_copes_with_are_not_refused() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.norm(torch.nan_to_num(x, nan=0.0, neginf=0.0))
            return found

    net = Masked()
    recalibrate(net, [torch.tensor([[1.0], [math.nan], [-math.inf], [3.0]])])
    assert net.norm.running_mean is not None
    assert net.norm.running_mean.tolist() == [1.0]


@pytest.mark.parametrize("inputs", [{"x": torch.zeros(4, 2)}, (torch.zeros(4, 2),) * 2])
def test_inputs_of_another_form_are_told_with_what_forward_takes(inputs: Any) -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), Depth("d", [nn.Linear(2, 2)]))
    supernet = Supernet(net)
    pairs = [(inputs, torch.zeros(4))]
    for run in (
        lambda: recalibrate(extract(supernet, supernet.space.largest), pairs),
        lambda: calibrate(supernet, supernet.space.largest, pairs),
    ):
        with pytest.raises(DataError, match=r"can't take inputs .*\(4, 2\) float32"):
            run()
