"""Trees of latents against enumeration, automatic differentiation and SciPy; EM on a table that is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled
from mixed import SPEC as UNMEASURED
from mixed import assert_depends, mixed

from synthjax.errors import InputError
from synthjax.model import Batch, Column, DataSpec
from synthjax.models import independent, mixture
from synthjax.nets import bins

SPEC = UNMEASURED.measured(mixed(3000).x)
SMALL = DataSpec(
    "table",
    (7,),
    0,
    ("n", "y"),
    (0.5, 0.5),
    (Column("u", "onehot", 0, 3), Column("v", "onehot", 3, 2), Column("t", "onehot", 5, 2, target=True)),
)
ALL = np.array(list(itertools.product(range(2), range(3), range(2))))
"""Every row of SMALL, as states: label, u, v."""
ROWS = np.concatenate([np.eye(3)[ALL[:, 1]], np.eye(2)[ALL[:, 2]], np.eye(2)[ALL[:, 0]]], axis=1).astype(np.float32)
SMALL = SMALL.measured(ROWS)
LAYOUT = bins.Layout(SMALL, 4)
K = 2


def known(structure, seed=0):
    """A state with random parameters; the tree is label - v - u."""
    rng = np.random.default_rng(seed)
    emission = np.asarray(LAYOUT.normalise(np.float32(rng.gamma(1.0, size=(7, K)))))
    spread, empty = np.full(7, 0.4, np.float32), np.zeros(0, bool)
    if structure == "product":
        prior = np.tile(np.float32([0.3, 0.7]), (1, K, 1))
        none = np.zeros(1, np.int32)
        return mixture.State(none, none, spread, empty, prior, emission)
    transition = np.float32(rng.dirichlet(np.ones(K), (3, K)))
    transition[0] = transition[0, 0]
    order, parent = np.int32([0, 2, 1]), np.int32([0, 0, 1])
    return mixture.State(order, parent, spread, empty, transition, emission)


def together(*states):
    """A model's state with these members, one structure each."""
    return states[0]._replace(
        transition=np.stack([state.transition for state in states]),
        emission=np.stack([state.emission for state in states]),
    )


def enumerated(state):
    """p of every row of ALL, summed over all values of all latents."""
    emission = [np.asarray(part, np.float64) for part in np.split(np.asarray(state.emission), [2, 5])]
    order, transition = np.asarray(state.order), np.asarray(state.transition, np.float64)
    p = np.zeros(len(ALL))
    for z in itertools.product(range(K), repeat=len(order)):
        weight = transition[0, 0, z[0]]
        for node in range(1, len(order)):
            weight *= transition[node, z[int(state.parent[node])], z[node]]
        of_column = (
            {int(c): z[node] for node, c in enumerate(order)} if len(order) > 1 else dict.fromkeys(range(3), z[0])
        )
        p += weight * np.prod([emission[c][ALL[:, c], of_column[c]] for c in range(3)], axis=0)
    return p


@pytest.mark.parametrize("structure", ["product", "tree"])
def test_the_likelihood_is_that_of_enumeration(structure):
    state = known(structure)
    p = np.exp(jax.jit(lambda state: mixture.upward(LAYOUT, state, jnp.asarray(ALL)).log_p)(state))
    np.testing.assert_allclose(p, enumerated(state), rtol=1e-5)
    assert p.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("structure", ["product", "tree"])
