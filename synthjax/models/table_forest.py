r"""Random forests for tables: p(x) = prod_c p(x_c | the columns before c), each conditional the mean over trees.

    p_t(x_c | columns before c) = (rows with x_c in the leaf + a q(x_c)) / (rows in the leaf + a)

q are the frequencies of the column and a is `smoothing`. Each column is a discrete state (`nets.bins`) and has its own
tree in each step. Its splits look at the columns before it, numbers by their fine bins (`nets.fine_bins`). A leaf holds
the states of all training rows that reach it. To draw a column, a row goes down a random tree and takes one of these
states; a number is drawn from the fine bins of its state. The label is the first column. The likelihood is exact.

This is the sequential synthesis of Reiter (2005, Journal of Official Statistics 21) with the random forests of Caiola &
Reiter (2010, Transactions on Data Privacy 3). Of each node, one random split for each column is looked at, as in extra
trees (Geurts, Ernst & Wehenkel 2006, Machine Learning 63). The best is the one that moves most the means of random
features of the state, as in distributional random forests (Cevid et al. 2022, JMLR 23): it sees the whole conditional
distribution, not its mean alone. Random features of a category make the criterion the Gini index in expectation.
Categories are ordered once for each tree, by the mean of the first feature (Wright & König 2019, PeerJ 7).

The model needs no choice of steps and few rows: it is for tables of some hundreds to some ten thousand rows.

NOT PRIVATE: the state contains the training rows, as the states in the leaves.

    model = build(Config(), spec)
    for i in range(config.steps): state, metrics = model.step(keys[i], i, state, batch)     # batch: all training rows
    x = model.sample(key, state, labels)

    >>> key, y = jax.random.key(0), np.arange(80) % 2
    >>> x = np.float32(10 * y + np.arange(80) % 3)[:, None]
    >>> model = build(Config(leaf=5), DataSpec.from_arrays(x, y))
    >>> batch = Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(80), jnp.arange(80))
    >>> state, _ = jax.jit(model.step)(key, 0, model.init(key), batch)
    >>> drawn = model.sample(key, state, jnp.asarray(y))
    >>> float((drawn[:, 0] // 10 == y).mean()) > 0.9  # the label decides the tens, but for the smoothing
    True
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import Layout, check, check_counts, choose
from synthjax.nets.fine_bins import FineBins
from synthjax.train import optim

BAG = 0.632
"""Share of the rows that choose the splits of a tree: that of different rows in a bootstrap sample."""
FEATURES = 3
"""Random features of a state. The first one of a number is its rank."""
SEEN = 64
"""Maximum number of columns that a tree looks at, drawn at random among those before its own."""
FREQUENCY = 5.0
"""Standard deviation of the frequencies of the others: their waves have about one period over all ranks, 0 to 1."""


@dataclass(frozen=True)
class Config:
    """The trees."""

    leaf: int = 8
    """Least number of rows of a bag in a leaf. With fewer, samples are more faithful and disclose more."""
    smoothing: float = 0.05
    """Weight of the column's frequencies in a leaf, in rows, > 0."""
    depth: int = 14
    """Maximum number of splits above a leaf, at most 14."""
    bins: int = 128
    """Maximum number of bins of a numeric column."""
    fine: int = 16
    """Maximum number of fine bins in a bin."""
    batch_size: int = 20_000
    """Maximum number of rows that choose the splits of a tree. A step takes the whole training set."""
    steps: int = 20
    """Number of trees for each column, one in each step."""

    def __post_init__(self):
        check_counts(self, "leaf", "depth", "fine", "batch_size", "steps")
        if self.depth > 14:
            raise InputError(f"model.depth={self.depth}: must be at most 14")
        if not 0 < self.smoothing < math.inf:
            raise InputError(f"model.smoothing={self.smoothing}: must be a number above 0")


PRESETS = {"table_forest": Config()}


