r"""Latent class and latent tree models of tables, fitted by EM.

    product   z ~ prior,  x_c ~ p_c(. | z)                            one latent class with K values (Lazarsfeld)
    tree      z_r ~ prior,  z_c ~ T_c(. | z_parent(c)),  x_c ~ p_c(. | z_c)   one latent per column, each with K values

The tree is the Chow-Liu tree of the columns (Chow & Liu 1968, `nets.chow_liu`) with a latent at each node (Choi et al.
2011, JMLR 12; as a probabilistic circuit: Liu & Van den Broeck 2021, NeurIPS). Its root is the label, if the data has
labels. The product is the tree whose latents are all equal. With K^2 entries per edge, a tree expresses more of the
dependence between columns than a product with as many parameters, so that at the same fidelity it memorises less of
single rows. Columns are discrete states (`nets.bins`); a number is drawn uniformly in its bin.

A training step is one iteration of EM. The E step passes messages from the leaves to the root,

    a_c(z) = p_c(x_c | z) prod_{children d of c} up_d(z),      up_c(z') = sum_z T_c(z | z') a_c(z),

and posteriors from the root to the leaves; the expected counts N of emissions and transitions are matrix products. The
M step is the mode under Dirichlet priors with the marginals as means,

    p_c(s | z) ~ N_c(s, z) + smoothing * p_c(s),      T_c(z | z') ~ N_c(z', z) + coupling * N_c(z) / N.

Before the M step, the counts of neighbouring values are smoothed, for those numeric columns where this increases the
leave-one-out likelihood (`nets.smooth`).

Several members with the same tree can be averaged, each fitted to all rows from another initialisation (Ormoneit &
Tresp 1995, NIPS). They memorise different rows, so the likelihood of unseen rows increases, while it would decrease
with a larger K.

Sampling is ancestral. Given a label, the member and the root are drawn from their posterior. The likelihood is exact.

Step 0 also initialises: it counts the marginals, finds the tree, and draws the training rows from which the components
start.

    for i in range(config.steps): state, metrics = model.step(key, i, state, batch)     # batch: the whole training set

    >>> spec = DataSpec.from_arrays(np.float32(np.arange(40).reshape(20, 2)), np.arange(20) % 2)
    >>> model = build(Config(components=2, members=1), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 2)
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets import chow_liu, smooth
from synthjax.nets.bins import Layout, check, check_counts, choose, choose_alike
from synthjax.nets.chunks import total
from synthjax.train import optim

_TINY = 1e-30


@dataclass(frozen=True)
class Config:
    """Structure, capacity and priors."""

    structure: Literal["product", "tree"] = "tree"
    """See the module's docstring."""
    components: int = 64
    """K, the number of values of each latent."""
    members: int = 1
    """M, the number of fits that are averaged. Time and memory are proportional to it."""
    bins: int = 128
    """Maximum number of bins of a numeric column."""
    smoothing: float = 1.0
    """Pseudo-count of each component of each column, distributed as the column's marginal."""
    coupling: float = 4.0
    """Pseudo-count of each row of each transition matrix, distributed as the latent's marginal."""
    bandwidth: float = 0.03
    """Bandwidth of the smoothing of numeric columns, as a share of the rows; 0: no smoothing."""
    conditional: bool = True
    """Whether samples have the requested labels, if the data has labels."""
    batch_size: int = 256
    """Number of rows in memory at once, few enough for a CPU's cache. A step takes the whole training set."""
    steps: int = 30
    """Number of EM iterations. Early stopping regularises: on half of Adult, the likelihood of unseen rows increases up
    to 30, and so does the risk of membership inference; without `bandwidth` it decreases after 15 to 20."""

    def __post_init__(self):
        check_counts(self, "components", "members", "batch_size")
        if self.structure not in ("product", "tree"):
            raise InputError(f"model.structure={self.structure}: must be product or tree")
        for name in ("smoothing", "coupling"):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and not 0 < value < math.inf:
                raise InputError(f"model.{name}={value}: must be above 0")
        if not 0 <= self.bandwidth <= 1:
            raise InputError(f"model.bandwidth={self.bandwidth}: must be at least 0 and at most 1")


PRESETS = {
    "mixture": Config(members=8, steps=25),
    "mixture_product": Config(structure="product", components=100, steps=10),
}


