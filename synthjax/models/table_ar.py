r"""A table's columns one after the other: p(x) = prod_c p(x_c | the columns before it).

Columns are states (`nets.bins`), each state has an embedding, and each column a small network of its own that sees the
embeddings of the columns before it in the order (zeros stand for the others, as masked weights do in Uria et al. 2016,
arXiv:1605.02226; per-column networks over embeddings: Tiwald et al. 2025, TabularARGN, arXiv:2501.12012). All columns
are trained at once by maximum likelihood; a row is drawn column by column in one `lax.scan`. The label comes first, so
that samples of a given label need no search. Numbers come back uniform in their bin. The likelihood is exact.

    model = build(Config(), spec)
    state = model.init(key, batch)                                     # batch: the whole training set
    for i in range(config.steps): state, metrics = model.step(key, i, state, batch)
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.bins import Bins, Layout, check, choose, fit
from synthjax.train import optim

_NEVER = -30.0  # logit of a state that no training row is in


@dataclass(frozen=True)
class Config:
    """The networks, and how they are trained. Defaults suit tens of thousands of rows."""

    order: tuple[str, ...] = ()
    """Names of the columns that come first after the label; the others follow as in the table."""
    bins: int = 128
    """Most bins of a numeric column."""
    embedding: int = 16
    """Numbers that a state is seen as."""
    hidden: int = 32
    """Width of both hidden layers of each column."""
    dropout: float = 0.1
    """Share of the hidden units that training leaves out."""
    conditional: bool = True
    """Samples take the labels they are given, where the data has any."""
    batch_size: int = 256
    """Rows of a step, drawn with replacement from the training set, all of which the step is handed."""
    steps: int = 600
    """Training steps; the learning rate falls to 0 (cosine) over them. Too many learn rows by heart: on 16,281 rows of
    Adult twice as many already bring samples nearer to training rows than to unseen ones (RESULTS.md)."""
    learning_rate: float = 2e-3
    """Adam's, after a linear warm-up of `warmup` steps."""
    warmup: int = 100
    clip: float = 5.0
    """Largest global norm of a gradient, which is that of nats per row."""
    ema_decay: float = 0.995
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""


PRESETS = {"table_ar": Config()}


class State(NamedTuple):
    """What training carries along."""

    bins: Bins
    marginal: jax.Array
    """(W,) frequency of each state of each column."""
    params: Any
    ema: Any
    opt: optax.OptState


def _check(config: Config, spec: DataSpec) -> None:
    check("table_ar", spec, config.bins)
    for name in ("embedding", "hidden", "batch_size"):
        if getattr(config, name) < 1:
            raise InputError(f"model.{name}={getattr(config, name)}: must be at least 1")
    if not 0 <= config.dropout < 1:
        raise InputError(f"model.dropout={config.dropout}: must be at least 0 and below 1")


def order(config: Config, layout: Layout) -> np.ndarray:
    """(C,) columns in the order in which they are drawn.

    Raises:
      InputError: a name in `config.order` is not a column, or twice there.
    """
    names = [column.name for column in layout.columns]
    for place, name in enumerate(config.order):
        if name not in names:
            raise InputError(f"model.order: {name!r} is not a column of the table that can be placed")
        if name in config.order[:place]:
            raise InputError(f"model.order: {name!r} is named twice")
    first = [names.index(name) for name in config.order]
    rest = [place for place, name in enumerate(names) if name not in config.order]
    return np.asarray([0] * layout.labelled + [place + layout.labelled for place in first + rest])


def initial(config: Config, layout: Layout, key: jax.Array, marginal: jax.Array) -> dict[str, jax.Array]:
    """Parameters that start as independent columns: the last layer is 0, its bias the log frequencies."""
    count, width, hidden = len(layout.sizes), sum(layout.sizes), config.hidden
    seen = count * config.embedding
    key_embed, key_first, key_second = jax.random.split(key, 3)
    return {
        "embed": jax.random.normal(key_embed, (width, config.embedding)),
        "first": jax.random.normal(key_first, (count, count, config.embedding, hidden)) * (2 / seen) ** 0.5,
        "bias_first": jnp.zeros((count, hidden)),
        "second": jax.random.normal(key_second, (count, hidden, hidden)) * (2 / hidden) ** 0.5,
        "bias_second": jnp.zeros((count, hidden)),
        "out": jnp.zeros((width, hidden)),
        "bias_out": jnp.log(jnp.maximum(marginal, 1e-6)),
    }


def _hidden(params: Any, column: Any, seen: jax.Array, drop: jax.Array | float) -> jax.Array:
    """The last hidden layer (B, H) of one column from what it sees (B, C E); drop (2, B, H) multiplies the layers."""
    first, second = params["first"][column], params["second"][column]
    drop_first, drop_second = drop if isinstance(drop, jax.Array) else (drop, drop)
    h = jax.nn.gelu(seen @ first.reshape(-1, first.shape[-1]) + params["bias_first"][column]) * drop_first
    return h + jax.nn.gelu(h @ second + params["bias_second"][column]) * drop_second


