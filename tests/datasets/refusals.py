"""What a refusal must be: a `DataError` of one printable line that says what is wrong."""

import re
from collections.abc import Callable

import pytest

from supernet.errors import DataError


def refuses(call: Callable[[], object], *words: str) -> None:
    """The call is refused, in one line that has these words in this order."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert re.search(".*".join(map(re.escape, words)), message), message
    assert message.isprintable()
    assert len(message) < 2000


#: What a name on disk may be, on the file systems we know.
HOSTILE_NAMES = (
    "line\nend",
    "<script>alert(1)</script>".replace("/", "\\"),
    "=HYPERLINK(0)",
    "[red]bold[/]".replace("/", "\\"),
    "n" * 250,
    "\udcff\udc80",
    "~..",
    "-rf",
    "%s{0}",
    "\u202egnp",
)
