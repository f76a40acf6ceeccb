r"""The columns of a table as inputs and outputs of networks: standardised reals first, then one-hot choices.

A table row x (D,), laid out by `DataSpec.columns`, corresponds to a network vector v (width,):

    v = [ reals | present-or-missing pairs | choices of the smallest size | ... | choices of the largest size ]

    continuous   one real, (x - shift) / scale, with the column's mean and standard deviation in `DataSpec.statistics`.
                 If values can be missing, also a one-hot pair (present, missing); the real of a missing value is 0
    onehot       one choice among its `size` positions; "missing" is one of them
    code         one choice per digit of the code, in a base of at most 256: 300,000 categories are three choices among
                 67. A code of up to 256 categories is one choice
    the target   not part of v in a conditional model: networks take the label as a separate input, and `decode` writes
                 it into x

All choices of one size form one array (B, count, size), so the number of operations grows with the number of different
sizes, not with the number of columns. A network output (B, width) holds the mean of each real and the logits of each
choice. A choice is made in one of two ways:

    draw       exact samples from softmax(logits), by inverting the cumulative distribution with one uniform number per
               choice. This takes half the time of one Gumbel number per category
    relax      softmax((logits + g) / temperature), g ~ Gumbel(0, 1), a differentiable approximation (Jang et al. 2017,
               arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712) of argmax(logits + g), which is an exact sample
               from softmax(logits). With "straight through" the value is the exact sample, and the gradient is that of
               the approximation

    columns = Columns(spec, conditional=True)
    v = columns.encode(x)
    v = columns.draw(key, raw)                        # raw (B, columns.width), from a network
    x = columns.decode(v, labels)

    >>> import jax, numpy as np
    >>> from synthjax.model import DataSpec
    >>> x = np.float32([[0.0], [2.0]])
    >>> columns = Columns(DataSpec.from_arrays(x), conditional=False)
    >>> columns.width
    1
    >>> v = columns.encode(x)
    >>> v.tolist()
    [[-1.0], [1.0]]
    >>> columns.decode(v, np.zeros(2, int)).tolist()
    [[0.0], [2.0]]
    >>> digits(300_000)
    [(67, 1), (67, 67), (67, 4489)]
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.model import Column, DataSpec

BASE = 256
"""Maximum number of categories of one choice of a `code` column."""


class Choices(NamedTuple):
    """All choices of one kind and size, adjacent in v."""

    kind: str
    """"pair" (present, missing), "onehot" or "digit"."""
    size: int
    """Number of categories of each choice."""
    start: int
    """First position in v."""
    positions: np.ndarray
    """Positions in x: (count, size) for "onehot"; (count,) of the missing-value slot or of the code otherwise."""
    divisors: np.ndarray
    """(count,) for "digit": a code is the sum of digit * divisor. Empty for other kinds."""

    @property
    def number(self) -> int:
        """Number of choices."""
        return len(self.positions)

    @property
    def stop(self) -> int:
        """End of the range of positions in v, exclusive."""
        return self.start + self.number * self.size


def digits(codes: int) -> list[tuple[int, int]]:
    """Splits a code into digits in bases of at most `BASE`, as few as possible and of about equal size.

    Args:
      codes: number of codes; a code is in 0 ... codes - 1.

    Returns:
      (base, divisor) of each digit, the least significant first: digit = code // divisor % base.
    """
    count = max(math.ceil(math.log(codes) / math.log(BASE) - 1e-9), 1)
    base = math.ceil(codes ** (1 / count) - 1e-9)
    lower = [(base, base**k) for k in range(count - 1)]
    return [*lower, (-(-codes // base ** (count - 1)), base ** (count - 1))]


class Columns:
    """Converts between x and v, and applies output heads to v, for one DataSpec.

    Args:
      spec: of a table.
      conditional: whether the target is given by the label and left out of v.

    Raises:
      InputError: the data is not a table, its spec has no statistics, or a `code` column has no number of codes.
    """

    def __init__(self, spec: DataSpec, conditional: bool):
        if spec.kind != "table":
            raise InputError(f"this model makes tables; the data are images of shape {spec.shape}")
        self.target = next((c for c in spec.columns if c.target), None) if conditional else None
        columns = [c for c in spec.columns if c is not self.target]
        reals = sorted((c for c in columns if c.kind == "continuous"), key=lambda c: c.missing is None)
        self.reals = np.array([c.start for c in reals], int)
        """(reals,) positions of the reals in x. Those that can be missing come first, in the order of their pairs."""
        mean, deviation = (a[self.reals] for a in (spec.known().mean, np.sqrt(spec.known().variance)))
        self.shift = mean
        """(reals,) f32 mean over the training rows that have a value."""
        self.scale = np.where(deviation > 0, deviation, np.float32(1))
        """(reals,) f32 standard deviation over the same rows; 1 for a constant."""
        self.codes = [c for c in columns if c.kind == "code"]
        self.pairs = sum(c.missing is not None for c in reals)
        """Number of reals that can be missing."""
        self.choices: list[Choices] = []
        self.width = len(reals)
        """Length of v."""
        self._add("pair", 2, [c.missing for c in reals if c.missing is not None])
        for size in sorted({c.size for c in columns if c.kind == "onehot"}):
            self._add("onehot", size, [range(c.start, c.start + size) for c in columns if _is_onehot(c, size)])
        code_digits = [(base, c.start, divisor) for c in self.codes for base, divisor in digits(_codes(c))]
        for base in sorted({digit[0] for digit in code_digits}):
            base_digits = [digit for digit in code_digits if digit[0] == base]
            self._add("digit", base, [digit[1] for digit in base_digits], [digit[2] for digit in base_digits])
        self._order = np.argsort(self._positions(), kind="stable")

    def _add(self, kind: str, size: int, positions: list, divisors: list | None = None) -> None:
        if positions:
            self.choices.append(Choices(kind, size, self.width, np.array(positions), np.array(divisors or [], int)))
            self.width = self.choices[-1].stop

    def _positions(self) -> np.ndarray:
        """(D,) position in x of each value, in the order in which `decode` concatenates them."""
        kinds = [c.positions.ravel() for c in self.choices if c.kind != "digit"]
        codes = np.array([c.start for c in self.codes], int)
        label = np.arange(self.target.start, self.target.start + self.target.size) if self.target else np.array([], int)
        return np.concatenate([self.reals, *kinds, codes, label])

    # --- conversion between x and v --------------------------------------------------------------------------------

    def encode(self, x: jax.Array) -> jax.Array:
        """Converts x (..., D) f32 to v (..., width) f32; leading axes are kept."""
        real = (x[..., self.reals] - _row(self.shift, x.ndim)) / _row(self.scale, x.ndim)
        parts = []
        for choice in self.choices:
            if choice.kind == "onehot":
                part = x[..., choice.positions]
            elif choice.kind == "pair":
                missing = x[..., choice.positions]
                part = jnp.stack([1 - missing, missing], axis=-1)
            else:
                digit = x[..., choice.positions].astype(jnp.int32) // _row(choice.divisors, x.ndim) % choice.size
                part = jax.nn.one_hot(digit, choice.size, dtype=jnp.float32)
            parts.append(part)
        return self.join(self.mask_missing(real, parts), parts)

    def decode(self, v: jax.Array, labels: jax.Array) -> jax.Array:
        """Converts v to x.

        Args:
          v: (B, width) f32; its choices are one-hot, not relaxed.
          labels: (B,) i32, written into the target of a conditional model; ignored otherwise.

        Returns:
          (B, D) f32.
        """
        real, parts = self.split(v)
        out = [self.mask_missing(self.shift[None] + self.scale[None] * real, parts)]
        codes = jnp.zeros((len(v), len(self.codes)), jnp.float32)
        code_index = {column.start: i for i, column in enumerate(self.codes)}
        for choice, part in zip(self.choices, parts, strict=True):
            if choice.kind == "onehot":
                out.append(part.reshape(len(v), -1))
            elif choice.kind == "pair":
                out.append(part[:, :, 1])
            else:
                column = np.array([code_index[start] for start in choice.positions])
                codes = codes.at[:, column].add((part.argmax(axis=-1) * choice.divisors[None]).astype(jnp.float32))
        # Drawn digits can exceed the last code, since the product of the bases can.
        out.append(jnp.minimum(codes, np.array([[c.codes - 1.0 for c in self.codes]], np.float32)))
        if self.target is not None:
            code = labels[:, None].astype(jnp.float32)
            onehot = jax.nn.one_hot(labels, self.target.size, dtype=jnp.float32)
            out.append(onehot if self.target.kind == "onehot" else code)
        return jnp.concatenate(out, axis=-1)[:, self._order]

    def mask_missing(self, real: jax.Array, parts: list[jax.Array]) -> jax.Array:
        """Multiplies `real` (..., reals) by the "present" entries of the pairs, `parts[0]`: missing reals become 0."""
        if not self.pairs:
            return real
        return jnp.concatenate([real[..., : self.pairs] * parts[0][..., 0], real[..., self.pairs :]], axis=-1)

    # --- parts of v ------------------------------------------------------------------------------------------------

    def split(self, v: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Splits v (..., width) into reals (..., reals) and one array (..., count, size) for each of `choices`."""
        shape = v.shape[:-1]
        return v[..., : len(self.reals)], [
            v[..., c.start : c.stop].reshape(*shape, c.number, c.size) for c in self.choices
        ]

    def join(self, real: jax.Array, parts: list[jax.Array]) -> jax.Array:
        """The inverse of `split`."""
        flat = [part.reshape(*part.shape[:-2], -1) for part in parts]
        return jnp.concatenate([real, *flat], axis=-1)

    def over_choices(self, head: Callable[..., jax.Array], raw: jax.Array, noise: list[jax.Array]) -> jax.Array:
        """Applies an output head to the logits of all choices and sets missing reals to 0.

        Args:
          head: (logits (B, count, size), noise) -> (B, count, size); (logits) -> (B, count, size) without noise.
          raw: (B, width) output of a network.
          noise: one array for each of `choices`, or empty.

        Returns:
          v (B, width).
        """
        real, parts = self.split(raw)
        out = [head(*inputs) for inputs in zip(parts, noise, strict=True)] if noise else [head(part) for part in parts]
        return self.join(self.mask_missing(real, out), out)

    def draw(self, key: jax.Array | None, raw: jax.Array) -> jax.Array:
        """Draws the choices from softmax(logits); the reals are the means.

        Args:
          key: typed PRNG key, or None for the category with the largest logit.
          raw: (B, width) output of a network.

        Returns:
          v (B, width) with one-hot choices.
        """
        if key is None or not self.choices:
            return self.over_choices(most_likely, raw, [])
        ends = np.cumsum([choice.number for choice in self.choices])
        uniform = jax.random.uniform(key, (*raw.shape[:-1], int(ends[-1])), jnp.float32)
        return self.over_choices(draw, raw, jnp.split(uniform, ends[:-1], axis=-1))

    def relax(self, key: jax.Array | None, raw: jax.Array, temperature: float, straight_through: bool) -> jax.Array:
        """Gumbel-softmax relaxation of `draw`, which has a gradient.

        Args:
          key: typed PRNG key, or None for no Gumbel noise.
          raw: (B, width) output of a network.
          temperature: above 0.
          straight_through: whether the values are one-hot; see the module's docstring.

        Returns:
          v (B, width).
        """

        def head(logits, noise=0.0):
            return relax(logits + noise, temperature, straight_through)

        noise = [] if key is None else self.split(jax.random.gumbel(key, raw.shape, jnp.float32))[1]
        return self.over_choices(head, raw, noise)

    def log_likelihood(self, raw: jax.Array, log_scale: jax.Array, v: jax.Array) -> jax.Array:
        """log p of each real and each choice of v.

        Args:
          raw: (B, width) means of the reals and logits of the choices.
          log_scale: (reals,) or (B, reals), log of the reals' standard deviation.
          v: (B, width). A missing real contributes log p = 0.

        Returns:
          (B, reals + choices) f32, nats; for reals the log density of the standardised value.
        """
        (means, _), (real, parts) = self.split(raw), self.split(v)
        log_scale = jnp.atleast_2d(log_scale)
        density = -0.5 * (math.log(2 * math.pi) + ((real - means) * jnp.exp(-log_scale)) ** 2) - log_scale
        return jnp.concatenate([self.mask_missing(density, parts), self.log_chosen(raw, v)], axis=-1)

    def log_chosen(self, raw: jax.Array, v: jax.Array) -> jax.Array:
        """log softmax(logits) of the category of each choice of v: (B, choices) f32, nats."""
        pairs = zip(self.split(raw)[1], self.split(v)[1], strict=True)
        chosen = [(part * jax.nn.log_softmax(logits)).sum(axis=-1) for logits, part in pairs]
        return jnp.concatenate([jnp.zeros((len(v), 0), jnp.float32), *chosen], axis=-1)


