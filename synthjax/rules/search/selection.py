"""Sparse linear regression: forward selection on a correlation matrix, robust fits, and simple coefficients."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

TERMS = 9
"""Maximum number of selected columns."""
_DECIMALS = 6  # maximum number of decimals of a coefficient
_DENOMINATOR = 60  # maximum denominator of a coefficient
_SINGULAR = 1e-10  # minimum partial variance of a column


def standardised(matrix: np.ndarray) -> np.ndarray:
    """Standardises columns to mean 0 and standard deviation 1; missing values and constant columns become 0."""
    with np.errstate(all="ignore"):
        mean = np.nan_to_num(np.nanmean(matrix, axis=0)) if len(matrix) else np.zeros(matrix.shape[1])
        centred = np.nan_to_num(matrix - mean)
        spread = np.sqrt(np.mean(centred**2, axis=0))
        return np.where(spread > 0, centred / spread, 0.0)


def paths(z: np.ndarray, least: float) -> Iterator[tuple[int, list[int], float]]:
    """Runs forward selection for each column.

    Args:
        z: (n, m) standardised columns.
        least: maximum fraction of the target's variance that a selection does not explain.

    Yields:
        Target, selected columns, and the unexplained fraction of the variance, for each selection in which it is at
        most `least`, from short to long.
    """
    n, m = z.shape
    gram = z.T @ z / max(n, 1)
    for target in range(m):
        if gram[target, target] < 0.5:
            continue
        chosen: list[int] = []
        left, spread = gram[target].copy(), np.diag(gram).copy()  # partial covariances and variances
        basis = np.zeros((0, m))
        rest = 1.0
        banned = np.zeros(m, bool)
        banned[target] = True
        while len(chosen) < TERMS:
            usable = (spread > _SINGULAR) & ~banned
            if not usable.any():
                break
            gain = np.where(usable, left**2 / np.where(usable, spread, 1), 0)
            best = int(np.argmax(gain))
            if gain[best] < max(2e-4 * rest, 12 / n * rest, 1e-14):
                break
            chosen.append(best)
            banned[best] = True
            row = (gram[best] - basis[:, best] @ basis) / np.sqrt(spread[best])
            basis = np.vstack([basis, row])
            left = left - row[target] * row
            spread = spread - row**2
            rest = max(rest - float(gain[best]), 0.0)
            if rest <= least:
                yield target, list(chosen), rest
            if rest < 1e-13:
                break


def robust(a: np.ndarray, y: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Least absolute deviations regression, by iteratively reweighted least squares.

    Args:
        a: (n, k) inputs; a constant is added.
        y: (n,) target.
        unit: the unit to which y is rounded; residuals below half of it have equal weights.

    Returns:
        (k + 1,) coefficients, the constant last; (k + 1,) their maximum errors. None if they are not determined.
    """
    if len(y) < a.shape[1] + 10:
        return None
    middle, scale = a.mean(axis=0), a.std(axis=0)
    if (scale == 0).any():
        return None
    x = np.column_stack([(a - middle) / scale, np.ones(len(y))])
    centre = y.mean()
    weight = np.ones(len(y))
    floor = max(unit / 2, 1e-12 * float(np.abs(y).max()))
    coefficients = np.zeros(x.shape[1])
    for step in range(30):
        weighted = x * weight[:, None]
        gram = weighted.T @ x
        try:
            new = np.linalg.solve(gram, weighted.T @ (y - centre))
        except np.linalg.LinAlgError:
            return None
        settled = np.abs(new - coefficients).max() <= 1e-12 * (np.abs(new).max() + 1e-300)
        coefficients = new
        residual = np.abs(y - centre - x @ coefficients)
        if settled:
            break
        weight = 1 / np.maximum(residual, floor if step > 5 else max(floor, float(np.median(residual))))
    inside = residual <= max(3 * float(np.median(residual)), unit)
    try:
        inverse = np.linalg.inv(x[inside].T @ x[inside])
    except np.linalg.LinAlgError:
        return None
    noise = max(float(residual[inside].std()), unit / 4, 1e-13 * float(np.abs(y).max()))
    off = 4 * noise * np.sqrt(np.maximum(np.diag(inverse), 0))
    slopes = coefficients[:-1] / scale
    constant = coefficients[-1] + centre - float(slopes @ middle)
    return np.append(slopes, constant), np.append(
        off[:-1] / scale, off[-1] + float(np.abs(off[:-1] / scale) @ np.abs(middle))
    )


def simplest(value: float, off: float) -> Fraction | None:
    """Finds the simplest number within `off` of a value.

    Numbers with at most 2 decimals are tried first, then fractions with denominators up to 60, then numbers with at
    most 6 decimals. The result is None if no such number is close enough.

    >>> simplest(0.3333, 0.001), simplest(0.1701, 0.001)
    (Fraction(1, 3), Fraction(17, 100))
    >>> simplest(0.123456789, 1e-9) is None
    True
    """
    off = max(off, 1e-9 * abs(value))
    if abs(value) < off:
        return Fraction(0)
    for decimals in (0, 1, 2):
        if abs(round(value, decimals) - value) <= off and round(value, decimals):
            return Fraction(str(round(value, decimals)))
    fraction = Fraction(value).limit_denominator(_DENOMINATOR)
    if fraction and abs(float(fraction) - value) <= min(off, 1e-3 * abs(value)):
        return fraction
    for decimals in range(3, _DECIMALS + 1):
        if abs(round(value, decimals) - value) <= off and round(value, decimals):
            return Fraction(str(round(value, decimals)))
    return None
