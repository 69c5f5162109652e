"""Ready search spaces."""

from supernet.zoo.mnist import build_mnist_net as build_mnist_net