def _row(a: np.ndarray, ndim: int) -> np.ndarray:
    """Reshapes a (N,) to `ndim` axes, of which the leading ones have length 1."""
    return a.reshape((1,) * (ndim - 1) + a.shape)


def _is_onehot(column: Column, size: int) -> bool:
    return column.kind == "onehot" and column.size == size


def _codes(column: Column) -> int:
    if column.codes < 1:
        raise InputError(f"column {column.name!r}: has kind 'code'; set Column.codes to the number of codes")
    return column.codes


def most_likely(logits: jax.Array) -> jax.Array:
    """One-hot vector of the largest logit, over the last axis: (..., K) -> (..., K)."""
    return jax.nn.one_hot(logits.argmax(axis=-1), logits.shape[-1], dtype=logits.dtype)


def draw(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """One-hot draws from softmax(logits) over the last axis, by inverting the cumulative distribution.

    Args:
      logits: (..., K).
      uniform: (...) uniform random numbers in [0, 1).

    Returns:
      (..., K) in the dtype of `logits`.
    """
    cdf = jnp.cumsum(jnp.exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)  # up to a factor
    chosen = (cdf <= uniform[..., None] * cdf[..., -1:]).sum(axis=-1)  # at most K - 1, since uniform < 1
    return jax.nn.one_hot(chosen, logits.shape[-1], dtype=logits.dtype)


def relax(noisy: jax.Array, temperature: float, straight_through: bool) -> jax.Array:
    """Gumbel-softmax over the last axis of `noisy`, logits plus Gumbel noise; see the module's docstring."""
    soft = jax.nn.softmax(noisy / temperature)
    return soft + jax.lax.stop_gradient(most_likely(noisy) - soft) if straight_through else soft
