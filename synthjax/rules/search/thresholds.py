"""What holds below or above a number or a date: `year < 1954 => missing(sf)`, `wind < 64 => diameter == 0`.

Rows are sorted by a column; what is told of them is a missing value, a 0, or the value of a column that has few. It is
a rule where it holds of all rows up to a number and then stops: a rate that falls slowly has no threshold.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from synthjax.rules.kinds import Equation, Rule, When
from synthjax.rules.predicates import Compare, Missing, Predicate
from synthjax.rules.search.sample import Sample, tied

_LEVELS = 8  # of a column whose values are claimed
_NUMBERS = 15  # different ones, at least, of a column that has a threshold
_LEAST_ROWS, _LEAST_SHARE = 20, 0.01
_WRONG = 0.009  # share of the rows of a near rule that may break it in the sample
_GAIN = 1.05  # rows that a near rule has to have more of
_FIRST = 0.95  # share of the first rows that have to be as is claimed
_AFTER = 0.7  # share of the next rows that may still be as is claimed
_COMMON = (0.02, 0.98)  # share of the rows of which a claim is true
_PAIRS = 20_000
_SPELT = 4  # digits of a threshold that no row holds, at most
_LONGEST = 7  # figures of one that rows hold
_HELD = 5  # rows that hold a threshold, else


def rules(sample: Sample, known: Sequence[Rule]) -> list[When]:
    """Thresholds of numbers and dates that nothing computes, where no known rule ties the two columns."""
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
    """What may be claimed, of which rows it says something (n,) bool, and where it is true (n,) bool."""
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
    """The longest run of rows from one end that meet the claim, if they stop to meet it there."""
    n = len(met)
    least = max(_LEAST_ROWS, int(_LEAST_SHARE * n))
    if n < 2 * least or met[:least].mean() < _FIRST:
        return None
    wrong = np.cumsum(~met)
    ends = np.append(np.flatnonzero(np.diff(numbers)), n - 1)  # the last row of each number
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
    """What is true of a number or a date up to the last row, no more from the following one on; None: not said shortly.

    The value in it is one that many rows hold, or a round one between the two that no row holds.
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
    """A date or a time as the language takes it."""
    stamp = np.datetime64(round(seconds), "s")
    day = stamp.astype("datetime64[D]")
    return str(day if stamp == day else stamp).replace("T", " ")


def _round_dates(last: float, following: float) -> list[float]:
    """Firsts of years, of months, and midnights between two times."""
    low, high = (np.datetime64(round(value), "s") for value in sorted((last, following)))
    starts = [high.astype(f"datetime64[{unit}]").astype("datetime64[s]") for unit in "YMD"]
    return [float(start.astype(np.int64)) for start in starts if low < start < high]


def _round_numbers(last: float, following: float) -> list[float]:
    """The number with fewest digits between two."""
    low, high = min(last, following), max(last, following)
    largest = int(np.floor(np.log10(max(abs(low), abs(high), 1e-300))))
    for digits in range(-largest, _SPELT - largest):
        number = round(np.floor(high * 10.0**digits) / 10.0**digits, max(digits, 0))
        if low < number <= high:
            return [float(number) + 0.0]
    return []
