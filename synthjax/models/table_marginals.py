r"""Tables from noisy marginals: counts of single columns and of pairs, which may be differentially private.

After MST (McKenna, Miklau & Sheldon 2021, arXiv:2108.04978) and AIM (McKenna et al. 2022, arXiv:2201.12677): measure
marginals, fit the least committed distribution that has them, draw rows. Those fit a Markov random field by exact
inference, whose cliques must stay small, and compile anew for each set of cliques. Here all pairs of columns can take
part, and shapes do not depend on what is measured. The columns x_1 (the label, if there is one), ..., x_C are drawn in
turn,

    p(x) = prod_c p_c(x_c | x_1 ... x_c-1),      p_c(t | x) ~ exp(b_c(t) + sum_{j < c} theta_jc(x_j, t)),

from logits that are sums over the columns before. Columns are discrete states (`nets.bins`).

**Measuring** (`nets.marginals`). Step 0 counts rows: the states of single columns, all pairs of columns, those with the
label with a larger share of the budget, and once more the pairs that show most dependence in these counts. Everything
that follows, the choice of these pairs included, is computed from the noisy counts. The strength of the noise is
estimated from them, too, by sums that would be equal without it.

**Fitting**. The conditional of column c maximises

    sum_j <theta_jc, M_jc> + <b_c, p_c> - E log Z_c(x_1 ... x_c-1) - 1/2 sum_j |theta_jc|^2_jc,

a concave function: logistic regression with moments M in place of rows. Its maximum has the measured marginals, up to
what the last term allows, and no interaction that they do not need. The expectation is over `chains` rows that are
drawn from the conditionals before. theta_jc is a sum of products of orthonormal functions of both columns; its penalty
is the variance of the noise of their moment, divided by its prior variance, which is estimated for each pair. The
method is accelerated gradient ascent (Nesterov 1983) with a step that is halved where the objective falls.

Sampling is ancestral. A number is drawn uniformly in its fine bin (`nets.fine_bins`), a category of a joint state by
its count. The likelihood is exact.

**Formal guarantees.** What the state and the metrics know of the rows are the results of the calls of `count` that
`releases` lists, no more than four, all in step 0. With z the noise multiplier of `count`, they cost together as much
as one Gaussian release with noise multiplier z. Neighbours differ by one row of weight 1 that is added or removed. It
adds 1 to one entry of each table of k tables that are counted at once: L2 sensitivity sqrt(k). Bins, categories and
numbers of rows in fine bins are those of the spec: they are public, or have been paid for before. Rows of other weights
are scaled to a mean weight of 1, and are not covered.

    model = build(Config(), spec, count=count)
    state, metrics = model.step(key, 0, model.init(key), batch)             # batch: the whole training set
    x = model.sample(key, state, labels)

    >>> key, y = jax.random.key(0), jnp.arange(400) % 2
    >>> x = jnp.stack([y, (y + jnp.arange(400) // 4) % 2], axis=1).astype(jnp.float32)  # the first column is the label
    >>> spec = DataSpec.from_arrays(jax.device_get(x), jax.device_get(y))
    >>> model = build(Config(chains=256), spec)
    >>> batch = Batch(x, y, jnp.ones(400), jnp.arange(400))
    >>> state, _ = jax.jit(model.step)(key, 0, model.init(key), batch)
    >>> bool(jnp.mean(model.sample(key, state, y)[:, 0] == y) > 0.95)
    True
    >>> [(name, round(noise, 2)) for name, _, noise, *_ in releases(Config(), spec)][:2]
    [('counts of single columns', 3.16), ('pairs with the label', 1.83)]
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import marginals
from synthjax.nets.bins import Layout, check, check_counts, choose
from synthjax.nets.chunks import total
from synthjax.nets.fine_bins import FineBins
from synthjax.nets.joint_states import Columns
from synthjax.nets.logits import Conditional
from synthjax.nets.marginals import Release
from synthjax.train import optim

_TINY = 1e-30
_NONE = np.float32(-1e30)  # logit of what is impossible
_STRICT = 1e-6  # least penalty, for what is measured without noise


@dataclass(frozen=True)
class Config:
    """What is measured, how precisely, and how it is fitted."""

    bins: int = 16
    """Maximum number of bins of a numeric column."""
    categories: int = 64
    """Maximum number of states of a categorical column; its rarest categories share one."""
    share_single: float = 0.1
    """Share of the budget for the counts of single columns. The four shares are scaled to sum to 1."""
    share_label: float = 0.3
    """Share for the pairs of a column and the label."""
    share_pairs: float = 0.3
    """Share for all other pairs."""
    share_again: float = 0.3
    """Share for those of the other pairs that are measured again."""
    again: float = 2.0
    """Number of pairs that are measured again, divided by the number of columns."""
    smoothness: float = 0.7
    """How far neighbouring bins are thought to be alike, from 0 (not at all) to 1; see `nets.marginals.basis`."""
    length: float = 0.3
    """Distance, as a share of the rows, over which bins are alike."""
    fine: int = 16
    """Maximum number of fine bins in a bin."""
    chains: int = 16384
    """Number of rows that stand for the distribution of the columns before."""
    iterations: int = 60
    """Gradient steps for each column."""
    conditional: bool = True
    """Whether samples have the requested labels, if the data has labels."""
    batch_size: int = 4096
    """Number of rows that are counted at once. A step takes the whole training set."""
    steps: int = 1
    """Number of training steps; one is enough."""

    def __post_init__(self):
        check_counts(self, "categories", "fine", "chains", "iterations", "batch_size")
        for name in ("share_single", "share_label", "share_pairs", "share_again", "length"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"model.{name}={getattr(self, name)}: must be a finite number above 0")
        if not 0 <= self.again < math.inf:
            raise InputError(f"model.again={self.again}: must be a finite number, at least 0")
        if not 0 <= self.smoothness <= 1:
            raise InputError(f"model.smoothness={self.smoothness}: must be at least 0 and at most 1")


PRESETS = {"table_marginals": Config()}


class State(NamedTuple):
    """The fitted conditionals."""

    weight: jax.Array
    """(C, W, S) f32 theta of column c at each state of the columns before; 0 elsewhere."""
    bias: jax.Array
    """(C, S) f32 b."""
    share: jax.Array
    """(states of the layout,) f32 probability of a state among those that are joined with it."""
    loss: jax.Array
    """() f32 estimate of the mean of -log p(x) over the rows, nats, for the joint states."""
    noise: jax.Array
    """() f32 estimate of the noise multiplier of `count`."""


# --- measuring ---------------------------------------------------------------------------------------------------


def _plan(config: Config, layout: Layout) -> dict[str, Release]:
    """The calls of `count`, by the names that `marginals.Measure` has for them."""
    columns, labelled = len(layout.sizes), layout.labelled
    with_label = (columns - 1) * labelled
    others = math.comb(columns, 2) - with_label
    tables = {
        "single": ("counts of single columns", columns),
        "label": ("pairs with the label", with_label),
        "pairs": ("pairs without the label", others),
        "again": ("pairs that depend most", min(others, round(config.again * columns))),
    }
    shares = {part: getattr(config, f"share_{part}") for part, (_, count) in tables.items() if count}
    whole = sum(shares.values())
    return {part: Release(*tables[part], share / whole) for part, share in shares.items()}


def releases(config: Config, spec: DataSpec) -> list[tuple[str, str, float, float, int]]:
    """The calls of `count` in a training: (name, mechanism, noise, sampling rate, number of times) each.

    The noise is 1 / sqrt(share): its standard deviation over the L2 sensitivity, for a noise multiplier of 1.
    """
    check("table_marginals", spec)
    plan = _plan(config, Layout(spec, config.bins))
    return [(one.name, "discrete gaussian", 1 / math.sqrt(one.share), 1.0, 1) for one in plan.values()]


# --- fitting -----------------------------------------------------------------------------------------------------


def _fit(
    config: Config, columns: Columns, key: jax.Array, found: marginals.Basis, p: jax.Array, seen: marginals.Signal
):
    """Fits the conditionals, column by column, each to rows that are drawn from those before.

    Args:
      config: of the model.
      columns: of the table.
      key: for these rows.
      found: functions of the states.
      p: (W,) f32 probability of each state.
      seen: moments of the pairs.

    Returns:
      `State.weight`, `State.bias` and `State.loss`.
    """
    width, count = len(columns.of), len(columns.padded)

    def visit(features, inputs):
        c, key, functions, p, index = inputs
        before = (columns.of < c)[:, None]
        moments, noise, prior = (jnp.pad(a, ((0, 0), (0, 1)))[:, index] * before for a in seen[:3])
        penalty = jnp.maximum(noise / jnp.maximum(prior, 1e-20), _STRICT)
        moments = jnp.where(prior > 0, moments, 0)
        conditional = Conditional(features, functions, p, moments, jnp.where(prior > 0, penalty, 1e9))
        theta, b = conditional.maximise(config.iterations, 1 / (1 + jnp.sqrt(c.astype(jnp.float32))))
        logits = conditional.logits(theta, b)
        likelihood = conditional.likelihood(theta, b, jax.nn.logsumexp(logits, axis=1))
        drawn = functions[choose(key, jnp.cumsum(jax.nn.softmax(logits, axis=1), axis=1))]
        features = jnp.pad(features, ((0, 0), (0, 1))).at[:, index].set(drawn)[:, :-1]
        return features, (theta @ functions.T, jnp.where(p > 0, b, _NONE), likelihood)

    order = jnp.arange(count, dtype=jnp.int32)
    inputs = order, jax.random.split(key, count), found.functions, columns.pad(p), jnp.asarray(columns.padded)
    theta, b, likelihood = jax.lax.scan(visit, jnp.zeros((config.chains, width), jnp.float32), inputs)[1]
    return jnp.einsum("sk,ckt->cst", seen.matrix, theta), b, -likelihood.sum()


def _count(config: Config, columns: Columns, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Numbers of rows in each state of the layout, and with each pair of the W states, (W, W); exact."""
    layout = columns.layout
    mean = batch.weight.sum() / jnp.maximum((batch.weight > 0).sum(), 1)

    def part(chunk: Batch) -> tuple[jax.Array, jax.Array]:
        states = layout.flat_index(layout.states(chunk.x, chunk.y))
        single = jnp.zeros(len(columns.group), jnp.float32).at[states].add(chunk.weight[:, None])
        onehot = columns.onehot(columns.states(chunk.x, chunk.y))
        return single, (onehot * chunk.weight[:, None]).T @ onehot

    return total(part, batch._replace(weight=batch.weight / jnp.maximum(mean, 1e-9)), config.batch_size)


