"""Numeric encoding of tables: from the units of columns to encoded rows and back, for NumPy and JAX arrays.

A unit is the f32 value of one column in one row. For a number, it is the value u, scaled to [0, 1] by the column's
bounds, or NaN if it is missing. For a category, it is the code 0, 1, ... An encoded row is a vector. Each column takes
one or more of its positions, whose values depend on the encoding:

    minmax     u (study S2)
    quantile   z = Phi^-1(F(u)), which has a normal distribution. F is the distribution function of the training rows,
               piecewise linear between quantiles. A value shared by many rows has an interval of z: it is encoded as
               the middle of the interval, and all of the interval is decoded to it
    mode       (u - m_k) / (4 s_k) and one-hot k, where k is the most probable mode of a mixture of normals
               (Xu et al. 2019, arXiv:1907.00503, section 4.2, where k is drawn)
    interval   study S2, after Patki et al. 2016 (doi:10.1109/DSAA.2016.49): [0, 1] is divided into one interval [a, b]
               per category, the most frequent first, whose length is the frequency of the category.
               x ~ N((a + b) / 2, ((b - a) / 6)^2), clipped to [a, b]. Clipping, which changes 0.27 % of the draws,
               makes decoding exact: the category is that of the interval with x
    onehot     one position per category
    code       the code

`forward` and `inverse` can be jitted; the Layout is then a constant.

    >>> column = cut(unit=0, position=0, counts=np.array([1, 3]))
    >>> column.codes.tolist(), column.middles.tolist()
    ([1, 0], [0.875, 0.375])
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.statistics import apart

Array = Any
"""A NumPy or JAX array; results are of the same type as the arguments."""

_GAP = np.float32(2.0**-23)  # distance of a shared value to its neighbours: the spacing of f32 above 1
_MODES = 10  # maximum number of modes
_LEAST_WEIGHT = 0.005  # minimum weight of a mode
_LEAST_SD = 1e-5  # minimum standard deviation of a mode
_FAR = 2.0  # offset from the nearest mode above which a wide mode is added


class Choice(NamedTuple):
    """One-hot groups of positions that have the same size."""

    size: int
    sources: np.ndarray
    """(c,) number of the encoded code: the number of a unit, or `Layout.units` + i for the modes of mode column i."""
    positions: np.ndarray
    """(c, size) the positions of each group."""


class Cut(NamedTuple):
    """The division of [0, 1] into intervals for the categories of one column."""

    unit: int
    position: int
    middles: np.ndarray
    """(n,) f32, by code: middle of the interval, the mean of x."""
    deviations: np.ndarray
    """(n,) f32, by code: standard deviation of x before clipping."""
    lows: np.ndarray
    """(n,) f32, by code: minimum of the interval."""
    highs: np.ndarray
    """(n,) f32, by code: maximum of the interval."""
    ends: np.ndarray
    """(n - 1,) f32, increasing: the boundaries between intervals."""
    codes: np.ndarray
    """(n,) code of each interval, in the order of the intervals."""


class Layout(NamedTuple):
    """The units and positions of all columns of a table, by encoding; c is the number of columns of an encoding."""

    width: int
    """Number of positions of an encoded row."""
    units: int
    """Number of units of a row."""
    minmax: np.ndarray
    """(c, 2) unit, position."""
    quantile: np.ndarray
    """(c, 2) unit, position."""
    forward: np.ndarray
    """(c, 2, K) f32: u and z of the piecewise linear functions from u to z."""
    inverse: np.ndarray
    """(c, 2, L) f32: z and u of the piecewise linear functions from z to u."""
    mode: np.ndarray
    """(c, 2) unit, position of the offset from the mode."""
    modes: np.ndarray
    """(c, 3, M) f32: means, standard deviations and weights; padded with modes of weight 0."""
    mode_missing: np.ndarray
    """(c,) one-hot code for a missing value, -1 if no value is missing."""
    choices: tuple[Choice, ...]
    """Of the encodings onehot and mode."""
    interval: tuple[Cut, ...]
    code: np.ndarray
    """(c, 3) unit, position, number of codes."""
    slots: np.ndarray
    """(c, 2) unit of minmax or quantile, position of its indicator for missing values, 0 or 1."""


def forward(layout: Layout, units: Array, noise: Array) -> Array:
    """Encodes rows.

    Args:
        layout: of the table.
        units: (n, layout.units) f32.
        noise: (n, len(layout.interval)) f32 standard normal draws for the encoding interval.

    Returns:
        (n, layout.width) f32 encoded rows.
    """
    xp = _namespace(units)
    absent = xp.isnan(units)
    u = xp.where(absent, np.float32(0), units)
    present = 1 - absent.astype(np.float32)
    offsets, modes = _to_modes(layout, u, absent, xp)
    codes = xp.concatenate([u, modes], axis=1)
    minmax, quantile = layout.minmax[:, 0], layout.quantile[:, 0]
    parts = [
        (layout.minmax[:, 1], u[:, minmax] * present[:, minmax]),
        (layout.quantile[:, 1], _interp(u[:, quantile], layout.forward, xp) * present[:, quantile]),
        (layout.mode[:, 1], offsets),
        (layout.code[:, 1], u[:, layout.code[:, 0]]),
        (layout.slots[:, 1], 1 - present[:, layout.slots[:, 0]]),
    ]
    for choice in layout.choices:
        hot = codes[:, choice.sources, None] == np.arange(choice.size, dtype=np.float32)
        parts.append((choice.positions.ravel(), hot.reshape(len(units), -1).astype(np.float32)))
    for i, cut in enumerate(layout.interval):
        code = u[:, cut.unit].astype(np.int32)
        x = xp.asarray(cut.middles)[code] + noise[:, i] * xp.asarray(cut.deviations)[code]
        x = xp.clip(x, xp.asarray(cut.lows)[code], xp.asarray(cut.highs)[code])
        parts.append((np.array([cut.position]), x[:, None]))
    return _ordered(parts, xp)[1]


def inverse(layout: Layout, x: Array) -> Array:
    """Decodes rows to units.

    Args:
        layout: of the table.
        x: (n, layout.width) f32, any real numbers. Values out of range are clipped, and of one-hot positions the
            largest counts.

    Returns:
        (n, layout.units) f32 units, NaN for missing numbers.
    """
    xp = _namespace(x)
    parts = [
        (layout.minmax[:, 0], xp.clip(x[:, layout.minmax[:, 1]], 0, 1)),
        (layout.quantile[:, 0], _interp(x[:, layout.quantile[:, 1]], layout.inverse, xp)),
    ]
    most = layout.code[:, 2].astype(np.float32) - 1
    parts.append((layout.code[:, 0], xp.clip(xp.round(x[:, layout.code[:, 1]]), 0, most)))
    for cut in layout.interval:
        interval = xp.searchsorted(xp.asarray(cut.ends), x[:, cut.position], side="right")
        parts.append((np.array([cut.unit]), xp.asarray(cut.codes)[interval][:, None]))
    if layout.choices:
        hot = [(choice.sources, xp.argmax(x[:, choice.positions], axis=2)) for choice in layout.choices]
        sources, codes = _ordered(hot, xp)
        n = int((sources < layout.units).sum())
        parts.append((sources[:n], codes[:, :n]))
        parts.append((layout.mode[:, 0], _from_modes(layout, x[:, layout.mode[:, 1]], codes[:, n:], xp)))
    units = _ordered(parts, xp)[1]
    slot_of = np.full(layout.units, layout.width)
    slot_of[layout.slots[:, 0]] = layout.slots[:, 1]
    padded = xp.concatenate([x, xp.zeros_like(x[:, :1])], axis=1)  # a 0 for columns that are never missing
    return xp.where(padded[:, slot_of] > 0.5, np.float32(np.nan), units)


def _namespace(array: Array) -> Any:
    return jnp if isinstance(array, jax.Array) else np


def _ordered(parts: list[tuple[np.ndarray, Array]], xp: Any) -> tuple[np.ndarray, Array]:
    """Concatenates parts (positions, columns) and sorts the columns by position; returns positions and columns."""
    positions = np.concatenate([positions for positions, _ in parts]).astype(np.int64)
    columns = xp.concatenate([values.astype(np.float32) for _, values in parts], axis=1)
    order = np.argsort(positions)
    return positions[order], columns[:, order]


def _interp(x: Array, tables: np.ndarray, xp: Any) -> Array:
    """Applies the piecewise linear functions `tables` (c, 2, K) to the columns of x (n, c)."""
    if not len(tables):
        return x
    if xp is jnp:
        return jax.vmap(jnp.interp, (1, 0, 0), 1)(x, tables[:, 0], tables[:, 1])
    return np.stack([np.interp(column, *table) for column, table in zip(x.T, tables, strict=True)], axis=1)


def _to_modes(layout: Layout, u: Array, absent: Array, xp: Any) -> tuple[Array, Array]:
    """The offset (u - m) / (4 s) from the most probable mode, and the code of this mode, (n, c) each."""
    columns = layout.mode[:, 0]
    mean, deviation, weight = layout.modes[:, 0], layout.modes[:, 1], layout.modes[:, 2]
    with np.errstate(divide="ignore"):
        prior = np.log(weight) - np.log(deviation)
    away = (u[:, columns, None] - mean) / deviation
    code = xp.argmax(prior - 0.5 * away**2, axis=2) if len(columns) else xp.zeros((len(u), 0), np.int32)
    offset = xp.take_along_axis(away, code[:, :, None], axis=2)[:, :, 0] / 4
    gone = absent[:, columns]
    return xp.where(gone, np.float32(0), offset), xp.where(gone, layout.mode_missing, code)


def _from_modes(layout: Layout, offsets: Array, codes: Array, xp: Any) -> Array:
    """The units (n, c) of mode columns; NaN if the code is that of missing values."""
    gone = codes == layout.mode_missing
    code = xp.where(gone, 0, codes).astype(np.int32)
    index = np.arange(len(layout.mode))
    modes = xp.asarray(layout.modes)
    u = modes[index, 0, code] + 4 * modes[index, 1, code] * offsets
    return xp.where(gone, np.float32(np.nan), xp.clip(u, 0, 1))


# --- fitting -----------------------------------------------------------------------------------------------------


def quantile_tables(
    u: np.ndarray,
    shared: np.ndarray,
    expected: np.ndarray,
    limit: int,
    least: int,
    persons: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the two piecewise linear functions of the quantile encoding.

    Each shared value has an interval of z, and so have the bounds 0 and 1 if rows have them. The rows between two of
    these values are divided into groups of about equal size. The mean of each group is a knot.

    Args:
        u: (n,) f32 in [0, 1], values of all training rows or of a sample of them.
        shared: (m,) f32, increasing: values that may be stored.
        expected: (m,) expected number of rows in `u` with each shared value.
        limit: maximum number of groups, approximately.
        least: minimum number of rows of a group; with `persons`, of persons.
        persons: (n,) i64 whose value each is; None: each is its own.

    Returns:
        Knots of the function from u to z, (2, K): u and z. Knots of its inverse, (2, L): z and u. All are f32, and each
        row is non-decreasing.
    """
    u = np.asarray(u, np.float32)
    found, counts = np.unique(u, return_counts=True)
    owners = np.union1d(shared, found[(found == 0) | (found == 1)]).astype(np.float32)
    enough = len(u) if persons is None else len(apart(u, persons, least))
    if not len(owners) and enough < least:
        owners = np.array([0, 1], np.float32)
    values = np.union1d(found, owners)
    rows = np.zeros(len(values))
    rows[np.isin(values, shared)] = expected
    rows[np.isin(values, found)] = np.maximum(rows[np.isin(values, found)], counts)
    own = np.isin(values, owners)
    above = np.cumsum(rows)
    if persons is None:
        means, ranks = _groups(values, rows, own, least, max(least, rows[~own].sum() / limit))
    else:
        free = ~np.isin(u, owners)
        some, counts = np.unique(u[free][apart(u[free], persons[free], least)], return_counts=True)
        part = own | np.isin(values, some)
        thin = rows.copy()
        thin[part & ~own] = counts
        means, _ = _groups(values[part], thin[part], own[part], least, max(least, counts.sum() / limit))
        ranks = np.interp(means, values, above - rows / 2)
    return _piecewise(values[own], above[own], rows[own], means, ranks, max(above[-1], 1.0))


