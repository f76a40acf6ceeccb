"""Models with networks of one's own, of any library: they train, sample, and say in one line what does not fit."""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table
from flax import nnx
from games import CLIPPED, Linear, Point, play
from games import batch as points

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec
from synthjax.models import dbm, ddpm, rbm, table_ddpm, table_vae, vae
from synthjax.nets.columns import Columns
from synthjax.nets.network import Network, linen

RNG = np.random.default_rng(0)
Y = (np.arange(400) % 2).astype(np.int32)
X = (8 + 5 * (2 * Y - 1)[:, None, None, None] + RNG.integers(-2, 3, (400, 2, 2, 1))).astype(np.uint8)
SPEC = DataSpec.from_arrays(X, Y, levels=17)  # dark images of class 0, bright ones of class 1
INPUTS = jnp.zeros((1, 2, 2, 1)), jnp.zeros(1), jnp.zeros(1, jnp.int32)


def joined(x, t, label):
    """(B, 4 + 1 + 3) of a noisy image, a time and a label, of which 2 means none."""
    return jnp.concatenate([x.reshape(len(x), -1), t[:, None], jax.nn.one_hot(label, 3)], axis=-1)


def dense(sizes):
    """A multi-layer perceptron as two plain functions of one input."""

    def init(key):
        shapes = list(itertools.pairwise(sizes))
        keys = jax.random.split(key, len(shapes))
        return [jax.random.normal(k, s) / np.sqrt(s[0]) for k, s in zip(keys, shapes, strict=True)]

    def apply(params, h):
        for weights in params[:-1]:
            h = jax.nn.gelu(h @ weights)
        return h @ params[-1]

    return init, apply


class Linen(nn.Module):
    """Of Flax Linen, with dropout."""

    @nn.compact
    def __call__(self, x, t, label, train=False):
        h = nn.Dropout(0.1, deterministic=not train)(nn.gelu(nn.Dense(64)(joined(x, t, label))))
        return nn.Dense(4)(h).reshape(x.shape)


class Nnx(nnx.Module):
    """Of Flax NNX, whose modules hold their parameters."""

    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(8, 64, rngs=rngs), nnx.Linear(64, 4, rngs=rngs)

    def __call__(self, x, t, label):
        return self.last(nnx.gelu(self.first(joined(x, t, label)))).reshape(x.shape)


def plain():
    init, apply = dense((8, 64, 4))
    return Network(init, lambda params, x, t, label: apply(params, joined(x, t, label)).reshape(x.shape))


def of_nnx():
    structure = nnx.graphdef(Nnx(nnx.Rngs(0)))
    return Network(lambda key: nnx.state(Nnx(nnx.Rngs(key))), lambda p, *inputs: nnx.merge(structure, p)(*inputs))


def of_equinox():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed (pip install equinox)")

    def parts(key):
        return eqx.partition(eqx.nn.MLP(8, 4, 64, 1, key=key), eqx.is_array)

    static = parts(jax.random.key(0))[1]

    def apply(params, x, t, label):
        return jax.vmap(eqx.combine(params, static))(joined(x, t, label)).reshape(x.shape)

    return Network(lambda key: parts(key)[0], apply)


NETWORKS = {
    "linen": (lambda: linen(Linen(), *INPUTS, dropout=True), {"dropout": 0.1}),
    "nnx": (of_nnx, {}),
    "functions": (plain, {}),
    "equinox": (of_equinox, {}),
}


@pytest.mark.parametrize("library", NETWORKS)
def test_diffusion_with_a_network_of_any_library(library):
    net, fields = NETWORKS[library]
    config = ddpm.Config(steps=400, warmup=10, learning_rate=1e-2, ema_decay=0.9, sample_steps=10, **fields)
    model = ddpm.model(config, SPEC, net=net())
    x, y = SPEC.encode(X), jnp.asarray(Y)

    def body(state, i):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(1), i), (64,), 0, len(Y))
        return model.step(jax.random.fold_in(jax.random.key(2), i), i, state, batch(x[rows], y[rows]))

    run = jax.jit(lambda key: jax.lax.scan(body, model.init(key), jnp.arange(400)))
    state, metrics = run(jax.random.key(0))
    assert metrics["loss"][-50:].mean() < 0.7 * metrics["loss"][:5].mean()
    labels = np.arange(200) % 2
    made = np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels))
    assert made.shape == (200, 2, 2, 1)
    dark, bright = (made[labels == label].mean() for label in (0, 1))
    assert dark == pytest.approx(float(x[Y == 0].mean()), abs=0.25)
    assert bright == pytest.approx(float(x[Y == 1].mean()), abs=0.25)


def batch(x, y) -> Batch:
    return Batch(x, y, jnp.ones(len(y)), jnp.arange(len(y)))


def halves(columns, latents=4):
    """Encoder and decoder of rows, and a wrong one of each."""
    (init_e, apply_e), (init_d, apply_d) = (
        dense(s) for s in ((columns.width + 2, 32, 2 * latents), (latents + 2, 32, columns.width))
    )
    encoder = Network(init_e, lambda p, v, onehot: apply_e(p, jnp.concatenate([v, onehot], axis=-1)))
    decoder = Network(init_d, lambda p, z, onehot: apply_d(p, jnp.concatenate([z, onehot], axis=-1)))
    return encoder, decoder


