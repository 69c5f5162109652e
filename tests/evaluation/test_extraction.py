"""An extracted network has statistics of its own, or none that could be taken for some."""

import pytest
import torch
from torch import nn

from supernet.errors import CalibrationError, SpaceError
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batchnorm import recalibrate
from supernet.evaluation.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import nine, noise, plain_net


def batches() -> list[torch.Tensor]:
    return [noise(6, 1, 8, 8), noise(6, 1, 8, 8) * 2]


def test_calibrated_it_is_what_recalibrating_makes_of_it() -> None:
    supernet = nine()
    for arch in supernet.space:
        net = extract(supernet, arch)
        recalibrate(net, batches())
        found = extract(supernet, arch, calibration=batches())
        for a, b in zip(found.state_dict().values(), net.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_without_statistics_it_puts_out_no_number() -> None:
    supernet, x = nine(), noise(6, 1, 8, 8) * 100
    for arch in supernet.space:
        net = extract(supernet, arch).eval()
        assert net(x).isnan().all()
        net.train()
        assert net(x).isfinite().all()
        assert net.eval()(x).isnan().all()  # one batch is too few
        with pytest.raises(CalibrationError, match="has no statistics yet"):
            score_network(net, [(x, torch.zeros(6, dtype=torch.long))])
        recalibrate(net, [x])
        assert net(x).isfinite().all()


def test_it_can_be_trained_as_any_other() -> None:
    supernet = nine()
    net = extract(supernet, supernet.space.smallest)
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    other = nn.BatchNorm2d(norm.num_features)
    other.weight, other.bias = norm.weight, norm.bias
    for _ in range(400):
        x = noise(8, norm.num_features, 4, 4)
        assert torch.equal(norm(x), other(x))
    torch.testing.assert_close(norm.running_var, other.running_var)


def test_a_plain_network_keeps_the_statistics_it_has() -> None:
    net = plain_net()
    net(noise(6, 1, 8, 8))
    copied = extract(Supernet(net), Architecture())
    for a, b in zip(copied.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_is_no_supernet_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"extract takes a Supernet, and was given a Sequential"):
        extract(plain_net(), Architecture())  # type: ignore[arg-type]
