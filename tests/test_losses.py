import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supernet.choices import Depth
from supernet.errors import SettingsError, SharingError
from supernet.losses import Losses, mean_loss
from supernet.recipe import Recipe
from supernet.samplers import Draw, Split, every
from supernet.sharing import plan
from supernet.supernet import Supernet
from tests.conftest import nine, noise, plain_net


def test_a_supernet_follows_the_mean_of_the_losses() -> None:
    supernet = nine().double()
    x, y = noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    archs = list(supernet.space)
    apart = [F.cross_entropy(supernet(x, arch), y) for arch in archs]
    parameters = list(supernet.parameters())
    by_hand = torch.autograd.grad(torch.stack(apart).mean(), parameters)
    loss = mean_loss(supernet, x, y, archs)
    torch.testing.assert_close(loss, torch.stack(apart).mean(), rtol=1e-12, atol=0)
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_architectures_that_share_an_output_all_count() -> None:
    """In a nested space, some share all of their computation; each still has its weight."""
    inner = Depth("inner", [nn.Linear(3, 3), nn.Linear(3, 3)])
    supernet = Supernet(nn.Sequential(Depth("outer", [nn.Linear(3, 3), inner])))
    x, y = noise(6, 3), torch.arange(6) % 3
    archs = list(supernet.space)
    apart = torch.stack([F.cross_entropy(supernet(x, arch), y) for arch in archs])
    assert apart.unique().numel() == 3
    torch.testing.assert_close(mean_loss(supernet, x, y, archs), apart.mean())


# -- a divided batch ----------------------------------------------------------------------------


def test_a_divided_batch_trains_every_architecture_on_its_part() -> None:
    """Groups of norms, not batch norms: then samples don't see each other."""
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3)]
    supernet = Supernet(nn.Sequential(Depth("d", blocks), nn.Linear(4, 3))).double()
    x, y = noise(7, 4).double(), torch.arange(7) % 3
    archs = list(supernet.space)
    parts = [slice(0, 2), slice(2, 4), slice(4, 7)]
    apart = [
        F.cross_entropy(supernet(x[rows], arch), y[rows], reduction="sum")
        for arch, rows in zip(archs, parts, strict=True)
    ]
    loss = mean_loss(supernet, x, y, archs, divided=True)
    torch.testing.assert_close(loss, torch.stack(apart).sum() / 7, rtol=1e-12, atol=0)


# -- memory, precision, compiling ---------------------------------------------------------------


def test_in_parts_the_gradient_is_that_of_the_whole() -> None:
    supernet = nine().double()
    x, y = noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    draw = every(supernet.space, random.Random(0))
    whole = plan(supernet, draw.archs, x).training_bytes
    gradients = []
    for max_bytes in (None, whole, 9 * whole // 10, 3 * whole // 4):
        supernet.zero_grad()
        losses = Losses(supernet, Recipe(max_bytes=max_bytes))
        parts = 0
        for loss in losses.of(x, y, draw):
            loss.backward()
            parts += 1
        assert (parts > 1) == (max_bytes is not None and max_bytes < whole)
        gradients.append([p.grad for p in supernet.parameters()])
    for others in gradients[1:]:
        for ours, theirs in zip(others, gradients[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_one_architecture_above_the_bound_is_an_error() -> None:
    losses = Losses(nine(), Recipe(max_bytes=1000))
    with pytest.raises(
        SharingError, match=r"alone needs [\d,]+ bytes .* max_bytes is 1,000; raise"
    ):
        next(losses.of(noise(6, 1, 8, 8), torch.arange(6) % 3, Draw((nine().space.smallest,))))


def test_a_divided_batch_is_one_part_whatever_it_takes() -> None:
    supernet, x, y = nine(), noise(6, 1, 8, 8), torch.arange(6) % 3
    draw = Split(3)(supernet.space, random.Random(0))
    (loss,) = Losses(supernet, Recipe(max_bytes=1000)).of(x, y, draw)
    assert torch.equal(loss, mean_loss(supernet, x, y, draw.archs, divided=True))


def test_bfloat16_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    with pytest.raises(SettingsError, match=r"precision is bfloat16, which cpu has no .*float32"):
        Losses(nine(), Recipe(precision="bfloat16"))
    Losses(nine(), Recipe(precision="float32"))


def test_a_divided_batch_is_not_compiled() -> None:
    losses = Losses(nine(), Recipe(compile=True))
    draw = Split(2)(nine().space, random.Random(0))
    with pytest.raises(SettingsError, match="a divided batch can't be compiled; use the sampler"):
        next(losses.of(noise(6, 1, 8, 8), torch.arange(6) % 3, draw))


def test_the_loss_of_one_architecture_is_its_cross_entropy() -> None:
    x, y = noise(6, 1, 8, 8), torch.arange(6) % 3
    net = plain_net()
    (loss,) = Losses(Supernet(net), Recipe()).of(x, y, Draw(tuple(Supernet(net).space)))
    assert torch.equal(loss, F.cross_entropy(net(x), y))