@dataclass(frozen=True, eq=False)
class _Drawing:
    """Sampling and likelihood of the fitted conditionals."""

    columns: Columns
    fine: FineBins
    conditional: bool

    def _visit(self, onehot, conditional, state):
        """Logits of a column given those before, and the rows with its states, which `state` draws or names."""
        weight, bias, index = conditional
        logits = onehot @ weight + bias[None]
        drawn = state(logits)
        size = self.columns.padded.shape[1]
        onehot = jnp.pad(onehot, ((0, 0), (0, 1))).at[:, index].set(jax.nn.one_hot(drawn, size, dtype=jnp.float32))
        return onehot[:, :-1], logits, drawn

    def sample(self, key, state: State, labels):
        key_states, key_joint, key_part, key_value = jax.random.split(key, 4)

        def draw(onehot, inputs):
            c, key, *conditional_of = inputs

            def choose_state(logits):
                drawn = choose(key, jnp.cumsum(jax.nn.softmax(logits, axis=1), axis=1))
                return jnp.where(c == 0, labels.astype(jnp.int32), drawn) if self.conditional else drawn

            onehot, _, drawn = self._visit(onehot, conditional_of, choose_state)
            return onehot, drawn

        columns, count = self.columns, len(self.columns.padded)
        places = jnp.asarray(columns.padded)
        inputs = jnp.arange(count), jax.random.split(key_states, count), state.weight, state.bias, places
        states = jax.lax.scan(draw, jnp.zeros((len(labels), len(columns.of)), jnp.float32), inputs)[1].T
        states = columns.separate(key_joint, state.share, states)
        parts_cdf = jnp.asarray(np.cumsum(np.exp(self.fine.log_shares), axis=-1))
        parts = choose(key_part, parts_cdf[jnp.arange(count)[None], states])
        return self.fine.decode(key_value, states, parts)

    def log_prob(self, key, state: State, batch: Batch):
        """log p(x, y) of the states: (B,) f32, nats."""
        columns, layout = self.columns, self.columns.layout
        states = columns.states(batch.x, batch.y)

        def add(carry, inputs):
            onehot, log_p = carry
            own, *conditional_of = inputs
            onehot, logits, _ = self._visit(onehot, conditional_of, lambda _: own)
            return (onehot, log_p + jnp.take_along_axis(jax.nn.log_softmax(logits), own[:, None], axis=1)[:, 0]), None

        start = jnp.zeros((len(states), len(columns.of)), jnp.float32), jnp.zeros(len(states), jnp.float32)
        log_p = jax.lax.scan(add, start, (states.T, state.weight, state.bias, jnp.asarray(columns.padded)))[0][1]
        whole = layout.flat_index(layout.states(batch.x, batch.y))
        return log_p + jnp.log(jnp.maximum(state.share, _TINY))[whole].sum(axis=1)

    def score(self, key, state: State, batch: Batch):
        return -self.log_prob(key, state, batch)


