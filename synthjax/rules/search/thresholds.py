"""Thresholds: `year < 1954 => missing(sf)`, `wind < 64 => diameter == 0`.

These are claims about the rows below or above a number or date. A claim is that a column is missing, is 0, or has a
certain value, if it has few levels. Rows are sorted by a column. A threshold is a candidate if nearly all rows up to it
meet the claim, and clearly fewer rows after it do. So there is no threshold if the fraction of such rows decreases
slowly.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from synthjax.rules.kinds import Equation, Rule, When
from synthjax.rules.predicates import Compare, Missing, Predicate
from synthjax.rules.search.sample import Sample, tied

_LEVELS = 8  # maximum number of levels of a column in claims
_NUMBERS = 15  # minimum number of levels of a column with a threshold
_LEAST_ROWS, _LEAST_SHARE = 20, 0.01  # minimum number and fraction of rows up to the threshold
_WRONG = 0.009  # maximum fraction of rows that break a rule with exceptions
_GAIN = 1.05  # minimum number of rows of a rule with exceptions, relative to one without
_FIRST = 0.95  # minimum fraction of the first rows that meet the claim
_AFTER = 0.7  # maximum fraction of the next rows after the threshold that meet the claim
_COMMON = (0.02, 0.98)  # minimum and maximum fraction of rows that meet a claim
_PAIRS = 20_000  # maximum number of pairs of a column and a claim
_SPELT = 4  # maximum number of digits of a threshold that is not the value of a row
_LONGEST = 7  # maximum number of characters of a threshold that is the value of rows
_HELD = 5  # minimum number of rows with this value


def rules(sample: Sample, known: Sequence[Rule]) -> list[When]:
    """Thresholds of numbers and dates.

    Args:
        sample: the rows.
        known: rules; columns that they compute, and pairs of columns that they relate, are not searched.
    """
    together = tied(known)
    levels = dict(zip(sample.kinds, sample.levels.tolist(), strict=True))
    computed = {rule.target for rule in known if isinstance(rule, Equation)}
    columns = [name for name in sample.numeric if levels[name] >= _NUMBERS and name not in computed]
    claims = list(_claims(sample))
    found = []
    for name in columns[: max(_PAIRS // max(len(claims), 1), 1)]:
        numbers = sample.columns.numbers(name)
        order = np.argsort(numbers, kind="stable")[: int(np.sum(~np.isnan(numbers)))]
        for claim, usable, met in claims:
            if claim.name != name and frozenset((claim.name, name)) not in together:
                rows = order[usable[order]]
                sample.count("threshold", 2 * levels[name])
                for way in (1, -1):
                    if rule := _threshold(sample, name, numbers[rows][::way], met[rows][::way], claim):
                        found.append(rule)
    return found


def _claims(sample: Sample) -> Iterator[tuple[Predicate, np.ndarray, np.ndarray]]:
    """Yields claims, the rows to which they apply, (n,) bool, and the rows that meet them, (n,) bool."""
    n = len(sample)
    for name, kind in sample.kinds.items():
        codes, levels = sample.columns.codes(name)
        if _COMMON[0] * n <= np.sum(codes < 0) <= _COMMON[1] * n:
            yield Missing(name), np.ones(n, bool), codes < 0
        if kind == "date":
            continue
        for code, level in enumerate(levels.tolist()):
            met = codes == code
            if (len(levels) <= _LEVELS or level == 0) and _COMMON[0] * n <= met.sum() <= _COMMON[1] * n:
                yield Compare(name, "==", str(level) if kind == "text" else float(level)), codes >= 0, met


def _threshold(sample: Sample, name: str, numbers: np.ndarray, met: np.ndarray, claim: Predicate) -> When | None:
    """The rule for the largest number of sorted rows that meet a claim, if clearly fewer of the next rows meet it.

    Args:
        sample: the rows.
        name: the column with the threshold.
        numbers: (m,) its sorted numbers, increasing or decreasing.
        met: (m,) bool, whether the rows meet the claim.
        claim: the claim.
    """
    n = len(met)
    least = max(_LEAST_ROWS, int(_LEAST_SHARE * n))
    if n < 2 * least or met[:least].mean() < _FIRST:
        return None
    wrong = np.cumsum(~met)
    ends = np.append(np.flatnonzero(np.diff(numbers)), n - 1)  # the last row with each number
    exact, near = ends[wrong[ends] == 0], ends[wrong[ends] <= _WRONG * (ends + 1)]
    if not len(near):
        return None
    last = int(exact[-1]) if len(exact) else -1
    last = int(near[-1]) if near[-1] + 1 > _GAIN * (last + 1) else last
    after = met[last + 1 : last + 1 + max(least, (last + 1) // 20)]
    if last + 1 < least or numbers[0] == numbers[last] or len(after) < _LEAST_ROWS / 2 or after.mean() > _AFTER:
        return None
    bound = cut(sample, name, float(numbers[last]), float(numbers[last + 1]), strict=True)
    return When((bound,), claim) if bound else None


def cut(sample: Sample, name: str, last: float, following: float, strict: bool) -> Compare | None:
    """Makes a comparison that is true up to the number `last`, and false from the number `following` on.

    Its value is one that at least _HELD rows have, or a round value between the two numbers that no row has.

    Args:
        sample: the rows.
        name: a column of numbers or dates.
        last: the last number that meets the comparison.
        following: the next number, which may be smaller or larger.
        strict: whether `<` and `>` are preferred to `<=` and `>=`.

    Returns:
        The comparison; None if there is no such value.
    """
    below, numbers = last < following, sample.columns.numbers(name)
    inner, outer = ("<=", "<") if below else (">=", ">")
    ways = [(following, outer), (last, inner)] if strict else [(last, inner), (following, outer)]
    date = sample.kinds[name] == "date"
    for value, operator in ways:
        if np.sum(numbers == value) >= _HELD and (date or len(f"{value!r}".strip("-0.")) <= _LONGEST):
            return Compare(name, operator, spelt_date(value) if date else value)
    for value in _round_dates(last, following) if date else _round_numbers(last, following):
        if not np.any(numbers == value):
            return Compare(name, outer, spelt_date(value) if date else value)
    return None


def spelt_date(seconds: float) -> str:
    """Writes a date, or a date and time, in the language of rules.

    >>> spelt_date(0.0)
    '1970-01-01'
    >>> spelt_date(90.0)
    '1970-01-01 00:01:30'
    """
    stamp = np.datetime64(round(seconds), "s")
    day = stamp.astype("datetime64[D]")
    return str(day if stamp == day else stamp).replace("T", " ")


def _round_dates(last: float, following: float) -> list[float]:
    """The last start of a year, of a month and of a day between two times."""
    low, high = (np.datetime64(round(value), "s") for value in sorted((last, following)))
    starts = [high.astype(f"datetime64[{unit}]").astype("datetime64[s]") for unit in "YMD"]
    return [float(start.astype(np.int64)) for start in starts if low < start < high]


def _round_numbers(last: float, following: float) -> list[float]:
    """A number between two with as few digits as possible; [] if it would have more than _SPELT digits."""
    low, high = min(last, following), max(last, following)
    largest = int(np.floor(np.log10(max(abs(low), abs(high), 1e-300))))
    for digits in range(-largest, _SPELT - largest):
        number = round(np.floor(high * 10.0**digits) / 10.0**digits, max(digits, 0))
        if low < number <= high:
            return [float(number) + 0.0]
    return []
