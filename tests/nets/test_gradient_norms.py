"""The closed form of gradient norms against the gradients of single rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixed import SPEC, mixed

from synthjax.models import table_ar
from synthjax.train import optim


class Kept(Exception):
    """Carries the loss of a model out of its step."""


def loss_of(config, spec):
    """(model, loss) of an autoregressive model."""

    def keep(loss):
        raise Kept(loss)

    model = table_ar.build(config, spec, grad=keep)
    with pytest.raises(Kept) as kept:
        model.step(jax.random.key(0), 0, model.init(jax.random.key(0)), mixed(2))
    return model, kept.value.args[0]


ROWS = mixed(400)
CODES = tuple(dataclasses.replace(c, codes=40) if c.kind == "code" else c for c in SPEC.columns)


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        pytest.param(SPEC.columns, {"bins": 16, "fine": 4}, marks=pytest.mark.slow),
        (CODES, {"bins": 6, "fine": 16, "order": ("shop", "amount")}),
        pytest.param(CODES, {"bins": 258, "fine": 1, "dropout": 0.0}, marks=pytest.mark.slow),  # two groups of columns
        (tuple(c for c in CODES if c.kind == "onehot"), {}),  # nothing is binned
    ],
)
def test_norms_are_those_of_the_gradients_of_single_rows(columns, fields):
    spec = dataclasses.replace(SPEC, columns=columns).measured(ROWS.x)
    config = table_ar.Config(**{"embedding": 3, "hidden": 5, "dropout": 0.4, **fields})
    model, loss = loss_of(config, spec)
    assert isinstance(loss, optim.NormedLoss)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: a + rng.normal(size=a.shape).astype(np.float32), model.init(jax.random.key(1)).params
    )
    batch, key = jax.tree.map(lambda a: jnp.asarray(a[:12]), ROWS), jax.random.key(2)
    gradients = jax.jit(jax.jacrev(lambda p: loss(p, key, batch).losses))(params)
    expected = sum((np.asarray(g) ** 2).reshape(12, -1).sum(axis=1) for g in jax.tree.leaves(gradients))
    np.testing.assert_allclose(jax.jit(loss.squares)(params, key, batch), expected, rtol=2e-5)
    assert expected.min() > 0.1


def test_a_network_of_the_callers_has_no_closed_form():
    network = table_ar.hidden_layers(5, 3, 5, 0.0)
    spec = SPEC.measured(ROWS.x)
    config = table_ar.Config(embedding=3, hidden=5)
    plain = table_ar.Network(
        network.init, lambda params, seen, key=None: network.apply(params, seen, jnp.ones(5), key=key)
    )

    def check(loss):
        assert not isinstance(loss, optim.NormedLoss)
        return optim.mean_grad(loss)

    model = table_ar.model(config, spec, network=plain, grad=check)
    jax.eval_shape(model.step, jax.random.key(0), 0, model.init(jax.random.key(0)), mixed(2))
