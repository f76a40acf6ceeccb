"""The four GANs of tables: sizes as the study states them, exact rows, and the dependences of a table that is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table

from synthjax.adversarial import Rules
from synthjax.errors import InputError
from synthjax.model import DataSpec
from synthjax.models import table_gan
from synthjax.nets.columns import Columns

SMALL = {"hidden": (32, 32, 32), "batch_size": 64}


def built(**fields):
    """(model, its first state), untrained."""
    model = table_gan.build(table_gan.Config(**{**SMALL, **fields}), toy_table.SPEC)
    return model, jax.jit(model.init)(jax.random.key(0), toy_table.batch())


@functools.cache
def trained(conditional: bool):
    """A WGAN or WCGAN and its state."""
    rules = dataclasses.replace(table_gan.WASSERSTEIN, critic_warmup=20)
    config = table_gan.Config(
        conditional=conditional, hidden=(64, 64, 64), rules=rules, learning_rate=1e-3, ema_decay=0.98
    )
    model = table_gan.build(config, toy_table.SPEC)
    return model, toy_table.train(model, 128, 1500)[0]


@functools.cache
def drawn(conditional: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 in a half of them, without conditions in a quarter), and rows that were asked for with them."""
    model, state = trained(conditional)
    labels = (np.arange(4000) % (2 if conditional else 4) == 0).astype(np.int32)
    return labels, np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels))


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize("name", sorted(table_gan.PRESETS))
def test_players_have_three_hidden_layers_and_n_inputs(name):
    model = table_gan.build(table_gan.PRESETS[name], toy_table.SPEC)
    labels, n = (2, 17) if model.conditional else (0, 19)  # 3 reals, a pair, 2 x 3 categories, 6 towns, 2 labels
    state = jax.eval_shape(model.init, jax.random.key(0), toy_table.batch())
    count = [sum(a.size for a in jax.tree.leaves(p)) for p in (state.game.generator, state.game.critic)]
    hidden = linear(n + labels, 256) + 2 * linear(256, 256)
    assert count == [hidden + linear(256, n), hidden + linear(256, 1)]


@pytest.mark.parametrize("conditional", [False, True])
def test_known_dependences_come_back(conditional):
    labels, x = drawn(conditional)
    toy_table.assert_exact(x, labels if conditional else None)
    real, made = toy_table.dependences(toy_table.rows()[0]), toy_table.dependences(x)
    assert made["correlation"] == pytest.approx(toy_table.CORRELATION, abs=0.15)
    assert made["shape"] > 0.8 and made["town"] > 0.75  # by chance 1/3 and 1/6
    for name, within in {"missing no": 0.12, "missing yes": 0.12, "height": 0.35, "savings": 0.3, "red": 0.1}.items():
        assert made[name] == pytest.approx(real[name], abs=within), name
    assert made["weight"] == pytest.approx(real["weight"], abs=2)
    assert made["weight's deviation"] == pytest.approx(real["weight's deviation"], rel=0.25)


def test_an_unconditional_model_makes_the_target_itself():
    labels, x = drawn(False)
    made = x[:, 6:8].argmax(axis=1)
    assert made.mean() == pytest.approx(0.5, abs=0.1)  # the labels that were asked for are 1 in a quarter
    assert (made == labels).mean() == pytest.approx(0.5, abs=0.1)


def test_rows_that_cannot_be_are_surprising():
    """`score` is high where the shape is not of the colour."""
    model, state = trained(True)
    real = toy_table.batch(1000)
    broken = real._replace(x=real.x.at[:, 8:11].set(jnp.roll(real.x[:, 8:11], 1, axis=1)))
    known, unknown = (jax.jit(model.score)(jax.random.key(0), state, b) for b in (real, broken))
    assert (np.asarray(known) < np.asarray(unknown)).mean() > 0.9


def test_before_the_warm_up_is_over_the_generator_stands_still():
    model, start = built(rules=Rules(critic_warmup=5))
    for i, same in ((4, True), (5, False)):
        state, _ = jax.jit(model.step)(jax.random.key(1), i, start, toy_table.batch())
        pairs = zip(jax.tree.leaves(start.game.generator), jax.tree.leaves(state.game.generator), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == same


def test_every_option_trains_the_whole_generator():
    model, start = built(heads="straight_through", embedding=2, rules=Rules())
    state, _ = jax.jit(model.step)(jax.random.key(1), 0, start, toy_table.batch())
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), start.game.generator, state.game.generator)
    assert all(jax.tree.leaves(moved))


def test_heads_are_what_the_critic_sees():
    columns = Columns(toy_table.SPEC, True)
    z, y, key = jax.random.normal(jax.random.key(0), (20, 17)), jnp.zeros(20, int), jax.random.key(1)
    seen = {}
    for heads in ("soft", "straight_through"):
        net = table_gan.Generator(table_gan.Config(**SMALL, heads=heads), columns, 2)
        variables = jax.jit(net.init, static_argnums=4)(jax.random.key(2), z, y, y, False)
        v = jax.jit(functools.partial(net.apply, train=True, rngs={"dropout": key}))(variables, z, y, y)
        seen[heads] = np.asarray(v)[:, 3:]
    assert (np.abs(seen["soft"] - 0.5) < 0.49).mean() > 0.2
    np.testing.assert_allclose(seen["straight_through"], np.round(seen["soft"]), atol=1e-6)


def test_embeddings_stand_for_large_choices_alone():
    columns = Columns(toy_table.SPEC, True)
    critic = table_gan.Critic(table_gan.Config(**SMALL, embedding=4), columns, 2)
    v, y = jnp.zeros((3, columns.width)), jnp.zeros(3, int)
    shapes = jax.eval_shape(critic.init, jax.random.key(0), v, y, y, False)["params"]
    assert {name: a.shape for name, a in shapes.items() if name.startswith("emb")} == {"embedding_2": (1, 6, 4)}
    assert shapes["Dense_0"]["kernel"].shape == (columns.width - 6 + 4 + 2, 32)


def test_refusals_are_one_line():
    image, bare = DataSpec("image", (8, 8, 1), classes=("a", "b")), DataSpec.from_arrays(np.zeros((4, 3), np.float32))
    cases = [
        ({}, image, "makes tables; the data are images"),
        ({}, bare, "are conditional, and the data has no labels"),
        ({"temperature": 0.0}, toy_table.SPEC, "model.temperature=0.0: must be above 0"),
        ({"rules": Rules(loss="wasserstein")}, toy_table.SPEC, "needs gradient_penalty or weight_clip"),
    ]
    for fields, spec, words in cases:
        with pytest.raises(InputError, match=words):
            table_gan.build(table_gan.Config(**fields), spec)
    assert not table_gan.build(table_gan.PRESETS["table_gan"], bare).conditional
