"""Tables from marginals: beside enumeration and closed forms; what one row changes; what noise leaves."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC, assert_depends, assert_valid, mixed

from synthjax.errors import InputError
from synthjax.model import Batch, Column, DataSpec
from synthjax.models import table_marginals
from synthjax.models.table_marginals import Config

COLUMNS = (Column("a", "onehot", 0, 3), Column("b", "onehot", 3, 4), Column("c", "onehot", 7, 2))
STATES = np.array(list(itertools.product(range(2), range(3), range(4), range(2))), np.int32)
"""(48, 4): every row of a table with a label and three columns."""


def rows_of(counts: np.ndarray) -> tuple[DataSpec, Batch]:
    """A table with so many rows of each of STATES."""
    states = np.repeat(STATES, counts, axis=0)
    x = np.concatenate([np.eye(size)[states[:, place]] for place, size in ((1, 3), (2, 4), (3, 2))], axis=1)
    y = states[:, 0]
    share = tuple(np.bincount(y, minlength=2) / len(y))
    spec = DataSpec("table", (9,), 0, ("n", "y"), share, COLUMNS).measured(x.astype(np.float32))
    return spec, Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y), jnp.ones(len(y)), jnp.arange(len(y)))


def noise(z: float):
    """A count hook with rounded Gaussian noise."""

    def count(key, counts, sensitivity, share=1.0):
        scale = z * sensitivity / math.sqrt(share)
        return counts + jnp.round(scale * jax.random.normal(key, counts.shape, counts.dtype))

    return count


def fitted(spec, batch, count=None, **fields):
    config = Config(**{"bins": 8, "chains": 8192, "iterations": 200} | fields)
    model = table_marginals.build(config, spec, **({"count": count} if count else {}))
    state, metrics = jax.jit(model.step)(jax.random.key(0), 0, model.init(jax.random.key(0)), batch)
    return model, state, metrics


def probabilities(model, state) -> np.ndarray:
    """(48,) of STATES."""
    _, every = rows_of(np.ones(48, int))
    return np.exp(np.asarray(jax.jit(model.log_prob)(jax.random.key(0), state, every)))


def pairs(p: np.ndarray) -> np.ndarray:
    """All marginals of two columns, from the probabilities of STATES."""
    table = p.reshape(2, 3, 4, 2)
    return np.concatenate([table.sum(axis=axes).ravel() for axes in itertools.combinations(range(4), 2)])


@pytest.fixture(scope="module")
def whole():
    counts = np.random.default_rng(0).integers(5, 400, 48)
    return counts, *rows_of(counts)


def test_all_pairs_have_their_marginals_and_probabilities_sum_to_1(whole):
    counts, spec, batch = whole
    model, state, metrics = fitted(spec, batch)
    p = probabilities(model, state)
    assert p.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(pairs(p), pairs(counts / counts.sum()), atol=0.01)  # of the 8,192 rows drawn
    assert float(metrics["loss"]) == pytest.approx(-(counts / counts.sum()) @ np.log(p), abs=0.01)
    assert float(metrics["noise"]) == 0


def test_a_tree_is_fitted_as_chow_and_liu_do():
    """Rows of a Markov chain label - a - b - c, whose maximum likelihood is the product of its conditionals."""
    rng = np.random.default_rng(1)
    first, steps = np.array([0.3, 0.7]), [rng.dirichlet(np.ones(n), m) for m, n in ((2, 3), (3, 4), (4, 2))]
    tree = np.einsum("y,ya,ab,bc->yabc", first, *steps).ravel()
    counts = np.round(40_000 * tree).astype(int)
    model, state, _ = fitted(*rows_of(counts), chains=32_768)
    np.testing.assert_allclose(probabilities(model, state), tree, atol=0.004)


def test_rows_of_weight_0_do_not_count_and_later_steps_change_nothing(whole):
    _, spec, batch = whole
    double = jax.tree.map(lambda a: jnp.concatenate([a, a[::-1]]), batch)
    padded = double._replace(weight=jnp.concatenate([batch.weight, 0 * batch.weight]))
    model, state, _ = fitted(spec, batch, iterations=5, chains=64)
    _, other, _ = fitted(spec, padded, iterations=5, chains=64)
    again, _ = jax.jit(model.step)(jax.random.key(7), 1, state, batch)
    for a, b, c in zip(*map(jax.tree.leaves, (state, other, again)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_array_equal(a, c)


# --- privacy -----------------------------------------------------------------------------------------------------


def recorded(spec, batch):
    """Calls of a `count` that lets nothing through: (counts, sensitivity, share) each, and what is fitted."""
    calls = []

    def record(key, counts, sensitivity, share=1.0):
        jax.debug.callback(lambda exact: calls.append((np.asarray(exact), sensitivity, share)), counts)
        return jnp.round(300 * jax.random.uniform(key, counts.shape))

    result = fitted(spec, batch, record, iterations=3, chains=64, again=0.5)
    jax.effects_barrier()
    return sorted(calls, key=lambda call: (call[0].ndim, call[2], call[0].sum())), result


def test_one_row_changes_each_count_by_the_declared_sensitivity(whole):
    _, spec, batch = whole
    base, (_, state, metrics) = recorded(spec, batch)
    assert [(round(sensitivity**2), round(share, 3)) for _, sensitivity, share in base] == [
        *((4, 0.1), (2, 0.3), (3, 0.3), (3, 0.3))
    ]
    for row in (0, 100, len(batch.y) - 1):
        less = batch._replace(weight=batch.weight.at[row].set(0))
        other, (_, same, same_metrics) = recorded(spec, less)
        for (counts, sensitivity, share), (fewer, *declared) in zip(base, other, strict=True):
            assert declared == [sensitivity, share]
            assert np.linalg.norm(counts - fewer) == pytest.approx(sensitivity)
        # Nothing else is known of the rows.
        for a, b in zip(*map(jax.tree.leaves, ((state, metrics), (same, same_metrics))), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_releases_are_the_calls(whole):
    _, spec, batch = whole
    listed = table_marginals.releases(Config(bins=8, again=0.5), spec)
    calls, _ = recorded(spec, batch)
    assert sorted(noise for _, _, noise, _, _ in listed) == sorted(1 / math.sqrt(share) for *_, share in calls)
    assert sum(share for *_, share in calls) == pytest.approx(1)
    assert {entry[1:2] + entry[3:] for entry in listed} == {("discrete gaussian", 1.0, 1)}
    assert [name for name, *_ in table_marginals.releases(Config(), DataSpec.from_arrays(np.ones((9, 1), "f4")))] == [
        "counts of single columns"
    ]


def test_the_noise_is_estimated_and_hides_what_is_weaker():
    """Of two dependent columns and six independent ones; with little noise the pair is seen, with much it is not."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (4000, 8)).astype(np.float32)
    x[:, 3] = np.where(rng.uniform(size=4000) < 0.5, x[:, 2], x[:, 3])
    batch = Batch(jnp.asarray(x), jnp.zeros(4000, jnp.int32), jnp.ones(4000), jnp.arange(4000))
    spec = DataSpec.from_arrays(x)
    for z, seen in ((1.0, True), (100.0, False)):
        _, state, metrics = fitted(spec, batch, noise(z), iterations=60)
        assert float(metrics["noise"]) == pytest.approx(z, rel=0.1)
        strength = np.sqrt((np.asarray(state.weight) ** 2).mean(axis=2)).reshape(8, 8, -1).mean(axis=2)
        assert (strength[3, 2] > 0.3) == seen
        assert np.sort(strength.ravel())[-2] < 0.1 or not seen


