"""Ready search spaces.

What `extract` takes out of them consists of PyTorch's own classes only.
"""

from supernet.zoo.mnist import build_mnist_net as build_mnist_net
from supernet.zoo.operations import build_operations_net as build_operations_net
from supernet.zoo.residual import build_residual_net as build_residual_net
