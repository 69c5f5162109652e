import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supernet.errors import SettingsError, SharingError
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from supernet.sharing import plan
from supernet.training.losses import Losses, mean_loss
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, Split, every, uniform
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


# -- distillation, weights, smoothing -----------------------------------------------------------


def test_all_but_the_largest_learn_from_it_and_it_from_the_labels() -> None:
    """The targets get no gradient: the largest is trained as if it were alone."""
    supernet = nine().double()
    x, y = noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    draw = every(supernet.space, random.Random(0))
    teacher = supernet.space.largest
    targets = supernet(x, teacher).detach().softmax(dim=1)
    apart = [
        F.cross_entropy(supernet(x, arch), y if arch == teacher else targets) for arch in draw.archs
    ]
    parameters = list(supernet.parameters())
    by_hand = torch.autograd.grad(torch.stack(apart).mean(), parameters)
    whole = plan(supernet, draw.archs, x).training_bytes
    for max_bytes in (None, 3 * whole // 4):
        supernet.zero_grad()
        losses = list(Losses(supernet, Recipe(distill=True, max_bytes=max_bytes)).of(x, y, draw))
        assert (len(losses) > 1) == (max_bytes is not None)
        torch.testing.assert_close(sum(losses), torch.stack(apart).mean(), rtol=1e-12, atol=0)
        for loss in losses:
            loss.backward()
        for parameter, theirs in zip(parameters, by_hand, strict=True):
            torch.testing.assert_close(parameter.grad, theirs, rtol=1e-10, atol=1e-12)


def test_what_comes_to_the_same_as_the_largest_has_labels_too() -> None:
    inner = Depth("inner", [nn.Linear(3, 3), nn.Identity()])
    supernet = Supernet(nn.Sequential(Depth("outer", [nn.Linear(3, 3), inner])))
    x, y = noise(6, 3), torch.arange(6) % 3
    draw = Draw((supernet.space.largest,))
    (alone,) = Losses(supernet, Recipe(distill=True)).of(x, y, draw)
    assert torch.equal(alone, F.cross_entropy(supernet(x, supernet.space.largest), y))


def test_distilling_takes_the_largest_and_the_whole_batch() -> None:
    supernet, x, y = nine(), noise(6, 1, 8, 8), torch.arange(6) % 3
    losses = Losses(supernet, Recipe(distill=True))
    smallest = Draw((supernet.space.smallest,))
    with pytest.raises(SettingsError, match=r"distill takes the largest .*WithLargest\(sampler\)"):
        next(losses.of(x, y, smallest))
    with pytest.raises(SettingsError, match="with a divided batch nothing can be distilled"):
        next(losses.of(x, y, Draw(tuple(supernet.space), divided=True)))


def test_soft_targets_are_not_rounded_to_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    supernet, x, y = nine(), noise(6, 1, 8, 8), torch.arange(6) % 3
    losses = Losses(supernet, Recipe(distill=True, precision="bfloat16"))
    draw = Draw((supernet.space.smallest, supernet.space.largest))
    (loss,) = losses.of(x, y, draw)
    with torch.autocast("cpu", torch.bfloat16):
        student, teacher = (supernet(x, arch) for arch in draw.archs)
    assert student.dtype == torch.bfloat16
    targets = teacher.float().softmax(dim=1)
    apart = F.cross_entropy(student.float(), targets), F.cross_entropy(teacher.float(), y)
    torch.testing.assert_close(loss, sum(apart) / 2, rtol=1e-6, atol=0)


def test_weights_are_relative() -> None:
    supernet, x, y = nine().double(), noise(6, 1, 8, 8).double(), torch.arange(6) % 3
    archs = tuple(supernet.space)
    weights = tuple(float(n) for n in range(1, 10))
    apart = torch.stack([F.cross_entropy(supernet(x, arch), y) for arch in archs])
    expected = (apart * torch.tensor(weights)).sum() / 45
    whole = plan(supernet, archs, x).training_bytes
    for factor in (1.0, 7.0):
        draw = Draw(archs, weights=tuple(factor * weight for weight in weights))
        for max_bytes in (None, 3 * whole // 4):
            found = sum(Losses(supernet, Recipe(max_bytes=max_bytes)).of(x, y, draw))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_labels_are_smoothed_whole_and_divided() -> None:
    supernet, x, y = nine(), noise(6, 1, 8, 8), torch.arange(6) % 3
    losses = Losses(supernet, Recipe(label_smoothing=0.2))
    draw = uniform(supernet.space, random.Random(0))
    (loss,) = losses.of(x, y, draw)
    logits = supernet(x, draw.archs[0])
    soft = 0.8 * F.one_hot(y, 3) + 0.2 / 3
    torch.testing.assert_close(loss, -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean())
    two = Draw((supernet.space.smallest, supernet.space.largest), divided=True)
    (smooth,) = losses.of(x, y, two)
    assert not torch.equal(smooth, mean_loss(supernet, x, y, two.archs, divided=True))
