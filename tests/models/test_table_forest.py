"""Forests of tables: on tables whose conditional distributions are known, and by enumeration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC as UNMEASURED
from mixed import assert_depends, mixed

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import table_forest
from synthjax.nets.bins import Layout
from synthjax.nets.fine_bins import FineBins

SPEC = UNMEASURED.measured(mixed(3_000).x)


def fitted(config, spec, rows, seed=0, steps=None):
    """A model and its state after its steps, or so many."""
    model, key = table_forest.build(config, spec), jax.random.key(seed)
    state, step = model.init(key), jax.jit(model.step)
    for i in range(config.steps if steps is None else steps):
        state, _ = step(jax.random.fold_in(key, i), np.int32(i), state, jax.tree.map(jnp.asarray, rows))
    return model, state


@pytest.fixture(scope="module")
def forest():
    return fitted(table_forest.Config(leaf=20, steps=8, smoothing=0.1), SPEC, mixed(3_000))


def test_samples_depend_as_the_rows_do(forest):
    model, state = forest
    labels = np.arange(4_000, dtype=np.int32) % 2
    assert_depends(np.asarray(jax.jit(model.sample)(jax.random.key(1), state, labels)), labels, slack=0.08)


def test_every_leaf_holds_enough_rows_of_the_bag_and_all_rows_are_in_leaves(forest):
    _, state = forest
    starts = np.asarray(state.starts)
    assert (starts[..., -1] == 3_000).all() and (starts[..., 0] == 0).all()
    sizes = np.diff(starts, axis=-1)
    assert sizes[sizes > 0].min() >= 20  # the bag's rows are among them
    # The label sees no column before it, so its tree is a single leaf; the last column's has many.
    assert ((sizes > 0).sum(axis=-1) == 1)[:, 0].all() and ((sizes > 0).sum(axis=-1) > 8)[:, -1].all()
    assert (np.asarray(state.column) < np.maximum(np.arange(5), 1)[None, :, None]).all()


def small():
    """Three columns of 2, 3 and 2 states, of which the last is 1 where the others are both 0."""
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, 400), rng.integers(0, 3, 400)
    b = ((y == 0) & (a == 0)).astype(int)
    x = np.column_stack([a, b]).astype(np.float32)
    return Batch(x, y.astype(np.int32), np.ones(400, np.float32), np.arange(400)), DataSpec.from_arrays(x, y)


def test_probabilities_sum_to_one_and_samples_have_them():
    rows, spec = small()
    config = table_forest.Config(leaf=5, steps=6, smoothing=2.0)
    model, state = fitted(config, spec, rows)
    cells = np.array([(y, a, b) for y in range(2) for a in range(3) for b in range(2)])
    batch = Batch(cells[:, 1:].astype(np.float32), cells[:, 0].astype(np.int32), np.ones(12, np.float32), np.arange(12))
    p = np.exp(jax.jit(model.log_prob)(jax.random.key(0), state, batch))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    # The column of labels has no columns before it: its share, for any smoothing by that share.
    np.testing.assert_allclose(p.reshape(2, 6).sum(axis=1), np.bincount(rows.y) / 400, atol=1e-5)
    labels = np.repeat([0, 1], 20_000).astype(np.int32)
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, labels))
    drawn = np.bincount(labels * 6 + (x[:, 0] * 2 + x[:, 1]).astype(int), minlength=12) / 20_000
    given = p / np.repeat(p.reshape(2, 6).sum(axis=1), 6)
    np.testing.assert_allclose(drawn, given, atol=4 * np.sqrt(0.25 / 20_000))


def test_a_rule_of_two_columns_is_found_but_for_the_smoothing():
    rows, spec = small()
    model, state = fitted(table_forest.Config(leaf=5, steps=10, smoothing=0.01), spec, rows)
    labels = np.repeat([0, 1], 2_000).astype(np.int32)
    x = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, labels))
    assert (x[:, 1] == ((labels == 0) & (x[:, 0] == 0))).mean() > 0.98


def test_probabilities_are_the_mean_over_trees_of_the_frequencies_in_the_leaf():
    rows, spec = small()
    config = table_forest.Config(leaf=30, steps=3, smoothing=1.0)
    model, state = fitted(config, spec, rows)
    trees = table_forest.Trees(config, FineBins(Layout(spec, config.bins), config.fine))
    codes = np.asarray(trees.codes(rows))
    expected = np.zeros(400)
    for column in range(3):
        states, share = codes[:, column] // trees.parts, np.zeros(400)
        prior = np.bincount(states, minlength=3) / 400
        for t in range(3):
            leaf = np.asarray(trees.leaf(state, t, column, jnp.asarray(codes)))
            same = (leaf[:, None] == leaf[None]) & (states[:, None] == states[None])
            share += (same.sum(axis=1) + prior[states]) / ((leaf[:, None] == leaf[None]).sum(axis=1) + 1)
        expected += np.log(share / 3)
    found = jax.jit(model.log_prob)(jax.random.key(0), state, rows)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_before_the_first_tree_columns_are_independent_and_later_only_trees_that_are_there_count():
    rows, spec = small()
    config = table_forest.Config(leaf=5, steps=4)
    model, none = fitted(config, spec, rows, steps=0)
    columns = np.column_stack([rows.y, rows.x]).astype(int)
    shares = [np.bincount(column) / 400 for column in columns.T]
    expected = sum(np.log(share[column]) for share, column in zip(shares, columns.T, strict=True))
    np.testing.assert_allclose(model.log_prob(jax.random.key(0), none, rows), expected, rtol=1e-4)
    x = np.asarray(model.sample(jax.random.key(0), none, np.zeros(20_000, np.int32)))
    assert (x[:, 1] == 1).mean() == pytest.approx(shares[2][1], abs=0.02)
    # One tree of four is what a model of one tree has.
    _, one = fitted(config, spec, rows, steps=1)
    alone, its = fitted(table_forest.Config(leaf=5, steps=1), spec, rows)
    key = jax.random.key(0)
    np.testing.assert_allclose(model.log_prob(key, one, rows), alone.log_prob(key, its, rows), rtol=1e-5)
    np.testing.assert_array_equal(model.sample(key, one, rows.y), alone.sample(key, its, rows.y))


def test_a_code_of_many_categories_is_split_by_what_they_say():
    """60 shops, of which every other one sells dear: a few splits of their order tell them apart."""
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 60, 3_000)
    x = np.column_stack([shop, (shop % 2) * 10 + rng.uniform(0, 1, 3_000)]).astype(np.float32)
    columns = DataSpec.from_arrays(x).columns
    spec = DataSpec("table", (2,), 0, columns=(dataclasses.replace(columns[0], kind="code", codes=60), columns[1]))
    rows = Batch(x, np.zeros(3_000, np.int32), np.ones(3_000, np.float32), np.arange(3_000))
    model, state = fitted(table_forest.Config(leaf=40, steps=4, depth=6), spec.measured(x), rows)
    drawn = np.asarray(jax.jit(model.sample)(jax.random.key(1), state, rows.y))
    assert ((drawn[:, 1] > 5) == (drawn[:, 0] % 2)).mean() > 0.9


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"leaf": 0}, "model.leaf=0: must be at least 1"),
        ({"depth": 15}, "model.depth=15: must be at most 14"),
        ({"smoothing": 0.0}, "model.smoothing=0.0: must be a number above 0"),
        ({"smoothing": float("nan")}, "model.smoothing=nan: must be a number above 0"),
    ],
)
def test_a_number_out_of_range_is_named(fields, line):
    with pytest.raises(InputError, match=f"^{line}$"):
        table_forest.Config(**fields)


def test_images_are_refused():
    with pytest.raises(InputError, match="table_forest makes tables"):
        table_forest.build(table_forest.Config(), DataSpec("image", (8, 8, 1)))