def test_expected_counts_are_the_slopes_of_the_likelihood(structure):
    """N(theta) = d log p / d log theta, for every probability theta; one the root's prior."""
    state, weight = known(structure), np.float32(np.linspace(0, 2, len(ALL)))

    def log_p(logs):
        moved = state._replace(transition=jnp.exp(logs[0]), emission=jnp.exp(logs[1]))
        return weight @ mixture.upward(LAYOUT, moved, jnp.asarray(ALL)).log_p

    logs = (np.log(state.transition), np.log(state.emission))
    expected, (transition, emission) = jax.jit(jax.value_and_grad(log_p))(logs)
    counts = jax.jit(lambda state: mixture.expect(LAYOUT, state, jnp.asarray(ALL), weight))(state)
    np.testing.assert_allclose(counts.emission, emission, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(counts.transition[1:], transition[1:], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(counts.transition[0, 0], transition[0, 0], rtol=1e-3, atol=1e-4)
    assert float(counts.log_p) == pytest.approx(float(expected))


@pytest.mark.parametrize("structure", ["product", "tree"])
def test_samples_of_a_label_follow_the_enumerated_distribution(structure):
    model = compiled(mixture.build(mixture.Config(structure=structure, components=K, bins=4), SMALL))
    labels = np.repeat([0, 1], 10_000)
    x = np.asarray(model.sample(jax.random.key(0), together(known(structure)), labels))
    p = enumerated(known(structure)).reshape(2, 6)
    drawn = 2 * x[:, :3].argmax(axis=1) + x[:, 3:5].argmax(axis=1)
    np.testing.assert_array_equal(x[:, 5:].argmax(axis=1), labels)
    for label in range(2):
        share = np.bincount(drawn[labels == label], minlength=6) / 10_000
        np.testing.assert_allclose(share, p[label] / p[label].sum(), atol=0.02)


def test_without_a_condition_labels_are_drawn_too():
    model = compiled(mixture.build(mixture.Config(components=K, bins=4, conditional=False), SMALL))
    x = np.asarray(model.sample(jax.random.key(0), together(known("tree")), np.zeros(10_000, np.int32)))
    assert not model.conditional
    assert x[:, 6].mean() == pytest.approx(enumerated(known("tree")).reshape(2, 6)[1].sum(), abs=0.02)


def test_members_are_one_mixture():
    """Samples and scores are those of the mean of the members' distributions, whose labels differ in frequency."""
    one, other = known("tree"), known("tree", seed=3)
    model = compiled(mixture.build(mixture.Config(components=K, members=2, bins=4), SMALL))
    p = (enumerated(one) + enumerated(other)) / 2
    by_label = [enumerated(member).reshape(2, 6).sum(axis=1) for member in (one, other)]
    assert abs(by_label[0][0] - by_label[1][0]) > 0.1
    rows = Batch(ROWS, np.int32(ALL[:, 0]), np.ones(len(ALL), np.float32), np.arange(len(ALL), dtype=np.int32))
    score = model.score(jax.random.key(0), together(one, other), rows)
    np.testing.assert_allclose(np.exp(-np.asarray(score)), p, rtol=1e-5)
    np.testing.assert_array_equal(model.log_prob(jax.random.key(0), together(one, other), rows), -np.asarray(score))
    labels = np.repeat([0, 1], 10_000)
    drawn = np.asarray(model.sample(jax.random.key(0), together(one, other), labels))
    drawn = 2 * drawn[:, :3].argmax(axis=1) + drawn[:, 3:5].argmax(axis=1)
    for label, of_label in enumerate(p.reshape(2, 6)):
        share = np.bincount(drawn[labels == label], minlength=6) / 10_000
        np.testing.assert_allclose(share, of_label / of_label.sum(), atol=0.02)


# --- on a table that is known ------------------------------------------------------------------------------------


def trained(rows, steps, **fields):
    config = mixture.Config(**{"components": 16, "bins": 64, "batch_size": 1024, **fields})
    model = compiled(mixture.build(config, SPEC))
    state, losses = model.init(jax.random.key(0)), []
    for i in range(steps):
        state, metrics = model.step(jax.random.key(3), i, state, rows)
        losses.append(float(metrics["loss"]))
    return model, state, losses


@pytest.fixture(scope="module")
def rows():
    return jax.tree.map(jnp.asarray, mixed(3000))


@pytest.mark.parametrize("structure", ["product", "tree"])
def test_it_gets_the_known_dependence_back(rows, structure):
    model, state, _ = trained(rows, 25, structure=structure)
    labels = np.random.default_rng(0).integers(0, 2, 6000).astype(np.int32)
    slack = 0.08 if structure == "product" else 0.05  # one latent of 16 values for all
    assert_depends(np.asarray(model.sample(jax.random.key(2), state, labels)), labels, slack)
    alone = compiled(independent.build(independent.Config(bins=64), SPEC))
    floor = alone.step(jax.random.key(0), 0, alone.init(jax.random.key(0)), rows)[0]
    held = jax.tree.map(jnp.asarray, mixed(1000, seed=1))
    gain = np.mean(alone.score(jax.random.key(0), floor, held)) - np.mean(model.score(jax.random.key(0), state, held))
    assert gain > 1.5  # nats; the label alone tells shop and amount apart, about 0.6 each


def test_em_never_lowers_the_likelihood(rows):
    """Without priors, with which it climbs the posterior, and without smoothing, which is no maximum of anything."""
    _, _, losses = trained(rows, 10, smoothing=1e-6, coupling=1e-6, bandwidth=0.0)
    assert (np.diff(losses) < 1e-4).all() and losses[-1] < losses[0] - 0.1


def test_unseen_rows_are_better_known_by_members_and_by_neighbours_that_share(rows):
    """Of 300 rows each learns some by heart, another start others."""
    held, few = jax.tree.map(jnp.asarray, mixed(1000, seed=1)), rows._replace(weight=(rows.index < 300) * 1.0)
    fields = {"smoothing": 0.5, "coupling": 0.5, "bandwidth": 0.0}
    both, state, _ = trained(few, 10, members=2, **fields)
    alone = compiled(mixture.build(mixture.Config(components=16, bins=64, batch_size=1024, **fields), SPEC))
    key = jax.random.key(0)
    members = [[np.asarray(a)[m : m + 1] for a in (state.transition, state.emission)] for m in range(2)]
    each = [np.mean(alone.score(key, state._replace(transition=t, emission=e), held)) for t, e in members]
    assert abs(each[0] - each[1]) > 1e-4
    assert np.mean(both.score(key, state, held)) < min(each) - 0.005
    sharing, state, _ = trained(few, 10, **{**fields, "bandwidth": 0.03})
    assert np.mean(sharing.score(key, state, held)) < min(each) - 0.1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"components": 0}, "model.components=0"),
        ({"members": 0}, "model.members=0"),
        ({"smoothing": 0.0}, "model.smoothing=0.0"),
        ({"bandwidth": -0.1}, "model.bandwidth=-0.1"),
        ({"bins": 1}, "bins=1"),
        ({"structure": "chain"}, "model.structure=chain: must be product or tree"),
    ],
)
def test_what_cannot_be_built_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        mixture.Config(**fields)


