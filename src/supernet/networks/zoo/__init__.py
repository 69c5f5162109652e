"""Ready search spaces.

What `extract` takes out of them consists of PyTorch's own classes only.
"""

from supernet.networks.zoo.autoformer import build_autoformer_net as build_autoformer_net
from supernet.networks.zoo.mnist import build_mnist_net as build_mnist_net
from supernet.networks.zoo.nasbench201 import build_nasbench201_net as build_nasbench201_net
from supernet.networks.zoo.nasbench_macro import (
    build_nasbench_macro_net as build_nasbench_macro_net,
)
from supernet.networks.zoo.ofa_mobilenet import build_ofa_mobilenet as build_ofa_mobilenet
from supernet.networks.zoo.ofa_resnet import build_ofa_resnet as build_ofa_resnet
from supernet.networks.zoo.operations import build_operations_net as build_operations_net
from supernet.networks.zoo.residual import build_residual_net as build_residual_net
