r"""A table's columns one after the other: p(x) = prod_c p(x_c | the columns before it).

Columns are states (`nets.bins`), each state has an embedding, which neighbouring bins of a number share in part
(`nets.multiscale`), as they do the weights of the last layer, and each column a small network of its own that sees the
embeddings of the columns before it in the order (zeros stand for the others, as masked weights do in Uria et al. 2016,
arXiv:1605.02226; per-column networks over embeddings: Tiwald et al. 2025, TabularARGN, arXiv:2501.12012). All columns
are trained at once by maximum likelihood; a row is drawn column by column in one `lax.scan`. The label comes first, so
that samples of a given label need no search. Where in its bin a number lies (`nets.fine_bins`) is drawn next, and seen
by the columns after it: the slopes, from one bin to the next, of the last layer tilt the shares of the fine bins, those
of the embedding move it. Numbers come back uniform in their fine bin. The likelihood is exact. Training starts from
independent columns: the last layer is 0, its bias the log frequencies of `DataSpec.statistics`.

    model = build(Config(), spec)
    state = model.init(key)
    for i in range(config.steps): state, metrics = model.step(keys[i], i, state, batch(i))
    x = model.sample(key, state, labels)

`model` takes another network or optimiser.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import multiscale
from synthjax.nets.bins import Layout, check, check_counts, choose
from synthjax.nets.fine_bins import FineBins
from synthjax.nets.network import Network, check_shape
from synthjax.train import optim

_WIDE = 256  # states up to which columns are computed together
_NEVER = -30.0  # logit of a state that no training row is in


@dataclass(frozen=True)
class Config:
    """The networks, and how they are trained. Defaults suit tens of thousands of rows."""

    order: tuple[str, ...] = ()
    """Names of the columns that come first after the label; the others follow as in the table."""
    bins: int = 128
    """Most bins of a numeric column."""
    fine: int = 16
    """Most fine bins that each of these is cut into; 1: none, a number is uniform in its bin."""
    embedding: int = 16
    """Numbers that a state is seen as."""
    hidden: int = 32
    """Width of the hidden layers of each column."""
    dropout: float = 0.1
    """Share of the hidden units that training leaves out."""
    conditional: bool = True
    """Samples take the labels they are given, where the data has any."""
    batch_size: int = 256
    """Rows of a step."""
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

    def __post_init__(self):
        check_counts(self, "fine", "embedding", "hidden", "batch_size")
        if not isinstance(self.dropout, jax.core.Tracer) and not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout={self.dropout}: must be at least 0 and below 1")
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


PRESETS = {"table_ar": Config()}


def hidden_layers(columns: int, embedding: int, hidden: int, dropout: float) -> Network:
    """The network of one column: two layers of `hidden` units, the second added to the first, each with dropout.

    It takes seen (B, columns, embedding) and before (columns,), which is 1 where a column may be seen. That masks the
    weights, of which there are fewer than numbers seen.
    """

    def init(key):
        key_first, key_second = jax.random.split(key)
        first = jax.random.normal(key_first, (columns, embedding, hidden), jnp.float32)
        second = jax.random.normal(key_second, (hidden, hidden), jnp.float32)
        return {
            "first": first * (2 / (columns * embedding)) ** 0.5,
            "bias_first": jnp.zeros(hidden, jnp.float32),
            "second": second * (2 / hidden) ** 0.5,
            "bias_second": jnp.zeros(hidden, jnp.float32),
        }

    def apply(params, seen, before, key=None):
        drop = jnp.ones((2, 1, 1), jnp.float32)
        if key is not None:
            keep = jnp.float32(1 - dropout)
            drop = jax.random.bernoulli(key, keep, (2, len(seen), hidden)) / keep
        first = (params["first"] * before[:, None, None]).reshape(-1, hidden)
        h = jax.nn.gelu(seen.reshape(len(seen), -1) @ first + params["bias_first"][None]) * drop[0]
        return h + jax.nn.gelu(h @ params["second"] + params["bias_second"][None]) * drop[1]

    return Network(init, apply)


def _masked(network: Network) -> Network:
    """A network of what it sees alone as one that also takes `before`."""

    def apply(params, seen, before, key=None):
        return network.apply(params, seen * before[None, :, None], key=key)

    return Network(network.init, apply)


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


def _before(sequence: np.ndarray) -> np.ndarray:
    """(C, C) f32: 1 where the second column is drawn before the first."""
    place = np.argsort(sequence)
    return (place[None, :] < place[:, None]).astype(np.float32)


def initial(config: Config, layout: Layout, network: Network, key: jax.Array) -> dict[str, Any]:
    """Parameters: "embed" and "out", vectors of the W states, "network" with the columns first, "bias" (W,)."""
    count = len(layout.sizes)
    key_embed, key_network = jax.random.split(key)
    unseen = layout.marginal <= 0
    bias = np.where(unseen, _NEVER, np.log(np.where(unseen, 1, layout.marginal)))
    return {
        "embed": multiscale.normal(key_embed, layout, config.embedding),
        "network": jax.vmap(network.init)(jax.random.split(key_network, count)),
        "out": multiscale.zeros(layout, config.hidden),
        "bias": jnp.asarray(bias, jnp.float32),
    }


def log_p(
    fine: FineBins,
    sequence: np.ndarray,
    network: Network,
    params: Any,
    states: jax.Array,
    parts: jax.Array,
    key: jax.Array | None,
) -> jax.Array:
    """log p(x_c | the columns before) of rows of states and fine bins (B, C): (C, B), nats; a key: with dropout."""
    layout, places, columns = fine.layout, fine.layout.places(states), np.arange(len(sequence))[None]
    embed, slope, tilt = _tables(fine, params)
    seen = embed[places] + jnp.asarray(fine.middles)[columns, states, parts][..., None] * slope[places]
    keys = None if key is None else jax.random.split(key, len(sequence))
    axes = (0, None, 0, None if key is None else 0)
    hidden = jax.vmap(lambda own, seen, before, key: network.apply(own, seen, before, key=key), axes)(
        params["network"], seen, jnp.asarray(_before(sequence)), keys
    )
    out, bias = _last(layout, params)
    chosen = jnp.zeros(hidden.shape[:2], hidden.dtype)
    for group in _groups(layout.sizes):
        size = max(layout.sizes[column] for column in group)
        logits = jnp.einsum("cbh,csh->cbs", hidden[group], out[group, :size]) + bias[group, None, :size]
        own = jnp.take_along_axis(logits, states.T[group, :, None], axis=2)[..., 0]
        chosen = chosen.at[group].set(own - jax.nn.logsumexp(logits, axis=2))
    within = _log_parts(fine, columns, states, jnp.einsum("cbh,bch->bc", hidden, tilt[places]))
    part = jnp.take_along_axis(within, parts[..., None], axis=2)[..., 0]
    return chosen + part.T


def _groups(sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The columns by their number of states: up to `_WIDE`, up to twice as many, ...; each is padded to its group's."""
    doublings = np.ceil(np.log2(np.maximum(np.array(sizes) / _WIDE, 1)))
    return [np.flatnonzero(doublings == number) for number in np.unique(doublings)]


