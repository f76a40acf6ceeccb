"""Convolutions that are fast on CPU, with the parameters and results of Flax Linen's `Conv` and `ConvTranspose`.

XLA:CPU has one fast kernel: the forward pass of an undilated, ungrouped convolution. Autodiff turns its gradients into
convolutions that are dilated or have a kernel as large as the image. These are at least 3 times slower, and 100 times
slower in the body of a scanned loop. `vmap` over kernels produces grouped convolutions, which are slow as well. So on
CPU everything is expressed through that one kernel and matrix products:

- The input gradient of a stride-1 convolution is a stride-1 convolution with the flipped kernel.
- Its kernel gradient is one matrix product per row of the kernel: the input, shifted by that row and transposed, times
  the output's gradient gathered over the kernel's columns. If the input or the output has few channels (images), it is
  a single product, with that side gathered over all taps. Convolution and kernel gradient are both bilinear, and are
  each other's transposes, so derivatives of any order and mode use these two operations only.
- A convolution of stride s is a stride-1 convolution over s x s pixels folded into channels, with the kernel padded to
  a multiple of s. A transposed convolution is the reverse: its s x s phases are unfolded. Both are matrix products if
  the kernel is 1 x 1 or no larger than the stride.
- Under `vmap` over kernels, the convolutions of the mapped axis run one after the other, not as a grouped convolution.

GPU and TPU use XLA's own convolutions. `python -m benchmarks.conv` compares the speed of both implementations.

Arrays are NHWC, kernels HWIO, paddings ((low, high), (low, high)).

    >>> import jax, jax.numpy as jnp
    >>> conv(jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 8)), (2, 2), ((0, 0), (0, 0))).shape
    (1, 2, 2, 8)
    >>> layer = Conv(features=8, kernel_size=(3, 3), strides=2)
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 28, 28, 1)))[0].shape
    (1, 14, 14, 8)
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from synthjax.nets.bilinear import bilinear

Pads = tuple[tuple[int, int], tuple[int, int]]
LAYOUT = ("NHWC", "HWIO", "NHWC")

CHUNK_VALUES = 2**21
"""Number of values that a chunk of a kernel gradient gathers; they fit into a core's cache.

