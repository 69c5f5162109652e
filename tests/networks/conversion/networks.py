"""Networks such as people have, in small: no choices in them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import noise

X = noise(3, 3, 8, 8)


def conv_bn_relu(inp: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def plain_stack(blocks: int = 3) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(3, 8, 5),
        *(conv_bn_relu(8, 8) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


class BasicBlock(nn.Module):
    def __init__(self, inp: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut: nn.Module | None = None
        if stride > 1 or inp != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        z: Tensor = self.relu(y)
        return z


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, 4)
        self.layer1 = nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2), BasicBlock(8, 8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        y: Tensor = self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return y


class Inverted(nn.Module):
    """With squeeze-and-excitation, its sizes read from the tensor."""

    def __init__(self, inp: int, out: int, stride: int = 1) -> None:
        super().__init__()
        wide = 2 * inp
        self.expand = nn.Sequential(nn.Conv2d(inp, wide, 1), nn.BatchNorm2d(wide), nn.Hardswish())
        self.depthwise = nn.Conv2d(wide, wide, 5, stride, 2, groups=wide, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.reduce, self.excite = nn.Linear(wide, 4), nn.Linear(4, wide)
        self.project = nn.Sequential(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out))
        self.adds = stride == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.norm(self.depthwise(self.expand(x))))
        b, c = y.shape[:2]
        scale = torch.sigmoid(self.excite(F.relu(self.reduce(y.mean((2, 3)).view(b, c)))))
        z: Tensor = self.project(y * scale.view(b, c, 1, 1))
        return x + z if self.adds else z


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks = [Inverted(4, 8, 2), Inverted(8, 8), Inverted(8, 8)]
        self.features = nn.Sequential(conv_bn_relu(3, 4), *blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.features(x).mean([2, 3]))
        return y


class DenseNet(nn.Module):
    """Concatenations, normalized and read; the image among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 8, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(7), nn.BatchNorm2d(15, affine=False)
        self.depthwise = nn.Conv2d(15, 15, 3, 2, 1, groups=15)
        self.head = nn.Linear(15 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.first(x)], 1)
        x = torch.cat([x, self.second(F.relu(self.norm1(x)))], dim=1)
        x = self.depthwise(torch.tanh(self.norm2(x)))
        y: Tensor = self.head(F.max_pool2d(x, 2).flatten(1))
        return y


class ConvNeXt(nn.Module):
    """A stem without padding, layer norms over channels, a ModuleList, grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.norm = ChannelNorm(8)
        self.blocks = nn.ModuleList(Mixing(8) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x.mean((-2, -1)))
        return y


class ChannelNorm(nn.LayerNorm):
    """Over the channels of images."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Mixing(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width // 4)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = nn.Linear(width, 12), nn.Linear(12, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        z: Tensor = self.down(F.gelu(self.up(y)))
        return x + z.permute(0, 3, 1, 2)


#: By name: the network, what to exclude so that its whole space can be tried, and its size then.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "plain stack": (plain_stack, ()),
    "resnet": (ResNet, ("layer1.1.*", "layer2.*.conv1.width")),
    "mobilenet": (MobileNet, ("features.[23].*", "features.1.reduce.width")),
    "densenet": (DenseNet, ()),
    "convnext": (ConvNeXt, ("blocks.[12].*",)),
}
