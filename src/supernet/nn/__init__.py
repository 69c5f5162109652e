"""Supernets and their modules: choices, elastic layers, extraction."""

from supernet.nn.choices import ChoiceModule, Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet

__all__ = ["ChoiceModule", "Depth", "OneOf", "Supernet", "extract"]