def test_different_rows_do_not_compile_again(whole):
    _, spec, batch = whole
    model = table_marginals.build(Config(chains=64, iterations=2), spec)
    traces = []

    def step(key, state, batch):
        traces.append(1)
        return model.step(key, 0, state, batch)

    start, compiled = model.init(jax.random.key(0)), jax.jit(step)
    for seed in range(3):
        shuffled = batch._replace(x=jnp.asarray(np.random.default_rng(seed).permutation(np.asarray(batch.x))))
        compiled(jax.random.key(seed), start, shuffled)
    assert len(traces) == 1


# --- columns of every kind ---------------------------------------------------------------------------------------


def test_samples_depend_as_the_rows_do():
    rows = mixed(4000)
    model, state, _ = fitted(SPEC.measured(rows.x), jax.tree.map(jnp.asarray, rows), bins=24, iterations=80)
    y = np.repeat([0, 1], 3000).astype(np.int32)
    assert_depends(np.asarray(jax.jit(model.sample)(jax.random.key(1), state, y)), y, slack=0.06)


def test_with_noise_samples_are_rows_of_the_table():
    rows = mixed(4000)
    spec, batch = SPEC.measured(rows.x), jax.tree.map(jnp.asarray, rows)
    model, state, _ = fitted(spec, batch, noise(3.7), bins=24, iterations=40)
    y = np.repeat([0, 1], 3000).astype(np.int32)
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, y))
    assert_valid(x)
    assert x[y == 1, 0].mean() - x[(y == 0) & (x[:, 1] == 0), 0].mean() > 2
    assert abs((x[y == 1, 5] == 1).mean() - (rows.x[rows.y == 1, 5] == 1).mean()) < 0.15


def test_rare_categories_are_joined_and_keep_their_frequencies():
    """Of 40 categories, seven have a state each; the others share one."""
    rng = np.random.default_rng(0)
    share = 0.85 ** np.arange(40) / (0.85 ** np.arange(40)).sum()
    category, y = rng.choice(40, 6000, p=share), rng.integers(0, 2, 6000)
    x = np.eye(40, dtype=np.float32)[category]
    spec = DataSpec("table", (40,), 0, ("n", "y"), (0.5, 0.5), (Column("c", "onehot", 0, 40),)).measured(x)
    batch = Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(6000), jnp.arange(6000))
    model, state, _ = fitted(spec, batch, categories=8)
    assert state.weight.shape == (2, 10, 8)
    drawn = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, jnp.asarray(y)))
    np.testing.assert_allclose(drawn.mean(axis=0), x.mean(axis=0), atol=0.02)
    assert drawn[:, 20:].mean() == pytest.approx(x[:, 20:].mean(), rel=0.3)
    every = Batch(jnp.eye(40), jnp.zeros(40, jnp.int32), jnp.ones(40), jnp.arange(40))
    p = [np.exp(model.log_prob(jax.random.key(0), state, every._replace(y=every.y + label))).sum() for label in (0, 1)]
    assert sum(p) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"share_pairs": 0.0}, "share_pairs"), ({"smoothness": 1.5}, "smoothness"), ({"again": -1.0}, "again"),
     ({"chains": 0}, "chains"), ({"bins": 1}, "bins")],
)  # fmt: skip
def test_a_wrong_field_is_named(fields, named):
    with pytest.raises(InputError, match=f"model.{named}="):
        Config(**fields)
