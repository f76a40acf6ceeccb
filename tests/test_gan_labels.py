"""What a generator learns of labels and training rows, and how the work of a game is split over devices."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import mixed
import numpy as np
import pytest
from games import CLIPPED, RingCritic, RingGenerator, at, batch, play, points, w

from synthjax import adversarial
from synthjax.gan_losses import Rules
from synthjax.model import Batch, DataSpec
from synthjax.models import cgan, dcgan, table_gan
from synthjax.train import optim


class PointOfLabel(nn.Module):
    """A generator that makes one example of each of three labels."""

    @nn.compact
    def __call__(self, z, y, weight, train):
        return self.param("at", nn.initializers.constant(0.5), (3, 2))[y]


SHARES = (0.7, 0.3, 0.0)


def test_labels_of_the_generator_have_their_frequencies_and_not_those_of_the_batch():
    """For D = w . x each label's point rises by the rate times w times the label's share of what was generated."""
    game = play(CLIPPED, generator=PointOfLabel(), frequencies=SHARES)
    x = batch(points(4000), np.arange(4000) % 2)  # labels are all 0
    start = game.init(jax.random.key(0))
    state, _ = game.step(jax.random.key(1), 0, start, x)
    shares = (at(state) - at(start)) / (0.1 * w(state))
    np.testing.assert_allclose(shares, np.outer(SHARES, [1, 1]), atol=0.03)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "frequencies", "same"),
    [
        ({"weight_clip": 9.0}, SHARES, False),
        ({"weight_clip": 9.0, "n_critic": 2}, SHARES, False),
        ({"gradient_penalty": 1.0}, SHARES, True),
        ({"weight_clip": 9.0, "feature_matching": 1.0}, SHARES, True),
        ({"weight_clip": 9.0, "loss": "cramer"}, SHARES, True),
        ({"weight_clip": 9.0}, None, True),
    ],
)
def test_the_critic_compares_examples_of_the_batchs_labels_where_it_must(fields, frequencies, same):
    seen: list[adversarial.Pair] = []

    def grad(loss):
        def look(params, key, pair):
            jax.debug.callback(
                lambda *leaves: seen.append(adversarial.Pair(*leaves[:4], (), leaves[4])), *pair[:4], pair[5]
            )
            return optim.mean_grad(loss)(params, key, pair)

        return look

    rules = Rules(**{"loss": "wasserstein", **fields})
    game = play(rules, generator=PointOfLabel(), frequencies=frequencies, grad=grad)
    one = batch(points(40))._replace(y=jnp.full(40, 2))
    fed = jax.tree.map(lambda a: jnp.stack([a] * rules.n_critic), one) if rules.n_critic > 1 else one
    game.step(jax.random.key(1), 0, game.init(jax.random.key(0)), fed)
    jax.effects_barrier()
    assert len(seen) == rules.n_critic
    assert all((np.asarray(pair.y_generated) == pair.y).all() == same for pair in seen)


def nothing(loss):
    """A gradient that lets nothing of the data through."""

    def grad(params, key, pair):
        gradient, metrics, statistics = optim.mean_grad(loss)(params, key, pair)
        return optim.Gradient(jax.tree.map(jnp.zeros_like, gradient), metrics, statistics)

    return grad


IMAGES = DataSpec.from_arrays(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8), np.arange(20) % 2)
COLUMNS = tuple(dataclasses.replace(c, codes=40 * (c.kind == "code")) for c in mixed.COLUMNS)
TABLE = dataclasses.replace(mixed.SPEC, columns=COLUMNS).measured(mixed.mixed(200).x)
SMALL = {
    "dcgan": (dcgan, dcgan.Config(noise=4, channels=(4, 8)), IMAGES),
    "wgan_gp": (dcgan, dataclasses.replace(dcgan.PRESETS["wgan_gp"], noise=4, channels=(4, 8)), IMAGES),
    "cwgan": (cgan, dataclasses.replace(cgan.PRESETS["cwgan"], noise=4), IMAGES),
    "cdcgan": (cgan, dataclasses.replace(cgan.PRESETS["cdcgan"], noise=4), IMAGES),
    "table_gan": (table_gan, table_gan.Config(False, (8,), rules=Rules(historical_averaging=0.1)), TABLE),
    "table_wcgan": (table_gan, table_gan.Config(hidden=(8,), rules=cgan.WASSERSTEIN), TABLE),
}


def fed(model, spec, seed: int) -> Batch:
    """What a step of the model takes: eight rows, the last of weight 0."""
    rng = np.random.default_rng(seed)
    shape = (model.n_batches, 8) if model.feed == "batches" else (8,)
    if spec.kind == "table":
        drawn = mixed.mixed(int(np.prod(shape)), seed)
        x, y = drawn.x.reshape(*shape, -1), drawn.y.reshape(shape)
    else:
        x, y = rng.uniform(-1, 1, (*shape, *spec.shape)), rng.integers(0, 2, shape)
    weight = np.broadcast_to(np.append(rng.uniform(0.5, 1, 7), 0), shape)
    return Batch(*map(jnp.asarray, (np.float32(x), np.int32(y), np.float32(weight), np.zeros(shape, np.int32))))


@pytest.mark.parametrize("name", ["dcgan", "cwgan", "table_gan", "table_wcgan"])
def test_nothing_of_a_training_row_reaches_the_state_but_through_the_critics_gradient(name):
    """But for statistics of the critic's batch norm. Feature matching, the Cramér distance and training-by-sampling
    look at the batch elsewhere, and say so."""
    family, config, spec = SMALL[name]
    model = family.build(config, spec, nothing)
    start = jax.jit(model.init)(jax.random.key(0))
    step = jax.jit(model.step)
    one, other = (step(jax.random.key(1), 0, start, fed(model, spec, seed))[0] for seed in (0, 1))
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (start.generator, one.generator)), strict=True))
    one, other = (s._replace(critic=s.critic["params"]) for s in (one, other))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("name", SMALL)
def test_a_state_stays_f32_under_x64_and_strict_ranks(name):
    family, config, spec = SMALL[name]
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        model = family.build(config, spec)
        state = jax.eval_shape(model.init, jax.random.key(0))
        batch = fed(model, spec, 0)
        after, metrics = jax.eval_shape(model.step, jax.random.key(0), jnp.int32(3), state, batch)
        flat = jax.tree.map(lambda a: a[0], batch) if model.feed == "batches" else batch
        drawn = jax.eval_shape(model.sample, jax.random.key(0), state, flat.y)
        score = jax.eval_shape(model.score, jax.random.key(0), state, flat)
    assert all(a.dtype in (jnp.float32, jnp.int32) for a in jax.tree.leaves(state))
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, state)
    assert {a.dtype for a in (drawn, score, *metrics.values())} == {np.dtype("float32")}


@pytest.mark.parametrize("n_critic", [1, 2])
def test_the_work_of_both_networks_is_split_over_devices_as_the_batch_is(n_critic):
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    rules = Rules(n_critic=n_critic)
    game = play(rules, generator=RingGenerator(), critic=RingCritic(), frequencies=(0.5, 0.5))
    state = game.init(jax.random.key(0))
    one = batch(points(1024))
    fed = one if n_critic == 1 else jax.tree.map(lambda a: jnp.stack([a] * n_critic), one)
    flops = []
    for axis in (None, "data"):
        sharding = jax.NamedSharding(mesh, jax.P(*[None] * (n_critic - 1), axis))
        step = jax.jit(game.step, out_shardings=jax.NamedSharding(mesh, jax.P()))
        step = step.lower(jax.random.key(0), 0, state, jax.device_put(fed, sharding))
        flops.append(step.compile().cost_analysis()["flops"])
    assert flops[1] < 0.4 * flops[0], flops
