"""Convolution that is fast on CPU, with the parameters and the result of Linen's `Conv` and `ConvTranspose`.

XLA:CPU has one fast kernel, the forward pass of an undilated, ungrouped convolution; the gradients that autodiff makes of
it are dilated convolutions with the batch in a feature's place, which run 3 to 100 times slower, and `vmap` over
kernels makes grouped ones. So on CPU everything is written with that one kernel and matrix products:

- The input gradient of a stride-1 convolution is a stride-1 convolution with the kernel flipped.
- Its kernel gradient is a stride-1 convolution of x (C_in as the batch) with g as the kernel; both are transposed first.
  The two operations are each other's derivatives, so every order of gradient stays within them.
- A convolution of stride s is one of stride 1 over s x s pixels folded into channels, its kernel padded to a multiple of
  s; a transposed convolution is the reverse, its s x s phases unfolded. A kernel no larger than its stride has
  patches that do not overlap: a matrix product. So is a 1 x 1 convolution.
- Under `vmap` over kernels the members run one after the other instead of as a grouped convolution.

GPU and TPU keep XLA's own. `python -m benchmarks.conv` measures the forms side by side.

Arrays are NHWC, kernels HWIO, paddings ((low, high), (low, high)).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.custom_batching import custom_vmap

Pads = tuple[tuple[int, int], tuple[int, int]]
LAYOUT = ("NHWC", "HWIO", "NHWC")

# The rule that `python -m benchmarks.conv` led to.
CHUNK_PIXELS = 3200
"""Pixels of the input, over all images of a chunk, up to which a kernel gradient is computed in one piece."""
LARGE_KERNEL = 2**15
"""C_in * C_out from which a kernel gradient is one matrix product per tap."""


def conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """Convolution (cross-correlation) of `x` (B, H, W, C) with `kernel` (kh, kw, C, N), as `lax.conv_general_dilated`.

    Returns (B, H', W', N) in the dtype of `x`, with H' = (H + low + high - kh) // stride + 1.
    """
    cpu = functools.partial(_conv_cpu, strides=strides, padding=padding)
    other = functools.partial(native, strides=strides, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=other)


def conv_transpose(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """Transposed convolution of `x` (B, H, W, C) with `kernel` (kh, kw, C, N), not flipped, as `lax.conv_transpose`.

    `padding` pads the dilated input. Returns (B, H', W', N), with H' = (H - 1) * stride + 2 + low + high - kh.
    """
    cpu = functools.partial(_conv_transpose_cpu, strides=strides, padding=padding)
    other = functools.partial(native_transpose, strides=strides, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=other)


def native(x: jax.Array, kernel: jax.Array, strides: tuple[int, int] = (1, 1), padding: Pads = ((0, 0), (0, 0))):
    """XLA's own convolution; arguments as those of `conv`."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def native_transpose(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    """XLA's own transposed convolution; arguments as those of `conv_transpose`."""
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, lhs_dilation=strides, dimension_numbers=LAYOUT)


def _conv_cpu(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    taps = kernel.shape[:2]
    sizes = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:3], padding, taps, strides, strict=True)]
    if strides == (1, 1) and taps != (1, 1):
        return _conv(padding, x, kernel)
    # Fold s x s pixels into channels. Taps beyond the kernel meet pixels of the next cell, with weight zero.
    cells = [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    spare = [c * s - k for c, s, k in zip(cells, strides, taps, strict=True)]
    kernel = jnp.pad(kernel, [(0, spare[0]), (0, spare[1]), (0, 0), (0, 0)])
    whole = [(m + c - 1) * s for m, c, s in zip(sizes, cells, strides, strict=True)]
    edges = [(p[0], w - n - p[0]) for p, w, n in zip(padding, whole, x.shape[1:3], strict=True)]
    x = _pad(x, edges)
    x, kernel = _fold(x, strides), _fold(kernel.transpose(3, 0, 1, 2), strides).transpose(1, 2, 3, 0)
    return x @ kernel[0, 0] if kernel.shape[:2] == (1, 1) else _conv(((0, 0), (0, 0)), x, kernel)


def _conv_transpose_cpu(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pads) -> jax.Array:
    taps = kernel.shape[:2]
    if strides == (1, 1) and taps != (1, 1):
        return _conv(padding, x, kernel)
    # Output pixel s m + a of the full result takes inputs m - u through taps s u + a of the flipped kernel.
    cells = [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    spare = [c * s - k for c, s, k in zip(cells, strides, taps, strict=True)]
    kernel = jnp.pad(kernel[::-1, ::-1], [(0, spare[0]), (0, spare[1]), (0, 0), (0, 0)])
    phases = _fold(kernel.transpose(2, 0, 1, 3), strides).transpose(1, 2, 0, 3)[::-1, ::-1]
    full: Pads = ((cells[0] - 1, cells[0] - 1), (cells[1] - 1, cells[1] - 1))
    y = x @ phases[0, 0] if phases.shape[:2] == (1, 1) else _conv(full, x, phases)
    y = _unfold(y, strides)
    edges = []
    for n, k, s, (low, high) in zip(x.shape[1:3], taps, strides, padding, strict=True):
        start, size = k - 1 - low, (n - 1) * s + 2 + low + high - k
        have = (n + -(-k // s) - 1) * s
        edges.append((-start, start + size - have))
    return _pad(y, edges)


def _pad(x: jax.Array, edges: Sequence[tuple[int, int]]) -> jax.Array:
    """Pads rows and columns with zeros, or cuts them where an edge is negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0)])


