r"""Randomness that nobody can repeat: a secret key from the operating system, and discrete Gaussian noise for counts.

Noise protects only as long as it cannot be computed again. So everything private is drawn from a `Key` of 32 random
bytes, and not from a seed. The key is kept in a file that only its owner can read while the run may have to be resumed,
and is destroyed afterwards. Its streams are named: each is derived from the key by SHAKE-256, and serves once.

    key = Key.create(folder / "key")
    counts = counts + discrete_gaussian(key.fold_in("counts"), sigma, counts.shape)
    rows = key.fold_in("rows").generator()          # NumPy
    noise = key.fold_in("gradients").jax_key()      # JAX
    destroy(folder / "key")

    >>> key = Key.from_seed(0)
    >>> key.fold_in("counts") == key.fold_in("counts"), key.fold_in("counts") == key.fold_in("rows")
    (True, False)
    >>> key
    Key(test=True)
    >>> draws = discrete_gaussian(key.fold_in("counts"), sigma=10.0, shape=(100_000,))
    >>> draws.dtype, round(float(draws.std()), 1)
    (dtype('int64'), 10.0)

Tiers of the noise. Counts: integers of 64 bits, drawn on the host from SHAKE-256; the law is that of the discrete
Gaussian up to `distance(sigma)`. Inside a compiled step the same table is used with JAX's generator, whose keys have 64
bits (Threefry). Rows of Poisson samples: NumPy's Philox with a key of 128 bits; its outputs are not published.
"""

import contextlib
import decimal
import functools
import hashlib
import math
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import files
from synthjax.errors import InputError

_BYTES = 32
_TAIL = 9.2  # standard deviations at which the table of the discrete Gaussian ends
MIN_SIGMA, MAX_SIGMA = 0.01, 1e5
"""Range of sigma of the discrete Gaussian; the table of the largest has 1.8 million entries."""


