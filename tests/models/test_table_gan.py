"""The four GANs of tables: sizes as the study states them, exact rows, and the dependences of a table that is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table

from synthjax.errors import InputError
from synthjax.gan_losses import Rules
from synthjax.model import Batch, DataSpec
from synthjax.models import table_gan
from synthjax.nets.columns import Columns

SMALL = {"hidden": (32, 32, 32), "batch_size": 64}


def built(**fields):
    """(model, its first state), untrained."""
    model = table_gan.build(table_gan.Config(**{**SMALL, **fields}), toy_table.SPEC)
    return model, jax.jit(model.init)(jax.random.key(0))


@functools.cache
def trained(conditional: bool):
    """A WGAN or WCGAN and its state."""
    rules = dataclasses.replace(table_gan.WASSERSTEIN, critic_warmup=20)
    config = table_gan.Config(
        conditional=conditional, hidden=(64, 64, 64), rules=rules, learning_rate=1e-3, ema_decay=0.98
    )
    model = table_gan.build(config, toy_table.SPEC)
    return model, toy_table.train(model, 128, 900 if conditional else 1500)[0]


@functools.cache
def drawn(conditional: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 in a half of them, without conditions in a quarter), and rows that were asked for with them."""
    model, state = trained(conditional)
    labels = (np.arange(4000) % (2 if conditional else 4) == 0).astype(np.int32)
    return labels, np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels))


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize("name", sorted(table_gan.PRESETS))
def test_networks_have_three_hidden_layers_and_n_inputs(name):
    model = table_gan.build(table_gan.PRESETS[name], toy_table.SPEC)
    labels, n = (2, 17) if model.conditional else (0, 19)  # 3 reals, a pair, 2 x 3 categories, 6 towns, 2 labels
    state = jax.eval_shape(model.init, jax.random.key(0))
    count = [sum(a.size for a in jax.tree.leaves(p)) for p in (state.generator, state.critic)]
    hidden = linear(n + labels, 256) + 2 * linear(256, 256)
    assert count == [hidden + linear(256, n), hidden + linear(256, 1)]


@pytest.mark.parametrize("conditional", [pytest.param(False, marks=pytest.mark.slow), True])
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


@pytest.mark.slow
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
        pairs = zip(jax.tree.leaves(start.generator), jax.tree.leaves(state.generator), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == same


def test_every_option_trains_the_whole_generator():
    model, start = built(heads="straight_through", embedding=2, rules=Rules())
    state, _ = jax.jit(model.step)(jax.random.key(1), 0, start, toy_table.batch())
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), start.generator, state.generator)
    assert all(jax.tree.leaves(moved))


def test_heads_are_what_the_critic_sees():
    columns = Columns(toy_table.SPEC, True)
    z, y, key = jax.random.normal(jax.random.key(0), (20, 17)), jnp.zeros(20, int), jax.random.key(1)
    seen = {}
    for heads in ("soft", "straight_through"):
        net = table_gan.Generator(table_gan.Config(**SMALL, heads=heads), columns, 2)
        variables = jax.jit(net.init, static_argnums=4)(jax.random.key(2), z, y, y, False)
        v = jax.jit(functools.partial(net.apply, train=True, rngs={"dropout": key}))(variables, z, y, y)
        seen[heads] = [np.asarray(part) for part in columns.split(v)[1]]
    assert np.mean([(np.abs(soft - 0.5) < 0.49).mean() for soft in seen["soft"]]) > 0.2
    for soft, hard in zip(seen["soft"], seen["straight_through"], strict=True):
        np.testing.assert_allclose(hard, np.eye(soft.shape[-1])[soft.argmax(axis=-1)], atol=1e-6)


def test_embeddings_stand_for_large_choices_alone():
    columns = Columns(toy_table.SPEC, True)
    critic = table_gan.Critic(table_gan.Config(**SMALL, embedding=4), columns, 2)
    v, y = jnp.zeros((3, columns.width)), jnp.zeros(3, int)
    shapes = jax.eval_shape(critic.init, jax.random.key(0), v, y, y, False)["params"]
    assert {name: a.shape for name, a in shapes.items() if name.startswith("emb")} == {"embedding_2": (1, 6, 4)}
    assert shapes["Dense_0"]["kernel"].shape == (columns.width - 6 + 4 + 2, 32)


SEEN = ((0.7, 0.25, 0.05), (0.2, 0.2, 0.6))
"""Shares of the three colours, and of the three shapes, in the rows of `skewed`."""


@functools.cache
def skewed(count: int = 6000) -> Batch:
    """Rows whose colours and shapes are independent, with shares SEEN; labels alternate."""
    x, _ = toy_table.rows(count)
    x, rng, y = x.copy(), np.random.default_rng(5), np.arange(count, dtype=np.int32) % 2
    for start, shares in zip((1, 8), SEEN, strict=True):
        x[:, start : start + 3] = np.eye(3)[rng.choice(3, count, p=shares)]
    x[:, 6:8] = np.eye(2)[y]
    return Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(count), jnp.arange(count))


