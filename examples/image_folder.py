"""Your own CNN on a folder of pictures, one subfolder per class.

supernet train --net examples/image_folder.py:build --data PICTURES --epochs 5
"""

import sys

from torch import nn

import supernet as sn


def block(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


def build(shape: tuple[int, ...], classes: int, width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, stride=2, padding=1),
        sn.Depth("early", [block(width) for _ in range(3)]),
        nn.MaxPool2d(2),
        sn.Depth("late", [block(width) for _ in range(3)]),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


if __name__ == "__main__":
    data = sn.load_folder(sys.argv[1])
    supernet = sn.Supernet(build(data.shape, data.classes))
    result = sn.train(supernet, data, sn.Recipe(epochs=2, batch_size=16, learning_rate=0.05))
    print(result.best, result.scores[result.best])
