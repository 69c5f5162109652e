"""Networks that each show a kind of layer or of code, in small, with what is chosen in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import noise
from tests.networks.conversion.networks import BasicBlock, X

IMAGES, SIGNAL, VOLUME, TOKENS = X, noise(3, 2, 16), noise(3, 1, 4, 4, 4), noise(3, 5, 8)


@dataclass(frozen=True)
class Kind:
    """How a network is built, what it is given, and the names of the choices that it gets."""

    build: Callable[[], nn.Module]
    example: Any
    choices: str
    shares: bool = True  # whether shared execution can look into all of it

    @property
    def names(self) -> set[str]:
        return set(self.choices.split())


class With(nn.Module):
    """A convolution, something that keeps its width, and a head."""

    def __init__(self, *between: nn.Module, width: int = 8, read: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.between = nn.Sequential(*between)
        self.head = nn.Linear(read or width, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.between(self.conv(x)).mean((2, 3)))
        return y


class LayerNorm2d(nn.Module):
    """As in ConvNeXt, by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PermutedNorm(nn.Module):
    """The same by PyTorch's function, which wants to know the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, x.shape[-1:], self.weight, self.bias)
        return x.permute(0, 3, 1, 2)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.normalize(x, dim=1) * self.g * x.size(1) ** 0.5
        return y


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(1, -1, 1, 1)


class ScaledBlock(nn.Module):
    """A parameter of its own beside layers: ConvNeXt's way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.up, self.down = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)
        self.gamma = nn.Parameter(torch.full((width, 1, 1), 0.3))
        self.register_buffer("shift", torch.linspace(0, 1, width)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.gamma * self.down(F.gelu(self.up(self.dw(x)))) + self.shift
        return y


class Shuffled(nn.Module):
    """ShuffleNet's unit: half of the channels go through, then they are dealt out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(nn.Conv2d(half, half, 1), nn.BatchNorm2d(half), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat((left, self.branch(right)), 1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class Gated(nn.Module):
    """Half of what it makes says how much of the other half passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.wide(x), x.shape[1], dim=1)
        y: Tensor = self.narrow(a * b.sigmoid())
        return y


class CrossStage(nn.Module):
    """Two branches are concatenated, normalized together, and added to one of their width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, 4, 1), nn.Conv2d(width, 6, 3, padding=1)
        self.norm, self.skip = nn.BatchNorm2d(10), nn.Conv2d(width, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(torch.cat([self.a(x), self.b(x)], dim=1)) + self.skip(x)
        return y


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
        self.norm = nn.GroupNorm(4, 8)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.join, self.out = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.down1(x))
        y = F.relu(self.norm(self.down2(skip)))
        y = self.up(y)
        if y.shape[-2:] != skip.shape[-2:]:
            y = F.interpolate(y, size=skip.shape[-2:])
        z: Tensor = self.out(F.relu(self.join(torch.cat([skip, y], 1))))
        return z


class Audio(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 8, 5, 2, 2),
            nn.BatchNorm1d(8),
            nn.PReLU(8),
            nn.Conv1d(8, 8, 3, padding=1, groups=4),
            nn.ConvTranspose1d(8, 6, 4, 2, 1),
            nn.PReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )


class Volumes(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 4, 3, padding=1),
            nn.InstanceNorm3d(4, affine=True),
            nn.LeakyReLU(),
            nn.ConvTranspose3d(4, 8, 2, 2, bias=False),
            nn.BatchNorm3d(8),
            nn.Conv3d(8, 2, 1),
        )


class Attention(nn.Module):
    """The number of heads stands in the code; their width follows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        y: Tensor = self.proj((weights.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))
        return y


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, 2)
        self.fc1, self.fc2 = nn.Linear(width, 12), nn.Linear(12, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.attn(self.norm1(x))
        x = x + (y if mask is None else y.masked_fill(mask[..., None], 0.0))
        z: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return z


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.ones(1, 1, 8)), nn.Parameter(torch.ones(1, 5, 8))
        self.blocks = nn.ModuleList(Layer(8) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.pos
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x)[:, 0])
        return y