class State(NamedTuple):
    """Structure and parameters. A tree has G = C nodes, each after its parent; a product has G = 1.

    In the state of a model, `transition` and `emission` have a leading axis (M,). The functions `upward`, `downward`,
    `expect` and `maximise` take the state of one member, without that axis.
    """

    order: jax.Array
    """(G,) i32 column of each node; 0 for the node of a product."""
    parent: jax.Array
    """(G,) i32 index of each node's parent; 0 for the root, which is node 0."""
    marginal: jax.Array
    """(W,) f32 frequency of each state in its column."""
    smooth: jax.Array
    """(N,) bool, whether the counts of each numeric column are smoothed."""
    transition: jax.Array
    """(G, K, K) f32 T(z | z_parent), with axes (z_parent, z). All rows of the root's matrix are its prior."""
    emission: jax.Array
    """(W, K) f32 p(state | z)."""


class Messages(NamedTuple):
    """Results of the upward pass. The messages are scaled to a maximum of 1 over z."""

    log_p: jax.Array
    """(B,) f32 log p(x), nats."""
    inside: jax.Array
    """(G, B, K) f32 a(z) of each node."""
    up: jax.Array
    """(G - 1, B, K) f32 messages from nodes 1, 2, ... to their parents."""


# --- expectation -------------------------------------------------------------------------------------------------