def log_p(layout: Layout, sequence: np.ndarray, state: State, params: Any, states: jax.Array, drop: Any) -> jax.Array:
    """log p(x_c | the columns before) of rows of states (B, C): (C, B), nats. drop: (C, 2, B, H) factors or 1."""
    count = len(sequence)
    place = np.argsort(sequence)
    before = jnp.asarray(place[None, :] < place[:, None], jnp.float32)  # (column, seen)
    embedded = params["embed"][layout.places(states)].reshape(len(states), -1)
    masked = params | {"first": params["first"] * before[:, :, None, None]}
    hidden = jax.vmap(lambda c, d: _hidden(masked, c, embedded, d), (0, None if drop is None else 0))(
        jnp.arange(count), 1.0 if drop is None else drop
    )
    logits = jnp.einsum("cbh,csh->cbs", hidden, _last(layout, params["out"])) + _bias(layout, state, params)[:, None]
    chosen = jnp.take_along_axis(logits, states.T[:, :, None], axis=2)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=2)


def _last(layout: Layout, out: jax.Array) -> jax.Array:
    """(W, H) -> (C, max(sizes), H)."""
    return jnp.moveaxis(layout.pad(out.T), 0, -1)


def _bias(layout: Layout, state: State, params: Any) -> jax.Array:
    """(C, max(sizes)); what no training row is in stays out of reach, what no column has is out of it."""
    bias = layout.pad(jnp.where(state.marginal > 0, params["bias_out"], _NEVER))
    return jnp.where(layout.padded < sum(layout.sizes), bias, -jnp.inf)


def _drawn(
    key: jax.Array, layout: Layout, sequence: np.ndarray, state: State, rows: int, labels: jax.Array | None
) -> jax.Array:
    """States (rows, C), one column after the other; `labels` (rows,): those of column 0."""
    params, starts, count = state.ema, layout.padded[:, 0], len(sequence)
    out, bias, width = _last(layout, params["out"]), _bias(layout, state, params), params["embed"].shape[1]

    def draw(carry, inputs):
        states, seen = carry
        key, column, start = inputs
        p = jax.nn.softmax(_hidden(params, column, seen, 1.0) @ out[column].T + bias[column])
        drawn = choose(key, jnp.cumsum(p, axis=-1))
        drawn = drawn if labels is None else jnp.where(column == 0, labels, drawn)
        seen = jax.lax.dynamic_update_slice_in_dim(seen, params["embed"][start + drawn], column * width, 1)
        return (jax.lax.dynamic_update_slice_in_dim(states, drawn[:, None], column, 1), seen), None

    start = (jnp.zeros((rows, count), jnp.int32), jnp.zeros((rows, count * width)))
    inputs = (jax.random.split(key, count), jnp.asarray(sequence), jnp.asarray(starts[sequence]))
    return jax.lax.scan(draw, start, inputs)[0][0]


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """An autoregressive model of that table.

    Raises:
      InputError: the data is no table, or a field of the Config is out of range.
    """
    _check(config, spec)
    layout = Layout(spec, config.bins)
    sequence = order(config, layout)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "cosine")
    adam = optim.adam(rate, clip=config.clip)
    conditional = config.conditional and spec.n_classes > 0

    def init(key, batch: Batch) -> State:
        bins = fit(layout, batch.x, batch.weight)
        states = layout.states(bins, batch.x, batch.y)
        counts = jnp.zeros(sum(layout.sizes)).at[layout.places(states)].add(batch.weight[:, None])
        marginal = layout.normalise(counts)
        params = initial(config, layout, key, marginal)
        return State(bins, marginal, params, jax.tree.map(jnp.copy, params), adam.init(params))

    def step(key, i, state: State, batch: Batch):
        key_rows, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_rows, (config.batch_size,), 0, len(batch.y))

        def loss(params, key, batch: Batch):
            states = layout.states(state.bins, batch.x, batch.y)
            shape = (len(sequence), 2, len(states), config.hidden)
            drop = jax.random.bernoulli(key, 1 - config.dropout, shape) / (1 - config.dropout)
            return -log_p(layout, sequence, state, params, states, drop).sum(axis=0), {}

        gradient, metrics = grad(loss)(state.params, key_loss, jax.tree.map(lambda a: a[rows], batch))
        update, opt = adam.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, update)
        metrics |= {"grad_norm": optax.tree.norm(gradient), "learning_rate": rate(i)}
        ema = optim.ema(state.ema, params, i, config.ema_decay)
        return state._replace(params=params, ema=ema, opt=opt), metrics

    def sample(key, state: State, labels):
        key_state, key_value = jax.random.split(key)
        states = _drawn(key_state, layout, sequence, state, len(labels), labels if conditional else None)
        return layout.decode(state.bins, key_value, states)

    def score(key, state: State, batch: Batch):
        """-log p(x, y) of the states, nats."""
        states = layout.states(state.bins, batch.x, batch.y)
        return -log_p(layout, sequence, state, state.ema, states, None).sum(axis=0)

    return Model(init, step, sample, score, conditional, minibatches=None, n_classes=spec.n_classes)
