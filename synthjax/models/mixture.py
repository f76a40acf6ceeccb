r"""Mixtures over the columns of a table, fitted by EM: one latent cluster a row, or a tree of them.

    product   z ~ prior,  x_c ~ p_c(. | z)                            one latent class with K values (Lazarsfeld)
    tree      z_r ~ prior,  z_c ~ T_c(. | z_parent(c)),  x_c ~ p_c(. | z_c)        one latent a column, K values each

The tree is that of Chow & Liu (1968): of largest total mutual information between columns; with hidden nodes (Choi et
al. 2011, JMLR 12; as a probabilistic circuit Liu & Van den Broeck 2021, NeurIPS) its K^2 entries an edge carry more of
the dependence between columns than a product's K, for far fewer parameters: columns share what they do not depend on,
so that less of a single row is remembered at the same fidelity. The product is the tree whose latents are all equal.
Its root is the label, where the data has one. Columns are states (`nets.bins`); numbers come back uniform in their bin.

A step is one iteration of EM. With messages up from the leaves, a_c(z) = p_c(x_c | z) prod_children up_child(z) and
up_c(z') = sum_z T_c(z | z') a_c(z), and posteriors down from the root, expected counts N of emissions and transitions
are matrix products. The M step is the mode under Dirichlet priors that pull to the marginals,

    p_c(s | z) ~ N_c(s, z) + smoothing * p_c(s),      T_c(z | z') ~ N_c(z', z) + coupling * N_c(z) / N.

Before it, neighbouring values of the numeric columns share their counts where that foretells left-out rows better
(`nets.smooth`).

Several trees of one structure, each fitted to all rows from a start of its own, can be averaged into one mixture
(`members`; Ormoneit & Tresp 1995, NIPS): what one of them remembers of single rows the others do not share, so that the
likelihood of unseen rows rises where a larger K would lower it.

Sampling is ancestral; given a label, member and root are drawn from their posterior. The likelihood is exact.

Step 0 starts it: it counts the marginals, finds the tree, and draws training rows for the components to begin at.

    model = build(Config(components=64), spec)
    state = model.init(key)
    for i in range(config.steps): state, metrics = model.step(key, i, state, batch)     # batch: the whole training set
    x = model.sample(key, state, labels)
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

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
    components: int = 64
    """K: values of each latent."""
    members: int = 1
    """M: fits from different starts that are averaged; time and size grow with it."""
    bins: int = 128
    """Most bins of a numeric column."""
    smoothing: float = 1.0
    """Rows, spread as the column's marginal, that are added to each component of each column."""
    coupling: float = 4.0
    """Rows, spread as the latent's marginal, that are added to each row of each transition matrix."""
    bandwidth: float = 0.03
    """Share of the rows over which neighbouring values of a numeric column share counts; 0: none do."""
    conditional: bool = True
    """Samples take the labels they are given, where the data has any."""
    batch_size: int = 256
    """Rows in memory at once: few enough for a CPU's cache. A step sees the whole training set all the same."""
    steps: int = 30
    """Iterations of EM; fewer are a regulariser of their own. On half of Adult the likelihood of unseen rows rises
    up to 30, but so does what is given away of the seen ones; without `bandwidth` it turns down after 15 to 20."""

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
    """Parameters and structure. Nodes are in the order in which the tree grew, from its root; G = 1 or C.

    A model's has a leading axis (M,) on `transition` and `emission`; `upward` to `maximise` see one member's, without.
    """

    order: jax.Array
    """(G,) i32 the column of each node; a product's one node stands for all."""
    parent: jax.Array
    """(G,) i32 the earlier node that each hangs on; 0 for the root, which is node 0."""
    marginal: jax.Array
    """(W,) frequency of each state of each column."""
    smooth: jax.Array
    """(N,) bool, of the numeric columns: whether neighbouring values share their counts."""
    transition: jax.Array
    """(G, K, K) T(z | z_parent) as [z_parent, z]; every row of the root's is its prior."""
    emission: jax.Array
    """(W, K) p(state | z)."""


class Messages(NamedTuple):
    """What the upward pass leaves for the downward one; each scaled to a largest value of 1 over z."""

    log_p: jax.Array
    """(B,) log p(x)."""
    inside: jax.Array
    """(G, B, K) a(z), of the subtree below each node."""
    up: jax.Array
    """(G - 1, B, K) to the parents of nodes 1 ..."""


