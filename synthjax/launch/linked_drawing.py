"""Draws linked tables from trained models: parents first, then the rows of each parent, round by round.

Round p draws the rows at position p of all parents that have so many, each given its parent and the row before
(`synthjax.data.linked_frames`). What other keys name is chosen last: among the rows of that table that are in the group
that was drawn, each as often as it has children of its own, as far as the numbers go.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax import sampling
from synthjax.data.encoding import Encoder
from synthjax.data.keys import Key
from synthjax.data.linked_frames import Sheet, before, given_cells, numbers_text, rounds
from synthjax.data.schema import DISCRETE, MISSING, NUMERIC, Field, Schema
from synthjax.data.text_values import Chunk, typed, written
from synthjax.model import Model, State

BLOCKS = (256, 4096)
"""Rows that are drawn at once: the smaller number for the last rounds, which few parents reach."""
TRIES = 10
"""Most times that rows which break a rule, or repeat a key, are drawn again."""
GROWTH = 3
"""A table whose rows name one another ends when it is so many times as large as the real one."""


class TableModel(NamedTuple):
    """A trained model of the rows of one table."""

    sheet: Sheet
    model: Model
    state: State
    encoder: Encoder
    names: dict[str, Field]
    """Columns that are made anew, since other tables name rows by them."""
    alone: float
    """Rows without a parent for each row that has one."""
    deepest: int
    """Most rows above another, in a table whose rows name one another."""
    once: frozenset[Key]
    """Other keys of which no two rows of one parent have the same."""


@dataclass(frozen=True)
class Made:
    """A synthetic table."""

    cells: pa.Table
    """Columns of the sheet, text."""
    parents: dict[Key, np.ndarray]
    """Key -> (n,) rows of the parent table; -1: none. Of a key to a kept table, rows of that table."""


def frame_of(encoder: Encoder, cells: pa.Table) -> Any:
    """Cells as a typed frame with all columns of the encoder's schema; those that are not there are missing."""
    import pandas as pd

    known = tuple(one for one in encoder.schema.fields if one.name in cells.column_names)
    part = Chunk(cells, np.arange(len(cells)))
    frame = typed(part, Schema(known, None, encoder.schema.min_count), MISSING, "the rows above")
    columns: dict[str, Any] = {}
    for one in encoder.schema.fields:
        if one.name in frame:
            columns[one.name] = frame[one.name].array
        elif one.kind == "datetime":
            columns[one.name] = np.full(len(cells), np.datetime64("NaT", "us"))
        elif one.kind in NUMERIC:
            columns[one.name] = np.full(len(cells), np.nan)
        else:
            columns[one.name] = pd.array([None] * len(cells), dtype="str")
    return pd.DataFrame(columns)


