"""Conversion of a plain network to a supernet: `make_elastic`."""

from supernet.networks.conversion.converter import make_elastic

__all__ = ["make_elastic"]
