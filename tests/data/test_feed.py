"""Batches as a pure function of (seed, step)."""

import tracemalloc

import numpy as np
import pytest
import scipy.stats

from synthjax.data.feed import Feed
from synthjax.errors import InputError

COUNT = 23
X = np.arange(COUNT, dtype=np.uint8)[:, None] * np.ones((1, 3), np.uint8)
Y = (np.arange(COUNT) % 3).astype(np.int32)


def feed(**fields):
    return Feed(**{"x": X, "y": Y, "batch_size": 4, **fields})


def several(n_batches):
    """The fields of so many batches a step; None: of the whole set."""
    if n_batches is None:
        return {"kind": "dataset"}
    return {"kind": "batch"} if n_batches == 1 else {"kind": "batches", "n_batches": n_batches}


def same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_batch_is_its_rows():
    batch = feed().batch(3)
    rows = feed().rows(3)
    np.testing.assert_array_equal(batch.index, rows)
    np.testing.assert_array_equal(batch.x, X[rows])
    np.testing.assert_array_equal(batch.y, Y[rows])
    np.testing.assert_array_equal(batch.weight, np.ones(4))
    assert [a.dtype for a in batch] == [np.uint8, np.int32, np.float32, np.int32]


@pytest.mark.parametrize(("size", "n_batches"), [(4, 1), (23, 1), (7, 3), (1, 1), (20, 5)])
def test_every_epoch_is_a_permutation(size, n_batches):
    """Also where a step reaches over the end of one, or over several."""
    source = feed(batch_size=size, **several(n_batches))
    rows = np.concatenate([source.rows(step) for step in range(6 * COUNT // (size * n_batches) + 6)])
    epochs = rows[: len(rows) // COUNT * COUNT].reshape(-1, COUNT)
    assert len(epochs) >= 5
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.broadcast_to(np.arange(COUNT), epochs.shape))
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0)])
def test_batches_depend_on_seed_and_step_alone(weights):
    one, other = feed(class_weights=weights), feed(class_weights=weights)
    ahead = [one.batch(step) for step in (9, 2, 5)]
    for step, batch in zip((9, 2, 5), ahead, strict=True):
        same(batch, other.batch(step))
    assert any((one.rows(s) != feed(class_weights=weights, seed=1).rows(s)).any() for s in range(3))
    assert (one.rows(0) != one.rows(1)).any()