class Rows:
    """Draws rows of one table; each call continues the same stream of random numbers and identifiers."""

    def __init__(self, trained: TableModel, key: jax.Array, seed: int):
        """`key` is of this table alone; `seed`, of its identifiers."""
        self._trained, self._key, self._seed = trained, key, seed
        self._calls = self._rows = 0

    def __call__(self, n: int, given: pa.Table | None, refused: Callable[[pa.Table], np.ndarray] | None) -> pa.Table:
        """Draws rows.

        Args:
            n: how many.
            given: (n, k) text of columns that are known; None: none.
            refused: says of rows (m,) which are to be drawn again, (m,) bool; it sees all n rows.

        Returns:
            (n, columns) text: the columns that are drawn and kept.
        """
        found = self._drawn(n, given)
        for _ in range(TRIES):
            wrong = ~self._keep_rules(found, given) | self._lacking(found)
            wrong |= refused(found) if refused else False
            rows = np.flatnonzero(wrong)
            if not len(rows):
                break
            again = self._drawn(len(rows), given and given.take(pa.array(rows)))
            place = np.arange(n)
            place[rows] = n + np.arange(len(rows))
            found = pa.concat_tables([found, again]).take(pa.array(place))
        self._rows += n
        return found

    def _lacking(self, found: pa.Table) -> np.ndarray:
        """(n,) bool: whether rows lack a value that no training row lacks: what a column is computed from may."""
        schema, lacking = self._trained.encoder.schema, np.zeros(len(found), bool)
        for one in schema.fields:
            if one.name in found.column_names and one.kind in (*NUMERIC, *DISCRETE) and not one.missing:
                lacking |= np.asarray(pc.equal(found.column(one.name), ""))
        return lacking

    def _keep_rules(self, found: pa.Table, given: pa.Table | None) -> np.ndarray:
        """(n,) bool: whether rows keep the rules that are not kept by construction."""
        plan = self._trained.encoder.plan
        if plan is None or not plan.left:
            return np.ones(len(found), bool)
        columns = [*(given.columns if given else ()), *found.columns]
        cells = pa.table(columns, names=[*(given.column_names if given else ()), *found.column_names])
        return plan.keeps(frame_of(self._trained.encoder, cells))

    def _drawn(self, n: int, given: pa.Table | None) -> pa.Table:
        trained, parts = self._trained, []
        block = BLOCKS[n > BLOCKS[0]]
        for start in range(0, n, block):
            m = min(block, n - start)
            some = given and given.slice(start, m)
            parts.append(self._block(m, block, some, self._rows + start))
        names = [name for name in trained.sheet.learnt if name in parts[0].column_names]
        return pa.concat_tables(parts).select(names).combine_chunks()

    def _block(self, n: int, block: int, given: pa.Table | None, start: int) -> pa.Table:
        """`n` rows, drawn as part of a block of fixed size, which is compiled once."""
        encoder = self._trained.encoder
        options, known = {}, None
        if given is not None and len(given.column_names):
            frame = frame_of(encoder, given)
            x = np.zeros((block, encoder.width), np.float32)
            x[:n] = encoder.encode(frame)
            mask = np.zeros(x.shape, bool)
            for column in encoder.columns:
                mask[:, column.start : column.start + column.size] = column.name in given.column_names
            options["given"] = (mask, x)
            learnt = encoder.learnt.names
            known = frame[[name for name in given.column_names if name in learnt]]
        key = jax.random.fold_in(self._key, self._calls)
        self._calls += 1
        drawn = sampling.draw(
            self._trained.model, self._trained.state, key, np.zeros(block, np.int32), block=block, **options
        )
        rows = encoder.decode(next(iter(drawn))[:n], seed=self._seed, start=start, given=known)
        kept = [name for name in self._trained.sheet.learnt if name in rows]
        return written(rows[kept], encoder.schema)


# --- tables ------------------------------------------------------------------------------------------------------


