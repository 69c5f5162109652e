"""One loop that trains a supernet and a plain network alike."""

from supernet.training.recipe import Recipe
from supernet.training.session import train
from supernet.training.steps import train_steps

__all__ = ["Recipe", "train", "train_steps"]