Gradients that gather up to twice as many values are not split.
"""


def conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """Convolution (cross-correlation), as `lax.conv_general_dilated`.

    Args:
      x: (B, H, W, C), of a floating dtype.
      kernel: (kh, kw, C, N), of the same dtype.
      strides: of rows and columns.
      padding: zeros added before and after rows and columns.

    Returns:
      (B, H', W', N) in the dtype of `x`, with H' = (H + low + high - kh) // stride + 1.
    """
    cpu = functools.partial(_conv_cpu, strides=strides, padding=padding)
    other = functools.partial(native, strides=strides, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=other)


def conv_transpose(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """Transposed convolution with the kernel not flipped, as `lax.conv_transpose`.

    Args:
      x: (B, H, W, C), of a floating dtype.
      kernel: (kh, kw, C, N), of the same dtype.
      strides: dilation of the rows and columns of `x`.
      padding: zeros added before and after rows and columns of the dilated input.

    Returns:
      (B, H', W', N) in the dtype of `x`, with H' = (H - 1) * stride + 2 + low + high - kh.
    """
    cpu = functools.partial(_conv_transpose_cpu, strides=strides, padding=padding)
    other = functools.partial(native_transpose, strides=strides, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=other)


def native(x: jax.Array, kernel: jax.Array, strides: tuple[int, int] = (1, 1), padding: Pads = ((0, 0), (0, 0))):
    """XLA's own convolution, with the arguments of `conv`."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def native_transpose(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """XLA's own transposed convolution, with the arguments of `conv_transpose`."""
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, lhs_dilation=strides, dimension_numbers=LAYOUT)


def _conv_cpu(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    taps = kernel.shape[:2]
    sizes = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:3], padding, taps, strides, strict=True)]
    if strides == (1, 1) and taps != (1, 1):
        return _conv(x, kernel, padding=padding)
    # Fold s x s pixels into channels. The kernel is padded to whole cells of s x s taps; the added taps are zero.
    cells = [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    extra = [c * s - k for c, s, k in zip(cells, strides, taps, strict=True)]
    kernel = jnp.pad(kernel, [(0, extra[0]), (0, extra[1]), (0, 0), (0, 0)])
    padded = [(m + c - 1) * s for m, c, s in zip(sizes, cells, strides, strict=True)]
    edges = [(p[0], w - n - p[0]) for p, w, n in zip(padding, padded, x.shape[1:3], strict=True)]
    x = _pad(x, edges)
    x, kernel = _fold(x, strides), _fold(kernel.transpose(3, 0, 1, 2), strides).transpose(1, 2, 3, 0)
    return x @ kernel[0, 0] if kernel.shape[:2] == (1, 1) else _conv(x, kernel, padding=((0, 0), (0, 0)))


def _conv_transpose_cpu(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    taps = kernel.shape[:2]
    if strides == (1, 1) and taps != (1, 1):
        return _conv(x, kernel, padding=padding)
    # Output pixel s m + a of the unpadded result is the sum over u of input m - u times tap s u + a of the flipped
    # kernel. So each of the s x s phases a is a stride-1 convolution.
    cells = [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    extra = [c * s - k for c, s, k in zip(cells, strides, taps, strict=True)]
    kernel = jnp.pad(kernel[::-1, ::-1], [(0, extra[0]), (0, extra[1]), (0, 0), (0, 0)])
    phases = _fold(kernel.transpose(2, 0, 1, 3), strides).transpose(1, 2, 0, 3)[::-1, ::-1]
    full: Pads = ((cells[0] - 1, cells[0] - 1), (cells[1] - 1, cells[1] - 1))
    y = x @ phases[0, 0] if phases.shape[:2] == (1, 1) else _conv(x, phases, padding=full)
    y = _unfold(y, strides)
    edges = []
    for n, k, s, (low, high) in zip(x.shape[1:3], taps, strides, padding, strict=True):
        start, size = k - 1 - low, (n - 1) * s + 2 + low + high - k
        available = (n + -(-k // s) - 1) * s
        edges.append((-start, start + size - available))
    return _pad(y, edges)


def _pad(x: jax.Array, edges: Sequence[tuple[int, int]]) -> jax.Array:
    """Pads rows and columns with zeros, or crops them where an edge is negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0)])


def _outside_fast_kernel(x: jax.Array, kernel: jax.Array, padding: Pads) -> bool:
    """Whether XLA:CPU is 20 to 200 times slower (kernel larger than the image) or wrong (negative padding).

    Wrong values were seen with jaxlib 0.10.2, in gradients of convolutions padded by the kernel's size or more.
    """
    larger = any(n < k for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True))
    return larger or min(*padding[0], *padding[1]) < 0


def _forward(x: jax.Array, kernel: jax.Array, padding: Pads) -> jax.Array:
    """Stride-1 convolution: XLA's own, or one matrix product over gathered taps where XLA's is slow or wrong."""
    if not _outside_fast_kernel(x, kernel, padding):
        return native(x, kernel, padding=padding)
    return _gather(_pad(x, padding), *kernel.shape[:2]) @ kernel.reshape(-1, kernel.shape[-1])


def _gather(x: jax.Array, kh: int, kw: int) -> jax.Array:
    """Patches of kh x kw pixels (im2col): (B, H, W, C) -> (B, H - kh + 1, W - kw + 1, kh kw C)."""
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    return jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)], axis=-1)


