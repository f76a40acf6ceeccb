import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax import linen as nn

from synthjax.errors import InputError
from synthjax.evals import classifiers
from synthjax.evals.classifiers import STANDARD
from synthjax.model import DataSpec


def halves(seed, n):
    """Noisy 8x8 images whose label says which half is bright: left, right or top."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n).astype(np.int32)
    x = rng.integers(0, 120, (n, 8, 8, 1))
    x[y == 0, :, :4] += 100
    x[y == 1, :, 4:] += 100
    x[y == 2, :4] += 100
    return x.astype(np.uint8), y


SPEC = DataSpec.from_arrays(*halves(0, 300))


@pytest.fixture(scope="module")
def toy():
    seen = []
    nets = classifiers.train(
        jax.random.key(0), halves(0, 300), SPEC, protocol=STANDARD.with_epochs(8), seeds=3, progress=seen.append
    )
    return nets, seen


def test_parameter_count_by_hand():
    net = classifiers.CNN(10)
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    convolutions = 3 * 3 * 1 * 32 + 3 * 3 * 32 * 64
    norms = 2 * 32 + 2 * 64
    dense = (7 * 7 * 64 + 1) * 128 + (128 + 1) * 10
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == convolutions + norms + dense == 421_738


def test_learns_from_every_seed(toy):
    nets, _ = toy
    x, y = halves(1, 777)
    logits = classifiers.predict(nets, x)
    assert logits.shape == (3, 777, 3) and logits.dtype == np.float32
    assert ((logits.argmax(-1) == y).mean(1) > 0.95).all()
    assert len(np.unique(logits[:, 0, 0])) == 3, "seeds must differ"


def test_prediction_does_not_depend_on_the_block(toy):
    nets, _ = toy
    x, _ = halves(1, 777)
    np.testing.assert_allclose(
        classifiers.predict(nets, x)[:, 600:610], classifiers.predict(nets, x[600:610]), rtol=1e-5, atol=1e-5
    )


def test_features_are_what_the_last_layer_reads(toy):
    nets, _ = toy
    x, _ = halves(2, 50)
    features = classifiers.features(nets, x)
    last = jax.tree.map(lambda leaf: np.asarray(leaf[0]), nets.variables["params"]["Dense_1"])
    assert features.shape == (50, classifiers.FEATURES) and (features >= 0).all()
    logits = classifiers.predict(nets, x)[0]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], logits, rtol=1e-4, atol=1e-4)


def test_progress_rises_to_one(toy):
    _, seen = toy
    assert (np.diff(seen) > 0).all() and seen[0] > 0 and seen[-1] == 1


class Linear(nn.Module):
    """Softmax regression from a start of zeros."""

    n_classes: int

    @nn.compact
    def __call__(self, x, weight=None):
        x = x.reshape(len(x), -1)
        return nn.Dense(self.n_classes, kernel_init=nn.initializers.zeros)(x), x


def descent(x, y, rate):
    """The mean loss of each batch of x (steps, B, H, W, C) under gradient descent on softmax regression, in f64."""
    pixels = x.reshape(*x.shape[:2], -1) / 255
    pixels = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1)
    weights, losses = np.zeros((pixels.shape[-1], 3)), []
    for batch, labels in zip(pixels, y, strict=True):
        chances = scipy.special.softmax(batch @ weights, -1)
        losses.append(-np.log(chances[np.arange(len(labels)), labels]).mean())
        weights -= rate * batch.T @ (chances - np.eye(3)[labels]) / len(labels)
    return np.array(losses)


def linear(batch, rate, epochs):
    return dataclasses.replace(
        STANDARD, net=Linear, optimiser=optax.identity(), rate=lambda share: rate, batch=batch, epochs=epochs, shift=0
    )


def test_losses_are_each_epochs_mean_before_its_steps(toy):
    nets, _ = toy
    assert nets.losses.shape == (3, 8) and nets.losses.dtype == np.float32
    assert (nets.losses[:, -1] < 0.3 * nets.losses[:, 0]).all() and len(np.unique(nets.losses)) == 24
    # A set smaller than a batch: every epoch is one step on all examples, and the padding has no part in the mean.
    x, y = halves(3, 50)
    nets = classifiers.train(jax.random.key(0), (x, y), SPEC, protocol=linear(64, 0.5, 6), seeds=2, pad_to=70)
    want = descent(np.stack([x] * 6), np.stack([y] * 6), 0.5)
    assert want[0] == pytest.approx(np.log(3)) and want[-1] < 0.9
    np.testing.assert_allclose(nets.losses, [want, want], rtol=1e-5)


def test_losses_of_an_epoch_of_many_calls():
    # All examples are the same, so that their order is of no importance: 75 steps an epoch, in two calls.
    x, y = halves(3, 1)
    assert 75 > classifiers.CHUNK
    x, y = np.repeat(x, 300, 0), np.repeat(y, 300)
    nets = classifiers.train(jax.random.key(0), (x, y), SPEC, protocol=linear(4, 1e-3, 2), seeds=1)
    want = descent(x[:4][None].repeat(150, 0), y[:4][None].repeat(150, 0), 1e-3).reshape(2, 75).mean(1)
    assert want[1] < 0.8 * want[0]
    np.testing.assert_allclose(nets.losses, want[None], rtol=1e-4)


def test_an_exception_in_the_caller_ends_the_training(monkeypatch):
    calls = []
    steps = classifiers._steps
    monkeypatch.setattr(classifiers, "_steps", lambda *args: calls.append(1) or steps(*args))

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classifiers.train(
            jax.random.key(0), halves(0, 300), SPEC, protocol=STANDARD.with_epochs(1000), seeds=3, progress=stop
        )
    assert len(calls) < 300, "of 3000"


def test_padding_changes_nothing_and_the_count_is_not_compiled(monkeypatch):
    x, y = halves(0, 300)
    net = classifiers.CNN(3)
    task = classifiers.Task(net, classifiers.STANDARD, 256, 0)
    keys = jax.random.split(jax.random.key(1), 1)

    def run(x, n):
        state = classifiers._init(net, keys, x[:1])
        return classifiers._steps(task, keys, state, (jnp.asarray(x), jnp.asarray(y), n), (0, 1, 0, 1))

    zeros, noise = x.copy(), x.copy()
    zeros[90:] = 0
    a = run(zeros, 90)
    monkeypatch.delattr(classifiers, "_step")  # whoever traces again will miss it
    b, more = run(noise, 90), run(noise, 91)
    # Rows past the count differ between a and b: neither the loss nor batch norm's statistics may see them.
    assert all(np.array_equal(p, q) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True))
    assert not all(np.array_equal(p, q) for p, q in zip(*map(jax.tree.leaves, (b, more)), strict=True))


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 9, 1)])
def test_pool_is_max_pool(shape):
    x = jax.random.normal(jax.random.key(0), shape)

    def reference(x):
        return nn.max_pool(x, (2, 2), (2, 2))

    def weighted(f):
        return lambda x: (f(x) * jnp.arange(f(x).size).reshape(f(x).shape)).sum()

    np.testing.assert_array_equal(classifiers.max_pool(x), reference(x))
    np.testing.assert_array_equal(jax.grad(weighted(classifiers.max_pool))(x), jax.grad(weighted(reference))(x))


def test_pool_shares_the_gradient_over_ties():
    x = jnp.array([[1.0, 1.0], [0.0, 1.0]])[None, :, :, None]
    grad = jax.grad(lambda x: 6 * classifiers.max_pool(x).sum())(x)
    np.testing.assert_allclose(grad[0, :, :, 0], [[2, 2], [0, 2]])


def test_one_cycle_is_that_of_optax():
    steps = 1000
    theirs = optax.cosine_onecycle_schedule(steps, classifiers.PEAK_RATE)
    i = np.arange(steps)
    ours = [classifiers.one_cycle(share) for share in jnp.asarray(i / steps)[::50]]
    np.testing.assert_allclose(ours, [theirs(j) for j in i[::50]], rtol=1e-4, atol=1e-9)


def test_shift_moves_each_image_by_whole_pixels():
    x = np.random.default_rng(0).integers(1, 256, (400, 6, 6, 1)).astype(np.uint8)
    moved = np.asarray(classifiers._shift(jax.random.key(0), jnp.asarray(x), 1))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    counts = {}
    for image, result in zip(padded, moved, strict=True):
        fits = [(i, j) for i in range(3) for j in range(3) if np.array_equal(image[i : i + 6, j : j + 6], result)]
        assert len(fits) == 1
        counts[fits[0]] = counts.get(fits[0], 0) + 1
    assert len(counts) == 9 and min(counts.values()) > 20
    np.testing.assert_array_equal(classifiers._shift(jax.random.key(0), x, 0), x)


@pytest.mark.parametrize("flip", [True, False])
def test_augmentation_moves_and_where_asked_mirrors(flip):
    x = np.random.default_rng(0).integers(1, 256, (400, 5, 6, 1)).astype(np.uint8)
    results = np.asarray(classifiers._augment(jax.random.key(0), jnp.asarray(x), 1, flip))
    mirrored, places = 0, set()
    for image, result in zip(x, results, strict=True):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        moved = {(i, j): padded[i : i + 5, j : j + 6] for i in range(3) for j in range(3)}
        found = [(at, k) for at, m in moved.items() for k in (1, -1) if np.array_equal(m[:, ::k], result)]
        assert len(found) == 1
        places.add(found[0])
        mirrored += found[0][1] == -1
    # Five standard deviations of a fair coin's 400 throws.
    assert abs(mirrored - 200) < 50 if flip else mirrored == 0
    assert len(places) == (18 if flip else 9)


@pytest.mark.parametrize(("side", "pixels"), [(28, 2), (32, 2), (8, 0), (14, 1)])
def test_largest_shift(side, pixels):
    assert classifiers.largest_shift(DataSpec("image", (side, side, 1))) == pixels


def test_refuses_images_that_two_pools_leave_nothing_of():
    with pytest.raises(InputError, match="3x8"):
        classifiers.train(jax.random.key(0), (np.zeros((9, 3, 8, 1)), np.zeros(9)), DataSpec("image", (3, 8, 1)))