class State(NamedTuple):
    """T trees for each of the C columns, of M leaves each. Node n > 0 has the children 2 n and 2 n + 1."""

    column: jax.Array
    """(T, C, M) i32 column at which a node looks."""
    split: jax.Array
    """(T, C, M) i32 largest place of a value that goes right: rank of its state times fine bins, plus its fine bin; -1:
    all go left."""
    order: jax.Array
    """(T, C, W) i32 rank of each of the W states in its column, as the tree's splits see it."""
    rows: jax.Array
    """(T, C, N) i32 states of the training rows plus S times their leaf, ascending; S M for unused entries."""
    starts: jax.Array
    """(T, C, M + 1) i32 first entry of each leaf in `rows`, and the number of rows; 0 before the tree's step."""


@dataclass(frozen=True)
class Trees:
    """What all trees of a table share."""

    config: Config
    fine: FineBins

    @property
    def layout(self) -> Layout:
        """The bins."""
        return self.fine.layout

    @functools.cached_property
    def depth(self) -> int:
        """Splits above a leaf: two more than a balanced tree would have."""
        balanced = math.log2(max(self.layout.spec.rows / self.config.leaf, 1))
        return min(math.ceil(balanced) + 2, self.config.depth)

    @property
    def leaves(self) -> int:
        """M, the number of leaves."""
        return 2**self.depth

    @functools.cached_property
    def parts(self) -> int:
        """Fine bins in a bin."""
        return self.fine.log_shares.shape[2]

    @functools.cached_property
    def frequencies(self) -> np.ndarray:
        """(C, S) f32 frequency of each state, 0 where a column has fewer."""
        flat = np.append(self.layout.marginal, np.float32(0))
        return flat[self.layout.padded]

    @functools.cached_property
    def is_number(self) -> np.ndarray:
        """(C,) bool."""
        return np.isin(np.arange(len(self.layout.sizes)), self.layout.numeric_indices)

    def codes(self, batch: Batch) -> jax.Array:
        """(B, C) i32 state times `parts` plus the fine bin, of each value."""
        states = self.layout.states(batch.x, batch.y)
        return states * self.parts + self.fine.parts(batch.x, states)

    def features(self, key: jax.Array, column: jax.Array) -> jax.Array:
        """(S, FEATURES) f32 random features of the states of a column."""
        share = self.frequencies
        rank = jnp.asarray(np.cumsum(share, axis=1) - share / 2)[column][:, None]
        key_wave, key_phase, key = jax.random.split(key, 3)
        wave = FREQUENCY * jax.random.normal(key_wave, (1, FEATURES - 1), jnp.float32)
        phase = jax.random.uniform(key_phase, (1, FEATURES - 1), jnp.float32, 0, 2 * np.pi)
        number = jnp.concatenate([12**0.5 * rank, 2**0.5 * jnp.cos(rank * wave + phase)], axis=1)
        normal = jax.random.normal(key, number.shape, jnp.float32)
        missing = np.arange(len(normal)) == self.layout.bins
        return jnp.where(jnp.asarray(self.is_number)[column] & ~missing[:, None], number, normal)

    def ranks(self, y: jax.Array, states: jax.Array, weight: jax.Array) -> jax.Array:
        """(W,) i32 order of the states of each column, categories by the mean of y (n,), of rows (n, C)."""
        index, (column, state) = self.layout.flat_index(states), self.layout.flat
        zeros = jnp.zeros(len(state), jnp.float32)
        rows, total = zeros.at[index].add(weight[:, None]), zeros.at[index].add((weight * y)[:, None])
        mean = (total + (weight * y).sum() / jnp.maximum(weight.sum(), 1)) / (rows + 1)
        key = jnp.where(self.is_number[column], state.astype(np.float32), mean)
        place = np.arange(len(state), dtype=np.int32) - self.first[column]
        return jnp.zeros_like(place).at[jnp.lexsort((key, jnp.asarray(column)))].set(place)

    @functools.cached_property
    def first(self) -> np.ndarray:
        """(C,) i32 index of the first state of each column among the W of all."""
        return np.cumsum([0, *self.layout.sizes[:-1]], dtype=np.int32)

    def leaf(self, state: State, tree: jax.Array | int, column: jax.Array | int, codes: jax.Array) -> jax.Array:
        """(B,) i32 leaf of each row (B, C) in trees, () or (B,) i32, of a column."""

        def down(_, at: jax.Array) -> jax.Array:
            by = state.column[tree, column, at]
            own = jnp.take_along_axis(codes, by[:, None], axis=1)[:, 0]
            rank = state.order[tree, column, jnp.asarray(self.first)[by] + own // self.parts]
            right = rank * self.parts + own % self.parts <= state.split[tree, column, at]
            return 2 * at + right.astype(jnp.int32)

        return jax.lax.fori_loop(0, self.depth, down, jnp.ones(len(codes), jnp.int32)) - self.leaves

    def grow(self, key: jax.Array, codes: jax.Array, weight: jax.Array, column: jax.Array):
        """Columns and splits, (M,) i32 each, and order (W,) of a tree, from rows (n, C) of weight (n,) 0 or 1."""
        most = self.leaves // 2
        key, key_features, key_seen = jax.random.split(key, 3)
        u = jax.random.uniform(key_seen, (codes.shape[1],), jnp.float32)
        seen = jnp.argsort(jnp.where(np.arange(len(u)) < column, u, 2.0))[:SEEN].astype(jnp.int32)
        states = codes // self.parts
        y = self.features(key_features, column)[states[:, column]] * weight[:, None]
        order = self.ranks(y[:, 0], states, weight)
        places = (order[self.layout.flat_index(states)] * self.parts + codes % self.parts)[:, seen]

        def level(carry, inputs):
            """Splits the nodes of one level, of which there are 2^d."""
            (at, columns, splits), (d, key) = carry, inputs
            own = at - (1 << d)
            total = functools.partial(jax.ops.segment_sum, segment_ids=own, num_segments=most)
            tried = self._tried(key, places, jnp.where(weight > 0, own, most))
            right = (places <= tried[own]) * weight[:, None]
            n, n_right = total(weight)[:, None], total(right)
            m_right = jnp.stack([total(right * y[:, p : p + 1]) for p in range(FEATURES)])
            m_left = total(y).T[:, :, None] - m_right
            gain = (m_right**2).sum(0) / jnp.maximum(n_right, 1) + (m_left**2).sum(0) / jnp.maximum(n - n_right, 1)
            gain -= (total(y) ** 2).sum(1)[:, None] / jnp.maximum(n, 1)
            enough = jnp.minimum(n_right, n - n_right) >= self.config.leaf
            gain = jnp.where(enough & (seen < column)[None], gain, 0)
            best = gain.argmax(axis=1).astype(jnp.int32)
            split = jnp.where(gain.max(axis=1) > 0, tried[np.arange(most), best], -1)
            where = jnp.where(np.arange(most) < (1 << d), np.arange(most, dtype=np.int32) + (1 << d), 2 * most)
            place = jnp.take_along_axis(places, best[own][:, None], axis=1)[:, 0]
            at = 2 * at + (place <= split[own]).astype(jnp.int32)
            return (at, columns.at[where].set(seen[best], mode="drop"), splits.at[where].set(split, mode="drop")), None

        start = (jnp.ones(len(codes), jnp.int32), jnp.zeros(2 * most, jnp.int32), jnp.full(2 * most, -1, jnp.int32))
        levels = jnp.arange(self.depth, dtype=jnp.int32), jax.random.split(key, self.depth)
        (_, columns, splits), _ = jax.lax.scan(level, start, levels)
        return columns, splits, order

    def _tried(self, key: jax.Array, places: jax.Array, node: jax.Array) -> jax.Array:
        """(M / 2, seen) i32 places of a random row of each node, another one for each column.

        `node` (n,) is 0 ... M / 2 - 1 in a level; M / 2 for rows that do not count.
        """
        most = self.leaves // 2
        order = jnp.argsort(node)
        bounds = jnp.searchsorted(node[order], jnp.arange(most + 1, dtype=jnp.int32)).astype(jnp.int32)
        u = jax.random.uniform(key, (most, places.shape[1]), jnp.float32) * (1 - 1e-6)
        index = bounds[:-1, None] + jnp.floor(u * (bounds[1:] - bounds[:-1])[:, None]).astype(jnp.int32)
        return places[order[jnp.minimum(index, len(places) - 1)], np.arange(places.shape[1])[None]]

    def fit(
        self, key: jax.Array, codes: jax.Array, is_row: jax.Array, bag: jax.Array, column: jax.Array
    ) -> tuple[State, jax.Array]:
        """A tree for a column, and its mean negative log-likelihood of the states of rows that are left out in turn.

        `codes` (N, C) are those of all rows where `is_row` (N,) is True; `bag` (n,) are indices of those that choose
        the splits.
        """
        size = self.frequencies.shape[1]
        by, split, order = self.grow(key, codes[bag], is_row[bag].astype(jnp.float32), column)
        none = jnp.zeros((1, 1, 0), jnp.int32)
        one = State(by[None, None], split[None, None], order[None, None], none, none)
        leaf, own = self.leaf(one, 0, 0, codes), codes[:, column] // self.parts
        rows = jnp.sort(jnp.where(is_row, leaf * size + own, self.leaves * size))
        starts = jnp.searchsorted(rows, jnp.arange(self.leaves + 1, dtype=jnp.int32) * size).astype(jnp.int32)
        share = self.share(rows, starts, column, leaf, own, 1)
        loss = jnp.where(is_row, -jnp.log(jnp.maximum(share, 1e-9)), 0).sum()
        return State(by, split, order, rows, starts), loss / jnp.maximum(is_row.sum(dtype=jnp.float32), 1)

    def share(
        self, rows: jax.Array, starts: jax.Array, column: jax.Array, leaf: jax.Array, states: jax.Array, less: int = 0
    ) -> jax.Array:
        """(B,) f32 probability of states (B,) of a column in leaves (B,) of a tree, see `State`.

        `less` rows with the state are left out of each.
        """
        entry, a = leaf * self.frequencies.shape[1] + states, self.config.smoothing
        low, high = (jnp.searchsorted(rows, entry, side=side) for side in ("left", "right"))
        same, size = ((n - less).astype(jnp.float32) for n in (high - low, starts[leaf + 1] - starts[leaf]))
        return (same + a * jnp.asarray(self.frequencies)[column, states]) / (size + a)

    def grown(self, state: State) -> jax.Array:
        """Number of trees of each column, at least 1: an empty one, whose leaves have the column's frequencies."""
        return jnp.maximum((state.starts[:, 0, -1] > 0).sum(dtype=jnp.int32), 1)

    def draw(self, key: jax.Array, state: State, codes: jax.Array, column: jax.Array) -> jax.Array:
        """(B,) i32 codes of a column given those before it, of rows (B, C)."""
        key_tree, key_row, key_other, key_part = jax.random.split(key, 4)
        u_tree, u_row = (jax.random.uniform(k, (len(codes),), jnp.float32) * (1 - 1e-6) for k in (key_tree, key_row))
        t = jnp.floor(u_tree * self.grown(state)).astype(jnp.int32)
        leaf = self.leaf(state, t, column, codes)
        start, stop = state.starts[t, column, leaf], state.starts[t, column, leaf + 1]
        place = start + jnp.floor(u_row * (stop - start + self.config.smoothing)).astype(jnp.int32)
        size = self.frequencies.shape[1]
        own = state.rows[t, column, jnp.minimum(place, state.rows.shape[2] - 1)] - leaf * size
        cdf = jnp.cumsum(jnp.asarray(self.frequencies)[column])
        drawn = jnp.where(place < stop, own, choose(key_other, jnp.broadcast_to(cdf[None], (len(codes), size))))
        part = choose(key_part, jnp.cumsum(jnp.exp(jnp.asarray(self.fine.log_shares)[column, drawn]), axis=-1))
        return drawn * self.parts + part

    def log_p(self, state: State, codes: jax.Array, column: jax.Array) -> jax.Array:
        """(B,) f32 log probability of the states and fine bins of a column given those before it, nats."""
        own, part, count = codes[:, column] // self.parts, codes[:, column] % self.parts, self.grown(state)

        def of_tree(t: jax.Array) -> jax.Array:
            leaf = self.leaf(state, t, column, codes)
            share = self.share(state.rows[t, column], state.starts[t, column], column, leaf, own)
            return jnp.where(t < count, share, 0)

        share = jax.lax.map(of_tree, jnp.arange(self.config.steps, dtype=jnp.int32)).sum(axis=0) / count
        return jnp.log(jnp.maximum(share, 1e-30)) + jnp.asarray(self.fine.log_shares)[column, own, part]


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """Forests of a table. They are not trained by gradients, so `grad` is not used.

    Raises:
      InputError: the data is no table, its spec has no statistics, or `grad` is private.
    """
    optim.refuse_private(grad, True, "table_forest keeps training rows in its leaves; take another model")
    check("table_forest", spec)
    trees = Trees(config, FineBins(Layout(spec, config.bins), config.fine))
    count, size = trees.frequencies.shape
    columns = jnp.arange(count, dtype=jnp.int32)

    def init(key) -> State:
        def full(length: int, value: int) -> jax.Array:
            return jnp.full((config.steps, count, length), value, jnp.int32)

        m, w = trees.leaves, sum(trees.layout.sizes)
        return State(full(m, 0), full(m, -1), full(w, 0), full(spec.rows, size * m), full(m + 1, 0))

    def step(key, i, state: State, batch: Batch):
        kept = jnp.argsort(batch.weight <= 0, stable=True)[: spec.rows]
        codes, is_row = trees.codes(batch)[kept], batch.weight[kept] > 0
        key, key_bag = jax.random.split(key)
        u = jnp.where(is_row, jax.random.uniform(key_bag, is_row.shape, jnp.float32), jnp.inf)
        bag = jnp.argsort(u)[: min(math.ceil(BAG * spec.rows), config.batch_size)]

        def of_column(inputs: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            key, column = inputs
            return trees.fit(key, codes, is_row, bag, column)

        new, loss = jax.lax.map(of_column, (jax.random.split(key, count), columns))
        return State(*(old.at[i].set(own) for old, own in zip(state, new, strict=True))), {"loss": loss.sum()}

    def sample(key, state: State, labels):
        key, key_value = jax.random.split(key)

        def add(codes, inputs):
            key, column = inputs
            new = trees.draw(key, state, codes, column)
            if spec.n_classes:
                new = jnp.where(column == 0, jnp.asarray(labels, jnp.int32) * trees.parts, new)
            return jax.lax.dynamic_update_index_in_dim(codes, new, column, 1), None

        codes, _ = jax.lax.scan(
            add, jnp.zeros((len(labels), count), jnp.int32), (jax.random.split(key, count), columns)
        )
        return trees.fine.decode(key_value, codes // trees.parts, codes % trees.parts)

    def log_prob(key, state: State, batch: Batch):
        """log p(x, y) of the states and fine bins: (B,) f32, nats."""
        codes = trees.codes(batch)
        return jax.lax.map(lambda column: trees.log_p(state, codes, column), columns).sum(axis=0)

    def score(key, state: State, batch: Batch):
        return -log_prob(key, state, batch)

    model = Model(init, step, sample, score, log_prob, "exact", "bins", spec.n_classes > 0, "dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