def _slide(x: jax.Array, kernel: jax.Array, padding: Pads) -> jax.Array:
    """XLA's stride-1 convolution, kept from two traps of XLA:CPU by padding or cutting `x` first.

    With negative padding it has returned wrong values (jaxlib 0.10.2); with a kernel larger than its image it is slow.
    """
    small = any(n < k for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True))
    if small or min(*padding[0], *padding[1]) < 0:
        x, padding = _pad(x, padding), ((0, 0), (0, 0))
    return native(x, kernel, padding=padding)


def _fold(x: jax.Array, cell: tuple[int, int]) -> jax.Array:
    """(B, H, W, C) to (B, H / s, W / t, s t C), for a cell of (s, t) pixels."""
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(padding: Pads, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1 convolution on CPU, differentiable in reverse mode any number of times."""
    return _members(functools.partial(_slide, padding=padding), batched_kernel_only=True)(x, kernel)


def _conv_fwd(padding, x, kernel):
    return _conv(padding, x, kernel), (x, kernel)


def _conv_bwd(padding, residuals, g):
    x, kernel = residuals
    full = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape[:2], padding, strict=True))
    return _conv(full, g, kernel[::-1, ::-1].swapaxes(2, 3)), _kernel_grad(padding, x, g)


_conv.defvjp(_conv_fwd, _conv_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_grad(padding: Pads, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient (kh, kw, C, N) of sum(g * conv(x, kernel)) in the kernel; `g` is (B, H', W', N)."""
    return _members(functools.partial(_correlate_chunks, padding=padding))(x, g)


def _kernel_grad_fwd(padding, x, g):
    return _kernel_grad(padding, x, g), (x, g)


def _kernel_grad_bwd(padding, residuals, ct):
    x, g = residuals
    full = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(ct.shape[:2], padding, strict=True))
    return _conv(full, g, ct[::-1, ::-1].swapaxes(2, 3)), _conv(padding, x, ct)


_kernel_grad.defvjp(_kernel_grad_fwd, _kernel_grad_bwd)