@pytest.mark.parametrize("n_batches", [1, 3, None])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_processes_make_up_the_batch(n_batches, parts):
    source = feed(**several(n_batches), multiple=4)
    whole = source.batch(1)
    size = whole.y.shape[-1]
    cuts = [source.batch(1, slice(i * size // parts, (i + 1) * size // parts)) for i in range(parts)]
    axis = 1 if n_batches == 3 else 0
    same(whole, [np.concatenate(leaves, axis=axis) for leaves in zip(*cuts, strict=True)])


def test_several_batches_are_stacked():
    batch = feed(**several(5)).batch(0)
    assert batch.x.shape == (5, 4, 3) and batch.y.shape == batch.weight.shape == batch.index.shape == (5, 4)
    np.testing.assert_array_equal(batch.index.ravel(), feed(batch_size=20).rows(0))


def test_the_whole_set_is_padded_with_weight_zero():
    batch = feed(kind="dataset", multiple=8).batch(7)
    assert batch.y.shape == (24,)
    np.testing.assert_array_equal(batch.weight, np.arange(24) < COUNT)
    np.testing.assert_array_equal(batch.index[:COUNT], np.arange(COUNT))
    assert batch.index[-1] == -1
    assert feed(kind="dataset", multiple=23).batch(0).weight.all()


def test_the_whole_set_is_no_copy_of_the_training_set():
    """Nor is the part of a process that has no padding; one with padding is."""
    whole = feed(kind="dataset").batch(0)
    assert np.shares_memory(whole.x, X) and np.shares_memory(whole.y, Y)
    same(whole[:2], (X, Y))
    halves = [feed(kind="dataset", multiple=2).batch(0, part) for part in (slice(0, 12), slice(12, 24))]
    assert np.shares_memory(halves[0].x, X) and not np.shares_memory(halves[1].x, X)
    same([np.concatenate(pair)[:COUNT] for pair in zip(*halves, strict=True)][:2], (X, Y))
    np.testing.assert_array_equal(halves[1].weight, [1] * 11 + [0])


def test_class_weights_are_frequencies_of_classes_not_of_rows():
    """Rows of a class, few or many, share its frequency equally."""
    y = np.array([0] * 16 + [1] * 5 + [2] * 2, np.int32)
    source = Feed(X, y, 50, class_weights=(1.0, 1.0, 2.0))
    drawn = np.concatenate([source.rows(step) for step in range(200)])
    expected = len(drawn) * np.array([1 / 4, 1 / 4, 1 / 2])
    assert scipy.stats.chisquare(np.bincount(y[drawn]), expected).pvalue > 1e-3
    for label in range(3):
        counts = np.bincount(drawn, minlength=COUNT)[y == label]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_weighted_draws_are_those_of_numpy():
    """The same rows as `Generator.choice` draws by the rows' probabilities, so that runs of earlier versions go on."""
    weights = np.array([0.3, 0.0, 2.0])
    p = weights[Y] / np.bincount(Y)[Y]
    for seed, step in ((0, 0), (0, 7), (5, 123_456)):
        expected = np.random.default_rng((seed, 1, step)).choice(COUNT, 50, p=p / p.sum())
        np.testing.assert_array_equal(feed(seed=seed, batch_size=50, class_weights=tuple(weights)).rows(step), expected)


def test_plain_draws_are_slices_of_numpy_s_permutations():
    """The same rows as earlier versions drew, so that their runs go on."""
    epochs = np.concatenate([np.random.default_rng((5, 0, epoch)).permutation(COUNT) for epoch in range(4)])
    for step in (17, 0, 5, 6):  # in any order
        np.testing.assert_array_equal(feed(seed=5).rows(step), epochs[4 * step : 4 * step + 4])


@pytest.mark.parametrize("weights", [None, (1.0, 2.0)])
def test_a_step_makes_no_array_as_long_as_the_data(weights):
    """What is measured over millions of rows is measured once, not in every step; NumPy's arrays are traced."""
    count = 6_000_000
    source = Feed(np.zeros((count, 1), np.uint8), np.repeat(np.int32([0, 1]), count // 2), 100, class_weights=weights)
    source.batch(0)
    tracemalloc.start()
    try:
        for step in range(1, 11):
            assert source.batch(step).x.shape == (100, 1)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100_000


def test_a_class_of_weight_zero_is_never_drawn():
    drawn = np.concatenate([feed(class_weights=(1.0, 0.0, 1.0)).rows(step) for step in range(50)])
    assert set(Y[drawn]) == {0, 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"batch_size": 24}, "batch_size=24: larger than the training set, which has 23 rows"),
        ({"class_weights": (1.0, 1.0)}, "class_weights: 2 weights for 3 classes"),
        ({"class_weights": (1.0, 1.0, 1.0, 1.0)}, "class_weights: 4 weights for 3 classes"),
        ({"class_weights": (1.0, -0.5, 1.0)}, "class_weights: -0.5 of class 1 must be a finite number, at least 0"),
        ({"class_weights": (1.0, 1.0, np.nan)}, "class_weights: nan of class 2 must be a finite number"),
        ({"class_weights": (np.inf, 1.0, 1.0)}, "class_weights: inf of class 0 must be a finite number"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "class_weights: all are 0"),
        ({"class_weights": (1.0, 1.0, 2.0), "y": Y % 2}, "2.0 of class 2, which has no examples to draw, must be 0"),
        ({"class_weights": (1.0, 1.0, 1.0), "kind": "dataset"}, "the model sees the whole training set in every"),
    ],
)
def test_what_cannot_be_fed_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        feed(**fields).check(n_classes=3)


def test_classes_of_unlabelled_data_cannot_be_drawn():
    with pytest.raises(InputError, match="class_weights, or feed=balanced: the data has no labels"):
        feed(y=np.zeros_like(Y), class_weights=()).check(n_classes=0)


def test_what_can_be_fed_is_not():
    feed().check(n_classes=3)
    feed(y=np.zeros_like(Y)).check(n_classes=0)
    feed(batch_size=23, class_weights=(1.0, 1.0, 1.0)).check(n_classes=3)
    feed(batch_size=99, kind="dataset").check(n_classes=3)


def test_the_last_class_may_be_empty():
    """The labels alone do not tell how many classes there are."""
    source = feed(y=Y % 2, class_weights=(1.0, 3.0, 0.0))
    source.check(n_classes=3)
    drawn = np.concatenate([source.rows(step) for step in range(500)])
    assert scipy.stats.chisquare(np.bincount(source.y[drawn]), [500, 1500]).pvalue > 1e-3


def test_poisson_samples_have_every_row_with_the_same_probability_independently():
    rate, steps = 0.3, 4000
    source = feed(batch_size=COUNT, poisson=rate, seed=2**100 + 5)
    drawn = np.zeros((steps, COUNT))
    for step in range(steps):
        rows = source.rows(step)
        drawn[step, rows[rows >= 0]] = 1
        assert len(rows) == COUNT and (np.sort(rows[rows >= 0]) == rows[: (rows >= 0).sum()]).all()
    frequencies, deviation = drawn.mean(axis=0), (rate * (1 - rate) / steps) ** 0.5
    assert np.abs(frequencies - rate).max() < 4 * deviation
    sizes = np.bincount(drawn.sum(axis=1).astype(int), minlength=COUNT + 1)[2:13]
    expected = scipy.stats.binom.pmf(np.arange(2, 13), COUNT, rate)
    assert scipy.stats.chisquare(sizes, expected / expected.sum() * sizes.sum()).pvalue > 1e-3
    correlations = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1).T) - np.eye(2 * COUNT)
    assert np.abs(correlations).max() < 5 / steps**0.5  # of rows in a step, and in consecutive steps