def _piecewise(
    values: np.ndarray, above: np.ndarray, rows: np.ndarray, means: np.ndarray, ranks: np.ndarray, n: float
) -> tuple[np.ndarray, np.ndarray]:
    """The knots of `quantile_tables`: of values with intervals, their cumulative rows and rows; of means and ranks."""
    from scipy.special import ndtri

    def z(ranks):
        return ndtri(np.clip(ranks / n, 0.25 / n, 1 - 0.25 / n))

    # A mean has one knot. At a shared value, z increases by the length of its interval within a distance of _GAP.
    us = np.concatenate([values[:, None] + np.array([-_GAP, 0, _GAP]), np.repeat(means[:, None], 3, axis=1)])
    zs = np.concatenate([z(above - share * rows) for share in (1, 0.5, 0)]).reshape(3, -1).T
    zs = np.concatenate([zs, np.repeat(z(ranks)[:, None], 3, axis=1)])
    order = np.argsort(us[:, 1], kind="stable")
    us, zs, wide = us[order], zs[order], order < len(values)
    three, two = np.stack([wide, wide | True, wide], axis=1), np.stack([wide | True, wide], axis=1)
    ahead = np.stack([np.maximum.accumulate(us[three]), zs[three]]).astype(np.float32)
    back = np.stack([zs[:, [0, 2]][two], us[:, [1, 1]][two]]).astype(np.float32)
    return ahead, back