def build(
    config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad, count: optim.Count = optim.exact_count
) -> Model:
    """A model of noisy marginals, measured by `count`. It is not trained by gradients, so `grad` is not used.

    Raises:
      InputError: the data is not a table, or its spec has no statistics.
    """
    check("table_marginals", spec)
    layout = Layout(spec, config.bins)
    columns, fine = Columns(layout, max(config.categories, 2)), FineBins(layout, config.fine)
    measure = marginals.Measure(_plan(config, layout), columns, count)
    kernel = config.smoothness, config.length

    def init(key) -> State:
        count, width, size = len(columns.padded), len(columns.of), columns.padded.shape[1]
        bias = jnp.where(columns.pad(jnp.asarray(columns.possible, jnp.float32)) > 0, jnp.float32(0), _NONE)
        weight, share = jnp.zeros((count, width, size), jnp.float32), jnp.zeros(len(columns.group), jnp.float32)
        return State(weight, bias, columns.shares(share), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    def fit(key, batch: Batch) -> State:
        key_first, key_again, key_fit = jax.random.split(key, 3)
        single, pairs = _count(config, columns, batch)
        single, found = measure.first(key_first, single, pairs)
        z2, p, rows = marginals.consistent(columns, found)
        seen = marginals.signal(columns, found, marginals.basis(columns, p, *kernel), z2, rows)
        found = measure.again(key_again, pairs, found, seen.gain(columns))
        _, p, rows = marginals.consistent(columns, found)
        functions = marginals.basis(columns, p, *kernel)
        seen = marginals.signal(columns, found, functions, z2, rows)
        weight, bias, loss = _fit(config, columns, key_fit, functions, p, seen)
        return State(weight, bias, columns.shares(single), loss, jnp.sqrt(z2))

    def step(key, i, state: State, batch: Batch):
        # Stays a branch under `vmap` over seeds, since i is not batched.
        state = jax.lax.cond(i == 0, lambda: fit(key, batch), lambda: state)
        return state, {"loss": state.loss, "noise": state.noise}

    drawing = _Drawing(columns, fine, config.conditional and spec.n_classes > 0)
    functions = init, step, drawing.sample, drawing.score, drawing.log_prob
    model = Model(*functions, "exact", "bins", drawing.conditional, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
