r"""Autoregressive model of tables: p(x) = prod_c p(x_c | the columns before c).

Each column is a discrete state (`nets.bins`). A number is a bin and a fine bin within it (`nets.fine_bins`).

- Each state has an embedding. Neighbouring bins of a number share a part of it (`nets.multiscale`).
- Each column has its own small network (Tiwald et al. 2025, TabularARGN, arXiv:2501.12012). Its inputs are the
  embeddings of the columns before it; those of other columns are 0, as with the masked weights of NADE (Uria et al.
  2016, arXiv:1605.02226). The last layer, a vector for each state, maps its output to the logits of the states.
- Given the bin, the logits of its fine bins depend on the row through one number, the slope of the last layer from one
  bin to the next. Later columns see the fine bin too: it moves the embedding along its slope.

All columns are trained at once, by maximum likelihood. Sampling draws one column after the other in a `lax.scan`. The
label is the first column, so that samples with a given label are drawn directly. With the option `given=(mask, x)`,
(B, D) bool and (B, D) f32, columns where the mask is True have the values of x (a number those of its fine bin), and
others are drawn given those before them: put given columns first (`Config.order`). A number is drawn uniformly between
the edges of its fine bin. The likelihood is exact. At initialisation the columns are independent: the last layer is 0,
and its bias contains the log frequencies of `DataSpec.statistics`.

    model = build(Config(), spec)                                        # `model` takes other parts
    state = model.init(key)
    for i in range(config.steps): state, metrics = model.step(keys[i], i, state, batch(i))
    x = model.sample(key, state, labels)

    >>> x, y = np.float32([[0], [1], [1], [2]] * 25), np.array([0, 0, 1, 1] * 25)
    >>> model = build(Config(bins=4, embedding=2, hidden=4), DataSpec.from_arrays(x, y))
    >>> state = model.init(jax.random.key(0))
    >>> batch = Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(100), jnp.arange(100))
    >>> log_p = jax.jit(model.log_prob)(jax.random.key(1), state, batch)
    >>> np.exp(log_p)[:3].round(3).tolist()  # p(y) p(x): the columns are independent at initialisation
    [0.125, 0.25, 0.25]
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import multiscale, precision
from synthjax.nets.bins import Layout, check, check_counts, choose
from synthjax.nets.column_layers import Dropped, apply_layers, check_dropout, drop, hidden_layers, rates
from synthjax.nets.fine_bins import FineBins
from synthjax.nets.gradient_norms import GradientNorms, Inputs, Taps
from synthjax.nets.network import Network, check_shape
from synthjax.train import optim

_WIDE = 256  # maximum number of states of the columns that are computed together
_UNSEEN_LOGIT = -30.0  # initial logit of a state without training rows


@dataclass(frozen=True)
class Config:
    """The networks and their training. The defaults suit tens of thousands of rows."""

    order: tuple[str, ...] = ()
    """Names of the columns that come first, after the label. The others follow in the order of the table."""
    bins: int = 128
    """Maximum number of bins of a numeric column."""
    fine: int = 16
    """Maximum number of fine bins in a bin; 1: a number is uniform in its bin."""
    embedding: int = 16
    """Size of the embedding of a state."""
    hidden: int = 32
    """Width of the hidden layers of each column."""
    dropout: float | None = None
    """Dropout rate of the hidden units, in [0, 1); None: that of `column_layers.rates`."""
    column_dropout: float | None = None
    """Mean dropout rate of the columns that are seen, in [0, .5), see `column_layers.drop`; None: as for `dropout`."""
    conditional: bool = True
    """Whether samples have the requested labels, if the data has labels."""
    batch_size: int = 256
    """Number of rows in a training step."""
    steps: int = 600
    """Number of training steps, over which the learning rate decays to 0 (cosine). With too many it memorises rows."""
    learning_rate: float = 2e-3
    """Learning rate of Adam after the warm-up."""
    warmup: int = 100
    """Number of steps over which the learning rate increases linearly."""
    clip: float = 5.0
    """Maximum global norm of a gradient. The loss is in nats per row."""
    ema_decay: float = 0.995
    """Decay of the average of the parameters that sampling and scoring use; see `optim.ema`."""

    def __post_init__(self):
        check_counts(self, "fine", "embedding", "hidden", "batch_size")
        check_dropout(self.dropout, self.column_dropout)
        optim.check_rates(self.learning_rate, self.ema_decay, self.warmup, self.clip)


@dataclass(frozen=True)
class Sampling:
    """The options of `Model.sample`."""

    given: tuple[jax.Array, jax.Array] | None = None
    """(mask, x), each (B, D), mask bool: columns where the mask is True keep the value of x, encoded rows; the
    others are drawn given those before them."""


PRESETS = {"table_ar": Config()}
PRIVATE = dict(bins=32, embedding=8, hidden=16, learning_rate=1e-2, warmup=10, ema_decay=0.98, dropout=0.0)
"""Fields of the Config for private training, whose limit is the noise (docs/notebook/privacy.md)."""


def order(config: Config, layout: Layout) -> np.ndarray:
    """Indices of the columns in the order in which they are drawn, (C,) int.

    Raises:
      InputError: a name in `config.order` is not a column or occurs twice.
    """
    names = [column.name for column in layout.columns]
    for i, name in enumerate(config.order):
        if name not in names:
            raise InputError(f"model.order: {name!r} is not a column of the table that can be placed")
        if name in config.order[:i]:
            raise InputError(f"model.order: {name!r} is named twice")
    first = [names.index(name) for name in config.order]
    rest = [i for i, name in enumerate(names) if name not in config.order]
    return np.asarray([0] * layout.labelled + [i + layout.labelled for i in first + rest])


def _before(sequence: np.ndarray) -> np.ndarray:
    """(C, C) f32: entry [a, b] is 1 if column b is drawn before column a, else 0."""
    rank = np.argsort(sequence)
    return (rank[None, :] < rank[:, None]).astype(np.float32)


def initial(config: Config, layout: Layout, network: Network, key: jax.Array) -> dict[str, Any]:
    """Initial parameters.

    Returns:
      "embed" and "out": `multiscale.Vectors` of the W states, the embeddings and the last layer. "network": the
      parameters of the networks, with a leading axis (C,). "bias": (W,) f32, that of the last layer.
    """
    count = len(layout.sizes)
    key_embed, key_network = jax.random.split(key)
    unseen = layout.marginal <= 0
    bias = np.where(unseen, _UNSEEN_LOGIT, np.log(np.where(unseen, 1, layout.marginal)))
    return {
        "embed": multiscale.normal(key_embed, layout, config.embedding),
        "network": jax.vmap(network.init)(jax.random.split(key_network, count)),
        "out": multiscale.zeros(layout, config.hidden),
        "bias": jnp.asarray(bias, jnp.float32),
    }


def log_p(
    fine: FineBins,
    sequence: np.ndarray,
    network: Any,
    params: Any,
    rows: tuple[jax.Array, jax.Array],
    dropped: Dropped | None,
    taps: Taps | None = None,
) -> tuple[jax.Array, Inputs]:
    """log p(x_c | the columns before c), nats.

    Args:
      fine: the bins.
      sequence: (C,) order of the columns, see `order`.
      network: of a column: (params, seen, before, key) -> the input of its second layer, and its output.
      params: see `initial`.
      rows: states and fine bins, (B, C) i32 each.
      dropped: what is dropped in training; None: nothing.
      taps: for gradients of single rows; the biases of the network then become those of rows.

    Returns:
      (C, B) f32, and the inputs of the layers.
    """
    (states, parts), layout = rows, fine.layout
    index, columns = layout.flat_index(states), np.arange(len(sequence))[None]
    embed, slope, tilt = _tables(fine, params)
    seen = embed[index] + jnp.asarray(fine.middles)[columns, states, parts][..., None] * slope[index]
    networks = params["network"]
    if taps is not None:
        seen = seen + taps.seen
        biases = {
            f"bias_{name}": networks[f"bias_{name}"][:, None] + getattr(taps, name) for name in ("first", "second")
        }
        networks = networks | biases
    keys, seen = (None, seen) if dropped is None else (dropped.keys, seen * dropped.columns[..., None])
    inner, hidden = jax.vmap(network, (0, None, 0, None if keys is None else 0))(
        networks, seen, jnp.asarray(_before(sequence)), keys
    )
    out, bias = _last_layer(layout, params)
    chosen = jnp.zeros(hidden.shape[:2], jnp.float32)
    for number, group in enumerate(_groups(layout.sizes)):
        size = max(layout.sizes[column] for column in group)
        logits = _product("cbh,csh->cbs", hidden[group], out[group, :size]) + bias[group, None, :size]
        logits = logits if taps is None else logits + taps.logits[number]
        own = jnp.take_along_axis(logits, states.T[group, :, None], axis=2)[..., 0]
        chosen = chosen.at[group].set(own - jax.nn.logsumexp(logits, axis=2))
    slopes = jnp.einsum("cbh,bch->bc", hidden, tilt[index])
    within = _log_parts(fine, columns, states, slopes if taps is None else slopes + taps.tilt)
    part = jnp.take_along_axis(within, parts[..., None], axis=2)[..., 0]
    return chosen + part.T, Inputs(seen, inner, hidden)


def _product(axes: str, hidden: jax.Array, out: jax.Array) -> jax.Array:
    """Product of the networks' output and the last layer, in the dtype of the former, summed in f32."""
    return jnp.einsum(axes, hidden, out.astype(hidden.dtype), preferred_element_type=jnp.float32)


