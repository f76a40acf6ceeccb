"""The numeric part of encoding a table: units of columns to positions of a vector, and back, on NumPy or JAX arrays.

A unit is what one column holds in one row, f32: of a number its value u, scaled to [0, 1] by the column's bounds, NaN
where missing; of a category its code 0, 1, ... How units become positions, per column:

    minmax     u itself (study S2)
    quantile   z = Phi^-1(F(u)), F the training rows' distribution function (piecewise linear between quantiles):
               normal for every column. A value that many rows share owns an interval of z, is put into its middle,
               and is what all of that interval decodes to
    mode       (u - m_k) / (4 s_k) and one-hot k, for the mode k of a mixture of normals that explains u best
               (Xu et al. 2019, arXiv:1907.00503, section 4.2, whose k is drawn; ours is the most probable one)
    interval   study S2, after Patki et al. 2016 (doi:10.1109/DSAA.2016.49): [0, 1] is cut into one interval [a, b] per
               category, the most frequent first, of the length of its share; x ~ N((a + b) / 2, ((b - a) / 6)^2), here
               with the 0.27 % that fall out of [a, b] put on its ends, so that decoding, "in which interval?", is exact
    onehot     one position per category
    code       the code itself

`forward` and `inverse` can be jitted, with the Layout as a constant.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = Any
"""A NumPy or a JAX array; what comes out is what went in."""

_GAP = np.float32(2.0**-23)  # the f32 spacing above 1: what keeps a shared value apart from its neighbours
_MODES = 10
_LEAST_WEIGHT = 0.005
_LEAST_SD = 1e-5
_FAR = 2.0  # an offset from its mode beyond which a wide mode is needed


class Choice(NamedTuple):
    """One-hot groups of one size."""

    size: int
    sources: np.ndarray
    """(c,) which code each shows: of a unit, or units + i of the i-th mode column."""
    positions: np.ndarray
    """(c, size)."""


class Cut(NamedTuple):
    """[0, 1] cut into the intervals of one column's categories."""

    unit: int
    position: int
    middles: np.ndarray
    """(n,) f32, by code."""
    deviations: np.ndarray
    """(n,) f32, by code."""
    lows: np.ndarray
    """(n,) f32, by code: least number of the interval."""
    highs: np.ndarray
    """(n,) f32, by code: greatest number of the interval."""
    ends: np.ndarray
    """(n - 1,) f32, increasing: where one interval ends and the next begins."""
    codes: np.ndarray
    """(n,) the code of each interval, from 0 to 1."""


class Layout(NamedTuple):
    """Which unit goes to which positions, for all columns of a table at once."""

    width: int
    """Positions of a row."""
    units: int
    """Columns."""
    minmax: np.ndarray
    """(c, 2) unit, position."""
    quantile: np.ndarray
    """(c, 2) unit, position."""
    forward: np.ndarray
    """(c, 2, K) f32: u and z."""
    inverse: np.ndarray
    """(c, 2, L) f32: z and u."""
    mode: np.ndarray
    """(c, 2) unit, position of the offset from the mode."""
    modes: np.ndarray
    """(c, 3, M) f32: means, standard deviations and weights; of weight 0 beyond a column's own."""
    mode_missing: np.ndarray
    """(c,) code that says that the value is missing, -1 where none ever is."""
    choices: tuple[Choice, ...]
    interval: tuple[Cut, ...]
    code: np.ndarray
    """(c, 3) unit, position, number of codes."""
    slots: np.ndarray
    """(c, 2) unit, position that says that a number is missing."""


def forward(layout: Layout, units: Array, noise: Array) -> Array:
    """Positions of rows.

    Args:
        layout: of the table.
        units: (n, layout.units) f32; all columns' units.
        noise: (n, len(layout.interval)) f32 standard normal: where within its interval each category lands.

    Returns:
        (n, layout.width) f32.
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
    """Units (n, layout.units) f32 of rows x (n, layout.width) f32, which may be any real numbers."""
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
    padded = xp.concatenate([x, xp.zeros_like(x[:, :1])], axis=1)  # columns that are never missing look at zeros
    return xp.where(padded[:, slot_of] > 0.5, np.float32(np.nan), units)


def _namespace(array: Array) -> Any:
    return jnp if isinstance(array, jax.Array) else np


def _ordered(parts: list[tuple[np.ndarray, Array]], xp: Any) -> tuple[np.ndarray, Array]:
    """Columns side by side, each part with the positions of its columns, in the order of those positions."""
    positions = np.concatenate([positions for positions, _ in parts]).astype(np.int64)
    columns = xp.concatenate([values.astype(np.float32) for _, values in parts], axis=1)
    order = np.argsort(positions)
    return positions[order], columns[:, order]


def _interp(x: Array, tables: np.ndarray, xp: Any) -> Array:
    """Piecewise linear functions, `tables` (c, 2, K) of the columns of x (n, c)."""
    if not len(tables):
        return x
    if xp is jnp:
        return jax.vmap(jnp.interp, (1, 0, 0), 1)(x, tables[:, 0], tables[:, 1])
    return np.stack([np.interp(column, *table) for column, table in zip(x.T, tables, strict=True)], axis=1)


def _to_modes(layout: Layout, u: Array, absent: Array, xp: Any) -> tuple[Array, Array]:
    """Of each mode column, the offset (u - m) / (4 s) from the likeliest mode, and that mode's code, (n, c) each."""
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
    """The units of mode columns; NaN where the mode is the one that says that the value is missing."""
    gone = codes == layout.mode_missing
    code = xp.where(gone, 0, codes).astype(np.int32)
    index = np.arange(len(layout.mode))
    modes = xp.asarray(layout.modes)
    u = modes[index, 0, code] + 4 * modes[index, 1, code] * offsets
    return xp.where(gone, np.float32(np.nan), xp.clip(u, 0, 1))