def _get_row(a: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(a, index, keepdims=False)


def _set_row(a: jax.Array, row: jax.Array, index: jax.Array) -> jax.Array:
    """Replaces a row of `a`, in place; `a.at[index].set` with a traced index would be compiled to a slow scatter."""
    return jax.lax.dynamic_update_index_in_dim(a, row, index, 0)


def _scaled(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`a` (..., K) scaled to a maximum of 1, and the log of the factor, (...)."""
    top = jnp.maximum(a.max(axis=-1), _TINY)
    return a / top[..., None], jnp.log(top)


def upward(layout: Layout, state: State, states: jax.Array) -> Messages:
    """The upward pass: messages from the leaves to the root.

    Args:
      layout: of the columns.
      state: of one member.
      states: (B, C) i32.
    """
    log_leaf = jnp.log(jnp.maximum(state.emission, _TINY))[layout.flat_index(states).T]
    log_leaf = log_leaf.sum(axis=0, keepdims=True) if len(state.order) == 1 else log_leaf[state.order]
    top = log_leaf.max(axis=-1)
    leaf, log_p = jnp.exp(log_leaf - top[..., None]), top.sum(axis=0)

    def visit(carry, node):
        product, first, log_p = carry
        index, parent, transition, own = node
        a, scale = _scaled(own * _get_row(product, _get_row(first, index)))
        up = a @ transition.T
        product = _set_row(product, up * _get_row(product, _get_row(first, parent)), index)
        return (product, _set_row(first, index, parent), log_p + scale), (a, up)

    # product: of the messages of a node and of its siblings after it; 1 in row 0. first: the first child so far, or 0.
    # Each row is written once, in place. With products in the parents' rows, XLA would copy all rows each time.
    start = (jnp.ones_like(leaf), jnp.zeros(len(leaf), jnp.int32), log_p)
    nodes = (jnp.arange(1, len(leaf), dtype=jnp.int32), state.parent[1:], state.transition[1:], leaf[1:])
    (product, first, log_p), (inside, up) = jax.lax.scan(visit, start, nodes, reverse=True)
    root, scale = _scaled(leaf[0] * product[first[0]])
    log_p = log_p + scale + jnp.log(jnp.maximum(root @ state.transition[0, 0], _TINY))
    return Messages(log_p, jnp.concatenate([root[None], inside]), up)


def downward(state: State, messages: Messages, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The downward pass: posteriors of the latents.

    Args:
      state: of one member.
      messages: of the upward pass.
      weight: (B,) f32 weight of each row.

    Returns:
      p(z | x) of each node, (G, B, K) f32, and the expected counts of transitions, (G, K, K) f32.
    """
    root = messages.inside[0] * state.transition[0, 0][None]
    posterior = jnp.zeros_like(messages.inside).at[0].set(root / jnp.maximum(root.sum(-1, keepdims=True), _TINY))

    def visit(posterior, node):
        index, parent, transition, up = node
        outside = _get_row(posterior, parent) / jnp.maximum(up, _TINY)
        a = _get_row(messages.inside, index)
        counts = ((outside * weight[:, None]).T @ a) * transition
        return _set_row(posterior, (outside @ transition) * a, index), counts

    nodes = (jnp.arange(1, len(posterior), dtype=jnp.int32), state.parent[1:], state.transition[1:], messages.up)
    posterior, counts = jax.lax.scan(visit, posterior, nodes)
    prior = jnp.broadcast_to(weight @ posterior[0], (1, *state.transition.shape[1:]))
    return posterior, jnp.concatenate([prior, counts])


class Counts(NamedTuple):
    """Expected counts, summed over rows."""

    log_p: jax.Array
    """() f32 weighted sum of log p(x)."""
    transition: jax.Array
    """(G, K, K) f32 expected number of rows with each pair (z_parent, z)."""
    emission: jax.Array
    """(W, K) f32 expected number of rows with each pair (state, z)."""


def expect(layout: Layout, state: State, states: jax.Array, weight: jax.Array) -> Counts:
    """The E step: expected counts of rows with states (B, C) i32 and weights (B,) f32, for one member."""
    messages = upward(layout, state, states)
    posterior, transition = downward(state, messages, weight)
    weighted = posterior * weight[None, :, None]
    of_column = jnp.zeros_like(weighted).at[state.order].set(weighted) if len(posterior) > 1 else weighted
    rows = jnp.broadcast_to(of_column, (len(layout.sizes), *of_column.shape[1:]))
    emission = jnp.zeros_like(state.emission).at[layout.flat_index(states).T].add(rows)
    return Counts(weight @ messages.log_p, transition, emission)


def maximise(config: Config, layout: Layout, state: State, counts: Counts) -> State:
    """The M step: one member with the parameters of largest posterior density given the expected counts."""
    counted = counts.emission
    if config.bandwidth:
        counted = smooth.smooth(layout, state.marginal, config.bandwidth, state.smooth, counted)
    emission = layout.normalise(counted + config.smoothing * state.marginal[:, None])
    latent = counts.transition.sum(axis=1, keepdims=True)
    latent = latent / jnp.maximum(latent.sum(axis=-1, keepdims=True), _TINY)
    transition = counts.transition + config.coupling * latent
    transition = transition / jnp.maximum(transition.sum(axis=-1, keepdims=True), _TINY)
    return state._replace(transition=transition, emission=emission)


# --- the model ---------------------------------------------------------------------------------------------------


def _normalised_weight(batch: Batch) -> jax.Array:
    """Weights (B,) f32, scaled to sum to the number of rows with positive weight."""
    return batch.weight * ((batch.weight > 0).sum() / jnp.maximum(batch.weight.sum(), 1e-9))


def _map_members(function: Any, state: State) -> Any:
    """Calls `function` on the state of each member in turn; the results get a leading axis (M,)."""
    own = (state.transition, state.emission)
    return jax.lax.map(lambda one: function(state._replace(transition=one[0], emission=one[1])), own)


def _flat(emission: jax.Array) -> jax.Array:
    """Joins the members' components: (M, W, K) -> (W, M K)."""
    return jnp.moveaxis(emission, 0, 1).reshape(emission.shape[1], -1)


def _empty(config: Config, layout: Layout) -> State:
    """The state before step 0: all states of a column are equally likely."""
    k, width = config.components, sum(layout.sizes)
    nodes = 1 if config.structure == "product" else len(layout.sizes)
    # By NumPy, since XLA would compute it while it compiles, slowly.
    possible = layout.possible / np.bincount(layout.flat[0], layout.possible)[layout.flat[0]]
    possible = jnp.asarray(possible, jnp.float32)
    return State(
        jnp.arange(nodes, dtype=jnp.int32),
        jnp.zeros(nodes, jnp.int32),
        possible,
        jnp.zeros(len(smooth.columns(layout)), bool),
        jnp.full((config.members, nodes, k, k), 1 / k, jnp.float32),
        jnp.broadcast_to(possible[:, None], (config.members, width, k)),
    )


def _initialise(config: Config, layout: Layout, key: jax.Array, states: jax.Array, weight: jax.Array) -> State:
    """The state from which EM starts.

    Each component is the equal mixture of the marginals and of a training row, drawn at random. Half of each transition
    matrix is the identity, so a row has mostly the same component at all nodes.
    """
    k, members = config.components, config.members
    key_row, key_prior = jax.random.split(key)
    counts = total(lambda part: part[1] @ layout.onehot(part[0]), (states, weight), config.batch_size)
    marginal = layout.normalise(counts)
    order, parent = chow_liu.tree(layout, marginal, states, weight, config.batch_size)
    shared = jnp.zeros(len(smooth.columns(layout)), bool)
    if config.bandwidth:
        context = chow_liu.coarse(layout, marginal, states)[:, chow_liu.above(order, parent)]
        shared = smooth.helps(layout, marginal, config.bandwidth, states, context, weight)
    if config.structure == "product":
        order, parent = jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
    seeds = choose_alike(key_row, jnp.cumsum(weight)[None], members * k).reshape(members, k)
    onehot = jax.vmap(layout.onehot)(states[seeds])
    emission = 0.5 * marginal[None, :, None] + 0.5 * onehot.swapaxes(1, 2)
    prior = jax.random.dirichlet(key_prior, jnp.full(k, 10.0, jnp.float32), (members, 1, 1), jnp.float32)
    mixed = 0.5 * jnp.eye(k, dtype=jnp.float32)[None, None] + 0.5 * prior
    transition = jnp.broadcast_to(mixed, (members, len(parent), k, k))
    return State(order, parent, marginal, shared, transition.at[:, 0].set(prior[:, 0]), emission)


def _latents(key_root: jax.Array, key_latent: jax.Array, layout: Layout, state: State, root: jax.Array) -> jax.Array:
    """Draws the latents of each row.

    Args:
      key_root: of the member and the root.
      key_latent: of the other latents.
      layout: of the columns.
      state: of all members.
      root: (B, M K) f32 unnormalised probabilities of the member and the value of the root.

    Returns:
      (B, C) i32, member * K + value of each column's latent.
    """
    k = state.transition.shape[-1]
    first = choose(key_root, jnp.cumsum(root, axis=-1))
    of_member = first // k * k
    cdf = jnp.cumsum(state.transition, axis=-1).swapaxes(0, 1).reshape(len(state.order), -1, k)
    drawn = jnp.zeros((len(state.order), len(root)), jnp.int32).at[0].set(first)

    def visit(drawn, node):
        key, index, parent, cdf = node
        return _set_row(drawn, of_member + choose(key, cdf[_get_row(drawn, parent)]), index), None

    keys = jax.random.split(key_latent, len(drawn))
    nodes = (keys, jnp.arange(len(drawn), dtype=jnp.int32), state.parent, cdf)
    drawn = jax.lax.scan(visit, drawn, jax.tree.map(lambda a: a[1:], nodes))[0]
    if len(drawn) == 1:
        return jnp.broadcast_to(drawn.T, (len(root), len(layout.sizes)))
    return jnp.zeros_like(drawn).at[state.order].set(drawn).T


def _check_states(spec: DataSpec) -> None:
    """Raises InputError if the table of pair counts would be too large."""
    if (states := chow_liu.coarse_states(spec)) > chow_liu.MOST:
        raise InputError(
            f"model mixture: counts all pairs of {states:,} states of the columns; at most {chow_liu.MOST:,} states "
            "fit. The models independent, table_vae and table_wcgan have no such limit"
        )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A mixture of a table. It is not trained by gradients, so `grad` is not used.

    Raises:
      InputError: the data is not a table, its spec has no statistics, or the columns have too many states.
    """
    check("mixture", spec)
    _check_states(spec)
    layout = Layout(spec, config.bins)
    conditional = config.conditional and spec.n_classes > 0

    def init(key) -> State:
        return _empty(config, layout)

    def step(key, i, state: State, batch: Batch):
        states, weight = layout.states(batch.x, batch.y), _normalised_weight(batch)
        # Stays a branch under `vmap` over seeds, since i is not batched.
        state = jax.lax.cond(i == 0, lambda: _initialise(config, layout, key, states, weight), lambda: state)

        def improve(member: State):
            counts = total(lambda part: expect(layout, member, *part), (states, weight), config.batch_size)
            new = maximise(config, layout, member, counts)
            return new.transition, new.emission, counts.log_p

        transition, emission, log_p = _map_members(improve, state)
        loss = -log_p.mean() / jnp.maximum(weight.sum(), 1e-9)
        return state._replace(transition=transition, emission=emission), {"loss": loss}

    def sample(key, state: State, labels):
        key_root, key_latent, key_state, key_value = jax.random.split(key, 4)
        prior = state.transition[:, 0, 0].ravel()
        root = jnp.broadcast_to(prior[None], (len(labels), config.members * config.components))
        root = root * _flat(state.emission)[: spec.n_classes][labels] if conditional else root
        latents = _latents(key_root, key_latent, layout, state, root)
        cdf = jnp.cumsum(layout.pad(_flat(state.emission).T), axis=-1).swapaxes(0, 1)
        states = choose(key_state, jax.vmap(lambda table, z: table[z], (0, 1), 1)(cdf, latents))
        states = states.at[:, 0].set(labels.astype(jnp.int32)) if conditional else states
        return layout.decode(key_value, states)

    def log_prob(key, state: State, batch: Batch):
        """log p(x, y) of the states: (B,) f32, nats."""
        states = layout.states(batch.x, batch.y)
        log_p = _map_members(lambda member: upward(layout, member, states).log_p, state)
        return jax.nn.logsumexp(log_p, axis=0) - math.log(config.members)

    def score(key, state: State, batch: Batch):
        return -log_prob(key, state, batch)

    model = Model(init, step, sample, score, log_prob, "exact", "bins", conditional, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