def _groups(sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The columns by their number of states: up to `_WIDE`, up to twice as many, ...; each is padded to its group's."""
    doublings = np.ceil(np.log2(np.maximum(np.array(sizes) / _WIDE, 1)))
    return [np.flatnonzero(doublings == number) for number in np.unique(doublings)]


def _tables(fine: FineBins, params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Embeddings (W, E), their slopes (W, E), and the slopes of the last layer (W, hidden)."""
    embed = multiscale.table(fine.layout, params["embed"])
    return embed, fine.slope(embed), fine.slope(_out(fine.layout, params))


def _out(layout: Layout, params: Any) -> jax.Array:
    """Weights of the last layer, (W, hidden), without the part that all bins of a column share.

    That part does not change the probabilities of the bins. Its gradient is rounding error, of which Adam would make
    whole steps.
    """
    vectors: multiscale.Vectors = params["out"]
    return multiscale.table(layout, vectors._replace(shared=vectors.shared.at[:, 0].set(0)))


def _log_parts(fine: FineBins, column: Any, states: jax.Array, tilt: jax.Array) -> jax.Array:
    """log p(fine bin | state), (..., F) f32, for states (...) of `column`, whose logits have the slope `tilt` (...)."""
    share, middle = (jnp.asarray(table)[column, states] for table in (fine.log_shares, fine.middles))
    return jax.nn.log_softmax(share + middle * tilt[..., None])


def _last_layer(layout: Layout, params: Any) -> tuple[jax.Array, jax.Array]:
    """The last layer (C, max(sizes), hidden) and its bias (C, max(sizes)), -inf where a column has fewer states."""
    exists = layout.padded < sum(layout.sizes)
    bias = jnp.where(exists, layout.pad(params["bias"]), -jnp.inf)
    return jnp.moveaxis(layout.pad(_out(layout, params).T), 0, -1), bias


class Given(NamedTuple):
    """Columns that are not drawn."""

    known: jax.Array
    """(B, C) bool."""
    states: jax.Array
    """(B, C) i32; of any value where `known` is False."""
    parts: jax.Array
    """(B, C) i32 fine bins."""


def _given(fine: FineBins, labels: jax.Array | None, given: tuple[jax.Array, jax.Array] | None) -> Given | None:
    """What is given by labels (B,), and by the mask and the rows of the option `given`."""
    layout = fine.layout
    if given is not None:
        mask, x = given
        y = jnp.zeros(len(x), jnp.int32) if labels is None else labels
        states = layout.states(x, y)
        known = jnp.asarray(mask, bool)[:, [column.start for column in layout.columns]]
        first = jnp.full((len(x), layout.labelled), labels is not None)
        return Given(jnp.concatenate([first, known], axis=1), states, fine.parts(x, states))
    if labels is None:
        return None
    shape = (len(labels), len(layout.sizes))
    column = np.arange(shape[1])[None]
    known, states = jnp.broadcast_to(column == 0, shape), jnp.where(column == 0, labels[:, None], 0)
    return Given(known, states, jnp.zeros(shape, jnp.int32))


def _draw_columns(
    key: jax.Array, fine: FineBins, sequence: np.ndarray, network: Any, params: Any, given: Given | None, rows: int
) -> tuple[jax.Array, jax.Array]:
    """Draws one column after the other.

    Args:
      key: typed PRNG key.
      fine: the bins.
      sequence: (C,) order of the columns.
      network: of a column, see `log_p`.
      params: see `initial`.
      given: what is not drawn; None: all columns are.
      rows: number of rows.

    Returns:
      States and fine bins, (rows, C) i32 each.
    """
    count, layout = len(sequence), fine.layout
    embed, slope, tilt = _tables(fine, params)
    out, bias = _last_layer(layout, params)

    def draw(carry, inputs):
        key, column, start, before = inputs
        key_state, key_part = jax.random.split(key)
        own = jax.tree.map(lambda a: a[column], params["network"])
        _, hidden = network(own, carry[0], before, None)
        logits = _product("bh,sh->bs", hidden, out[column]) + bias[column][None]
        state = choose(key_state, jnp.cumsum(jax.nn.softmax(logits), axis=-1))
        state = state if given is None else jnp.where(given.known[:, column], given.states[:, column], state)
        within = _log_parts(fine, column, state, (hidden * tilt[start + state]).sum(axis=-1))
        part = choose(key_part, jnp.cumsum(jnp.exp(within), axis=-1))
        part = part if given is None else jnp.where(given.known[:, column], given.parts[:, column], part)
        middle = jnp.asarray(fine.middles)[column, state, part]
        seen = embed[start + state] + middle[:, None] * slope[start + state]
        write = functools.partial(jax.lax.dynamic_update_index_in_dim, index=column, axis=1)
        return jax.tree.map(write, carry, (seen, state, part)), None

    empty = jnp.zeros((rows, count), jnp.int32)
    starts, before = jnp.asarray(layout.padded[:, 0][sequence]), _before(sequence)[sequence]
    of_column = jnp.asarray(sequence, jnp.int32), starts, before
    start = (jnp.zeros((rows, count, embed.shape[1]), jnp.float32), empty, empty)
    return jax.lax.scan(draw, start, (jax.random.split(key, count), *of_column))[0][1:]


def _of_columns(
    config: Config, dropout: float, count: int, network: Network | None
) -> tuple[Callable[..., Any], Network]:
    """A function as `column_layers.apply_layers`, and the network of one column; default: the Config's."""
    if network is None:
        network = hidden_layers(count, config.embedding, config.hidden, dropout)
        return functools.partial(apply_layers, dropout, precision.current().compute), network
    check_shape(network, (2, config.hidden), "network", jnp.zeros((2, count, config.embedding), jnp.float32))
    own = network

    def masked(params, seen, before, key):
        hidden = own.apply(params, seen * before[None, :, None], key=key)
        return hidden, hidden

    return masked, network


def model(
    config: Config,
    spec: DataSpec,
    *,
    network: Network | None = None,
    optimiser: optax.GradientTransformation | None = None,
    loss: optim.Loss | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """An autoregressive model of a table.

    Args:
      config: of the bins and the training, and of the network and the optimiser if these are not given.
      spec: of the data, with statistics.
      network: of one column: embeddings (B, C, embedding), 0 for columns that are not before it, to (B, hidden). Its
        parameters get a leading axis (C,). Default: `hidden_layers`.
      optimiser: any optax transformation with its own learning rate. Default: Adam with the schedule of the Config.
      loss: (params, key, batch) -> `optim.Losses`, with the params of `initial`. Default: the negative log-likelihood.
      grad: turns the loss into a gradient function.

    Raises:
      InputError: the data is no table or has no statistics, or `config.order` or the network does not fit it.
    """
    check("table_ar", spec)
    layout = Layout(spec, config.bins)
    dropout, column_dropout = rates(spec.rows, len(layout.sizes), config.dropout, config.column_dropout)
    sequence = order(config, layout)
    layers, init_network = _of_columns(config, dropout, len(sequence), network)
    conditional, fine = config.conditional and spec.n_classes > 0, FineBins(layout, config.fine)
    norms, sizes = GradientNorms(fine, _groups(layout.sizes), _before(sequence)), (config.embedding, config.hidden)

    def rows(batch: Batch) -> tuple[jax.Array, jax.Array]:
        states = layout.states(batch.x, batch.y)
        return states, fine.parts(batch.x, states)

    def terms(params, key, batch: Batch, taps: Taps | None = None):
        dropped = None if key is None else drop(key, column_dropout, len(batch.x), len(sequence))
        return log_p(fine, sequence, layers, params, rows(batch), dropped, taps)

    def negative_log_p(params, key, batch: Batch) -> optim.Losses:
        return optim.Losses(-terms(params, key, batch)[0].sum(axis=0))

    def squares(params, key, batch: Batch):
        return norms.squares(functools.partial(terms, params, key, batch), rows(batch), sizes)

    def sample(key, state: optim.TrainState, labels, *, given: tuple[jax.Array, jax.Array] | None = None):
        key_state, key_value = jax.random.split(key)
        known = _given(fine, jnp.asarray(labels, jnp.int32) if conditional else None, given)
        return fine.decode(key_value, *_draw_columns(key_state, fine, sequence, layers, state.ema, known, len(labels)))

    def log_prob(key, state: optim.TrainState, batch: Batch):
        """log p(x, y) of the states and fine bins: (B,) f32, nats."""
        return terms(state.ema, None, batch)[0].sum(axis=0)

    params = functools.partial(initial, config, layout, init_network)
    own: Any = optim.NormedLoss(negative_log_p, squares) if network is None else negative_log_p
    init, step = optim.init_and_step(config, params, loss or own, optimiser, grad)
    made = Model(init, step, sample, lambda *inputs: -log_prob(*inputs), log_prob, "exact", "bins", conditional)
    return made._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The model of a Config; see `model`."""
    return model(config, spec, grad=grad)