def _correlate_chunks(x: jax.Array, g: jax.Array, padding: Pads) -> jax.Array:
    """The kernel gradient, summed over chunks of the batch small enough that their transposes stay in the cache."""
    batch = x.shape[0]
    steps = -(-batch * math.prod(x.shape[1:3]) // CHUNK_PIXELS)
    one = _correlate_taps if x.shape[-1] * g.shape[-1] >= LARGE_KERNEL else _correlate
    if steps == 1:
        return one(x, g, padding)
    size = -(-batch // steps)
    # Chunk i takes images i, i + steps, ...: the split leaves a batch that is sharded over devices where it is.
    x, g = (jnp.pad(a, [(0, size * steps - batch), (0, 0), (0, 0), (0, 0)]) for a in (x, g))
    x, g = (a.reshape(size, steps, *a.shape[1:]) for a in (x, g))

    def add(total, i):
        return total + one(x[:, i], g[:, i], padding), None

    taps = [n + sum(p) - m + 1 for n, p, m in zip(x.shape[2:4], padding, g.shape[2:4], strict=True)]
    total = jnp.zeros((*taps, x.shape[-1], g.shape[-1]), x.dtype)
    return lax.scan(add, total, jnp.arange(steps))[0]


def _correlate(x: jax.Array, g: jax.Array, padding: Pads) -> jax.Array:
    """The kernel gradient as a convolution whose batch is C_in and whose kernel is `g`."""
    dw = _slide(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding)
    return dw.transpose(1, 2, 0, 3)


def _correlate_taps(x: jax.Array, g: jax.Array, padding: Pads) -> jax.Array:
    """The kernel gradient as one matrix product per tap."""
    h, w = g.shape[1:3]
    x = _pad(x, padding)
    columns = g.reshape(-1, g.shape[-1])

    def tap(i, j):
        return x[:, i : i + h, j : j + w].reshape(-1, x.shape[-1]).T @ columns

    taps = (x.shape[1] - h + 1, x.shape[2] - w + 1)
    return jnp.stack([jnp.stack([tap(i, j) for j in range(taps[1])]) for i in range(taps[0])])


def _members(f: Callable[..., jax.Array], batched_kernel_only: bool = False) -> Callable[..., jax.Array]:
    """`f` of two arrays, which under `vmap` loops over the members instead of grouping channels."""
    g = custom_vmap(f)

    @g.def_vmap
    def rule(axis_size, in_batched, a, b):
        if batched_kernel_only and not in_batched[1]:
            y = g(a.reshape(-1, *a.shape[2:]), b)
            return y.reshape(*a.shape[:2], *y.shape[1:]), True
        outs = lax.map(lambda i: g(a[i] if in_batched[0] else a, b[i] if in_batched[1] else b), jnp.arange(axis_size))
        return outs, True

    return g


def _explicit(padding: str | int | Sequence[Any]) -> str | Pads:
    if isinstance(padding, str):
        return padding.upper()
    if isinstance(padding, int):
        padding = (padding, padding)
    low_high = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    return (low_high[0], low_high[1])


class Conv(nn.Module):
    """Convolution over (B, H, W, C), with the parameters and the result of `flax.linen.Conv`.

    Attributes:
        features: channels of the output.
        kernel_size: (kh, kw).
        strides: (s, t), or one number for both.
        padding: "SAME", "VALID", one number, or ((low, high), (low, high)).
        use_bias: whether to add a bias per channel.
        dtype: what to compute in; None: as inputs and parameters promote.
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
        """(B, H, W, C) to (B, H', W', features)."""
        x, kernel, bias, strides = _parameters(self, x)
        pads = _explicit(self.padding)
        if isinstance(pads, str):
            pads = tuple(lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, pads))
        y = conv(x, kernel, strides, pads)
        return y if bias is None else y + bias


class ConvTranspose(nn.Module):
    """Transposed convolution over (B, H, W, C), with the parameters and the result of `flax.linen.ConvTranspose`.

    Attributes are those of `Conv`; explicit padding pads the input that the strides have dilated.
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
        """(B, H, W, C) to (B, H', W', features): H' = s H for "SAME"."""
        x, kernel, bias, strides = _parameters(self, x)
        pads = _explicit(self.padding)
        if isinstance(pads, str):
            pads = tuple(_transpose_pads(k, s, pads) for k, s in zip(kernel.shape[:2], strides, strict=True))
        y = conv_transpose(x, kernel, strides, pads)
        return y if bias is None else y + bias


def _parameters(module: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None, tuple[int, int]]:
    """Makes the parameters of a module; returns input, kernel and bias in the dtype to compute in, and the strides."""
    kernel_shape = (*module.kernel_size, x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, kernel_shape, module.param_dtype)
    bias = module.param("bias", module.bias_init, (module.features,), module.param_dtype) if module.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    strides = module.strides
    return x, kernel, bias, (strides, strides) if isinstance(strides, int) else tuple(strides)


def _transpose_pads(taps: int, stride: int, padding: str) -> tuple[int, int]:
    """How much `lax.conv_transpose` pads the dilated input."""
    if padding == "VALID":
        return taps - 1, stride - 1 + max(taps - stride, 0)
    total = taps + stride - 2
    low = taps - 1 if stride > taps - 1 else math.ceil(total / 2)
    return low, total - low
