import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from supernet.evaluation.batchnorm import recalibrate
from supernet.nn.elastic.parts import packed
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from tests.conftest import noise
from tests.nn.elastic.cases import CASES


def extracted(name: str) -> Iterator[nn.Module]:
    supernet = Supernet(CASES[name].build())
    for arch in (supernet.space.smallest, supernet.space.largest):
        yield extract(supernet, arch)


@pytest.mark.parametrize("name", CASES)
def test_saved_and_loaded_a_network_is_the_same_and_knows_nothing_of_us(name: str) -> None:
    for net in extracted(name):
        recalibrate(net, [CASES[name].x])
        net.eval()
        saved = pickle.dumps(net)
        assert b"supernet" not in saved
        for other in (pickle.loads(saved), copy.deepcopy(net)):
            assert torch.equal(other(CASES[name].x), net(CASES[name].x))
            assert not any(m.training for m in other.modules())


@pytest.mark.parametrize("name", ["normed", "transformer", "inverted residual"])
def test_an_extracted_network_can_be_exported(name: str) -> None:
    for net in extracted(name):
        recalibrate(net, [CASES[name].x])
        exported = torch.export.export(net.eval(), (CASES[name].x,)).module()
        assert torch.equal(exported(CASES[name].x), net(CASES[name].x))


def test_a_packed_part_has_no_gaps_and_the_layout_of_the_whole() -> None:
    for form in (torch.contiguous_format, torch.channels_last):
        whole = noise(6, 4, 3, 3).contiguous(memory_format=form)
        part = packed(whole[:3, :2, 1:2, 1:2], whole)
        assert torch.equal(part, whole[:3, :2, 1:2, 1:2])
        part = packed(whole[:3, :2], whole)
        assert torch.equal(part, whole[:3, :2])
        assert part.is_contiguous(memory_format=form)
        assert packed(whole, whole).data_ptr() == whole.data_ptr()  # no copy without need


def test_without_gradients_a_part_still_says_that_it_wants_one() -> None:
    whole, frozen = nn.Parameter(noise(6, 8)), nn.Parameter(noise(6, 8), requires_grad=False)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert packed(whole[:4, :6], whole).requires_grad
            assert not packed(frozen[:4, :6], frozen).requires_grad