def whole_numbers(cells: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers of children, (n,) i64: 0 where missing."""
    text = pc.if_else(pc.equal(cells, ""), "0", cells)
    return np.maximum(np.rint(np.asarray(text.cast(pa.float64()))), 0).astype(np.int64)


def roots(trained: TableModel, draw: Rows, n: int) -> Made:
    """A table without a main key: `n` rows."""
    return Made(draw(n, None, None), {})


def children(trained: TableModel, draw: Rows, above: pa.Table, counts: np.ndarray) -> Made:
    """The rows of all parents, those of one parent together and in order.

    Args:
        trained: the model.
        draw: draws its rows.
        above: (m, columns) rows of the parent's sheet, text.
        counts: (m,) i64, how many rows each of them gets.
    """
    key = trained.sheet.table_keys.main
    assert key is not None
    cells, parent = _below(trained, draw, above, counts, 0)
    alone = round(trained.alone * len(parent))
    if alone:
        cells = pa.concat_tables([cells, _alone(trained, draw, alone)])
        parent = np.append(parent, np.full(alone, -1))
    return Made(cells.combine_chunks(), {key: parent})


def tree(trained: TableModel, draw: Rows, n: int, most: int) -> Made:
    """A table whose rows name one another: `n` rows without a parent, then those below them, level by level."""
    key = trained.sheet.table_keys.main
    assert key is not None
    cells, parent = _alone(trained, draw, n), np.full(n, -1)
    first, level = 0, 0
    while first < len(cells) and level < trained.deepest and len(cells) < most:
        above = cells.slice(first)
        counts = whole_numbers(above.column(trained.sheet.counts[key]))
        if not counts.any():
            break
        new, of = _below(trained, draw, above, counts, level + 1)
        parent, first, level = np.append(parent, of + first), len(cells), level + 1
        cells = pa.concat_tables([cells, new]).combine_chunks()
    return Made(_counted(cells, trained.sheet.counts[key], parent), {key: parent})


def _counted(cells: pa.Table, name: str, parent: np.ndarray) -> pa.Table:
    """Cells with the number of children that there are: those of the last level have none."""
    there = np.bincount(parent[parent >= 0], minlength=len(cells))
    return cells.set_column(cells.column_names.index(name), name, numbers_text(there))


def _no_rows(names: Iterable[str]) -> pa.Table:
    """A table of text without rows."""
    return pa.table({name: pa.array([], pa.string()) for name in names})


def _alone(trained: TableModel, draw: Rows, n: int) -> pa.Table:
    """Rows without a parent."""
    none = np.full(n, -1)
    sheet = trained.sheet
    above, before_all = _no_rows(sheet.above.values()), _no_rows(sheet.learnt)
    return draw(n, given_cells(sheet, above, none, np.zeros(n, np.int64), 0, (before_all, none)), None)


def _below(
    trained: TableModel, draw: Rows, above: pa.Table, counts: np.ndarray, level: int
) -> tuple[pa.Table, np.ndarray]:
    """The children of rows, of which one has any: text, and (n,) the row of `above` of each, ascending."""
    sheet, total = trained.sheet, int(counts.sum())
    first = np.cumsum(counts) - counts
    place = np.full(total, -1)
    parts: list[pa.Table] = []
    drawn = 0
    repeats = Repeats(trained.once, sheet)
    for start, stop in rounds(int(counts.max(initial=0))):
        size = np.clip(counts - start, 0, stop - start)
        parent = np.repeat(np.arange(len(counts)), size)
        position = start + np.arange(len(parent)) - np.repeat(np.cumsum(size) - size, size)
        earlier = before(position)
        source = np.where(earlier < 0, -1, place[np.maximum(first[parent] + earlier, 0)])
        so_far = pa.concat_tables(parts) if parts else _no_rows(sheet.learnt)
        given = given_cells(sheet, above, parent, position, level, (so_far, source))
        new = draw(len(parent), given, repeats.of(parent))
        repeats.add(parent, new)
        place[first[parent] + position] = drawn + np.arange(len(parent))
        drawn += len(parent)
        parts.append(new)
    return pa.concat_tables(parts).take(pa.array(place)).combine_chunks(), np.repeat(np.arange(len(counts)), counts)


class Repeats:
    """Finds rows that name, by another key, what an earlier row of the same parent names."""

    def __init__(self, once: frozenset[Key], sheet: Sheet):
        """`once`: keys of which no parent may have the same twice."""
        self._names = [sheet.chosen[key] for key in once]
        self._seen: list[set[tuple[int, str]]] = [set() for _ in self._names]

    def of(self, parent: np.ndarray) -> Callable[[pa.Table], np.ndarray] | None:
        """A function that says which rows (n,) of these parents repeat an earlier one, or one before in the table."""
        if not self._names:
            return None

        def repeated(rows: pa.Table) -> np.ndarray:
            found = np.zeros(len(rows), bool)
            for name, seen in zip(self._names, self._seen, strict=True):
                here: set[tuple[int, str]] = set()
                for i, pair in enumerate(zip(parent.tolist(), rows.column(name).to_pylist(), strict=True)):
                    found[i] |= pair[1] != "" and (pair in seen or pair in here)
                    here.add(pair)
            return found

        return repeated

    def add(self, parent: np.ndarray, rows: pa.Table) -> None:
        """Notes rows that are there."""
        for name, seen in zip(self._names, self._seen, strict=True):
            seen.update(zip(parent.tolist(), rows.column(name).to_pylist(), strict=True))


# --- what other keys name ----------------------------------------------------------------------------------------


def assign(wanted: np.ndarray, group: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chooses a row of another table for each of n rows.

    Args:
        wanted: (n,) text, the group from which it is to be; "" for none.
        group: (m,) text, the groups of the other table's rows.
        counts: (m,) by how many rows each is to be named.
        rng: of the choice.

    Returns:
        (n,) i64 rows of the other table; -1 where none is wanted. As long as a group has rows that are named less often
        than `counts` says, one of these is taken; then one of another group; then any.

    >>> wanted, group = np.array(["a", "b", "a", ""]), np.array(["a", "b"])
    >>> assign(wanted, group, np.array([2, 1]), np.random.default_rng(0)).tolist()
    [0, 1, 0, -1]
    """
    chosen = np.full(len(wanted), -1)
    slots = rng.permutation(np.repeat(np.arange(len(group)), counts))
    free = []
    for name in np.unique(group):
        rows, own = rng.permutation(np.flatnonzero(wanted == name)), slots[group[slots] == name]
        used = min(len(rows), len(own))
        chosen[rows[:used]] = own[:used]
        free.append(own[used:])
    left = np.flatnonzero((chosen < 0) & (wanted != ""))
    spare = rng.permutation(np.concatenate(free)) if free else np.zeros(0, np.int64)
    used = min(len(left), len(spare))
    chosen[left[:used]] = spare[:used]
    chosen[left[used:]] = rng.integers(max(len(group), 1), size=len(left) - used)
    return chosen


def without_repeats(main: np.ndarray, chosen: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Swaps what rows name, so that no two rows with the same `main` name the same.

    Args:
        main: (n,) parents of the rows.
        chosen: (n,) what they name; -1: nothing.
        wanted: (n,) groups; rows of one group are swapped first.
        rng: of the swaps.

    Returns:
        (n,) a permutation of `chosen`, in which few or no pairs repeat.
    """
    chosen = chosen.copy()
    pairs: dict[tuple[int, int], int] = {}
    for pair in zip(main.tolist(), chosen.tolist(), strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    _, code = np.unique(wanted, return_inverse=True)
    alike = [np.flatnonzero(code == i) for i in range(code.max(initial=-1) + 1)]
    named = np.flatnonzero(chosen >= 0)
    for row in named:
        for attempt in range(4 * TRIES):
            here = main[row], chosen[row]
            if pairs[here] < 2:
                break
            pool = alike[code[row]] if attempt < 2 * TRIES else named
            other = int(pool[rng.integers(len(pool))])
            there = main[other], chosen[other]
            new = (main[row], chosen[other]), (main[other], chosen[row])
            if main[row] == main[other] or chosen[other] < 0 or any(pairs.get(pair, 0) for pair in new):
                continue
            for pair, change in ((here, -1), (there, -1), (new[0], 1), (new[1], 1)):
                pairs[pair] = pairs.get(pair, 0) + change
            chosen[row], chosen[other] = chosen[other], chosen[row]
    return chosen


class Groups:
    """Groups of the rows of a table, by which rows of other tables choose among them: k-means of encoded rows."""

    MOST = 16

    def __init__(self, encoder: Encoder, cells: pa.Table, train: np.ndarray):
        """Of real rows as text, of which those with the numbers `train` decide."""
        from sklearn.cluster import KMeans

        self._encoder = encoder
        x = encoder.encode(frame_of(encoder, cells.take(pa.array(train))))
        self._mean, spread = x.mean(0), x.std(0)
        self._scale = np.where(spread > 0, spread, np.inf)
        k = int(np.clip(len(train) // 8, 1, self.MOST))
        self._found = KMeans(k, n_init=1, random_state=0).fit((x - self._mean) / self._scale)

    def __call__(self, cells: pa.Table) -> pa.Array:
        """(n,) text: the group of each row."""
        x = (self._encoder.encode(frame_of(self._encoder, cells)) - self._mean) / self._scale
        return pa.array([f"group {number}" for number in self._found.predict(x.astype(np.float32))])


def unknown_replaced(cells: pa.Array, known: pa.Array, real: pa.Array, rng: np.random.Generator) -> pa.Array:
    """Cells of a key to a kept table, with those that are none of its keys replaced by rare real ones.

    Args:
        cells: (n,) text; "" for none.
        known: the keys of the kept table.
        real: cells of training rows.
        rng: of the choice.
    """
    odd = ~np.asarray(pc.is_in(cells, value_set=known)) & ~np.asarray(pc.equal(cells, ""))
    if not odd.any():
        return cells
    pool = real.filter(pc.and_(pc.invert(pc.is_in(real, value_set=cells)), pc.not_equal(real, "")))
    pool = pool if len(pool) else known
    values = np.asarray(cells.to_numpy(zero_copy_only=False), object)
    values[odd] = pool.to_numpy(zero_copy_only=False)[rng.integers(len(pool), size=int(odd.sum()))]
    return pa.array(values, pa.string())
