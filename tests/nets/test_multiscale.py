"""Vectors that neighbouring bins share: against their definition in NumPy, and how far a row's gradient reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC, mixed

from synthjax.model import Column, DataSpec
from synthjax.nets import bins, multiscale

LAYOUT = bins.Layout(SPEC.measured(mixed(500).x), 12)
NUMBERS = [slice(2, 14), slice(15, 27), slice(31, 43)]
"""Places of the bins of amount, steps and shop among label (2), amount (12 + missing), steps, colour (4), shop."""


def smoothed(v):
    return (v[[0, *range(len(v) - 1)]] + 2 * v + v[[*range(1, len(v)), -1]]) / 4


def test_a_bin_is_the_sum_of_the_runs_that_it_lies_in():
    vectors = multiscale.normal(jax.random.key(0), LAYOUT, 3)
    assert vectors.own.shape == (43, 3) and vectors.shared.shape == (3, 15, 3)
    expected = np.array(vectors.own)
    for places, shared in zip(NUMBERS, np.asarray(vectors.shared), strict=True):
        v = shared[[0]]
        for level, part in enumerate((shared[1:3], shared[3:7], shared[7:15]), 1):
            v = smoothed(np.repeat(v, 2, axis=0) + 0.7**level * part)
        expected[places] += smoothed(np.repeat(v, 2, axis=0)[:12])
    np.testing.assert_allclose(multiscale.table(LAYOUT, vectors), expected, rtol=1e-5, atol=1e-6)


def test_neighbouring_bins_start_alike():
    v = np.asarray(multiscale.table(LAYOUT, multiscale.normal(jax.random.key(0), LAYOUT, 64)))[NUMBERS[0]]
    apart = ((v[:, None] - v[None]) ** 2).mean(axis=-1)
    assert np.diagonal(apart, 1).mean() < 0.5 * np.diagonal(apart, 8).mean()


def test_a_row_of_one_bin_moves_its_neighbours_and_no_other_column():
    def of(vectors):
        return multiscale.table(LAYOUT, vectors)

    start, place = multiscale.zeros(LAYOUT, 1), NUMBERS[0].start + 3
    np.testing.assert_array_equal(of(start), 0)
    gradient = jax.grad(lambda vectors: of(vectors)[place, 0])(start)
    moved = np.asarray(of(jax.tree.map(jnp.sign, gradient)))[:, 0]  # as far as Adam's first step would
    assert moved[place] == moved.max() and (moved[NUMBERS[0]] > 0).all()
    assert moved[NUMBERS[0].start + 4] > moved[NUMBERS[0].start + 11]
    assert (np.delete(moved, np.arange(43)[NUMBERS[0]]) == 0).all()  # a missing amount neither


@pytest.mark.parametrize("most", [2, 3, 8])
def test_any_number_of_bins_and_a_table_without_numbers(most):
    layout = bins.Layout(LAYOUT.spec, most)
    assert multiscale.table(layout, multiscale.normal(jax.random.key(0), layout, 2)).shape == (sum(layout.sizes), 2)
    spec = DataSpec("table", (3,), 0, columns=(Column("u", "onehot", 0, 3),)).measured(np.eye(3, dtype=np.float32))
    layout = bins.Layout(spec, most)
    vectors = multiscale.normal(jax.random.key(0), layout, 2)
    np.testing.assert_array_equal(multiscale.table(layout, vectors), vectors.own)
