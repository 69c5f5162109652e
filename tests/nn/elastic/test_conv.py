import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.nn.elastic import ElasticConv2d, ElasticLinear, Size
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise, stir

INP, OUT, K = Choice("i", (2, 4)), Choice("o", (3, 6)), Choice("k", (1, 3, 5))
X = noise(3, 4, 7, 7)


def sizes(arch: Architecture) -> tuple[int, int, int]:
    return int(arch["i"]), int(arch["o"]), int(arch["k"])


def of(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return bias


def test_it_uses_the_first_channels_and_the_center() -> None:
    conv = ElasticConv2d(INP, OUT, K, stride=2)
    supernet = Supernet(stir(conv))
    for arch in supernet.space:
        i, o, k = sizes(arch)
        edge = (5 - k) // 2
        weight = conv.weight[:o, :i, edge : 5 - edge, edge : 5 - edge].contiguous()
        expected = F.conv2d(X[:, :i], weight, of(conv.bias)[:o], stride=2, padding=k // 2)
        assert torch.equal(supernet(X[:, :i], arch), expected)


def test_the_largest_is_the_plain_convolution() -> None:
    for groups in (1, 2):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(3)
            plain = nn.Conv2d(4, 6, 5, padding=2, groups=groups)
            torch.manual_seed(3)
            elastic = (
                ElasticConv2d(INP, OUT, K) if groups == 1 else ElasticConv2d(4, 6, K, groups=2)
            )
        assert elastic.state_dict().keys() == plain.state_dict().keys()
        for name, value in plain.state_dict().items():
            assert torch.equal(value, elastic.state_dict()[name])
        supernet = Supernet(elastic)
        assert torch.equal(supernet(X, supernet.space.largest), plain(X))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_every_kernel_gives_the_same_shape(stride: int, dilation: int) -> None:
    supernet = Supernet(ElasticConv2d(4, 5, K, stride=stride, dilation=dilation))
    for arch in supernet.space:
        assert supernet(X, arch).shape == (3, 5, *[(7 + stride - 1) // stride] * 2)


def test_depthwise_groups_follow_the_width() -> None:
    conv = ElasticConv2d(INP, INP, 3, groups=INP)
    supernet = Supernet(stir(conv))
    assert conv.weight.shape == (4, 1, 3, 3)
    for i in (2, 4):
        y = supernet(X[:, :i], Architecture({"i": i}))
        for c in range(i):
            weight, bias = conv.weight[c : c + 1], of(conv.bias)[c : c + 1]
            alone = F.conv2d(X[:, c : c + 1], weight, bias, padding=1)
            torch.testing.assert_close(y[:, c : c + 1], alone)


def test_a_kernel_transform_starts_as_the_center_and_is_a_chain_of_maps() -> None:
    with_maps = ElasticConv2d(4, 3, K, kernel_transform=True)
    without = ElasticConv2d(4, 3, K)
    without.load_state_dict(with_maps.state_dict(), strict=False)
    for k in (1, 3, 5):
        arch = Architecture({"k": k})
        for ours, theirs in zip(with_maps.weight_of(arch), without.weight_of(arch), strict=True):
            assert torch.equal(of(ours), of(theirs))
    stir(with_maps)

    def middle(weight: Tensor, step: int) -> Tensor:
        center = weight[..., 1:-1, 1:-1].reshape(12, step * step)
        return (center @ with_maps.get_parameter(f"to{step}").T).reshape(3, 4, step, step)

    expected = {5: with_maps.weight}
    expected[3] = middle(expected[5], 3)
    expected[1] = middle(expected[3], 1)
    for k, weight in expected.items():
        torch.testing.assert_close(with_maps.weight_of(Architecture({"k": k}))[0], weight)


def test_the_memory_layout_is_kept_and_the_bits_are_equal() -> None:
    net = nn.Sequential(
        ElasticConv2d(INP, OUT, K), nn.ReLU(), ElasticConv2d(OUT, OUT, 3, groups=OUT)
    )
    supernet = Supernet(stir(net).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    for arch in supernet.space:
        x = X[:, : int(arch["i"])].contiguous(memory_format=torch.channels_last)
        plain = extract(supernet, arch)
        weight = plain.get_parameter("0.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last)
        y = supernet(x, arch)
        assert torch.equal(plain(x), y)
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_extracted_it_keeps_the_mode_and_what_is_frozen() -> None:
    supernet = Supernet(nn.Sequential(ElasticConv2d(INP, OUT, K, kernel_transform=True))).eval()
    supernet.net.get_parameter("0.weight").requires_grad_(False)
    for arch in supernet.space:
        with torch.no_grad():
            plain = extract(supernet, arch).get_submodule("0")
        assert not plain.training
        assert {n: p.requires_grad for n, p in plain.named_parameters()} == {
            "weight": False,
            "bias": True,
        }
        assert all(p.is_leaf for p in plain.parameters())


def test_shared_it_runs_once_for_each_combination_of_its_own_sizes() -> None:
    net = nn.Sequential(ElasticConv2d(4, OUT, K), ElasticConv2d(OUT, 3, 1), ElasticConv2d(3, 2, 1))
    supernet = Supernet(net)
    archs = list(supernet.space)
    program, _ = sharing.prepare(supernet, X, archs)
    assert len(program.instructions) == 6 + 6 + 6
    first = ElasticConv2d(4, 3, K)
    supernet = Supernet(nn.Sequential(ElasticConv2d(4, 4, 1), first, ElasticConv2d(3, OUT, 1)))
    program, _ = sharing.prepare(supernet, X, list(supernet.space))
    assert len(program.instructions) == 1 + 3 + 6


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ElasticConv2d(3, 4, 2), r"kernel size 2 may be 2, which is even.*use odd"),
        (lambda: ElasticConv2d(3, 4, Choice("k", (3, 4))), "kernel size 'k' may be 4"),
        (lambda: ElasticConv2d(3, 4, Choice("k", (0, 3))), "option of the choice 'k' is 0"),
        (lambda: ElasticConv2d(3, OUT, 3, groups=2), r"the 3 channels of its input width 3 into 2"),
        (lambda: ElasticConv2d(4, OUT, 3, groups=2), r"3 channels of its output width 'o' into 2 "),
        (
            lambda: ElasticConv2d(INP, INP, 3, groups=OUT),
            r"into 3 groups \('o'\); use multiples of",
        ),
        (lambda: ElasticConv2d(0, 4, 3), "a size is 0; it must be"),
        (lambda: Size((INP,), 4), "'i' / 4 is no whole number"),
    ],
)
def test_impossible_sizes_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(SpaceError, match=message):
        build()


def test_a_tensor_of_another_width_is_refused_before_pytorch_does() -> None:
    net = nn.Sequential(ElasticConv2d(4, OUT, 3), ElasticConv2d(INP, 2, 3))
    supernet = Supernet(net)
    message = (
        r"ElasticConv2d is given a tensor of shape \(3, 3, 7, 7\), but along axis -3 it takes its "
        r"input width 'i', which is 2; give it the Choice"
    )
    arch = supernet.space.smallest
    for run in (lambda: supernet(X, arch), lambda: sharing.run(supernet, X, [arch])):
        with pytest.raises(SpaceError, match=message):
            run()
    with pytest.raises(SpaceError, match=r"ElasticLinear .* \(3, 4, 7, 7\), .* axis -1 .* is 2"):
        Supernet(ElasticLinear(INP, 2))(X, Architecture({"i": 2}))
    with pytest.raises(SpaceError, match=r"ElasticConv2d is given a tensor of shape \(2, 3\)"):
        Supernet(ElasticConv2d(2, 2))(noise(2, 3), Architecture())


def test_a_single_image_will_do() -> None:
    supernet = Supernet(ElasticConv2d(INP, OUT, K))
    arch = supernet.space.largest
    assert torch.equal(supernet(X[0], arch), extract(supernet, arch)(X[0]))
