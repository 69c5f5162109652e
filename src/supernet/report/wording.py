"""Wording of numbers and names. One place, so that table, page and figures agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.records import ACCURACY, Estimate, Measure

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DIVIDED = "\N{DIVISION SIGN}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
NOTHING = "-"

#: After what a ranking is by, where size has a part in it.
LEANING = ", leaning to larger networks"

#: Rankings without training that count something.
COUNTS = ("multiply-adds", "parameters", "layers")
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


def score(value: float, measure: Measure = ACCURACY) -> str:
    """Return a score as people know it, without its unit, or that its evaluation failed.

    >>> score(0.98414), score(math.nan)
    ('98.41', 'failed')
    >>> score(-0.01234, Measure(name="error", higher_is_better=False))
    '0.01234'
    """
    return _quantity(measure.shown(value), measure) if math.isfinite(value) else FAILED


def gap(value: float, measure: Measure = ACCURACY) -> str:
    """Return a difference of scores as people know them, with its sign; of fractions, in points.

    >>> gap(0.0052), gap(-0.000001)
    ('+0.52', '0.00')
    """
    shown = measure.shown(value)
    text = _quantity(shown, measure)
    return f"+{text}" if math.isfinite(value) and shown > 0 and text.strip("0.") else text


def duration(seconds: float) -> str:
    """Return about how long something takes.

    >>> duration(42.3), duration(3540), duration(7740), duration(400_000)
    ('42 seconds', '59 minutes', '2.1 hours', '4.6 days')
    """
    for unit, size, most in (("seconds", 1, 100), ("minutes", 60, 100), ("hours", 3600, 72)):
        if seconds < most * size:
            return f"{seconds / size:.{int(unit == 'hours')}f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def clock_time(seconds: float | None) -> str:
    """Return a time as a clock shows it, with hours if there are any; None is one nobody knows.

    >>> clock_time(151.9), clock_time(8990), clock_time(None)
    ('2:31', '2:29:50', '?:??')
    """
    if seconds is None:
        return "?:??"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def unit_of(measure: Measure) -> str:
    """Return what scores are counted in: their unit, or what they are if they have none.

    >>> unit_of(ACCURACY), unit_of(Measure(name="error"))
    ('%', 'error')
    """
    return measure.unit or measure.name


def gap_unit(measure: Measure) -> str:
    """Return what differences of scores are counted in: percentage points, or the unit, if any."""
    return "points" if measure.unit == "%" else measure.unit


def known(estimate: Estimate | None) -> bool:
    """Say whether an estimate has an interval."""
    return estimate is not None and math.isfinite(estimate.low) and math.isfinite(estimate.high)


def spread(estimate: Estimate, measure: Measure = ACCURACY) -> str:
    """Return half the width of the interval after a plus-minus sign; or nothing."""
    if not known(estimate):
        return ""
    half = abs(measure.shown(estimate.high) - measure.shown(estimate.low)) / 2
    return f" {PLUS_MINUS} {number(half, _decimals(measure.shown(estimate.value), measure))}"


def score_spread(estimate: Estimate | None, measure: Measure = ACCURACY) -> str:
    """Return a score with half the width of its interval, or that its evaluation failed.

    >>> print(score_spread(Estimate(value=0.98, low=0.975, high=0.985)))
    98.00 ± 0.50
    >>> print(score_spread(Estimate(value=2.05, low=2.01, high=2.09), Measure(name="loss")))
    2.050 ± 0.040
    """
    if estimate is None:
        return NOTHING
    return score(estimate.value, measure) + spread(estimate, measure)


def gap_spread(estimate: Estimate | None, measure: Measure = ACCURACY) -> str:
    """Return a gap with half the width of its interval."""
    return NOTHING if estimate is None else gap(estimate.value, measure) + spread(estimate, measure)


def gap_interval(
    estimate: Estimate | None, measure: Measure = ACCURACY, unknown: str = NOTHING
) -> str:
    """Return a gap with its interval."""
    if estimate is None or not math.isfinite(estimate.value):
        return unknown
    low, high = sorted((estimate.low, estimate.high), key=measure.shown)
    bounds = f" [{gap(low, measure)}, {gap(high, measure)}]" if known(estimate) else ""
    return gap(estimate.value, measure) + bounds


def _quantity(value: float, measure: Measure) -> str:
    """Return a number in the unit of a measure: percents with two decimals, others four digits."""
    return number(value, _decimals(value, measure))


def _decimals(value: float, measure: Measure) -> int:
    if measure.unit == "%" or not math.isfinite(value) or value == 0:
        return 2
    return min(max(3 - math.floor(math.log10(abs(value))), 0), 9)


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


def height(difference: Estimate, measure: Measure = ACCURACY) -> str:
    """Say how much higher or lower, with the interval turned the same way.

    >>> height(Estimate(value=-0.004, low=-0.005, high=-0.003))
    '0.40 points lower (0.30 to 0.50)'
    """
    value, *ends = (
        measure.shown(end) for end in (difference.value, difference.low, difference.high)
    )
    sign, word = (1, "higher") if value > 0 else (-1, "lower")
    low, high = (_quantity(end, measure) for end in sorted(sign * end for end in ends))
    return f"{_amount(abs(value), measure)} {word} ({low} to {high})"


def loss_of(difference: Estimate, measure: Measure = ACCURACY) -> str:
    """Say how much worse, given how much is lost: a difference of scores that is not negative.

    >>> loss_of(Estimate(value=0.0005, low=0, high=0.0012))
    '0.05 points (0.00 to 0.12)'
    """
    value, low, high = (
        abs(measure.shown(max(end, 0.0)))
        for end in (difference.value, difference.low, difference.high)
    )
    return f"{_amount(value, measure)} ({_quantity(low, measure)} to {_quantity(high, measure)})"


def in_points(difference: float, measure: Measure = ACCURACY) -> str:
    """Return the size of a difference of scores, with its unit.

    >>> in_points(-0.0042), in_points(0.01)
    ('0.42 points', '1.00 point')
    """
    return _amount(abs(measure.shown(difference)), measure)


def _amount(shown: float, measure: Measure) -> str:
    text, unit = _quantity(shown, measure), gap_unit(measure)
    unit = "point" if unit == "points" and text == "1.00" else unit
    return f"{text} {unit}".rstrip()


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


def untrained(name: str) -> str:
    """Return how a ranking without training is made, by its name.

    >>> untrained("layers"), untrained("naswot")
    ('counting layers', 'naswot')
    """
    return f"counting {name}" if name in COUNTS else name


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