class Text(nn.Module):
    """A language model: tokens, positions, layers with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.layers = nn.ModuleList(Layer(8) for _ in range(3))
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            x = layer(x, mask=mask)
        y: Tensor = self.head(x)
        return y


class Added(nn.Module):
    """The parent adds what a block makes to what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)) for _ in range(2)
        )
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        y: Tensor = self.head(x.mean(axis=(2, 3)))  # type: ignore[call-overload]
        return y


class SubPixel(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(4, 2, 3, padding=1)
        )


def _nested() -> nn.Module:
    stage = nn.Sequential(BasicBlock(4, 8, 2), BasicBlock(8, 8), BasicBlock(8, 8))
    return nn.Sequential(nn.Conv2d(3, 4, 1), stage, nn.Flatten(), nn.Linear(128, 2))


CONV = "conv.width"
TEXT = (torch.arange(18).view(3, 6) % 11, torch.arange(18).view(3, 6) % 5 == 0)
LAYER = "blocks.depth patch.width blocks.0.fc1.width blocks.1.fc1.width"

KINDS: dict[str, Kind] = {
    "group norm": Kind(lambda: With(nn.GroupNorm(4, 8), nn.ReLU()), IMAGES, CONV),
    "one group": Kind(lambda: With(nn.GroupNorm(1, 8)), IMAGES, CONV),
    "instance norm": Kind(lambda: With(nn.InstanceNorm2d(8)), IMAGES, CONV),
    "instance norm with scale": Kind(lambda: With(nn.InstanceNorm2d(8, affine=True)), IMAGES, CONV),
    "synchronized": Kind(lambda: With(nn.SyncBatchNorm(8)), IMAGES, CONV),
    "prelu": Kind(lambda: With(nn.PReLU(8), nn.PReLU()), IMAGES, CONV),
    "layer norm by hand": Kind(lambda: With(LayerNorm2d(8)), IMAGES, CONV),
    "layer norm permuted": Kind(lambda: With(PermutedNorm(8)), IMAGES, CONV),
    "rms norm by hand": Kind(lambda: With(RMSNorm(8)), IMAGES, CONV),
    "layer scale": Kind(lambda: With(LayerScale(8)), IMAGES, CONV),
    "scaled block": Kind(lambda: With(ScaledBlock(8)), IMAGES, f"{CONV} between.0.up.width"),
    "shuffled": Kind(lambda: With(Shuffled(8), Shuffled(8)), IMAGES, CONV + " between.depth"),
    "channel shuffle": Kind(lambda: With(nn.ChannelShuffle(2)), IMAGES, CONV),
    "gated": Kind(lambda: With(Gated(8)), IMAGES, f"{CONV} between.0.narrow.width"),
    "glu": Kind(lambda: With(nn.GLU(1), read=4), IMAGES, CONV),
    "cross stage": Kind(
        lambda: With(CrossStage(8), read=10),
        IMAGES,
        f"{CONV} between.0.a.width between.0.b.width",
    ),
    "multiplied": Kind(lambda: With(nn.Conv2d(8, 16, 1, groups=8), read=16), IMAGES, CONV),
    "u-net": Kind(UNet, IMAGES, "down1.width down2.width up.width join.width", shares=False),
    "audio": Kind(Audio, SIGNAL, "0.width 4.width"),
    "volumes": Kind(Volumes, VOLUME, "0.width 3.width"),
    "vit": Kind(ViT, IMAGES, LAYER),
    "text": Kind(
        Text, TEXT, "layers.depth embed.width" + "".join(f" layers.{n}.fc1.width" for n in range(3))
    ),
    "added": Kind(Added, IMAGES, "blocks.depth stem.width"),
    "sub-pixel": Kind(SubPixel, IMAGES, "0.width"),
    "stage": Kind(
        _nested,
        IMAGES,
        "0.width 1.depth 1.0.conv1.width 1.0.conv2.width 1.1.conv1.width 1.2.conv1.width",
    ),
}