def test_poisson_samples_are_padded_with_zeros_and_truncated():
    wide = feed(x=X + 1, y=Y + 1, batch_size=COUNT, poisson=0.2)
    batch = wide.batch(1)
    real = batch.weight > 0
    assert 0 < real.sum() < COUNT and (batch.index[real] == wide.rows(1)[real]).all()
    np.testing.assert_array_equal(batch.x[real], (X + 1)[batch.index[real]])
    assert (batch.x[~real] == 0).all() and (batch.y[~real] == 0).all() and (batch.index[~real] == -1).all()
    np.testing.assert_array_equal(wide.x, X + 1)  # the padding is not written into the data
    everything = feed(batch_size=5, poisson=1.0).batch(0)
    assert everything.weight.tolist() == [1] * 5 and len(set(everything.index.tolist())) == 5
    nothing = feed(batch_size=5, poisson=1e-12).batch(0)
    assert nothing.weight.tolist() == [0] * 5 and (nothing.x == 0).all()


def test_stacked_poisson_samples_are_independent():
    source = feed(batch_size=COUNT, poisson=0.5, **several(3))
    stacked = source.batch(0)
    assert stacked.x.shape == (3, COUNT, 3)
    assert len({tuple(index.tolist()) for index in stacked.index}) == 3
    same(source.batch(4), feed(batch_size=COUNT, poisson=0.5, **several(3)).batch(4))
    assert (feed(batch_size=COUNT, poisson=0.5, seed=1).rows(0) != feed(batch_size=COUNT, poisson=0.5).rows(0)).any()
    same(source.batch(0, slice(0, 4)), [a[:, :4] for a in stacked])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poisson": 0.0}, "poisson=0.0: must be above 0 and at most 1"),
        ({"poisson": 1.5}, "poisson=1.5"),
        ({"poisson": 0.5, "kind": "dataset"}, "poisson: the model sees the whole training set"),
        ({"poisson": 0.5, "class_weights": (1.0, 1.0, 1.0)}, "differential privacy: class_weights, or feed=balanced"),
        ({"poisson": 0.5, "batch_size": 0}, "batch_size=0"),
    ],
)
def test_poisson_samples_that_cannot_be_drawn(fields, message):
    with pytest.raises(InputError, match=message):
        feed(**fields).check(3)
    feed(poisson=0.5, batch_size=100).check(3)  # more slots than rows
