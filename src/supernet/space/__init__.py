"""Search spaces as plain data. Nothing here knows about tensors."""

from supernet.space.architecture import Architecture, Choice, Option
from supernet.space.search_space import Condition, SearchSpace

__all__ = ["Architecture", "Choice", "Condition", "Option", "SearchSpace"]