@dataclass(frozen=True)
class Key:
    """A secret from which independent streams are derived. Each derived key should serve for one purpose only."""

    secret: bytes = field(repr=False)
    """32 bytes."""
    test: bool = False
    """Whether the key follows from a seed, so that its noise protects nothing."""

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """Draws a key from the operating system and stores it in a new file of mode 0600.

        Raises:
          InputError: the file exists or cannot be written, or the path is in an object store.
        """
        key, file_path = cls(secrets.token_bytes(_BYTES)), _local(path)
        with files.named_errors(file_path):
            file_path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(file_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise InputError(f"{file_path}: holds a key already") from None
            with open(descriptor, "wb") as file:
                file.write(key.secret)
                file.flush()
                os.fsync(file.fileno())
        return key

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Reads the key that `create` stored.

        Raises:
          InputError: there is none, it is no key, or others may read it.
        """
        file_path = _local(path)
        with files.named_errors(file_path, "read"):
            try:
                mode, secret = file_path.stat().st_mode, file_path.read_bytes()
            except FileNotFoundError:
                raise InputError(f"{file_path}: there is no key; a run cannot go on without it") from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise InputError(f"{file_path}: others may read the key: chmod 600 {file_path}, if nobody has read it")
        if len(secret) != _BYTES:
            raise InputError(f"{file_path}: holds no key, which has {_BYTES} bytes; it has {len(secret)}")
        return cls(secret)

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """A key for tests and benchmarks, which anyone can compute. It is marked as a test."""
        return cls(hashlib.sha256(f"synthjax test {seed}".encode()).digest(), test=True)

    def fold_in(self, name: str) -> Self:
        """The key of the stream `name`: 32 bytes of SHAKE-256 of this key and the name."""
        digest = hashlib.shake_256(b"synthjax stream\0" + self.secret + name.encode()).digest(_BYTES)
        return type(self)(digest, self.test)

    def words(self, count: int) -> np.ndarray:
        """(count,) uint64, uniform: the first words of SHAKE-256 of this key."""
        data = hashlib.shake_256(b"synthjax words\0" + self.secret).digest(8 * count)
        return np.frombuffer(data, "<u8").astype(np.uint64)

    def integer(self) -> int:
        """An integer of 128 bits, as the seed of a `Feed`."""
        first, second = self.words(2).tolist()
        return first << 64 | second

    def generator(self) -> np.random.Generator:
        """A generator of NumPy (Philox)."""
        return np.random.Generator(np.random.Philox(key=self.words(2)))

    def jax_key(self) -> jax.Array:
        """A typed key of JAX (Threefry): 64 bits."""
        return jax.random.wrap_key_data(jnp.asarray(self.words(1).view(np.uint32)), impl="threefry2x32")


def destroy(path: str | os.PathLike[str]) -> None:
    """Overwrites the file of a key and removes it, if it exists.

    Formal guarantees: none beyond the file system's. Copies in snapshots, backups or a journal are not reached.

    Raises:
      InputError: the file cannot be written.
    """
    file_path = _local(path)
    with files.named_errors(file_path, "destroyed"), contextlib.suppress(FileNotFoundError):
        with open(file_path, "r+b") as file:
            file.write(secrets.token_bytes(max(os.fstat(file.fileno()).st_size, _BYTES)))
            file.flush()
            os.fsync(file.fileno())
        file_path.unlink()


def discrete_gaussian(key: Key | jax.Array, sigma: float, shape: tuple[int, ...]) -> Any:
    """Integers with probabilities proportional to exp(-k^2 / (2 sigma^2)) (Canonne, Kamath & Steinke 2020).

    They are looked up in a table of the cumulative distribution with 64 binary digits, by comparing integers only.

    Args:
      key: a `Key`: NumPy, on the host; a typed key of JAX: inside or outside a compiled function.
      sigma: parameter, between `MIN_SIGMA` and `MAX_SIGMA`, not a traced value. Above 0.5 it is about the standard
        deviation.
      shape: of the result.

    Returns:
      `shape`, int64 of NumPy for a `Key`, i32 of JAX for a key of JAX.

    Raises:
      InputError: sigma is out of range.

    Formal guarantees: independent integers, each in total variation at most `distance(sigma)` from the discrete
    Gaussian if the bits are uniform. For the privacy of a release, count only the integers that one unit changes; the
    noise of the others has the same law for both neighbours.
    """
    table = _table(float(sigma))
    half = len(table) // 2
    if isinstance(key, Key):
        uniform = key.words(math.prod(shape))
        return (np.searchsorted(table, uniform, side="right").astype(np.int64) - half).reshape(shape)
    high, low = jax.random.bits(key, (2, *shape), jnp.uint32)
    table_high, table_low = (jnp.asarray((table >> np.uint64(shift)).astype(np.uint32)) for shift in (32, 0))

    def halve(_: Any, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, last = bounds  # the number of entries at most equal to the uniform number lies between them
        middle = (first + last) // 2
        entry = jnp.minimum(middle, len(table) - 1)
        below = (table_high[entry] < high) | ((table_high[entry] == high) & (table_low[entry] <= low))
        below &= first < last
        return jnp.where(below, middle + 1, first), jnp.where(below | (first >= last), last, middle)

    # A loop, since XLA would work out its first rounds while compiling, which takes seconds.
    start = jnp.zeros(shape, jnp.int32), jnp.full(shape, len(table), jnp.int32)
    return jax.lax.fori_loop(0, len(table).bit_length(), halve, start)[0] - half


def check(sigma: float) -> None:
    """Raises InputError if `discrete_gaussian` has no table for sigma."""
    if not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise InputError(f"sigma={sigma}: the discrete Gaussian needs one between {MIN_SIGMA} and {MAX_SIGMA:.0f}")


def distance(sigma: float) -> float:
    """Bound on the distance in total variation between a draw of `discrete_gaussian` and the discrete Gaussian.

    It is the mass beyond the table, at most 2 exp(-m^2 / (2 sigma^2)) (Canonne et al. 2020), and one unit of the last
    digit for each integer in it.
    """
    half = len(_table(float(sigma))) // 2
    return 2 * math.exp(-(half**2) / (2 * sigma**2)) + (2 * half + 1) * 2.0**-64


@functools.lru_cache(maxsize=64)
def _table(sigma: float) -> np.ndarray:
    """Cumulative probabilities of -m, ..., m - 1 times 2^64, rounded down: (2 m,) uint64.

    The weights follow from w(k + 1) = w(k) r(k), r(k + 1) = r(k) exp(-1 / sigma^2), in integers of 192 binary digits.
    """
    check(sigma)
    half, digits = math.ceil(_TAIL * sigma) + 2, 192
    with decimal.localcontext(prec=80):
        exponent = 1 / (2 * decimal.Decimal(sigma) ** 2)
        ratio, square = (int((-exponent * factor).exp() * 2**digits) for factor in (1, 2))
    weights = [1 << digits]
    for _ in range(half):
        weights.append(weights[-1] * ratio >> digits)
        ratio = ratio * square >> digits
    total, cumulative, table = 2 * sum(weights) - weights[0], 0, []
    for weight in weights[:0:-1] + weights[:-1]:
        cumulative += weight
        table.append(min((cumulative << 64) // total, 2**64 - 1))
    return np.array(table, np.uint64)


def _local(path: str | os.PathLike[str]) -> Path:
    """A local path.

    Raises:
      InputError: it is in an object store.
    """
    file_path = files.path(path)
    if not files.is_local(file_path):
        raise InputError(f"{file_path}: a key must be kept in a local file")
    return file_path
