"""Elastic layers, which use as much of their weights as the architecture says.

Wherever a size may be chosen, a constructor takes a whole number, a `Choice` of whole numbers, or a
`Size` that follows from choices. One `Choice` may be given to many modules: what is one's output
width is the next one's input width. The part of a weight that is used is always the first channels,
as in slimmable networks (arXiv:1812.08928) and once-for-all networks (arXiv:1908.09791).

A layer (`ElasticConv2d`, `ElasticLinear`, the norms) is one piece of work for shared execution,
done once for all architectures that agree on its sizes. Blocks (`InvertedResidual`,
`ElasticAttention`) have no choices of their own; shared execution looks inside.
"""

from supernet.nn.elastic.attention import ElasticAttention as ElasticAttention
from supernet.nn.elastic.blocks import (
    InvertedResidual as InvertedResidual,
    Residual as Residual,
    SqueezeExcitation as SqueezeExcitation,
)
from supernet.nn.elastic.conv import ElasticConv2d as ElasticConv2d
from supernet.nn.elastic.linear import ElasticLinear as ElasticLinear
from supernet.nn.elastic.norms import (
    ElasticBatchNorm as ElasticBatchNorm,
    ElasticLayerNorm as ElasticLayerNorm,
)
from supernet.nn.elastic.operations import Resolution as Resolution, Zero as Zero
from supernet.nn.elastic.sizes import Size as Size, Width as Width
