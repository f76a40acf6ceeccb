"""The game against hand cases, closed forms and finite differences; all modes of a ring of Gaussians are found."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from games import CLIPPED, RingCritic, RingGenerator, at, batch, play, points, w

from synthjax import gan_losses
from synthjax.data.feed import Feed
from synthjax.errors import InputError, NonFiniteError
from synthjax.gan_losses import Rules
from synthjax.model import Batch, DataSpec
from synthjax.models import cgan, dcgan, table_gan
from synthjax.train.checkpoint import Checkpoints
from synthjax.train.loop import Hooks, Plan, Trainer, train

# --- losses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_cross_entropy_of_real_and_made(smoothing):
    real, made = jnp.array([-2.0, 0.3, 4.0]), jnp.array([1.0, -3.0, 0.0])
    cross_entropy = optax.sigmoid_binary_cross_entropy
    expected = cross_entropy(real, 1 - smoothing) + cross_entropy(made, 0.0)
    found = gan_losses.losses_of(Rules(label_smoothing=smoothing)).critic(real, made)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gan_losses.losses_of(Rules()).generator(made), cross_entropy(made, 1.0), rtol=1e-6)


def test_hinge_and_wasserstein_by_hand():
    real, made = jnp.array([-2.0, 0.5, 4.0]), jnp.array([1.0, -3.0, 0.0])
    hinge = gan_losses.losses_of(Rules(loss="hinge")).critic(real, made)
    assert hinge.tolist() == [3.0 + 2.0, 0.5 + 0.0, 0.0 + 1.0]
    assert gan_losses.losses_of(CLIPPED).critic(real, made).tolist() == [3.0, -3.5, -4.0]
    assert gan_losses.losses_of(CLIPPED).generator(made).tolist() == [-1.0, 3.0, 0.0]


def test_slopes_agree_with_finite_differences():
    x = points(5)

    def f(x, scale):
        return jnp.sin(scale * x[..., 0]) * x[..., 1] ** 2 + x[..., 0]

    scale = jnp.arange(1.0, 6.0)
    found = gan_losses.slopes(lambda x: f(x, scale), x)
    for i in range(5):
        with jax.enable_x64(True):
            point, step = np.asarray(x[i], np.float64), 1e-6
            moves = np.eye(2) * step
            slope = [(f(point + m, float(scale[i])) - f(point - m, float(scale[i]))) / (2 * step) for m in moves]
        np.testing.assert_allclose(found[i], np.linalg.norm(slope), rtol=1e-4)


def test_norm_is_differentiable_at_zero():
    assert jax.grad(gan_losses.norm)(jnp.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(jax.grad(gan_losses.norm)(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-6)


def test_penalties_of_a_linear_critic_have_its_slope():
    slope = np.linalg.norm([2.0, 2.0])
    penalised = play(Rules(loss="wasserstein", gradient_penalty=10.0))
    state = penalised.init(jax.random.key(0))
    _, metrics = penalised.step(jax.random.key(1), 0, state, batch(points()))
    np.testing.assert_allclose(metrics["gradient_penalty"], (slope - 1) ** 2, rtol=1e-5)
    regular = play(Rules(r1=0.5))
    _, metrics = regular.step(jax.random.key(1), 0, state, batch(points()))
    np.testing.assert_allclose(metrics["r1"], slope**2, rtol=1e-5)


def test_critic_gradient_with_penalty_by_hand():
    """For D = w . x the loss is -w . (mean x - made) + 10 (|w| - 1)^2."""
    game = play(Rules(loss="wasserstein", gradient_penalty=10.0), optax.sgd(0.01))
    x = points()
    state, _ = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), batch(x))
    before, made = np.full(2, 2.0), np.full(2, 0.5)
    slope = np.linalg.norm(before)
    gradient = -(np.asarray(x).mean(axis=0) - made) + 20 * (slope - 1) * before / slope
    np.testing.assert_allclose(w(state), before - 0.01 * gradient, rtol=1e-5)


def test_minibatch_stddev_is_that_of_the_weighted_batch():
    h = np.asarray(points(8))
    weight = np.array([1, 1, 1, 1, 1, 0, 0, 0.0])
    found = gan_losses.minibatch_stddev(jnp.asarray(h), jnp.asarray(weight))
    assert found.shape == (8, 3)
    np.testing.assert_array_equal(found[:, :2], h)
    np.testing.assert_allclose(found[:, 2], h[:5].std(axis=0).mean(), rtol=1e-5)


def test_cramer_compares_energy_distances():
    """With x as its features: the made examples coincide, so the generator's loss is 2 mean |x - made|."""
    game = play(Rules(loss="cramer", weight_clip=100.0))
    x = points()
    _, metrics = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), batch(x))
    made = np.full(2, 0.5)
    to_made, size = np.linalg.norm(x - made, axis=1), np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(metrics["generator_loss"], 2 * to_made.mean(), rtol=1e-5)
    f_real, f_made = to_made - size, 0 - np.linalg.norm(made)
    np.testing.assert_allclose(metrics["critic_loss"], (f_made - f_real).mean(), rtol=1e-5)


