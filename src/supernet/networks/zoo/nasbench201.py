"""The cell of NAS-Bench-201: six edges, five operations, 15,625 architectures."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from torch import Tensor, nn

from supernet.networks.zoo.parts import channels_last, classifier, require, seeded, sum_of
from supernet.nn.choices import OneOf
from supernet.nn.elastic import Zero
from supernet.nn.elastic.parts import as_graph


class Cell(nn.Module):
    """Four nodes, each the sum of what the edges make of all earlier ones; the first is the input.

    The cells of a network make the same choices: they have the same names.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge01, self.edge02, self.edge12, self.edge03, self.edge13, self.edge23 = (
            OneOf(
                f"edge{ends}",
                {
                    "none": Zero(),
                    "skip_connect": nn.Identity(),
                    "avg_pool_3x3": nn.AvgPool2d(3, 1, padding=1, count_include_pad=False),
                    "nor_conv_1x1": _relu_conv_bn(width, width, 1),
                    "nor_conv_3x3": _relu_conv_bn(width, width, 3),
                },
            )
            for ends in ("01", "02", "12", "03", "13", "23")
        )

    def forward(self, x: Tensor) -> Tensor:
        one = self.edge01(x)
        two = self.edge02(x) + self.edge12(one)
        three: Tensor = self.edge03(x) + self.edge13(one) + self.edge23(two)
        return three


def build_nasbench201_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (3, 32, 32),
    width: int = 16,
    cells: int = 5,
) -> nn.Sequential:
    """Return the topology space of NAS-Bench-201 (NATS-Bench), newly initialized.

    A 3x3 convolution to `width` channels and a batch norm; three stages of `cells` cells, of
    `width`, 2 and 4 times `width` channels; between stages a residual block with stride 2; batch
    norm, ReLU, global average pooling and a linear layer. A cell has six edges; the one from node
    i to node j is `OneOf(f"edge{i}{j}", ...)`: "none", "skip_connect", "avg_pool_3x3",
    "nor_conv_1x1", "nor_conv_3x3" (ReLU, convolution, batch norm). All cells take the same choices.

    With the defaults 15,625 architectures of 73 thousand to 1.53 million parameters and 7.8 to
    220.1 million multiply-adds per 32x32 image. These are the benchmark's figures, except that its
    FLOPs are multiply-adds and one more for each class: the bias of the linear layer. It writes
    the cell as ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, after "~" the node an edge comes from. Many
    of the cells compute the same function, as "none" may cut off what comes before it; they count
    as different here as they do there.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        width: Channels in the first stage.
        cells: How many cells a stage has.

    Raises:
        SettingsError: If a size is below one, or there are fewer than two classes.

    References:
        Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
        Search", ICLR 2020, arXiv:2001.00326.
    """
    require(2, classes=classes)
    require(1, shape=min(shape), width=width, cells=cells)
    with seeded(seed):
        chain: list[nn.Module] = [as_graph(Cell(width)) for _ in range(cells)]
        for out in (2 * width, 4 * width):
            chain += [_reduction(out // 2, out), *(as_graph(Cell(out)) for _ in range(cells))]
        net = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            *chain,
            nn.BatchNorm2d(4 * width),
            nn.ReLU(inplace=True),
            *classifier(4 * width, classes, shape=shape, halvings=2),
        )
    return channels_last(net)


def _relu_conv_bn(inp: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inp, out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))


def _reduction(inp: int, out: int) -> nn.Module:
    # Rounding up, so that both sides halve odd sizes alike; even ones are the paper's.
    shortcut = (nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inp, out, 1, bias=False))
    body = (_relu_conv_bn(inp, out, 3, stride=2), _relu_conv_bn(out, out, 3))
    return sum_of(nn.Sequential(*shortcut), nn.Sequential(*body))