# --- fitting -----------------------------------------------------------------------------------------------------


def quantile_tables(
    u: np.ndarray, shared: np.ndarray, expected: np.ndarray, limit: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """The two tables of the quantile encoding.

    A shared value, and either bound that a row is clipped to, owns an interval of z. The rows between two of them are
    cut into groups of about equal size, each of which gives one knot, its mean.

    Args:
        u: (n,) f32 in [0, 1], training values or a sample of them.
        shared: (m,) f32 increasing: values that may be stored.
        expected: (m,) rows that hold each; of a sample, their share of it.
        limit: of the number of groups.
        least: rows of a group at least.

    Returns:
        Forward (2, K), u and z; inverse (2, L), z and u; f32, each row not decreasing.
    """
    from scipy.special import ndtri

    found, counts = np.unique(np.asarray(u, np.float32), return_counts=True)
    owners = np.union1d(shared, found[(found == 0) | (found == 1)]).astype(np.float32)
    if not len(owners) and counts.sum() < least:
        owners = np.array([0, 1], np.float32)
    values = np.union1d(found, owners)
    rows = np.zeros(len(values))
    rows[np.isin(values, shared)] = expected
    rows[np.isin(values, found)] = np.maximum(rows[np.isin(values, found)], counts)
    own = np.isin(values, owners)
    above = np.cumsum(rows)
    n = max(above[-1], 1.0)
    means, ranks = _groups(values, rows, own, least, max(least, rows[~own].sum() / limit))

    def z(ranks):
        return ndtri(np.clip(ranks / n, 0.25 / n, 1 - 0.25 / n))

    # A mean is one knot; an owner rises from low to high within next to no distance.
    us = np.concatenate([values[own, None] + np.array([-_GAP, 0, _GAP]), np.repeat(means[:, None], 3, axis=1)])
    zs = np.concatenate([z(above - share * rows)[own] for share in (1, 0.5, 0)]).reshape(3, -1).T
    zs = np.concatenate([zs, np.repeat(z(ranks)[:, None], 3, axis=1)])
    order = np.argsort(us[:, 1], kind="stable")
    us, zs, wide = us[order], zs[order], order < own.sum()
    three, two = np.stack([wide, wide | True, wide], axis=1), np.stack([wide | True, wide], axis=1)
    ahead = np.stack([np.maximum.accumulate(us[three]), zs[three]]).astype(np.float32)
    back = np.stack([zs[:, [0, 2]][two], us[:, [1, 1]][two]]).astype(np.float32)
    return ahead, back


def _groups(
    values: np.ndarray, rows: np.ndarray, own: np.ndarray, least: int, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means of groups of about `size` rows, and the ranks of their middles, (g,) f64 each.

    No group reaches over a value that is `own`; one of fewer than `least` rows is left out. A mean is never the value
    of one of its own rows, unless `least` is 1.
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
    """A mixture of at most 10 normals by expectation maximisation: (3, M) f32 means, standard deviations, weights.

    Where some of [0, 1] is far from all of them, a wide one is added, so that outliers are not huge numbers.

    Args:
        u: (n,) f32 in [0, 1]; reduced to at most 1,000 quantiles.
        least: rows that a normal stands for at least.
        steps: of expectation maximisation.
    """
    if len(u) < least:  # too few to learn from: one that covers the bounds
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
    """The intervals of one column whose code c is held by counts[c] >= 1 training rows."""
    order = np.argsort(-np.asarray(counts), kind="stable")
    ends = np.cumsum(np.asarray(counts)[order]) / np.sum(counts)
    starts = np.concatenate([[0.0], ends[:-1]])
    rank = np.argsort(order)  # of each code among the intervals
    middles, deviations = ((starts + ends) / 2)[rank], ((ends - starts) / 6)[rank]
    least = starts.astype(np.float32)
    greatest = np.nextafter(ends.astype(np.float32), np.float32(0))
    small = middles.astype(np.float32), deviations.astype(np.float32)
    return Cut(unit, position, *small, least[rank], greatest[rank], least[1:], order)


def stacked(tables: list[np.ndarray], rows: int) -> np.ndarray:
    """Tables (rows, K_i) as one array (c, rows, K); the shorter ones are continued by their last entry."""
    longest = max((table.shape[1] for table in tables), default=1)
    out = np.empty((len(tables), rows, longest), np.float32)
    for table, row in zip(tables, out, strict=True):
        row[:, : table.shape[1]] = table
        row[:, table.shape[1] :] = table[:, -1:]
    return out