def test_feature_matching_adds_the_distance_of_mean_features():
    x = points()
    losses = []
    for coefficient in (0.0, 3.0):
        game = play(Rules(loss="wasserstein", weight_clip=100.0, feature_matching=coefficient))
        _, metrics = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), batch(x))
        losses.append(float(metrics["generator_loss"]))
    distance = ((np.asarray(x).mean(axis=0) - 0.5) ** 2).sum()
    np.testing.assert_allclose(losses[1] - losses[0], 3 * distance, rtol=1e-4)


def test_instance_noise_falls_to_nothing():
    game = play(Rules(loss="wasserstein", weight_clip=100.0, instance_noise=1.0), steps=10)
    quiet = play(CLIPPED)
    x = batch(points())
    state = game.init(jax.random.key(0))
    distance = [float(game.step(jax.random.key(1), i, state, x)[1]["critic_distance"]) for i in (0, 5, 10)]
    expected = float(quiet.step(jax.random.key(1), 0, state, x)[1]["critic_distance"])
    np.testing.assert_allclose(distance[2], expected, rtol=1e-5)
    np.testing.assert_allclose(distance[0] - expected, 2 * (distance[1] - expected), rtol=1e-4)
    assert abs(distance[0] - expected) > 0.01


@pytest.mark.parametrize(("loss", "right"), [("bce", ([1, 1, 1], [0, 0, 1])), ("wasserstein", ([1, 0, 1], [1, 0, 1]))])
def test_accuracies_by_hand(loss, right):
    """Values above 0 pass for real, or those above the middle of the weighted means: here of 2.5 and 1.5."""
    real, made, weight = jnp.array([4.0, 1.0, 9.0]), jnp.array([0.0, 3.0, -9.0]), jnp.array([0.5, 0.5, 0.0])
    threshold = gan_losses.losses_of(Rules(loss=loss, weight_clip=1.0)).threshold
    found = gan_losses.accuracies(real, made, weight, threshold)
    assert (found["accuracy_real"].tolist(), found["accuracy_generated"].tolist()) == right


def test_losses_of_ones_own():
    """Least squares (Mao et al. 2017), for D = w . x and one point."""
    losses = gan_losses.Losses(lambda real, made: (real - 1) ** 2 + made**2, lambda made: (made - 1) ** 2, 0.5)
    game, x = play(Rules(), optax.sgd(0.0), losses=losses), points()
    _, metrics = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), batch(x))
    real, made = np.asarray(x) @ [2.0, 2.0], 2.0
    np.testing.assert_allclose(metrics["critic_loss"], ((real - 1) ** 2 + made**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["generator_loss"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy_real"], (real > 0.5).mean(), rtol=1e-5)


# --- turns -------------------------------------------------------------------------------------------------------


def test_the_critic_moves_n_critic_times_then_the_generator_once():
    """D = w . x rises by the rate times (mean x - made) in each turn; then made rises by the rate times w."""
    game = play(Rules(loss="wasserstein", weight_clip=100.0, n_critic=3))
    assert (game.feed, game.n_batches) == ("batches", 3)
    x = np.stack([np.asarray(points(key=k)) for k in range(3)])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[batch(part) for part in x])
    state, _ = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), stacked)
    expected = 2.0 + 0.1 * (x.mean(axis=1) - 0.5).sum(axis=0)
    np.testing.assert_allclose(w(state), expected, rtol=1e-5)
    np.testing.assert_allclose(at(state), 0.5 + 0.1 * expected, rtol=1e-5)


