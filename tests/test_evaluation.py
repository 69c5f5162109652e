import pytest
import torch
from torch import Tensor, nn

from supernet.batchnorm import calibrate, recalibrate
from supernet.choices import Depth
from supernet.errors import CalibrationError, DataError, DivergedError
from supernet.evaluation import accuracy, evaluate, score, score_network
from supernet.subnet import extract
from supernet.supernet import Supernet
from tests.conftest import nested, nine, noise, plain_net
from tests.spaces import spellings

CALIBRATION = [noise(8, 1, 8, 8, seed=1), noise(5, 1, 8, 8, seed=2)]


def labelled(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    """The same images, cut into batches of these sizes."""
    x, y = noise(sum(sizes), 1, 8, 8, seed=3), torch.arange(sum(sizes)) % 3
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def test_evaluating_many_is_extracting_recalibrating_and_scoring_each() -> None:
    supernet = nine().train()
    archs = list(supernet.space)
    for sizes in ((12, 12), (20, 4), (24,)):
        together = evaluate(supernet, archs, calibration=CALIBRATION, batches=labelled(*sizes))
        hits = score(calibrate(supernet, archs, CALIBRATION), labelled(*sizes))
        assert list(together) == archs
        for arch in archs:
            net = extract(supernet, arch)
            recalibrate(net, CALIBRATION)
            alone = score_network(net, labelled(*sizes))
            assert alone.dtype == torch.bool
            assert torch.equal(hits[arch], alone)
            assert together[arch] == alone.sum().item() / 24 == accuracy(alone)
    assert len(set(together.values())) > 1


def test_every_spelling_of_an_architecture_has_its_score() -> None:
    """Not merely a similar one: what doesn't count has no statistics of its own either."""
    supernet = nested()
    archs = spellings(supernet.space)
    x, y = noise(40, 4, seed=3), torch.arange(40) % 3
    together = score(calibrate(supernet, archs, [noise(9, 4, seed=1)]), [(x, y)])
    assert list(together) == archs
    for arch in archs:
        net = extract(supernet, arch)
        recalibrate(net, [noise(9, 4, seed=1)])
        assert torch.equal(together[arch], score_network(net, [(x, y)]))
        assert torch.equal(together[arch], together[supernet.space.canonical(arch)])


def test_hits_are_in_the_order_of_the_images() -> None:
    net = nn.Identity()
    x = torch.eye(4).repeat(2, 1)
    y = torch.tensor([0, 1, 2, 0, 1, 1, 2, 3])
    batches = list(zip(x.split(3), y.split(3), strict=True))
    expected = [True, True, True, False, False, True, True, True]
    assert score_network(net, batches).tolist() == expected
    supernet = Supernet(nn.Sequential(Depth("d", [nn.Identity()], shortest=0)))
    hits = score(calibrate(supernet, list(supernet.space), []), batches)
    assert [part.tolist() for part in hits.values()] == [expected, expected]


def test_scoring_a_fresh_extract_is_refused() -> None:
    supernet = nine()
    net = extract(supernet, supernet.space.largest)
    with pytest.raises(CalibrationError, match="no statistics yet"):
        score_network(net, labelled(4))


def test_modes_come_back_also_after_an_exception() -> None:
    supernet = nine().train()
    supernet.get_submodule("net.0").eval()
    archs, modes = list(supernet.space), [m.training for m in supernet.modules()]
    statistics = calibrate(supernet, archs, CALIBRATION)
    score(statistics, labelled(4))
    assert [m.training for m in supernet.modules()] == modes
    with pytest.raises(RuntimeError, match="channels"):
        score(statistics, [(noise(2, 5, 8, 8), torch.zeros(2))])
    assert [m.training for m in supernet.modules()] == modes

    plain = plain_net().train()
    plain[0].eval()
    recalibrate(plain, CALIBRATION)
    score_network(plain, labelled(4))
    with pytest.raises(RuntimeError, match="channels"):
        score_network(plain, [(noise(2, 5, 8, 8), torch.zeros(2))])
    assert [m.training for m in plain] == [False, True, True, True, True, True]


def test_plain_networks_are_scored_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.Identity()).train()
    x, y = torch.eye(50), torch.arange(50)
    assert score_network(net, [(x, y)]).all()
    supernet = Supernet(nn.Sequential(net, Depth("d", [nn.Identity()], shortest=0))).train()
    hits = score(calibrate(supernet, list(supernet.space), []), [(x, y)])
    assert all(part.all() for part in hits.values())


def test_scoring_needs_a_batch() -> None:
    supernet = nine()
    archs = list(supernet.space)
    with pytest.raises(DataError, match="at least one batch"):
        evaluate(supernet, archs, calibration=CALIBRATION, batches=[])
    with pytest.raises(CalibrationError, match="at least one batch"):
        evaluate(supernet, archs, calibration=[], batches=labelled(4))
    with pytest.raises(DataError, match="at least one batch"):
        score_network(nn.Identity(), [])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_has_no_score(bad: float) -> None:
    supernet = nine()
    archs = list(supernet.space)
    statistics = calibrate(supernet, archs, CALIBRATION)
    with torch.no_grad():
        supernet.get_parameter("net.3.blocks.2.0.weight").fill_(bad)
    with pytest.raises(DivergedError, match=r"\(1, 3\) puts out values"):
        score(statistics, labelled(4))
    net = nn.Linear(3, 3)
    with torch.no_grad():
        net.bias.fill_(bad)
    with pytest.raises(DivergedError, match="the network puts out values"):
        score_network(net, [(torch.zeros(2, 3), torch.zeros(2))])


def test_scoring_keeps_no_gradients() -> None:
    supernet = nine()
    x = noise(4, 1, 8, 8).requires_grad_()
    score(calibrate(supernet, [supernet.space.smallest], [x]), [(x, torch.zeros(4))])
    assert x.grad is None
    assert not any(p.grad is not None for p in supernet.parameters())
