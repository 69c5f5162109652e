"""A timm model made elastic in depth and width.

supernet train --net timm:resnet10t --elastic depth,width=0.5:1.0 --data PICTURES
"""

import sys

import timm
import torch

import supernet as sn

if __name__ == "__main__":
    data = sn.load_folder(sys.argv[1])
    model = timm.create_model("resnet10t", num_classes=data.classes, in_chans=data.shape[0])
    supernet, report = sn.make_elastic(
        model, depth=True, width=(0.5, 1.0), kernel=None, example=torch.zeros(2, *data.shape)
    )
    print(report)
    recipe = sn.Recipe(epochs=1, batch_size=16, learning_rate=0.05)
    result = sn.train(supernet, data, recipe, score=8)
    print(result.best, result.scores[result.best])