def test_the_step_of_the_run_decides_the_learning_rate_of_both():
    """However often a network was updated: D = w . x as above, twice a step, by gradients as they are."""
    rules = dataclasses.replace(CLIPPED, n_critic=2)
    game = play(rules, optax.identity(), learning_rate=optax.linear_schedule(0.0, 1.0, 10))
    x = np.stack([np.asarray(points(key=k)) for k in range(2)])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[batch(part) for part in x])
    for i, rate in ((0, 0.0), (3, 0.3)):
        state, metrics = game.step(jax.random.key(1), i, game.init(jax.random.key(0)), stacked)
        expected = 2.0 + rate * (x.mean(axis=1) - 0.5).sum(axis=0)
        np.testing.assert_allclose(w(state), expected, rtol=1e-5)
        np.testing.assert_allclose(at(state), 0.5 + rate * expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["learning_rate"], rate, rtol=1e-6)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_warm_up_leaves_the_generator_alone(n_critic):
    game = play(Rules(loss="wasserstein", weight_clip=100.0, n_critic=n_critic, critic_warmup=2), optax.adam(0.1))
    one = batch(points())
    fed = one if n_critic == 1 else jax.tree.map(lambda a: jnp.stack([a] * n_critic), one)
    state = start = game.init(jax.random.key(0))
    step = jax.jit(game.step)
    for i in range(2):
        before = w(state)
        state, metrics = step(jax.random.key(i), i, state, fed)
        assert (w(state) != before).all() and metrics["generator_loss"] == 0
        for part in ("generator", "ema", "opt_generator"):
            jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(start, part))
    state, metrics = step(jax.random.key(2), 2, state, fed)
    assert (at(state) != at(start)).all() and metrics["generator_loss"] != 0


def test_warm_up_takes_at_most_a_tenth_of_the_steps():
    game = play(Rules(loss="wasserstein", weight_clip=100.0, critic_warmup=100), steps=10)
    one = batch(points())
    start = game.init(jax.random.key(0))
    for i, still in ((0, True), (1, False)):
        state, _ = game.step(jax.random.key(1), i, start, one)
        assert (at(state) == at(start)).all() == still


@pytest.mark.parametrize("n_critic, warmup", [(1, 0), (2, 0), (1, 10)])
@pytest.mark.parametrize("player", ["critic", "generator"])
def test_a_nan_is_attributed_to_the_network_that_caused_it(tmp_path, player, n_critic, warmup):
    """By the line that the loop ends with: a weight is NaN from step 3 on, as an update may leave it."""
    model = play(dataclasses.replace(CLIPPED, n_critic=n_critic, critic_warmup=warmup))

    def step(key, i, state, batch):
        variables = getattr(state, player)
        poison = jax.tree.map(lambda a: jnp.where(i == 3, jnp.nan, a), variables)
        return model.step(key, i, state._replace(**{player: poison}), batch)

    feed = Feed.of(model, np.ones((8, 2), np.float32), np.zeros(8, np.int32), 4)
    trainer = Trainer(model._replace(step=step), feed, DataSpec.from_arrays(feed.x, feed.y), devices=jax.devices()[:1])
    with pytest.raises(NonFiniteError, match=r"metrics? .* not finite at step 3;") as error:
        train(trainer, Plan(6), jax.random.key(0), Checkpoints(tmp_path), {}, Hooks(log=lambda *_: None))
    named = str(error.value)
    if player == "critic":
        assert "critic_loss" in named and "generator" not in named
    elif not warmup:
        assert "generator_loss" in named and "critic" not in named
    else:  # the generator has no metrics yet: those of the critic tell, or nothing would
        assert "critic_loss" in named


def test_the_critic_is_clipped_to_its_box():
    game = play(Rules(loss="wasserstein", weight_clip=0.01))
    state, _ = game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), batch(points()))
    assert w(state).tolist() == pytest.approx([0.01, 0.01])


def test_history_is_the_mean_of_all_parameters_so_far():
    game = play(Rules(loss="wasserstein", weight_clip=100.0, historical_averaging=0.5))
    state = game.init(jax.random.key(0))
    seen, x = [w(state)], np.asarray(points())
    for i in range(3):
        gradient = -(x.mean(axis=0) - at(state)) + 2 * 0.5 * (w(state) - np.mean(seen, axis=0))
        expected = w(state) - 0.1 * gradient
        state, _ = game.step(jax.random.key(i), i, state, batch(x))
        np.testing.assert_allclose(w(state), expected, rtol=1e-5)
        seen.append(w(state))
        np.testing.assert_allclose(state.history[1]["w"], np.mean(seen, axis=0), rtol=1e-5)


