"""The way from rows to networks' rows and back on every kind of column; heads against SciPy and frequencies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec
from synthjax.nets import columns as nets_columns
from synthjax.nets.columns import Columns

MIXED = DataSpec(
    "table",
    (15,),
    0,
    ("no", "yes"),
    (0.5, 0.5),
    (
        Column("colour", "onehot", 0, 3, missing=2),
        Column("height", "continuous", 3, 1),
        Column("town", "code", 4, 1, codes=300_000),
        Column("weight", "continuous", 5, 2, missing=6),
        Column("churned", "onehot", 7, 2, target=True),
        Column("shape", "onehot", 9, 3),
        Column("street", "code", 12, 1, codes=5),
        Column("age", "continuous", 13, 2, missing=14),
    ),
)


def rows(count=200, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of MIXED and their labels."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, 15), np.float32)
    y = rng.integers(0, 2, count).astype(np.int32)
    for start, size, choice in ((0, 3, rng.integers(0, 3, count)), (7, 2, y), (9, 3, rng.integers(0, 3, count))):
        x[np.arange(count), start + choice] = 1
        assert choice.max() < size
    x[:, 3], x[:, 4], x[:, 12] = rng.normal(50, 7, count), rng.integers(0, 300_000, count), rng.integers(0, 5, count)
    x[:2, 4] = 0, 299_999
    for value, slot, share in ((5, 6, 0.3), (13, 14, 0.1)):
        x[:, slot] = rng.random(count) < share
        x[:, value] = np.where(x[:, slot], 0, rng.normal(-3, 0.5, count))
    return x, y


WHOLE, CONDITIONAL = (Columns(MIXED.measured(rows()[0]), conditional) for conditional in (False, True))
compiled = functools.partial(functools.partial, jax.jit, static_argnums=0)


@compiled()
def encoded(columns, x):
    return columns.encode(x)


@compiled()
def decoded(columns, v, labels):
    return columns.decode(v, labels)


@compiled()
def drawn(columns, key, raw):
    return columns.draw(key, raw)


@functools.partial(jax.jit, static_argnums=4)
def relaxed(key, raw, toward, temperature, straight_through):
    """The relaxed row, and the gradient of its product with `toward`."""

    def value(raw):
        v = CONDITIONAL.relax(key, raw, temperature, straight_through)
        return (v * toward)[:, 3:].sum(), v

    gradient, v = jax.grad(value, has_aux=True)(raw)
    return v, gradient


@pytest.mark.parametrize("conditional", [False, True])
def test_rows_come_back(conditional):
    x, y = rows()
    columns = CONDITIONAL if conditional else WHOLE
    v = encoded(columns, x)
    # Two pairs, three onehot columns (two without the target) and 300,000 codes as three digits to base 67.
    assert v.shape == (200, 3 + 2 * 2 + 3 * 2 + 2 * (not conditional) + 3 * 67 + 5)
    back = np.asarray(decoded(columns, v, y))
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)
    exact = [0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 14]
    np.testing.assert_array_equal(back[:, exact], x[:, exact])
    other = np.asarray(decoded(columns, v, 1 - y))
    assert (other[:, 7:9] == (1 - x[:, 7:9] if conditional else x[:, 7:9])).all()


def test_reals_are_standardised_where_they_are_present():
    """By statistics of the training rows, whatever rows are encoded."""
    x, _ = rows()
    columns = Columns(MIXED.measured(x[:150]), True)
    v = np.asarray(encoded(columns, x))
    for place, (value, slot) in enumerate(((5, 6), (13, 14), (3, None))):
        present = np.arange(200) < 150 if slot is None else (np.arange(200) < 150) & (x[:, slot] == 0)
        assert v[present, place].mean() == pytest.approx(0, abs=1e-4)
        assert v[present, place].std() == pytest.approx(1, abs=1e-4)
        if slot is not None:
            assert (v[x[:, slot] == 1, place] == 0).all()
        assert float(columns.shift[place]) == pytest.approx(x[present, value].mean(), rel=1e-5)


def test_a_constant_or_absent_column_is_left_alone():
    x, _ = rows()
    x[:, 3] = 7
    x[:, 13:15] = 0, 1
    columns = Columns(MIXED.measured(x), True)
    v = encoded(columns, x)
    np.testing.assert_array_equal(columns.scale[1:], [1, 1])
    assert np.isfinite(v).all() and v.dtype == np.float32
    for rare in (np.full(200, 1e6), 1e6 + 1e-3 * np.arange(200)):  # constant in f32, or all but
        x[:, 3] = rare
        assert np.isfinite(encoded(Columns(MIXED.measured(x), True), x)).all()


@pytest.mark.parametrize("codes", [1, 2, 5, 256, 257, 65_536, 65_537, 300_000, 2**24])
def test_digits_hold_every_code_and_few_more(codes):
    parts = nets_columns.digits(codes)
    bases, divisors = zip(*parts, strict=True)
    assert max(bases) <= nets_columns.BASE
    assert list(divisors) == [int(np.prod(bases[:k])) for k in range(len(parts))]
    assert codes <= np.prod(bases, dtype=np.int64) <= 1.05 * codes + 256


def test_codes_beyond_the_last_are_the_last():
    spec = DataSpec("table", (1,), 0, columns=(Column("town", "code", 0, 1, codes=70_001),))
    spec = spec.measured(np.zeros((9, 1), np.float32))
    columns = Columns(spec, False)
    v = columns.join(jnp.zeros((1, 0)), [jnp.zeros((1, c.number, c.size)).at[:, :, -1].set(1) for c in columns.choices])
    assert columns.decode(v, jnp.zeros(1, int)) == 70_000


def test_draws_follow_their_logits():
    raw = np.random.default_rng(0).normal(size=CONDITIONAL.width).astype(np.float32)
    many = np.asarray(drawn(CONDITIONAL, jax.random.key(1), np.tile(raw, (20_000, 1))))
    _, logits = CONDITIONAL.split(raw)
    _, choices = CONDITIONAL.split(many)
    for of_one, of_many in zip(logits, choices, strict=True):
        assert set(np.unique(of_many)) == {0, 1} and (of_many.sum(axis=-1) == 1).all()
        np.testing.assert_allclose(of_many.mean(axis=0), scipy.special.softmax(of_one, axis=-1), atol=0.015)
    likeliest = np.asarray(drawn(CONDITIONAL, None, raw[None]))
    for of_one, mode in zip(logits, CONDITIONAL.split(likeliest)[1], strict=True):
        np.testing.assert_array_equal(mode[0].argmax(-1), of_one.argmax(-1))


def test_choices_are_drawn_independently():
    spec = DataSpec("table", (4,), 0, columns=(Column("a", "onehot", 0, 2), Column("b", "onehot", 2, 2)))
    spec = spec.measured(np.tile(np.float32([1, 0, 1, 0]), (9, 1)))
    x = np.asarray(drawn(Columns(spec, False), jax.random.key(0), np.zeros((20_000, 4), np.float32)))
    assert np.corrcoef(x[:, 0], x[:, 2])[0, 1] == pytest.approx(0, abs=0.03)


RAW, TOWARD = np.random.default_rng(1).normal(size=(2, 50, CONDITIONAL.width)).astype(np.float32)


def test_reals_alone_are_left_as_they_are():
    columns = Columns(DataSpec.from_arrays(np.arange(18, dtype=np.float32).reshape(9, 2)), False)
    np.testing.assert_array_equal(drawn(columns, jax.random.key(0), RAW[:, :2]), RAW[:, :2])


def test_no_draw_falls_beside_the_categories():
    """Whatever the uniform number, 0 and the greatest below 1 among them, and categories without a chance."""
    uniform = np.array([0, 1e-7, 0.5, 1 - 2.0**-23], np.float32)
    for logits in ([0, 0, 0], [-200, 0, -200], [0, -200, -200], [-200, -200, 90], [0.3, -0.2, 0.1]):
        one_hot = np.asarray(nets_columns.draw(np.tile(np.float32(logits), (4, 1)), uniform))
        ends = np.cumsum(scipy.special.softmax(np.float64(logits)))
        np.testing.assert_array_equal(one_hot.argmax(-1), np.searchsorted(ends, uniform + 1e-9))
        assert (one_hot.sum(-1) == 1).all()


def test_relaxed_choices_come_near_to_draws_as_it_cools():
    key = jax.random.key(1)
    hard, _ = relaxed(key, RAW, TOWARD, 1.0, True)
    warm, cold = (np.asarray(relaxed(key, RAW, TOWARD, t, False)[0]) for t in (1.0, 0.01))
    gaps = [np.abs(soft - hard)[:, 3:].mean() for soft in (warm, cold)]
    assert gaps[1] < 0.1 * gaps[0]
    for part in CONDITIONAL.split(warm)[1]:
        np.testing.assert_allclose(part.sum(axis=-1), 1, rtol=1e-5)


def test_straight_through_is_hard_forwards_and_soft_backwards():
    key = jax.random.key(1)
    soft, gradient = relaxed(key, RAW, TOWARD, 0.5, False)
    hard, straight = relaxed(key, RAW, TOWARD, 0.5, True)
    for exact, part in zip(CONDITIONAL.split(hard)[1], CONDITIONAL.split(soft)[1], strict=True):
        np.testing.assert_allclose(exact, np.eye(part.shape[-1])[part.argmax(axis=-1)], atol=1e-6)
    # Of the reals that can be missing, the product is not among what is compared.
    np.testing.assert_allclose(straight[:, 3:], gradient[:, 3:], rtol=1e-4, atol=1e-6)
    assert np.abs(gradient[:, 3:]).max() > 0.01


def test_missing_values_have_no_number_and_no_density():
    x, _ = rows()
    v = encoded(CONDITIONAL, x)
    raw = np.random.default_rng(2).normal(size=v.shape).astype(np.float32)
    made = np.asarray(drawn(CONDITIONAL, jax.random.key(1), raw))
    _, (pairs, *_) = CONDITIONAL.split(made)
    assert (made[:, :2][pairs[..., 1] == 1] == 0).all()
    assert (made[:, :2][pairs[..., 1] == 0] != 0).all()
    log_p = np.asarray(jax.jit(CONDITIONAL.log_likelihood)(raw, np.zeros(3, np.float32), v))
    assert (log_p[:, 0] == 0).tolist() == (x[:, 6] == 1).tolist()


def test_log_likelihood_against_scipy():
    x, _ = rows()
    v = encoded(CONDITIONAL, x)
    raw = np.random.default_rng(2).normal(size=v.shape).astype(np.float32)
    log_p = np.asarray(jax.jit(CONDITIONAL.log_likelihood)(raw, np.array([-1.0, 0.3, 0.5], np.float32), v))
    np.testing.assert_allclose(log_p[:, 2], scipy.stats.norm.logpdf(v[:, 2], raw[:, 2], np.exp(0.5)), rtol=1e-4)
    probabilities = scipy.special.softmax(raw[:, 7:10], axis=1)  # the colour, behind two pairs
    np.testing.assert_allclose(log_p[:, 5], np.log((probabilities * x[:, :3]).sum(1)), rtol=1e-4)
    assert log_p.shape == (200, 3 + 2 + 2 + 4)


def test_leading_axes_are_kept():
    x, _ = rows()
    v = encoded(WHOLE, x)
    stacked = jax.jit(WHOLE.encode)(x.reshape(10, 20, -1))
    np.testing.assert_allclose(stacked.reshape(200, -1), v, rtol=1e-6)


def test_refusals_are_one_line():
    with pytest.raises(InputError, match="makes tables; the data are images"):
        Columns(DataSpec("image", (8, 8, 1)), False)
    with pytest.raises(InputError, match=r"column 'town': has kind 'code'; set Column.codes"):
        Columns(DataSpec("table", (1,), 0, columns=(Column("town", "code", 0, 1),)).measured(np.zeros((9, 1))), False)
    with pytest.raises(InputError, match=r"the data spec has no statistics: make it by DataSpec.from_arrays, or call"):
        Columns(MIXED, False)
