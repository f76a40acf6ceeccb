"""Keys and the discrete Gaussian."""

import os
import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from synthjax.errors import InputError
from synthjax.privacy import noise
from synthjax.privacy.noise import Key, discrete_gaussian


def exact(sigma: float, half: int) -> np.ndarray:
    """Probabilities of -half ... half, and of all others together."""
    k = np.arange(-20 * half, 20 * half + 1)
    weights = np.exp(-(k.astype(float) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    inside = weights[np.abs(k) <= half]
    return np.append(inside, max(1 - inside.sum(), 0))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 7.5, 300.0])
def test_the_table_has_the_exact_probabilities(sigma):
    table = noise._table(sigma)
    half = len(table) // 2
    probabilities = np.diff([0, *table.tolist(), 2**64]) / 2.0**64
    assert np.abs(probabilities - exact(sigma, half)[:-1]).sum() / 2 < 1e-14  # double precision of the expectation
    assert noise.distance(sigma) < 2**-50


@pytest.mark.parametrize("sigma", [0.5, 4.0])
@pytest.mark.parametrize("key", [Key.from_seed(1), jax.random.key(1)], ids=["host", "device"])
def test_draws_have_the_law_of_the_discrete_gaussian(key, sigma):
    draws = np.asarray(discrete_gaussian(key, sigma, (400, 500)))
    half = int(3 * sigma)
    expected = exact(sigma, half) * draws.size
    counts = np.bincount(np.where(np.abs(draws) <= half, draws + half, 2 * half + 1).ravel(), minlength=2 * half + 2)
    assert stats.chisquare(counts, expected * draws.size / expected.sum()).pvalue > 1e-4


def test_the_device_looks_up_the_same_table():
    key, sigma = jax.random.key(3), 25.0
    high, low = np.asarray(jax.random.bits(key, (2, 5000), jnp.uint32)).astype(np.uint64)
    table = noise._table(sigma)
    expected = np.searchsorted(table, (high << np.uint64(32)) | low, side="right").astype(int) - len(table) // 2
    draws = jax.jit(lambda key: discrete_gaussian(key, sigma, (5000,)))(key)
    assert draws.dtype == jnp.int32 and (np.asarray(draws) == expected).all()


def test_the_device_keeps_to_the_ends_of_the_table(monkeypatch):
    """All bits 0 give the first integer whose cumulative probability is not rounded to 0, all bits 1 the largest."""
    table = noise._table(2.0)
    half = len(table) // 2
    for bits, expected in ((0, int((table == 0).sum()) - half), (2**32 - 1, half)):
        monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype, bits=bits: jnp.full(shape, bits, dtype))
        assert int(discrete_gaussian(jax.random.key(0), 2.0, (1,))[0]) == expected


def test_streams_are_repeatable_and_different():
    key = Key.from_seed(0)
    names = ["rows", "gradients", "counts", "", "row"]
    assert len({key.fold_in(name).secret for name in names} | {key.secret}) == len(names) + 1
    assert (key.words(4) == key.words(6)[:4]).all()
    assert key.generator().random() == key.generator().random() != key.fold_in("rows").generator().random()
    assert not jnp.array_equal(jax.random.key_data(key.jax_key()), jax.random.key_data(Key.from_seed(1).jax_key()))
    assert key.fold_in("rows").test and not Key(key.secret).fold_in("rows").test


def test_words_are_uniform():
    bits = np.unpackbits(Key.from_seed(0).words(20_000).view(np.uint8)).reshape(-1, 64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / len(bits) ** 0.5


def test_a_key_lies_in_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "internal" / "key"
    key = Key.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Key.read(path) == key != Key.create(tmp_path / "other")
    assert key.secret.hex() not in repr(key) and repr(key.secret) not in repr(key)
    with pytest.raises(InputError, match="holds a key already"):
        Key.create(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="others may read the key: chmod 600"):
        Key.read(path)


def test_a_destroyed_key_is_overwritten_and_gone(tmp_path):
    path, link = tmp_path / "key", tmp_path / "link"
    key = Key.create(path)
    os.link(path, link)  # what the file's blocks hold
    noise.destroy(path)
    assert not path.exists() and link.read_bytes() != key.secret
    with pytest.raises(InputError, match="there is no key; a run cannot go on without it"):
        Key.read(path)
    noise.destroy(path)  # nothing to do


def test_bad_keys_and_parameters_are_named_in_one_line(tmp_path):
    (tmp_path / "short").touch(0o600)
    with pytest.raises(InputError, match="short: holds no key, which has 32 bytes; it has 0"):
        Key.read(tmp_path / "short")
    with pytest.raises(InputError, match="must be kept in a local file"):
        Key.create("gs://bucket/key")
    for sigma in (0.0, -1.0, float("nan"), 1e6):
        with pytest.raises(InputError, match="the discrete Gaussian needs one between"):
            discrete_gaussian(Key.from_seed(0), sigma, (1,))