# --- expectation -------------------------------------------------------------------------------------------------


def _at(a: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(a, index, keepdims=False)


def _put(a: jax.Array, row: jax.Array, index: jax.Array) -> jax.Array:
    """`a` with a row replaced, in place; `a.at[index].set` of a traced index would become a slow scatter."""
    return jax.lax.dynamic_update_index_in_dim(a, row, index, 0)


def _scaled(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    top = jnp.maximum(a.max(axis=-1), _TINY)
    return a / top[..., None], jnp.log(top)


def upward(layout: Layout, state: State, states: jax.Array) -> Messages:
    """Messages from the leaves to the root for rows of states (B, C)."""
    log_leaf = jnp.log(jnp.maximum(state.emission, _TINY))[layout.places(states).T]
    log_leaf = log_leaf.sum(axis=0, keepdims=True) if len(state.order) == 1 else log_leaf[state.order]
    top = log_leaf.max(axis=-1)
    leaf, log_p = jnp.exp(log_leaf - top[..., None]), top.sum(axis=0)

    def visit(carry, node):
        inside, log_p = carry
        index, parent, transition = node
        a, scale = _scaled(_at(inside, index))
        up = a @ transition.T
        inside = _put(_put(inside, a, index), _at(inside, parent) * up, parent)
        return (inside, log_p + scale), up

    nodes = (jnp.arange(1, len(leaf), dtype=jnp.int32), state.parent[1:], state.transition[1:])
    (inside, log_p), up = jax.lax.scan(visit, (leaf, log_p), nodes, reverse=True)
    root, scale = _scaled(inside[0])
    return Messages(
        log_p + scale + jnp.log(jnp.maximum(root @ state.transition[0, 0], _TINY)), inside.at[0].set(root), up
    )


def downward(state: State, messages: Messages, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Posteriors of every latent, (G, B, K), and expected counts of transitions (G, K, K)."""
    root = messages.inside[0] * state.transition[0, 0][None]
    posterior = jnp.zeros_like(messages.inside).at[0].set(root / jnp.maximum(root.sum(-1, keepdims=True), _TINY))

    def visit(posterior, node):
        index, parent, transition, up = node
        outside = _at(posterior, parent) / jnp.maximum(up, _TINY)
        a = _at(messages.inside, index)
        counts = ((outside * weight[:, None]).T @ a) * transition
        return _put(posterior, (outside @ transition) * a, index), counts

    nodes = (jnp.arange(1, len(posterior), dtype=jnp.int32), state.parent[1:], state.transition[1:], messages.up)
    posterior, counts = jax.lax.scan(visit, posterior, nodes)
    prior = jnp.broadcast_to(weight @ posterior[0], (1, *state.transition.shape[1:]))
    return posterior, jnp.concatenate([prior, counts])


class Counts(NamedTuple):
    """Expected counts over the training set."""

    log_p: jax.Array
    """Sum of log p(x)."""
    transition: jax.Array
    """(G, K, K)"""
    emission: jax.Array
    """(W, K)"""


def expect(layout: Layout, state: State, states: jax.Array, weight: jax.Array) -> Counts:
    """Expected counts of rows of states (B, C) with weights (B,)."""
    messages = upward(layout, state, states)
    posterior, transition = downward(state, messages, weight)
    weighted = posterior * weight[None, :, None]
    of_column = jnp.zeros_like(weighted).at[state.order].set(weighted) if len(posterior) > 1 else weighted
    rows = jnp.broadcast_to(of_column, (len(layout.sizes), *of_column.shape[1:]))
    emission = jnp.zeros_like(state.emission).at[layout.places(states).T].add(rows)
    return Counts(weight @ messages.log_p, transition, emission)


def maximise(config: Config, layout: Layout, state: State, counts: Counts) -> State:
    """The parameters that expected counts and priors ask for."""
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


def _rows(batch: Batch) -> jax.Array:
    """Weights that sum to the number of rows that have any, (B,)."""
    return batch.weight * ((batch.weight > 0).sum() / jnp.maximum(batch.weight.sum(), 1e-9))


def _each(function: Any, state: State) -> Any:
    """`function` of each member's own State, one after the other: results get a leading axis (M,)."""
    own = (state.transition, state.emission)
    return jax.lax.map(lambda one: function(state._replace(transition=one[0], emission=one[1])), own)


def _flat(emission: jax.Array) -> jax.Array:
    """(M, W, K) -> (W, M K)."""
    return jnp.moveaxis(emission, 0, 1).reshape(emission.shape[1], -1)


def _empty(config: Config, layout: Layout) -> State:
    """The state before step 0: nothing is known, and all states are as frequent as others."""
    k, width = config.components, sum(layout.sizes)
    nodes = 1 if config.structure == "product" else len(layout.sizes)
    possible = layout.normalise(jnp.asarray(layout.possible, jnp.float32))
    return State(
        jnp.arange(nodes, dtype=jnp.int32),
        jnp.zeros(nodes, jnp.int32),
        possible,
        jnp.zeros(len(smooth.columns(layout)), bool),
        jnp.full((config.members, nodes, k, k), 1 / k, jnp.float32),
        jnp.broadcast_to(possible[:, None], (config.members, width, k)),
    )


def _start(config: Config, layout: Layout, key: jax.Array, states: jax.Array, weight: jax.Array) -> State:
    """Latents all equal, or nearly: each value is a training row drawn at random, mixed with the marginals."""
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
    """Latents of every column, (B, C), as member * K + value; the root's drawn by weights (B, M K)."""
    k = state.transition.shape[-1]
    first = choose(key_root, jnp.cumsum(root, axis=-1))
    of_member = first // k * k
    cdf = jnp.cumsum(state.transition, axis=-1).swapaxes(0, 1).reshape(len(state.order), -1, k)
    drawn = jnp.zeros((len(state.order), len(root)), jnp.int32).at[0].set(first)

    def visit(drawn, node):
        key, index, parent, cdf = node
        return _put(drawn, of_member + choose(key, cdf[_at(drawn, parent)]), index), None

    keys = jax.random.split(key_latent, len(drawn))
    nodes = (keys, jnp.arange(len(drawn), dtype=jnp.int32), state.parent, cdf)
    drawn = jax.lax.scan(visit, drawn, jax.tree.map(lambda a: a[1:], nodes))[0]
    if len(drawn) == 1:
        return jnp.broadcast_to(drawn.T, (len(root), len(layout.sizes)))
    return jnp.zeros_like(drawn).at[state.order].set(drawn).T


def _check_states(spec: DataSpec) -> None:
    """Raises InputError where the table of pairs of states would be too large."""
    if (states := chow_liu.coarse_states(spec)) > chow_liu.MOST:
        raise InputError(
            f"model mixture: compares every two columns, which have {states:,} coarse states together; at most "
            f"{chow_liu.MOST:,} fit. Models independent, table_vae and table_wcgan take as many columns"
        )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A mixture for that table. It is fitted by EM: `grad` is not called.

    Raises:
      InputError: the data is no table, its spec has no statistics, or more columns than fit.
    """
    check("mixture", spec)
    _check_states(spec)
    layout = Layout(spec, config.bins)
    conditional = config.conditional and spec.n_classes > 0

    def init(key) -> State:
        return _empty(config, layout)

    def step(key, i, state: State, batch: Batch):
        states, weight = layout.states(batch.x, batch.y), _rows(batch)
        # A branch, not a select: under `vmap` over seeds too, as i is the same for all.
        state = jax.lax.cond(i == 0, lambda: _start(config, layout, key, states, weight), lambda: state)

        def improve(member: State):
            counts = total(lambda part: expect(layout, member, *part), (states, weight), config.batch_size)
            new = maximise(config, layout, member, counts)
            return new.transition, new.emission, counts.log_p

        transition, emission, log_p = _each(improve, state)
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
        """log p(x, y) of the states, nats."""
        states = layout.states(batch.x, batch.y)
        log_p = _each(lambda member: upward(layout, member, states).log_p, state)
        return jax.nn.logsumexp(log_p, axis=0) - math.log(config.members)

    def score(key, state: State, batch: Batch):
        return -log_prob(key, state, batch)

    model = Model(init, step, sample, score, log_prob, "exact", "bins", conditional, feed="dataset")
    return model._replace(n_classes=spec.n_classes, empty_classes=spec.empty_classes)
