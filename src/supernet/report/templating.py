"""The Jinja environment of the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined


def make_environment(filters: Mapping[str, Callable[..., str]]) -> Environment:
    """Return an environment that escapes every value, and refuses names that nobody gave."""
    environment = Environment(
        loader=PackageLoader("supernet.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment
