"""Models stay in f32 where JAX is told to use 64 bits, and broadcast nothing by accident. Traced, never run."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table

from synthjax.model import Batch, DataSpec
from synthjax.models import ddpm, table_ddpm, table_vae, vae

COUNT = 6
IMAGES = DataSpec("image", (8, 8, 1), 17, ("a", "b"), (0.5, 0.5))
SMALL_VAE = {"latents": 3, "channels": (4,), "hidden": (8,)}
SMALL_DDPM = {"width": 16, "multipliers": (1,), "blocks": (1,), "timesteps": 20, "sample_steps": 4}
MODELS = {
    "vae": lambda: vae.build(vae.Config(**SMALL_VAE), IMAGES),
    "vae, binarised, of 3 samples": lambda: vae.build(
        vae.Config(**SMALL_VAE, binarise=True, importance_samples=3, sample_mean=False), IMAGES
    ),
    "vae, discretised": lambda: vae.build(vae.Config(**SMALL_VAE, likelihood="discretised", sample_mean=False), IMAGES),
    "ddpm": lambda: ddpm.build(ddpm.Config(**SMALL_DDPM), IMAGES),
    "ddpm, guided, ancestral": lambda: ddpm.build(ddpm.Config(**SMALL_DDPM, guidance=1.0, eta=1.0, order=1), IMAGES),
    "table_vae": lambda: table_vae.build(table_vae.Config(latents=3, hidden=(8,)), toy_table.SPEC),
    "table_ddpm": lambda: table_ddpm.build(table_ddpm.Config(width=8, timesteps=20, sample_steps=4), toy_table.SPEC),
    "table_ddpm, guided": lambda: table_ddpm.build(
        table_ddpm.Config(width=8, timesteps=20, sample_steps=4, guidance=1.0, conditional=True), toy_table.SPEC
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("x64", [True, False])
def test_numbers_stay_in_f32_and_ranks_are_equal(name, x64):
    with jax.numpy_rank_promotion("raise"), jax.enable_x64(True) if x64 else contextlib.nullcontext():
        model = MODELS[name]()
        shape = IMAGES.shape if "table" not in name else toy_table.SPEC.shape
        kinds = [((COUNT, *shape), np.float32), ((COUNT,), np.int32), ((COUNT,), np.float32), ((COUNT,), np.int32)]
        batch = Batch(*(jax.ShapeDtypeStruct(shape, kind) for shape, kind in kinds))
        key, i = jax.random.key(0), jax.ShapeDtypeStruct((), np.int32)
        state = jax.eval_shape(model.init, key)
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {np.dtype(np.float32), np.dtype(np.int32)}
        after, metrics = jax.eval_shape(model.step, key, i, state, batch)
        assert forms(after) == forms(state)
        assert {(leaf.shape, leaf.dtype) for leaf in metrics.values()} == {((), np.dtype(np.float32))}
        calls = [(model.init, key), (model.step, key, i, state, batch)]
        for function, last, shaped in (
            (model.sample, batch.y, (COUNT, *shape)),
            (model.score, batch, (COUNT,)),
            (model.log_prob, batch, (COUNT,)),
        ):
            if function is not None:
                made = jax.eval_shape(function, key, state, last)
                assert (made.shape, made.dtype) == (shaped, np.float32)
                calls.append((function, key, state, last))
        for function, *inputs in calls:  # nor is anything between: single constants of Python may be
            assert not re.findall(r"f64\[\w+", str(jax.make_jaxpr(function)(*inputs)))


def forms(tree):
    return jax.tree.map(lambda a: (a.shape, a.dtype), tree)


def test_what_is_looked_for_is_found():
    """The test above would see numbers of 64 bits between others."""
    with jax.enable_x64(True):
        jaxpr = str(jax.make_jaxpr(lambda x: (x * np.ones(3)).astype(jnp.float32))(np.ones(3, np.float32)))
    assert re.findall(r"f64\[\w+", jaxpr)
