r"""The columns of a table as networks take and make them: standardised reals first, then choices.

A row x (D,) of a table, laid out by `DataSpec.columns`, becomes a row v (width,) of a network, and back:

    v = [ reals | present-or-missing pairs | choices of the smallest size | ... | choices of the largest size ]

    continuous   one real, (x - shift) / scale, by the column's mean and deviation in `DataSpec.statistics`; where
                 values can be missing, also a pair (present, missing), one of which is 1: a missing real is 0
    onehot       one choice among its `size` positions, "missing" being one of them
    code         one choice per digit of the code, to a base of at most 256: 300,000 categories are three choices among
                 67; a code of up to 256 categories is one choice
    the target   nothing where the model is conditional: the label is handed to networks by itself, `decode` writes it

All choices of one size are one array (B, count, size), so that a table costs as many operations as it has sizes, not
columns. A network's output of that width is read as the mean of each real and logits of each choice:

    draws      from softmax(logits), by where one uniform number a choice falls among the sums of its shares: half the
               time of a Gumbel number a category
    relaxed    softmax((logits + g) / temperature), g ~ Gumbel(0, 1) (Jang et al. 2017, arXiv:1611.01144; Maddison et
               al. 2017, arXiv:1611.00712), near argmax(logits + g), a draw from softmax(logits); "straight through":
               that draw forwards, the gradient of the relaxed one backwards

    columns = Columns(spec, conditional=True)
    v = columns.encode(x)
    v = columns.draw(key, raw)                        # raw (B, columns.width), from a network
    x = columns.decode(v, labels)
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
"""Most categories that one choice has, of a `code` column."""


class Choices(NamedTuple):
    """The choices of one kind and size, side by side in v."""

    kind: str
    """"pair" (present, missing), "onehot" or "digit"."""
    size: int
    """Categories of each."""
    start: int
    """First position in v."""
    positions: np.ndarray
    """In x: (count, size) of a onehot column, (count,) of the missing-value slot or of the code."""
    divisors: np.ndarray
    """(count,) of digits: a code is the sum of digit * divisor; empty for others."""

    @property
    def number(self) -> int:
        """Number of choices."""
        return len(self.positions)

    @property
    def stop(self) -> int:
        """First position in v behind them."""
        return self.start + self.number * self.size


def digits(codes: int) -> list[tuple[int, int]]:
    """(base, divisor) of each digit of a code 0 ... codes - 1, the last digit first; bases are about equal."""
    count = max(math.ceil(math.log(codes) / math.log(BASE) - 1e-9), 1)
    base = math.ceil(codes ** (1 / count) - 1e-9)
    lower = [(base, base**k) for k in range(count - 1)]
    return [*lower, (-(-codes // base ** (count - 1)), base ** (count - 1))]


class Columns:
    """The way from x to v and back, and heads, for one DataSpec.

    Args:
      spec: of a table.
      conditional: whether the target's slice is the label's, and no part of v.

    Raises:
      InputError: the data is no table, its spec has no statistics, or a `code` column does not say how many codes
        there are.
    """

    def __init__(self, spec: DataSpec, conditional: bool):
        if spec.kind != "table":
            raise InputError(f"this model makes tables; the data are images of shape {spec.shape}")
        self.target = next((c for c in spec.columns if c.target), None) if conditional else None
        columns = [c for c in spec.columns if c is not self.target]
        reals = sorted((c for c in columns if c.kind == "continuous"), key=lambda c: c.missing is None)
        self.reals = np.array([c.start for c in reals], int)
        """Positions of the reals in x, those that can be missing first, in the order of their pairs."""
        mean, deviation = (a[self.reals] for a in (spec.known().mean, np.sqrt(spec.known().variance)))
        self.shift = mean
        """(reals,) f32 mean of each over the training rows that have a value."""
        self.scale = np.where(deviation > 0, deviation, np.float32(1))
        """(reals,) f32 deviation of each; 1 for a constant."""
        self.codes = [c for c in columns if c.kind == "code"]
        self.pairs = sum(c.missing is not None for c in reals)
        """How many reals can be missing."""
        self.choices: list[Choices] = []
        self.width = len(reals)
        """Length of v."""
        self._add("pair", 2, [c.missing for c in reals if c.missing is not None])
        for size in sorted({c.size for c in columns if c.kind == "onehot"}):
            self._add("onehot", size, [range(c.start, c.start + size) for c in columns if _is_onehot(c, size)])
        parts = [(base, c.start, divisor) for c in self.codes for base, divisor in digits(_codes(c))]
        for base in sorted({part[0] for part in parts}):
            here = [part for part in parts if part[0] == base]
            self._add("digit", base, [p[1] for p in here], [p[2] for p in here])
        self._order = np.argsort(self._positions(), kind="stable")

    def _add(self, kind: str, size: int, positions: list, divisors: list | None = None) -> None:
        if positions:
            self.choices.append(Choices(kind, size, self.width, np.array(positions), np.array(divisors or [], int)))
            self.width = self.choices[-1].stop

    def _positions(self) -> np.ndarray:
        """The position in x of each value in the order in which `decode` has them."""
        kinds = [c.positions.ravel() for c in self.choices if c.kind != "digit"]
        codes = np.array([c.start for c in self.codes], int)
        label = np.arange(self.target.start, self.target.start + self.target.size) if self.target else np.array([], int)
        return np.concatenate([self.reals, *kinds, codes, label])

    # --- between x and v -------------------------------------------------------------------------------------------

    def encode(self, x: jax.Array) -> jax.Array:
        """x (..., D) to v (..., width); leading axes are kept."""
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
        """v (B, width), whose choices are exact, to x (B, D); the target of a conditional model is the label's."""
        real, parts = self.split(v)
        out = [self.mask_missing(self.shift[None] + self.scale[None] * real, parts)]
        codes = jnp.zeros((len(v), len(self.codes)), jnp.float32)
        places = {column.start: place for place, column in enumerate(self.codes)}
        for choice, part in zip(self.choices, parts, strict=True):
            if choice.kind == "onehot":
                out.append(part.reshape(len(v), -1))
            elif choice.kind == "pair":
                out.append(part[:, :, 1])
            else:
                owner = np.array([places[start] for start in choice.positions])
                codes = codes.at[:, owner].add((part.argmax(axis=-1) * choice.divisors[None]).astype(jnp.float32))
        out.append(jnp.minimum(codes, np.array([[c.codes - 1.0 for c in self.codes]], np.float32)))
        if self.target is not None:
            code = labels[:, None].astype(jnp.float32)
            onehot = jax.nn.one_hot(labels, self.target.size, dtype=jnp.float32)
            out.append(onehot if self.target.kind == "onehot" else code)
        return jnp.concatenate(out, axis=-1)[:, self._order]

    def mask_missing(self, real: jax.Array, parts: list[jax.Array]) -> jax.Array:
        """Numbers of the reals (..., reals), each times how much it is present by the pairs among `parts`."""
        if not self.pairs:
            return real
        return jnp.concatenate([real[..., : self.pairs] * parts[0][..., 0], real[..., self.pairs :]], axis=-1)

    # --- parts of v ------------------------------------------------------------------------------------------------

    def split(self, v: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """v (..., width) to reals (..., reals) and, for each of `choices`, (..., count, size)."""
        shape = v.shape[:-1]
        return v[..., : len(self.reals)], [
            v[..., c.start : c.stop].reshape(*shape, c.number, c.size) for c in self.choices
        ]

    def join(self, real: jax.Array, parts: list[jax.Array]) -> jax.Array:
        """The inverse of `split`."""
        flat = [part.reshape(*part.shape[:-2], -1) for part in parts]
        return jnp.concatenate([real, *flat], axis=-1)

    def over_choices(self, head: Callable[..., jax.Array], raw: jax.Array, noise: list[jax.Array]) -> jax.Array:
        """v with `head(logits, noise)`, (B, count, size), in place of the logits; missing reals become 0.

        `noise` has a part for each of `choices`, or is empty: then the head is called without.
        """
        real, parts = self.split(raw)
        made = [head(*inputs) for inputs in zip(parts, noise, strict=True)] if noise else [head(part) for part in parts]
        return self.join(self.mask_missing(real, made), made)

    def draw(self, key: jax.Array | None, raw: jax.Array) -> jax.Array:
        """v whose choices are drawn from softmax(logits), or the likeliest without a key; reals as they are."""
        if key is None or not self.choices:
            return self.over_choices(likeliest, raw, [])
        ends = np.cumsum([choice.number for choice in self.choices])
        uniform = jax.random.uniform(key, (*raw.shape[:-1], int(ends[-1])), jnp.float32)
        return self.over_choices(draw, raw, jnp.split(uniform, ends[:-1], axis=-1))

    def relax(self, key: jax.Array | None, raw: jax.Array, temperature: float, straight_through: bool) -> jax.Array:
        """v whose choices are relaxed draws, with a gradient; without a key, of no noise."""

        def head(logits, noise=0.0):
            return relax(logits + noise, temperature, straight_through)

        noise = [] if key is None else self.split(jax.random.gumbel(key, raw.shape, jnp.float32))[1]
        return self.over_choices(head, raw, noise)

    def log_likelihood(self, raw: jax.Array, log_scale: jax.Array, v: jax.Array) -> jax.Array:
        """log p of each real and each choice of v: (B, reals + choices), nats.

        Args:
          raw: (B, width): means of the reals, logits of the choices.
          log_scale: (reals,) or (B, reals), log of the reals' standard deviation.
          v: (B, width); where a value is missing its real has no density, and log p is 0.
        """
        (means, _), (real, parts) = self.split(raw), self.split(v)
        log_scale = jnp.atleast_2d(log_scale)
        density = -0.5 * (math.log(2 * math.pi) + ((real - means) * jnp.exp(-log_scale)) ** 2) - log_scale
        return jnp.concatenate([self.mask_missing(density, parts), self.log_chosen(raw, v)], axis=-1)

    def log_chosen(self, raw: jax.Array, v: jax.Array) -> jax.Array:
        """log softmax(logits) of the category that each choice of v has: (B, choices), nats."""
        pairs = zip(self.split(raw)[1], self.split(v)[1], strict=True)
        chosen = [(part * jax.nn.log_softmax(logits)).sum(axis=-1) for logits, part in pairs]
        return jnp.concatenate([jnp.zeros((len(v), 0), jnp.float32), *chosen], axis=-1)


def _row(a: np.ndarray, ndim: int) -> np.ndarray:
    """a (N,) with axes of length 1 before it."""
    return a.reshape((1,) * (ndim - 1) + a.shape)


def _is_onehot(column: Column, size: int) -> bool:
    return column.kind == "onehot" and column.size == size


def _codes(column: Column) -> int:
    if column.codes < 1:
        raise InputError(f"column {column.name!r}: holds codes, and its Column.codes does not say how many there are")
    return column.codes


def likeliest(logits: jax.Array) -> jax.Array:
    """One-hot, the category of the greatest logit over the last axis."""
    return jax.nn.one_hot(logits.argmax(axis=-1), logits.shape[-1], dtype=logits.dtype)


def draw(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """One-hot draws (..., K) from softmax(logits) over the last axis, by `uniform` (...) in [0, 1)."""
    sums = jnp.cumsum(jnp.exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)
    chosen = (sums <= uniform[..., None] * sums[..., -1:]).sum(axis=-1)  # at most K - 1: the product is below the sum
    return jax.nn.one_hot(chosen, logits.shape[-1], dtype=logits.dtype)


def relax(noisy: jax.Array, temperature: float, straight_through: bool) -> jax.Array:
    """Gumbel-softmax over the last axis of logits with noise; see the module's docstring."""
    soft = jax.nn.softmax(noisy / temperature)
    return soft + jax.lax.stop_gradient(likeliest(noisy) - soft) if straight_through else soft
