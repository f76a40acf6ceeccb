"""Norms without outer products against the gradients of single examples."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC, mixed

from synthjax.model import Batch
from synthjax.models import table_ddpm, table_gan, table_vae
from synthjax.nets.dense_norms import dense_squares
from synthjax.train import optim

ROWS = mixed(300)
CODES = tuple(dataclasses.replace(c, codes=40) if c.kind == "code" else c for c in SPEC.columns)
TABLE = dataclasses.replace(SPEC, columns=CODES).measured(ROWS.x)


def norms(loss, squares, params, batch):
    """(closed form, brute force), (B,) each, example by example."""
    keys = jax.random.split(jax.random.key(5), len(batch.weight))
    single = jax.tree.map(lambda a: a[:, None], batch)

    def exact(key, one):
        gradient = jax.grad(lambda p: loss(p, key, one)[0].sum())(params)
        return sum((g**2).sum() for g in jax.tree.leaves(gradient))

    closed = jax.jit(jax.vmap(lambda key, one: squares(params, key, one)[0]))(keys, single)
    return np.asarray(closed), np.asarray(jax.jit(jax.vmap(exact))(keys, single))


class Net(nn.Module):
    """One layer is called twice, another on two rows an example, and there are parameters of other kinds."""

    @nn.compact
    def __call__(self, x):
        twice = nn.Dense(4)
        h = nn.LayerNorm()(nn.tanh(twice(nn.tanh(twice(x)))))
        pair = nn.Dense(3)(jnp.stack([h, 2 * h**2], axis=1)).sum(axis=(1, 2))
        return pair * self.param("factor", nn.initializers.ones, ()) + nn.Dense(1, use_bias=False)(h)[:, 0]


def test_layers_that_are_called_twice_and_other_parameters():
    x = jax.random.normal(jax.random.key(0), (6, 4))
    batch = Batch(x, jnp.zeros(6, jnp.int32), jnp.ones(6), jnp.arange(6))
    params = Net().init(jax.random.key(1), x)

    def loss(params, key, batch):
        return Net().apply(params, batch.x) ** 2, {}

    closed, exact = norms(loss, dense_squares(loss), params, batch)
    np.testing.assert_allclose(closed, exact, rtol=1e-4)


class Kept(Exception):
    """Carries the loss of a model out of its step, with its arguments."""


class Keep:
    """A gradient that does nothing else."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, params, key, batch):
        raise Kept(self.loss, params, batch)


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (table_vae, table_vae.Config(latents=3, hidden=(6,))),
        (table_ddpm, table_ddpm.Config(width=8, blocks=1)),
        (table_gan, dataclasses.replace(table_gan.PRESETS["table_cgan"], hidden=(6, 5), embedding=2)),
    ],
)
def test_losses_of_models(module, config):
    model = module.build(config, TABLE, grad=Keep)
    state = model.init(jax.random.key(0))
    state = jax.tree.map(lambda a: a + 0.1 if jnp.issubdtype(a.dtype, jnp.floating) else a, state)
    with pytest.raises(Kept) as kept:
        model.step(jax.random.key(1), 3, state, jax.tree.map(lambda a: jnp.asarray(a[:5]), ROWS))
    loss, params, batch = kept.value.args
    assert isinstance(loss, optim.NormedLoss) and loss.single
    closed, exact = norms(loss, loss.squares, params, batch)
    np.testing.assert_allclose(closed, exact, rtol=1e-4)
    assert exact.min() > 1e-3


def test_a_gradient_penalty_has_no_closed_form():
    config = dataclasses.replace(table_gan.PRESETS["table_wcgan"], hidden=(6, 5))

    def check(loss):
        assert not isinstance(loss, optim.NormedLoss)
        return optim.mean_grad(loss)

    model = table_gan.build(config, TABLE, grad=check)
    batch = jax.tree.map(lambda a: jnp.asarray(a[:10].reshape(5, 2, *a.shape[1:])), ROWS)
    jax.eval_shape(model.step, jax.random.key(0), 0, model.init(jax.random.key(0)), batch)