def sampled_by(batch: Batch, n_classes: int) -> table_gan.Categories:
    """The categories of a table of which those are all rows."""
    spec = toy_table.SPEC.measured(np.asarray(batch.x))
    return table_gan.Categories(Columns(spec, True), spec, n_classes)


@pytest.mark.parametrize("n_classes", [0, 2])
def test_conditions_have_the_chances_of_training_by_sampling(n_classes):
    """By weight, each column is the condition equally often and its categories in proportion to log(1 + n)."""
    batch = skewed()
    categories = sampled_by(batch, n_classes)
    assert categories.positions.tolist() == [1, 2, 3, 8, 9, 10]
    conditioned = categories.condition(jax.random.key(0), batch)
    label, category = np.asarray(conditioned.y) // 6, np.asarray(conditioned.y) % 6
    np.testing.assert_array_equal(label, np.asarray(batch.y) if n_classes else 0)
    held = np.asarray(batch.x)[np.arange(len(label)), categories.positions[category]]
    assert (held == 1).all()
    found = np.bincount(category, np.asarray(conditioned.weight), 6) / len(label)
    for place in (0, 1):
        n = np.asarray(batch.x)[:, categories.positions[3 * place : 3 * place + 3]].sum(0)
        expected = 0.5 * np.log1p(n) / np.log1p(n).sum()
        np.testing.assert_allclose(found[3 * place : 3 * place + 3], expected, atol=0.02)


def test_a_category_without_rows_has_the_weight_of_any():
    batch = skewed()
    batch = batch._replace(x=batch.x.at[:, 1:4].set(jnp.asarray([1.0, 0.0, 0.0])))
    np.testing.assert_array_equal(sampled_by(batch, 2).ratios[1:3], 1)


def test_drawn_conditions_are_as_frequent_as_among_the_labels_rows():
    batch = skewed()
    categories = sampled_by(batch, 2)
    start = np.asarray(categories.start())
    np.testing.assert_allclose(start, np.tile(np.asarray(batch.x)[:, categories.positions].mean(0), (2, 1)), rtol=1e-5)
    # Rows of label 1 alone have colour 2: it must hardly be drawn with label 0.
    only = batch._replace(weight=jnp.where((batch.x[:, 3] == 1) & (batch.y == 0), 0.0, 1.0))
    counts = categories.count(only)
    stacked = jax.tree.map(lambda a: a.reshape(3, 2000, *a.shape[1:]), only)
    np.testing.assert_array_equal(categories.count(stacked), counts)
    labels = jnp.asarray(np.arange(8000) % 2)
    drawn = np.asarray(categories.draw(jax.random.key(1), labels, start + counts))
    np.testing.assert_array_equal(drawn // 6, labels)
    for label in (0, 1):
        n = np.asarray(counts[label])
        expected = 0.5 * np.concatenate([n[:3] / n[:3].sum(), n[3:] / n[3:].sum()])
        found = np.bincount(drawn[drawn // 6 == label] % 6, minlength=6) / 4000
        np.testing.assert_allclose(found, expected, atol=0.03)
    assert ((drawn // 6 == 0) & (drawn % 6 == 2)).sum() <= 2


def test_training_by_sampling_counts_rows_and_trains_both_networks():
    model, start = built(by_sampling=True, rules=Rules())
    step = jax.jit(model.step)
    state, _ = step(jax.random.key(1), 0, start, toy_table.batch())
    state, _ = step(jax.random.key(2), 1, state, toy_table.batch())
    x, y = (np.asarray(a) for a in toy_table.batch()[:2])
    rows = np.array([[x[y == label][:, place].sum() for place in (1, 2, 3, 8, 9, 10)] for label in (0, 1)])
    np.testing.assert_allclose(state.counts - start.counts, 2 * rows, rtol=1e-5)
    for network in ("generator", "critic"):
        first = [jax.tree.leaves(getattr(of.game, network)["params"]) for of in (start, state)]
        assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*first, strict=True)), network
    labels = np.arange(40, dtype=np.int32) % 2
    toy_table.assert_exact(np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels)), labels)
    assert jax.jit(model.score)(jax.random.key(4), state, toy_table.batch()).shape == (8,)


def test_refusals_are_one_line():
    image, bare = DataSpec("image", (8, 8, 1), classes=("a", "b")), DataSpec.from_arrays(np.zeros((4, 3), np.float32))
    cases = [
        ({}, image, "makes tables; the data are images"),
        ({}, bare, "are conditional, and the data has no labels"),
        ({"conditional": False, "by_sampling": True}, bare, "model.by_sampling: needs a one-hot column"),
    ]
    for fields, spec, words in cases:
        with pytest.raises(InputError, match=words):
            table_gan.build(table_gan.Config(**fields), spec)
    for fields, words in (
        ({"temperature": 0.0}, "temperature=0.0: must be above 0"),
        ({"noise": -1}, "noise=-1: must not be negative"),
        ({"embedding": -1}, "embedding=-1: must not be negative"),
        ({"hidden": (8, 0)}, "hidden=.*: each must be at least 1"),
    ):
        with pytest.raises(InputError, match=rf"^model\.{words}"):
            table_gan.Config(**fields)
    assert not table_gan.build(table_gan.PRESETS["table_gan"], bare).conditional
