"""How numbers and names read in print. One place, so that table, page and figures agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.records import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DIVIDED = "\N{DIVISION SIGN}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
NOTHING = "-"
FAILED = "failed"
UNKNOWN = "can't tell"

_WORDS = tuple(
    "no one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
)


def number(value: float, digits: int = 2) -> str:
    """Return a plain number, with a true minus sign.

    >>> number(0.7222), number(-0.001), number(math.nan)
    ('0.72', '0.00', '-')
    """
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", MINUS)


def percent(value: float) -> str:
    """Return a fraction in percent, without the sign.

    >>> percent(0.98414)
    '98.41'
    """
    return number(100 * value)


def score(value: float) -> str:
    """Return an accuracy in percent, or that its evaluation failed.

    >>> score(0.98414), score(math.nan)
    ('98.41', 'failed')
    """
    return percent(value) if math.isfinite(value) else FAILED


def points(value: float) -> str:
    """Return a difference of fractions in percentage points, with its sign.

    >>> points(0.0052), points(-0.000001)
    ('+0.52', '0.00')
    """
    text = number(100 * value)
    return f"+{text}" if math.isfinite(value) and text != "0.00" and value > 0 else text


def known(estimate: Estimate | None) -> bool:
    """Say whether an estimate has an interval."""
    return estimate is not None and math.isfinite(estimate.low) and math.isfinite(estimate.high)


def spread(estimate: Estimate) -> str:
    """Return half the width of the interval, in points, after a plus-minus sign; or nothing."""
    if not known(estimate):
        return ""
    return f" {PLUS_MINUS} {number(50 * (estimate.high - estimate.low))}"


def percent_spread(estimate: Estimate | None) -> str:
    """Return an accuracy with half the width of its interval, or that its evaluation failed.

    >>> print(percent_spread(Estimate(value=0.98, low=0.975, high=0.985)))
    98.00 ± 0.50
    """
    return NOTHING if estimate is None else score(estimate.value) + spread(estimate)


def points_spread(estimate: Estimate | None) -> str:
    """Return a gap with half the width of its interval."""
    return NOTHING if estimate is None else points(estimate.value) + spread(estimate)


def points_interval(estimate: Estimate | None, unknown: str = NOTHING) -> str:
    """Return a gap with its interval, in points."""
    if estimate is None or not math.isfinite(estimate.value):
        return unknown
    interval = f" [{points(estimate.low)}, {points(estimate.high)}]" if known(estimate) else ""
    return points(estimate.value) + interval


def interval(estimate: Estimate | None) -> str:
    """Return a plain number with its interval.

    >>> interval(Estimate(value=0.72, low=0.5, high=0.9)), interval(None)
    ('0.72 [0.50, 0.90]', "can't tell")
    """
    if estimate is None or not math.isfinite(estimate.value):
        return UNKNOWN
    if not known(estimate):
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def count(value: float) -> str:
    """Return a big number short.

    >>> count(157_866), count(114_200_000), count(42)
    ('158 k', '114 M', '42')
    """
    if not math.isfinite(value):
        return NOTHING
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:.{digits}f} {unit}"
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """Return seconds, with a decimal where they are few.

    >>> seconds(296.4), seconds(2.34), seconds(None)
    ('296', '2.3', '-')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}"


def rank(value: int | None) -> str:
    """Return a rank, or a dash."""
    return NOTHING if value is None else str(value)


def span(estimate: Estimate) -> str:
    """Return the bounds of a plain number.

    >>> span(Estimate(value=0.5, low=0.25, high=0.75))
    '0.25 to 0.75'
    """
    return f"{number(estimate.low)} to {number(estimate.high)}" if known(estimate) else UNKNOWN


def height(gap: Estimate) -> str:
    """Say how many points higher or lower, with the interval turned the same way.

    >>> height(Estimate(value=-0.004, low=-0.005, high=-0.003))
    '0.40 points lower (0.30 to 0.50)'
    """
    sign, word = (1, "higher") if gap.value > 0 else (-1, "lower")
    low, high = sorted((sign * gap.low, sign * gap.high))
    return f"{in_points(abs(gap.value))} {word} ({percent(low)} to {percent(high)})"


def in_points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, with the unit.

    >>> in_points(0.0042), in_points(0.01)
    ('0.42 points', '1.00 point')
    """
    text = percent(fraction)
    return f"{text} point{'' if text == '1.00' else 's'}"


def share(ratio: float) -> str:
    """Return how much one of two things cost, given how many times as much the other did.

    >>> share(4.9), share(0.8)
    ('1/4.9', '1.2')
    """
    return f"1/{number(ratio, 1)}" if ratio >= 1 else number(1 / ratio, 1)


def p_value(p: float) -> str:
    """Return a p-value, small ones as a bound.

    >>> p_value(0.0213), p_value(1e-9)
    ('p = 0.021', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def in_words(n: int) -> str:
    """Return a whole number, in words where that is short.

    >>> in_words(9), in_words(1200)
    ('nine', '1,200')
    """
    return _WORDS[n] if n < len(_WORDS) else f"{n:,}"


def counted(n: int, noun: str) -> str:
    """Return how many there are, in digits.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def several(n: int, noun: str) -> str:
    """Return how many there are, in words where that is short.

    >>> several(1, "seed"), several(9, "architecture"), several(27, "image")
    ('one seed', 'nine architectures', '27 images')
    """
    return f"{in_words(n)} {noun}{'' if n == 1 else 's'}"


def shorten(labels: Sequence[str], longest: int) -> list[str]:
    """Cut the middle out of long labels, and number them where that makes two of them equal.

    >>> shorten(["(1, 1)", "conv3-conv3-conv3"], 9)
    ['(1, 1)', 'conv…onv3']
    """
    short = [label if len(label) <= longest else _cut(label, longest) for label in labels]
    return [
        f"#{i} {_cut(label, longest - len(str(i)) - 2)}"
        if short.count(cut) > 1 and cut != label
        else cut
        for i, (label, cut) in enumerate(zip(labels, short, strict=True), start=1)
    ]


def brief(text: str) -> str:
    """Cut the middle out of a text that would fill lines."""
    return shorten([text], 60)[0]


def _cut(label: str, longest: int) -> str:
    keep = max(longest - 1, 2)
    return (
        label if len(label) <= keep else label[: (keep + 1) // 2] + ELLIPSIS + label[-(keep // 2) :]
    )
