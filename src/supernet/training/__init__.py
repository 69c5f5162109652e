"""One loop that trains supernets and plain networks alike.

Names are imported on first use: the recipe and the names of samplers need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.training.recipe import Recipe as Recipe
    from supernet.training.session import train as train
    from supernet.training.steps import train_steps as train_steps

_HOME = {"Recipe": "recipe", "train": "session", "train_steps": "steps"}
__all__ = ["Recipe", "train", "train_steps"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