def _fold(x: jax.Array, cell: tuple[int, int]) -> jax.Array:
    """Space to channels, for a cell of (s, t) pixels: (B, H, W, C) -> (B, H / s, W / t, s t C)."""
    b, h, w, c = x.shape
    s, t = cell
    x = x.reshape(b, h // s, s, w // t, t, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // s, w // t, s * t * c)


def _unfold(x: jax.Array, cell: tuple[int, int]) -> jax.Array:
    """The inverse of `_fold`."""
    b, h, w, c = x.shape
    s, t = cell
    x = x.reshape(b, h, w, s, t, c // (s * t)).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * s, w * t, c // (s * t))


def kernel_gradient(x: jax.Array, g: jax.Array, padding: Pads) -> jax.Array:
    """Gradient of sum(g * conv(x, kernel)) with respect to the kernel; a large batch is processed in chunks.

    Args:
      x: (B, H, W, C) input of the stride-1 convolution.
      g: (B, H', W', N) gradient of its output.
      padding: of the convolution.

    Returns:
      (kh, kw, C, N) in the dtype of `x`.
    """
    batch = x.shape[0]
    size = _kernel_size(x, g, padding)
    steps = -(-g.size * size[1] // CHUNK_VALUES)
    if steps <= 2:
        return _correlate(x, g, padding)
    length = -(-batch // steps)
    # Chunk i takes images i, i + steps, ...: a batch sharded over devices then stays where it is.
    x, g = (jnp.pad(a, [(0, length * steps - batch), (0, 0), (0, 0), (0, 0)]) for a in (x, g))
    x, g = (a.reshape(length, steps, *a.shape[1:]) for a in (x, g))

    def add(total, i):
        return total + _correlate(x[:, i], g[:, i], padding), None

    # Sum in f32: a bf16 sum over hundreds of chunks loses the later ones to rounding.
    total = jnp.zeros((*size, x.shape[-1], g.shape[-1]), jnp.promote_types(x.dtype, jnp.float32))
    return lax.scan(add, total, jnp.arange(steps))[0].astype(x.dtype)


def _kernel_size(x: jax.Array, g: jax.Array, padding: Pads) -> tuple[int, int]:
    """(kh, kw) of the stride-1 convolution from the shape of `x` to the shape of `g`."""
    rows, columns = (n + sum(p) - m + 1 for n, p, m in zip(x.shape[1:3], padding, g.shape[1:3], strict=True))
    return rows, columns


def _correlate(x: jax.Array, g: jax.Array, padding: Pads) -> jax.Array:
    """The kernel gradient of one chunk: one matrix product if `x` or `g` has few channels, else one per kernel row."""
    (rows, columns), h, w = _kernel_size(x, g, padding), g.shape[1], x.shape[2]
    c, n = x.shape[-1], g.shape[-1]
    if rows * columns * c <= n:
        return (_flat(_gather(_pad(x, padding), rows, columns)).T @ _flat(g)).reshape(rows, columns, c, n)
    full = _full((rows, columns), padding)
    if rows * columns * n <= c:
        dw = _flat(x).T @ _flat(_gather(_pad(g, full), rows, columns))
        return dw.reshape(c, rows, columns, n).transpose(1, 2, 0, 3)[::-1, ::-1]
    x = _pad(x, (padding[0], (0, 0)))
    g = _pad(g, ((0, 0), full[1]))
    taps = _flat(jnp.concatenate([g[:, :, j : j + w] for j in reversed(range(columns))], axis=-1))
    dw = jnp.stack([_flat(x[:, i : i + h]).T @ taps for i in range(rows)])
    return dw.reshape(rows, c, columns, n).swapaxes(1, 2)


def _flat(x: jax.Array) -> jax.Array:
    """(B, H, W, C) to (B H W, C)."""
    return x.reshape(-1, x.shape[-1])


def _members(product: Callable[..., jax.Array], batched: tuple[bool, bool], a: jax.Array, b: jax.Array) -> jax.Array:
    """Batching rule: one product after the other, where XLA would use a grouped convolution."""
    size = len(a) if batched[0] else len(b)
    return lax.map(lambda i: product(a[i] if batched[0] else a, b[i] if batched[1] else b), jnp.arange(size))


def _images(
    product: Callable[..., jax.Array], batched: tuple[bool, bool], x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """Batching rule of the convolution: with a shared kernel, the mapped axis becomes part of the image batch."""
    if batched[1]:
        return _members(product, batched, x, kernel)
    y = product(x.reshape(-1, *x.shape[2:]), kernel)
    return y.reshape(*x.shape[:2], *y.shape[1:])


_conv = bilinear(_forward, _images)
"""Stride-1 convolution on CPU: (x, kernel, padding=) -> the result of `conv`."""

_kernel_grad = bilinear(kernel_gradient, _members)
"""`kernel_gradient` as a primitive: (x, g, padding=) -> (kh, kw, C, N)."""


def _full(taps: Sequence[int], padding: Pads) -> Pads:
    """Padding of the transpose of a stride-1 convolution with this kernel size and padding."""
    rows, columns = ((k - 1 - low, k - 1 - high) for k, (low, high) in zip(taps, padding, strict=True))
    return rows, columns


def _input_grad(g: jax.Array, kernel: jax.Array, padding: Pads) -> jax.Array:
    """Gradient (B, H, W, C) of sum(g * conv(x, kernel)) with respect to the input."""
    return _conv(g, kernel[::-1, ::-1].swapaxes(2, 3), padding=_full(kernel.shape[:2], padding))


_conv.transposes(_input_grad, lambda g, x, padding: _kernel_grad(x, g, padding=padding))
_kernel_grad.transposes(
    lambda kernel, g, padding: _input_grad(g, kernel, padding),
    lambda kernel, x, padding: _conv(x, kernel, padding=padding),
)


def _pads(padding: str | int | Sequence[Any], named: Callable[[int, str], tuple[int, int]]) -> Pads:
    """Explicit padding of rows and columns; `named(axis, padding)` gives that of "SAME" and "VALID"."""
    if isinstance(padding, str):
        return named(0, padding.upper()), named(1, padding.upper())
    rows, columns = (padding, padding) if isinstance(padding, int) else tuple(padding)
    return _edge(rows), _edge(columns)


def _edge(padding: Any) -> tuple[int, int]:
    """(low, high) of one axis."""
    low, high = (padding, padding) if isinstance(padding, int) else padding
    return low, high


class Conv(nn.Module):
    """Convolution over (B, H, W, C), with the parameters and the result of `flax.linen.Conv`.

    Attributes:
      features: number of output channels.
      kernel_size: (kh, kw).
      strides: (s, t), or one number for both.
      padding: "SAME", "VALID", one number, or ((low, high), (low, high)).
      use_bias: whether to add a bias per channel.
      dtype: dtype of the computation; None: the promoted dtype of inputs and parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initialiser of the kernel (kh, kw, C, features).
      bias_init: initialiser of the bias (features,).
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[Any] = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H', W', features)."""
        x, kernel, bias, strides = _parameters(self, x)

        def named(axis: int, padding: str) -> tuple[int, int]:
            return lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)[axis]

        y = conv(x, kernel, strides, _pads(self.padding, named))
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class ConvTranspose(nn.Module):
    """Transposed convolution over (B, H, W, C), with the parameters and the result of `flax.linen.ConvTranspose`.

    It has the attributes of `Conv`. Explicit padding is added to the input after dilation by the strides.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[Any] = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H', W', features), with H' = s H for "SAME"."""
        x, kernel, bias, strides = _parameters(self, x)

        def named(axis: int, padding: str) -> tuple[int, int]:
            return _transpose_pads(kernel.shape[axis], strides[axis], padding)

        y = conv_transpose(x, kernel, strides, _pads(self.padding, named))
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def _parameters(module: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None, tuple[int, int]]:
    """Creates the parameters of a module. Returns input, kernel and bias in the computation dtype, and the strides."""
    kernel_shape = (*module.kernel_size, x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, kernel_shape, module.param_dtype)
    bias = module.param("bias", module.bias_init, (module.features,), module.param_dtype) if module.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    strides = module.strides
    return x, kernel, bias, (strides, strides) if isinstance(strides, int) else tuple(strides)


def _transpose_pads(taps: int, stride: int, padding: str) -> tuple[int, int]:
    """Padding of the dilated input for "SAME" or "VALID", as in `lax.conv_transpose`."""
    if padding == "VALID":
        return taps - 1, stride - 1 + max(taps - stride, 0)
    total = taps + stride - 2
    low = taps - 1 if stride > taps - 1 else math.ceil(total / 2)
    return low, total - low
