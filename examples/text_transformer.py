"""Text: an elastic transformer learns to guess the next letter of the Python library's sources.

supernet train --net examples/text_transformer.py:build --data examples/text_transformer.py:load \
    --task "next token" --optimizer adamw --learning-rate 0.003
"""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn

import supernet as sn

TEXT = b"".join(map(Path.read_bytes, sorted(Path(os.__file__).parent.glob("[a-c]*.py"))))[:97500]


def load() -> tuple[tuple[Tensor, Tensor], ...]:
    rows = torch.tensor(list(TEXT)).view(-1, 65)  # 64 letters, each with the next as its target
    return tuple((part[:, :-1], part[:, 1:]) for part in rows.split([1200, 150, 150]))


def block(width: int, heads: sn.Choice, hidden: sn.Choice) -> nn.Module:
    look = sn.ElasticAttention(width, heads, head_width=16, causal=True)
    think = [sn.ElasticLinear(width, hidden), nn.GELU(), sn.ElasticLinear(hidden, width)]
    parts = [nn.Sequential(nn.LayerNorm(width), *part) for part in ([look], think)]
    return nn.Sequential(*map(sn.Residual, parts))


def build(shape: tuple[int, ...], width: int = 32) -> nn.Sequential:
    options = sn.Choice("heads", (1, 2)), sn.Choice("hidden", (32, 64))
    blocks = sn.Depth("blocks", [block(width, *options) for _ in range(2)])
    return nn.Sequential(nn.Embedding(256, width), blocks, nn.Linear(width, 256))


if __name__ == "__main__":
    print("SHA-256 of the text:", hashlib.sha256(TEXT).hexdigest())
    recipe = sn.Recipe(epochs=2, batch_size=32, learning_rate=0.003, optimizer="adamw")
    print(sn.train(build((64,)), load(), recipe, task=sn.NextToken()))
