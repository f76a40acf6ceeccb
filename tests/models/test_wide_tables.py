"""A table of many columns costs as many operations as one of few: what makes 10,000 columns compile."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from synthjax.errors import InputError
from synthjax.model import Batch, Column, DataSpec
from synthjax.models import mixture

MODELS = ("independent", "mixture", "smote", "table_ar", "table_ddpm", "table_gan", "table_vae", "table_wcgan")


def table(times):
    """A spec with so many columns of each sort, the label among them."""
    columns, start = [], 0
    for i in range(times):
        for kind, size, missing, codes in (
            ("continuous", 1, False, 0),
            ("continuous", 2, True, 0),
            ("onehot", 3, False, 0),
            ("onehot", 5, False, 0),
            ("code", 1, False, 300),
        ):
            slot = start + 1 if missing else None
            columns.append(Column(f"{kind}_{size}_{i}", kind, start, size, missing=slot, codes=codes))
            start += size
    columns.append(Column("label", "onehot", start, 2, target=True))
    shares = (0.5, 0.5)
    spec = DataSpec("table", (start + 2,), 0, classes=("a", "b"), frequencies=shares, columns=tuple(columns))
    return spec.measured(np.zeros((8, start + 2), np.float32))


def equations(function, *inputs):
    """Operations in a function, those of its loops and branches included."""

    def count(jaxpr):
        return sum(1 + sum(map(count, jaxprs_in_params(equation.params))) for equation in jaxpr.eqns)

    return count(jax.make_jaxpr(function)(*inputs).jaxpr)


def operations(name, times):
    """Operations of start, step, sample and score."""
    spec = table(times)
    batch = Batch(jnp.zeros((8, *spec.shape)), jnp.zeros(8, jnp.int32), jnp.ones(8), jnp.arange(8))
    module = importlib.import_module(f"synthjax.models.{'table_gan' if name == 'table_wcgan' else name}")
    model = module.build(module.PRESETS[name], spec)
    key, one = jax.random.key(0), batch
    if model.feed == "batches":
        batch = jax.tree.map(lambda a: jnp.stack([a] * model.n_batches), batch)
    state = jax.eval_shape(model.init, key)
    found = [equations(model.init, key), equations(lambda s: model.step(key, 0, s, batch), state)]
    found.append(equations(lambda s: model.sample(key, s, jnp.zeros(8, jnp.int32)), state))
    return [*found, equations(lambda s: model.score(key, s, one), state)] if model.score else found


@pytest.mark.parametrize("name", MODELS)
def test_operations_do_not_grow_with_the_columns(name):
    assert operations(name, 20) == operations(name, 5)


def test_more_columns_than_pairs_fit_are_refused():
    mixture.build(mixture.Config(), table(2))
    with pytest.raises(InputError, match=r"counts all pairs of [\d,]+ states of the columns; at most"):
        mixture.build(mixture.Config(), dataclasses.replace(table(1200), rows=100_000))