def _tables(fine: FineBins, params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each of the W states: the embedding, its slope (W, E), and the slope of the last layer (W, hidden)."""
    embed, out = (multiscale.table(fine.layout, params[name]) for name in ("embed", "out"))
    return embed, fine.slope(embed), fine.slope(out)


def _log_parts(fine: FineBins, column: Any, states: jax.Array, tilt: jax.Array) -> jax.Array:
    """(..., F) log p of each fine bin of `states` (...) of those columns, whose logits have the slope `tilt` (...)."""
    share, middle = (jnp.asarray(table)[column, states] for table in (fine.log_shares, fine.middles))
    return jax.nn.log_softmax(share + middle * tilt[..., None])


def _last(layout: Layout, params: Any) -> tuple[jax.Array, jax.Array]:
    """The last layer, (C, max(sizes), hidden), and its bias (C, max(sizes)); -inf where a column has no such state."""
    exists = layout.padded < sum(layout.sizes)
    bias = jnp.where(exists, layout.pad(params["bias"]), -jnp.inf)
    return jnp.moveaxis(layout.pad(multiscale.table(layout, params["out"]).T), 0, -1), bias


def _drawn(
    key: jax.Array, fine: FineBins, sequence: np.ndarray, network: Network, params: Any, labels: Any, rows: int
) -> tuple[jax.Array, jax.Array]:
    """States and fine bins (rows, C), one column after the other; `labels` (rows,): those of column 0, or None."""
    count, layout = len(sequence), fine.layout
    embed, slope, tilt = _tables(fine, params)
    out, bias = _last(layout, params)

    def draw(carry, inputs):
        key, column, start, before = inputs
        key_state, key_part = jax.random.split(key)
        own = jax.tree.map(lambda a: a[column], params["network"])
        hidden = network.apply(own, carry[0], before)
        state = choose(key_state, jnp.cumsum(jax.nn.softmax(hidden @ out[column].T + bias[column][None]), axis=-1))
        state = state if labels is None else jnp.where(column == 0, labels, state)
        within = _log_parts(fine, column, state, (hidden * tilt[start + state]).sum(axis=-1))
        part = choose(key_part, jnp.cumsum(jnp.exp(within), axis=-1))
        middle = jnp.asarray(fine.middles)[column, state, part]
        seen = embed[start + state] + middle[:, None] * slope[start + state]
        new = (seen, state, part)
        return jax.tree.map(lambda a, b: jax.lax.dynamic_update_index_in_dim(a, b, column, 1), carry, new), None

    empty = jnp.zeros((rows, count), jnp.int32)
    of_column = (
        jnp.asarray(sequence, jnp.int32),
        jnp.asarray(layout.padded[:, 0][sequence]),
        _before(sequence)[sequence],
    )
    start = (jnp.zeros((rows, count, embed.shape[1]), jnp.float32), empty, empty)
    return jax.lax.scan(draw, start, (jax.random.split(key, count), *of_column))[0][1:]


def model(
    config: Config,
    spec: DataSpec,
    *,
    network: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """An autoregressive model of that table.

    Args:
      config: the order, the bins and the sizes; and the network and the optimiser, where none are handed in.
      spec: of the data, with statistics.
      network: of one column, whose parameters get a leading axis (C,): (B, C, embedding), 0 where a column may not be
        seen, -> (B, hidden), from which the model makes logits. Default: `hidden_layers`.
      optimiser: any optax transformation, with a learning rate of its own. Default: Adam, as the Config says.
      grad: turns the loss into a gradient.

    Raises:
      InputError: the data is no table, its spec has no statistics, `order` names a column that it lacks, or the network
        makes another shape.
    """
    check("table_ar", spec)
    layout = Layout(spec, config.bins)
    sequence = order(config, layout)
    count = len(sequence)
    if network is not None:
        check_shape(network, (2, config.hidden), "network", jnp.zeros((2, count, config.embedding), jnp.float32))
        network = _masked(network)
    network = network or hidden_layers(count, config.embedding, config.hidden, config.dropout)
    conditional = config.conditional and spec.n_classes > 0
    fine = FineBins(layout, config.fine)

    def columns_log_p(params, batch: Batch, key=None):
        states = layout.states(batch.x, batch.y)
        return log_p(fine, sequence, network, params, states, fine.parts(batch.x, states), key)

    def loss(params, key, batch: Batch) -> optim.Losses:
        return optim.Losses(-columns_log_p(params, batch, key).sum(axis=0))

    def sample(key, state: optim.TrainState, labels):
        key_state, key_value = jax.random.split(key)
        given = jnp.asarray(labels, jnp.int32) if conditional else None
        return fine.decode(key_value, *_drawn(key_state, fine, sequence, network, state.ema, given, len(labels)))

    def log_prob(key, state: optim.TrainState, batch: Batch):
        """log p(x, y) of the states and fine bins, nats."""
        return columns_log_p(state.ema, batch).sum(axis=0)

    def score(key, state: optim.TrainState, batch: Batch):
        return -log_prob(key, state, batch)

    params = functools.partial(initial, config, layout, network)
    init, step = optim.init_and_step(config, params, loss, optimiser, grad)
    made = Model(init, step, sample, score, log_prob, "exact", "bins", conditional)
    return made._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The model of a Config; see `model`."""
    return model(config, spec, grad=grad)