def test_samples_come_from_the_average_and_score_is_the_negative_critic():
    game = play(CLIPPED, ema_decay=0.0)
    x = batch(points())
    state = game.init(jax.random.key(0))
    for i in range(3):
        state, _ = game.step(jax.random.key(i), i, state, x)
    frozen = state._replace(ema=jax.tree.map(lambda a: 7 + 0 * a, state.ema))
    assert game.sample(jax.random.key(9), frozen, jnp.zeros(4, jnp.int32)).tolist() == [[7, 7]] * 4
    np.testing.assert_allclose(game.score(jax.random.key(9), state, x), -np.asarray(x.x) @ w(state), rtol=1e-5)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_critic": 0}, "n_critic=0: must be at least 1"),
        ({"historical_averaging": -1.0}, "historical_averaging=-1.0: must not be negative"),
        ({"r1": -1.0}, "r1=-1.0: must not be negative"),
        ({"r1": float("nan")}, "r1=nan: must not be negative"),
        ({"loss": "wasserstein"}, "loss=wasserstein: needs gradient_penalty or weight_clip"),
        ({"loss": "cramer"}, "loss=cramer: needs"),
        ({"gradient_penalty": 1.0, "weight_clip": 1.0}, "set one of them to 0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: must be at least 0 and below 1"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "needs model.rules.loss=bce, not hinge"),
    ],
)
def test_rules_that_contradict_themselves(fields, words):
    with pytest.raises(InputError) as error:
        Rules(**fields)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rules", "options", "words"),
    [
        (
            Rules(r1=1.0),
            {"batch_coupling": "batch norm"},
            "r1: not defined per example, since the critic has batch norm",
        ),
        (Rules(gradient_penalty=1.0), {"batch_coupling": "minibatch layer"}, "the critic has minibatch layer"),
    ],
)
def test_games_that_cannot_be_played(rules, options, words):
    with pytest.raises(InputError) as error:
        play(rules, **options)
    assert words in str(error.value) and "\n" not in str(error.value)


# --- all of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family, shape", [(cgan, (8, 8, 1)), (dcgan, (8, 8, 1)), (table_gan, (4,))])
@pytest.mark.parametrize(
    "field, value", [("learning_rate", 0.0), ("learning_rate", float("nan")), ("ema_decay", 1.0), ("ema_decay", -0.1)]
)
def test_rates_that_teach_nothing_are_refused_by_every_gan(family, shape, field, value):
    spec = DataSpec.from_arrays(np.zeros((4, *shape), np.float32), np.arange(4) % 2)
    with pytest.raises(InputError, match=rf"^model\.{field}={value}: must be "):
        dataclasses.replace(family.Config(), **{field: value})
    family.build(family.Config(ema_decay=0.0), spec)


@pytest.mark.slow
def test_all_modes_of_a_ring_of_gaussians_are_found():
    rules = Rules(loss="wasserstein", gradient_penalty=1.0, n_critic=5)
    adam = optax.adam(1e-3, 0.5, 0.9)
    game = play(rules, adam, RingGenerator(), RingCritic(), ema_decay=0.99)
    angles = 2 * np.pi * np.arange(8) / 8
    centres = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), jnp.float32)

    def real(key, count):
        key_mode, key_noise = jax.random.split(key)
        return centres[jax.random.randint(key_mode, count, 0, 8)] + 0.05 * jax.random.normal(key_noise, (*count, 2))

    def fed(key):
        x = real(key, (5, 128))
        zeros = jnp.zeros((5, 128), jnp.int32)
        return Batch(x, zeros, jnp.ones((5, 128)), zeros)

    def body(i, state):
        key_data, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        return game.step(key_step, i, state, fed(key_data))[0]

    start = game.init(jax.random.key(0))
    trained = jax.jit(lambda state: jax.lax.fori_loop(0, 1500, body, state))(start)

    def near(state):
        x = np.asarray(game.sample(jax.random.key(3), state, jnp.zeros(4000, jnp.int32)))
        distance = np.linalg.norm(x[:, None] - np.asarray(centres), axis=-1)
        return np.bincount(distance.argmin(axis=1)[distance.min(axis=1) < 0.2], minlength=8) / 4000

    found = near(trained)
    assert (found > 0.3 / 8).all() and found.sum() > 0.6, found
    assert (near(start) > 0.3 / 8).sum() < 8
