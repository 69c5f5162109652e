"""Results with every text made safe to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supernet.records import Results
from supernet.text import visible


def cleaned(results: Results, clean: Callable[[str], str] = visible) -> Results:
    """Return results with every text in them cleaned, or the same if there is nothing to clean."""
    record = results.model_dump()
    again = _cleaned(record, clean)
    return results if again == record else Results.model_validate(again)


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_cleaned(key, clean): _cleaned(each, clean) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cleaned(each, clean) for each in value)
    return value