def test_padding_is_no_seed(rows):
    """Rows of weight 0 are never where a component starts: their label would be seen in its emissions."""
    weight = np.float32(np.asarray(rows.y) == 0)
    model = compiled(mixture.build(mixture.Config(components=12, bins=8), SPEC))
    start, batch = model.init(jax.random.key(0)), rows._replace(weight=weight)
    state, _ = model.step(jax.random.key(0), 0, start, batch)
    np.testing.assert_allclose(np.asarray(state.emission)[0, :2], [[1.0] * 12, [0.0] * 12], atol=1e-6)


@pytest.mark.parametrize("structure", ["product", "tree"])
def test_before_the_first_step_all_values_are_as_likely(structure):
    model = compiled(mixture.build(mixture.Config(structure=structure, components=3, members=2, bins=4), SMALL))
    state = model.init(jax.random.key(0))
    every = Batch(ROWS, np.int32(ALL[:, 0]), np.ones(12, np.float32), np.arange(12, dtype=np.int32))
    np.testing.assert_allclose(model.log_prob(jax.random.key(0), state, every), -np.log(12), rtol=1e-5)
    x = np.asarray(model.sample(jax.random.key(0), state, np.arange(500) % 2))
    np.testing.assert_array_equal([x[:, :3].sum(axis=1), x[:, 3:5].sum(axis=1)], np.ones((2, 500)))


def test_step_0_starts_it_and_later_steps_do_not(rows):
    """One compiled step for all; under vmap over seeds the start is still a branch."""
    model = mixture.build(mixture.Config(components=4, bins=8, batch_size=1024), SPEC)
    few = jax.tree.map(lambda a: np.asarray(a)[:600], rows)
    step, init = jax.jit(model.step), jax.jit(model.init)
    first = step(jax.random.key(1), 0, init(jax.random.key(0)), few)[0]
    second = step(jax.random.key(2), 1, first, few)[0]
    np.testing.assert_array_equal(first.order, second.order)
    assert step._cache_size() == 1
    other = step(jax.random.key(3), 0, second, few)[0]
    again = step(jax.random.key(3), 0, init(jax.random.key(7)), few)[0]
    for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(np.asarray(other.emission) - first.emission).max() > 0.01
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.jit(jax.vmap(model.init))(keys)
    seeds = jax.vmap(model.step, (0, None, 0, None))
    branches = [e for e in jax.make_jaxpr(seeds)(keys, jnp.int32(0), states, few).eqns if e.primitive.name == "cond"]
    assert len(branches) == 1
    of_seeds = jax.jit(seeds)(keys, 0, states, few)[0]
    alone = step(keys[1], 0, init(keys[1]), few)[0]
    np.testing.assert_allclose(np.asarray(of_seeds.emission)[1], alone.emission, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(of_seeds.order)[1], alone.order)
