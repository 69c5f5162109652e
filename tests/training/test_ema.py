import copy

import pytest
import torch
from torch import nn

from supernet.training.ema import Average
from tests.conftest import plain_net, stir


def test_it_is_a_moving_average_that_soon_forgets_where_it_began() -> None:
    net = plain_net()
    average = Average(net, 0.5)
    means = {name: p.detach().clone() for name, p in net.named_parameters()}
    for step in range(12):
        stir(net, step)
        average.update(step)
        decay = [0.1, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17][step:][:1] or [0.5]
        for name, parameter in net.named_parameters():
            means[name] = decay[0] * means[name] + (1 - decay[0]) * parameter.detach()
    for name, mean in average.state().items():
        torch.testing.assert_close(mean, means[name])


def test_it_is_the_weights_inside_the_block_only() -> None:
    net = plain_net()
    average = Average(net, 0.9)
    stir(net, 3)
    weights = copy.deepcopy(net.state_dict())
    for error in (None, ArithmeticError):
        try:
            with average.in_place():
                assert all(torch.equal(p, average.state()[n]) for n, p in net.named_parameters())
                assert not torch.equal(net.state_dict()["0.weight"], weights["0.weight"])
                if error:
                    raise error
        except ArithmeticError:
            pass
        assert all(torch.equal(net.state_dict()[name], weights[name]) for name in weights)
    average.settle()
    assert all(torch.equal(p, average.state()[name]) for name, p in net.named_parameters())


def test_without_a_decay_it_is_the_weights_as_they_are() -> None:
    net = plain_net()
    average = Average(net, 0.0)
    stir(net, 3)
    before = copy.deepcopy(net.state_dict())
    average.update(5)
    average.settle()
    with average.in_place():
        assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)
    assert average.state() == {}


def test_the_average_of_other_weights_is_refused() -> None:
    for other in (Average(plain_net(), 0.0), Average(nn.Linear(2, 2), 0.9)):
        with pytest.raises(ValueError, match="its average of the weights is of other weights"):
            Average(plain_net(), 0.9).restore(other.state())
    narrow = Average(plain_net(), 0.9).state()
    narrow["0.weight"] = narrow["0.weight"][:1]  # which would go in
    with pytest.raises(ValueError, match="other weights"):
        Average(plain_net(), 0.9).restore(narrow)


def test_a_restored_average_keeps_its_memory_layout() -> None:
    net = nn.Conv2d(4, 4, 3)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(net, 0.9)
    average.restore({name: mean.contiguous() for name, mean in Average(net, 0.9).state().items()})
    assert average.state()["weight"].stride() == net.weight.stride()
