"""Slices against the function that they are made of, called by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.nets.slices import in_slices


def noisy(key, labels):
    return labels[:, None] + 0.1 * jax.random.normal(key, (len(labels), 2))


@pytest.mark.parametrize("n", [5, 8, 11])
def test_each_slice_has_a_key_of_its_own(n):
    key, labels = jax.random.key(0), jnp.arange(n)
    x = jax.jit(lambda key, labels: in_slices(noisy, key, labels, 4))(key, labels)
    keys, filled = jax.random.split(key, -(-n // 4)), np.zeros(12, int)
    filled[:n] = np.arange(n)
    by_hand = np.concatenate([noisy(one, filled[4 * i : 4 * i + 4]) for i, one in enumerate(keys)])
    np.testing.assert_allclose(x, by_hand[:n], rtol=1e-6)


def test_few_labels_are_one_slice():
    key, labels = jax.random.key(0), jnp.arange(4)
    np.testing.assert_array_equal(in_slices(noisy, key, labels, 4), noisy(key, labels))


def test_slices_under_vmap():
    """As an ensemble draws: the same as one member after the other."""
    keys, labels = jax.random.split(jax.random.key(1), 3), jnp.arange(6)
    together = jax.vmap(lambda key: in_slices(noisy, key, labels, 4))(keys)
    alone = np.stack([in_slices(noisy, key, labels, 4) for key in keys])
    np.testing.assert_allclose(together, alone, rtol=1e-6)