def test_a_vae_of_tables_with_an_encoder_and_a_decoder_of_ones_own():
    encoder, decoder = halves(Columns(toy_table.SPEC, True))
    config = table_vae.Config(latents=4, steps=400, learning_rate=5e-3, ema_decay=0.9)
    model = table_vae.model(config, toy_table.SPEC, encoder=encoder, decoder=decoder)
    state, metrics = toy_table.train(model, 64, 400)
    assert metrics["loss"][-50:].mean() < metrics["loss"][:5].mean() - 2
    labels = np.arange(500) % 2
    x = np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels))
    toy_table.assert_exact(x, labels)
    assert toy_table.dependences(x)["height"] > 0.5


def test_networks_of_another_shape_are_refused():
    short = Network(lambda key: {}, lambda params, *inputs: inputs[0].reshape(2, -1)[:, :1])
    image, config = {"latents": 4}, table_vae.Config(latents=4)
    width = Columns(toy_table.SPEC, True).width
    cases = [
        (lambda: ddpm.model(ddpm.Config(), SPEC, net=short), "net", "(2, 2, 2, 1)"),
        (lambda: table_ddpm.model(table_ddpm.Config(), toy_table.SPEC, net=short), "net", f"(2, {width})"),
        (lambda: table_vae.model(config, toy_table.SPEC, encoder=short), "encoder", "(2, 8)"),
        (lambda: table_vae.model(config, toy_table.SPEC, decoder=short), "decoder", f"(2, {width})"),
        (lambda: vae.model(vae.Config(**image), SPEC, encoder=short), "encoder", "((2, 4), (2, 4))"),
        (lambda: vae.model(vae.Config(**image), SPEC, decoder=short), "decoder", "(2, 2, 2, 1)"),
    ]
    for make, name, wanted in cases:
        with pytest.raises(InputError) as error:
            make()
        message = str(error.value)
        assert message.startswith(f"{name}: makes an array of shape (2, 1) of inputs") and "\n" not in message
        assert message.endswith(f"it must make {wanted}")
    pair = Network(lambda key: {}, lambda params, x, onehot: (jnp.zeros((2, 4)), jnp.zeros((2, 3))))
    with pytest.raises(InputError, match=r"^encoder: makes a tuple \(\(2, 4\), \(2, 3\)\) of inputs of shapes"):
        vae.model(vae.Config(**image), SPEC, encoder=pair)
    broken = Network(lambda key: {}, lambda params, *inputs: inputs[0] @ jnp.zeros((99, 9)))
    with pytest.raises(InputError, match="^decoder: cannot be applied to inputs of shapes") as error:
        table_vae.model(config, toy_table.SPEC, decoder=broken)
    assert "\n" not in str(error.value)


class Critic(nn.Module):
    """A critic whose outputs are those of a function of its values (B,) and of x."""

    outputs: Any

    @nn.compact
    def __call__(self, x, y, weight, train):
        return self.outputs(nn.Dense(1)(x)[:, 0], x)


def test_networks_of_a_gan_that_do_not_fit_are_refused_before_any_step():
    cases = {
        "makes an array of shape (2,)": lambda values, x: values,
        "makes a tuple ((2, 1), (2, 2))": lambda values, x: (values[:, None], x),
        "makes a tuple ((2,), (2,))": lambda values, x: (values, values),
        "makes a tuple ((2,), (2, 2), (2, 2))": lambda values, x: (values, x, x),
    }
    for made, outputs in cases.items():
        with pytest.raises(InputError) as error:
            play(CLIPPED, critic=Critic(outputs))
        line = f"critic: {made} of inputs of shapes (2, 2), (2,), (2,); it must make values and features ((2,), (2, F))"
        assert str(error.value) == line
    broken = Critic(lambda values, x: (values, x @ jnp.zeros((99, 9))))
    with pytest.raises(InputError, match=r"^critic: cannot be applied to inputs of shapes \(2, 2\), \(2,\), \(2,\): "):
        play(CLIPPED, critic=broken)
    game = play(CLIPPED, generator=Point(3), critic=Linear(3))
    state = game.init(jax.random.key(0))
    with pytest.raises(InputError, match=r"^generator: makes examples of shape \(3,\); the data's have \(2,\)$"):
        game.step(jax.random.key(1), 0, state, points(np.zeros((4, 2))))


def test_a_loss_that_returns_a_bare_array_is_refused():
    model = ddpm.model(ddpm.Config(), SPEC, net=plain(), loss=lambda params, key, batch: batch.weight)
    state = jax.eval_shape(model.init, jax.random.key(0))
    line = r"^loss: returns an array of shape \(5,\); it must return optim.Losses\(losses\), where losses has"
    with pytest.raises(InputError, match=line):
        jax.eval_shape(model.step, jax.random.key(0), 0, state, batch(SPEC.encode(X[:5]), Y[:5]))


def test_a_number_is_no_optimiser():
    line = "must be an optax transformation such as optax.adam(1e-3), not 0.001"
    makes = [
        lambda: ddpm.model(ddpm.Config(), SPEC, net=plain(), optimiser=1e-3),
        lambda: rbm.model(rbm.Config(), SPEC, optimiser=1e-3),
        lambda: dbm.model(dbm.Config(), SPEC, optimiser=1e-3),
    ]
    for make in makes:
        with pytest.raises(InputError) as error:
            make()
        assert str(error.value) == f"optimiser: {line}"
    with pytest.raises(InputError) as error:
        play(CLIPPED, 1e-3)
    assert str(error.value) == f"optimiser of the generator: {line}"