def _groups(
    values: np.ndarray, rows: np.ndarray, own: np.ndarray, least: int, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means of groups of about `size` rows, and the ranks of the groups' middles, (g,) f64 each.

    Groups do not extend over a value in `own`. Groups with fewer than `least` rows are omitted. If `least` is above 1,
    no mean is equal to a value of its group.
    """
    stretch = np.cumsum(own)[~own]
    above = np.cumsum(rows)[~own]
    value, weight = values[~own].astype(np.float64), rows[~own]
    if not len(value):
        return np.empty(0), np.empty(0)
    total = np.bincount(stretch, weight)[stretch]
    first = np.searchsorted(stretch, stretch)
    before = above - weight - (above - weight)[first]
    number = np.floor(before * np.maximum(total // size, 1) / total)
    starts = np.flatnonzero((np.diff(stretch, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 0))
    mass = np.add.reduceat(weight, starts)
    mean = (np.add.reduceat(value * weight, starts) / mass).astype(np.float32).astype(np.float64)
    middle = ((above - weight)[starts] + above[np.append(starts[1:], len(above)) - 1]) / 2
    if least > 1:
        index = np.searchsorted(value, mean)
        same = (value[np.minimum(index, len(value) - 1)] == mean) & (index + 1 < len(value))
        mean[same] = (mean[same] + value[index[same] + 1]) / 2
    kept = mass >= least
    return mean[kept], middle[kept]


def fit_modes(u: np.ndarray, least: int = 1, steps: int = 50) -> np.ndarray:
    """Fits a mixture of at most 10 normals by expectation maximisation.

    If a part of [0, 1] is far from all modes, a wide mode is added, so that the offsets of outliers are small.

    Args:
        u: (n,) f32 in [0, 1]; reduced to at most 1,000 quantiles.
        least: minimum number of rows of a mode. With fewer values, the result is one mode for all of [0, 1].
        steps: number of steps of expectation maximisation.

    Returns:
        (3, M) f32 means, standard deviations and weights.
    """
    if len(u) < least:
        return np.array([[0.5], [0.25], [1.0]], np.float32)
    points = np.quantile(u, (np.arange(1000) + 0.5) / 1000) if len(u) > 1000 else np.asarray(u, np.float64)
    points, counts = np.unique(points.astype(np.float64), return_counts=True)
    share = counts / counts.sum()
    k = min(_MODES, len(points), len(u) // least)
    mean = np.linspace(points[0], points[-1], k) if k > 1 else points[:1]
    mean = (mean + np.quantile(points, (np.arange(k) + 0.5) / k)) / 2
    deviation, weight = np.full(k, max((points[-1] - points[0]) / k, _LEAST_SD)), np.full(k, 1 / k)
    for _ in range(steps):
        log = np.log(weight + 1e-300) - np.log(deviation) - 0.5 * ((points[:, None] - mean) / deviation) ** 2
        part = np.exp(log - log.max(1, keepdims=True))
        part *= (share / part.sum(1))[:, None]
        weight = part.sum(0)
        mass = np.maximum(weight, 1e-12)
        mean = part.T @ points / mass
        deviation = np.sqrt(np.maximum((part * (points[:, None] - mean) ** 2).sum(0) / mass, _LEAST_SD**2))
    used = weight >= min(max(_LEAST_WEIGHT, least / len(u)), weight.max())
    modes = np.stack([mean, deviation, weight])[:, used]
    ends = np.append(points, [0.0, 1.0])[:, None]
    if (np.abs(ends - modes[0]) / (4 * modes[1])).min(1).max() > _FAR:
        modes = np.append(modes, [[0.5], [0.125], [_LEAST_WEIGHT / 10]], axis=1)
    return modes.astype(np.float32)


def cut(unit: int, position: int, counts: np.ndarray) -> Cut:
    """Makes the intervals of one column.

    Args:
        unit: number of the column's unit.
        position: its position in encoded rows.
        counts: (n,) number of training rows with each code, at least 1.
    """
    order = np.argsort(-np.asarray(counts), kind="stable")
    ends = np.cumsum(np.asarray(counts)[order]) / np.sum(counts)
    starts = np.concatenate([[0.0], ends[:-1]])
    rank = np.argsort(order)  # the interval of each code
    middles, deviations = ((starts + ends) / 2)[rank], ((ends - starts) / 6)[rank]
    least = starts.astype(np.float32)
    greatest = np.nextafter(ends.astype(np.float32), np.float32(0))
    small = middles.astype(np.float32), deviations.astype(np.float32)
    return Cut(unit, position, *small, least[rank], greatest[rank], least[1:], order)


def stacked(tables: list[np.ndarray], rows: int) -> np.ndarray:
    """Stacks tables (rows, K_i) into one array (c, rows, K) f32; shorter tables are padded with their last column."""
    longest = max((table.shape[1] for table in tables), default=1)
    out = np.empty((len(tables), rows, longest), np.float32)
    for table, row in zip(tables, out, strict=True):
        row[:, : table.shape[1]] = table
        row[:, table.shape[1] :] = table[:, -1:]
    return out
