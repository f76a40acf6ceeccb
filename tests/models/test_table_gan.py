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
from synthjax.model import Batch, DataSpec
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


@pytest.mark.parametrize("n_classes", [0, 2])
def test_categories_are_told_with_the_chances_of_training_by_sampling(n_classes):
    """By weight, each column is told equally often and its categories in proportion to log(1 + n)."""
    categories, batch = table_gan.Categories(Columns(toy_table.SPEC, True), n_classes), skewed()
    assert categories.positions.tolist() == [1, 2, 3, 8, 9, 10]
    counts = categories.count(batch)
    assert counts.shape == (max(n_classes, 1), 6) and counts.sum() == 2 * len(batch.y)
    stacked = jax.tree.map(lambda a: a.reshape(3, 2000, *a.shape[1:]), batch)
    np.testing.assert_array_equal(categories.count(stacked), counts)
    told = categories.tell(jax.random.key(0), batch, counts)
    label, category = np.asarray(told.y) // 6, np.asarray(told.y) % 6
    np.testing.assert_array_equal(label, np.asarray(batch.y) if n_classes else 0)
    held = np.asarray(batch.x)[np.arange(len(label)), categories.positions[category]]
    assert (held == 1).all()
    found = np.bincount(category, np.asarray(told.weight), 6) / len(label)
    for place in (0, 1):
        n = np.asarray(batch.x)[:, categories.positions[3 * place : 3 * place + 3]].sum(0)
        expected = 0.5 * np.log1p(n) / np.log1p(n).sum()
        np.testing.assert_allclose(found[3 * place : 3 * place + 3], expected, atol=0.02)


def test_categories_are_asked_for_as_often_as_they_are_there():
    categories, batch = table_gan.Categories(Columns(toy_table.SPEC, True), 2), skewed()
    # Rows of label 1 alone have colour 2: it must not be asked for with label 0.
    only = batch._replace(weight=jnp.where((batch.x[:, 3] == 1) & (batch.y == 0), 0.0, 1.0))
    counts = categories.count(only)
    labels = jnp.asarray(np.arange(8000) % 2)
    asked = np.asarray(categories.ask(jax.random.key(1), labels, counts))
    np.testing.assert_array_equal(asked // 6, labels)
    for label in (0, 1):
        n = np.asarray(counts[label])
        expected = 0.5 * np.concatenate([n[:3] / n[:3].sum(), n[3:] / n[3:].sum()])
        found = np.bincount(asked[asked // 6 == label] % 6, minlength=6) / 4000
        np.testing.assert_allclose(found, expected, atol=0.03)
    assert not ((asked // 6 == 0) & (asked % 6 == 2)).any()


def test_training_by_sampling_counts_rows_and_trains_both_players():
    model, start = built(by_sampling=True, rules=Rules())
    step = jax.jit(model.step)
    state, _ = step(jax.random.key(1), 0, start, toy_table.batch())
    state, _ = step(jax.random.key(2), 1, state, toy_table.batch())
    np.testing.assert_array_equal(state.counts, 3 * np.asarray(start.counts))
    assert start.counts.sum() == 2 * 8  # two columns, eight rows
    for player in ("generator", "critic"):
        first = [jax.tree.leaves(getattr(of.game, player)["params"]) for of in (start, state)]
        assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*first, strict=True)), player
    labels = np.arange(40, dtype=np.int32) % 2
    toy_table.assert_exact(np.asarray(jax.jit(model.sample)(jax.random.key(3), state, labels)), labels)
    assert jax.jit(model.score)(jax.random.key(4), state, toy_table.batch()).shape == (8,)


def test_refusals_are_one_line():
    image, bare = DataSpec("image", (8, 8, 1), classes=("a", "b")), DataSpec.from_arrays(np.zeros((4, 3), np.float32))
    cases = [
        ({}, image, "makes tables; the data are images"),
        ({}, bare, "are conditional, and the data has no labels"),
        ({"temperature": 0.0}, toy_table.SPEC, "model.temperature=0.0: must be above 0"),
        ({"conditional": False, "by_sampling": True}, bare, "model.by_sampling: is for one-hot columns"),
        ({"rules": Rules(loss="wasserstein")}, toy_table.SPEC, "needs gradient_penalty or weight_clip"),
    ]
    for fields, spec, words in cases:
        with pytest.raises(InputError, match=words):
            table_gan.build(table_gan.Config(**fields), spec)
    assert not table_gan.build(table_gan.PRESETS["table_gan"], bare).conditional
