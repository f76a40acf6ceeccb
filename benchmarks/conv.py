"""The lowerings of a convolution side by side: `python -m benchmarks.conv`.

Prints, per shape, the median milliseconds of the forward pass and both gradients: XLA's own ("xla"), the package's
("synthjax"), and PyTorch's where it is installed ("torch"); then those of three forms of the kernel gradient, of which
`synthjax.nets.conv` uses the first. All are timed in turn, so that a busy machine slows them alike, and inside a
scanned loop (3 turns), as training runs them: XLA:CPU compiles a loop's body differently from a top-level program.
XLA's own takes up to minutes on some shapes: `--skip=xla` leaves it out.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from synthjax.jit import jit
from synthjax.nets import conv

TURNS = 3


class Shape(NamedTuple):
    """One convolution, "SAME" in the sense of the table's users (DCGAN's padding of 1 for a 4 x 4 kernel)."""

    batch: int
    side: int
    channels: int
    features: int
    taps: int
    stride: int = 1
    transpose: bool = False

    @property
    def padding(self) -> int:
        """Zeros on each edge, as PyTorch counts them."""
        return (self.taps - 1) // 2

    @property
    def name(self) -> str:
        """How the table calls it."""
        kind = "transposed " if self.transpose else ""
        size = f"{self.side}x{self.side}"
        return f"{kind}{self.taps}x{self.taps} s{self.stride}, {self.batch} x {size}, {self.channels}->{self.features}"


SHAPES = [
    *(Shape(64, 14, c, c, 3) for c in (32, 64, 128, 192)),
    *(Shape(64, 7, c, c, 3) for c in (64, 128, 192)),
    *(Shape(64, 8, c, c, 3) for c in (64, 128)),
    *(Shape(64, 4, c, c, 3) for c in (64, 128)),
    Shape(64, 14, 64, 192, 1),
    Shape(128, 28, 1, 32, 3),
    Shape(128, 14, 32, 64, 3),
    Shape(64, 28, 32, 64, 3),
    Shape(64, 28, 1, 64, 4, 2),
    Shape(64, 14, 64, 128, 4, 2),
    Shape(64, 28, 1, 32, 5, 2),
    Shape(64, 14, 32, 64, 5, 2),
    Shape(64, 7, 256, 128, 4, 2, transpose=True),
    Shape(64, 14, 128, 64, 4, 2, transpose=True),
    Shape(64, 14, 64, 1, 4, 2, transpose=True),
]


def correlate(x: jax.Array, g: jax.Array, padding: conv.Pads) -> jax.Array:
    """The kernel gradient as a convolution whose batch is C_in and whose kernel is `g`."""
    dw = conv.native(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding=padding)
    return dw.transpose(1, 2, 0, 3)


def correlate_taps(x: jax.Array, g: jax.Array, padding: conv.Pads) -> jax.Array:
    """The kernel gradient as one matrix product per tap."""
    h, w = g.shape[1:3]
    rows, columns = (n + sum(p) - m + 1 for n, p, m in zip(x.shape[1:3], padding, (h, w), strict=True))
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    taps = [x[:, i : i + h, j : j + w].reshape(-1, x.shape[-1]).T for i in range(rows) for j in range(columns)]
    dw = jnp.stack([tap @ g.reshape(-1, g.shape[-1]) for tap in taps])
    return dw.reshape(rows, columns, x.shape[-1], g.shape[-1])


KERNEL_GRADIENTS = {
    "rows": conv.kernel_gradient,
    "correlate": correlate,
    "taps": correlate_taps,
}


def scanned(f: Callable[..., tuple[jax.Array, ...]]) -> Callable[..., jax.Array]:
    """`f` run TURNS times in a scan, each turn depending on the one before and none of its outputs dropped."""

    def run(first, *rest):
        def turn(carry, _):
            outs = lax.optimization_barrier(f(first + carry, *rest))
            return 1e-30 * sum(out.ravel()[0] for out in outs), None

        return lax.scan(turn, jnp.zeros(()), length=TURNS)[0]

    return jit(run)


def arrays(shape: Shape) -> tuple[jax.Array, jax.Array]:
    """A random input and kernel."""
    key_x, key_kernel = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (shape.batch, shape.side, shape.side, shape.channels))
    return x, 0.1 * jax.random.normal(key_kernel, (shape.taps, shape.taps, shape.channels, shape.features))


def both_gradients(
    f: Callable[..., jax.Array], stride: int, padding: conv.Pads
) -> Callable[..., tuple[jax.Array, ...]]:
    """(x, kernel) -> output, input gradient, kernel gradient."""

    def run(x, kernel):
        y, pullback = jax.vjp(lambda x, kernel: f(x, kernel, (stride, stride), padding), x, kernel)
        return y, *pullback(y)

    return run


def ready(f: Callable[..., jax.Array], *args: jax.Array) -> None:
    """Calls and waits."""
    f(*args).block_until_ready()


def passes(shape: Shape, skip: Collection[str] = ()) -> dict[str, Callable[[], object]]:
    """Per column, but for those left out, a function that runs TURNS forward and backward passes."""
    x, kernel = arrays(shape)
    edge = shape.taps - 1 - shape.padding if shape.transpose else shape.padding
    padding = ((edge, edge), (edge, edge))
    xla, ours = (conv.native_transpose, conv.conv_transpose) if shape.transpose else (conv.native, conv.conv)
    columns: dict[str, Callable[[], object]] = {}
    for name, f in (("xla", xla), ("synthjax", ours)):
        if name not in skip:
            columns[name] = functools.partial(ready, scanned(both_gradients(f, shape.stride, padding)), x, kernel)
    if "torch" not in skip and (torch_columns := torch_passes(shape)):
        columns["torch"] = torch_columns
    return columns


def torch_passes(shape: Shape) -> Callable[[], object] | None:
    """The same in PyTorch, channels last; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    pair = (shape.channels, shape.features) if shape.transpose else (shape.features, shape.channels)
    x = torch.randn(shape.batch, shape.channels, shape.side, shape.side)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.randn(*pair, shape.taps, shape.taps).to(memory_format=torch.channels_last).requires_grad_()
    f = torch.nn.functional.conv_transpose2d if shape.transpose else torch.nn.functional.conv2d

    def run():
        for _ in range(TURNS):
            y = f(x, kernel, stride=shape.stride, padding=shape.padding)
            torch.autograd.grad(y, (x, kernel), y.detach())

    return run


def milliseconds(columns: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of one of the TURNS, per column; the first run, which compiles, is not counted."""
    times: dict[str, list[float]] = {name: [] for name in columns}
    for repeat in range(repeats + 1):
        for name, run in columns.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: 1e3 * sorted(t)[len(t) // 2] / TURNS for name, t in times.items()}


def kernel_gradients(shape: Shape) -> dict[str, Callable[[], object]]:
    """Per form of the kernel gradient, a function that runs it TURNS times; for stride 1."""
    x, kernel = arrays(shape)
    padding = ((shape.padding, shape.padding), (shape.padding, shape.padding))
    g = conv.native(x, kernel, padding=padding)
    columns: dict[str, Callable[[], object]] = {}
    for name, f in KERNEL_GRADIENTS.items():
        columns[name] = functools.partial(ready, scanned(lambda x, g, f=f: (f(x, g, padding),)), x, g)
    return columns


def table(
    title: str, rows: Callable[[Shape], dict[str, Callable[[], object]]], shapes: list[Shape], repeats: int
) -> None:
    """Times and prints, line by line as they come."""
    header = False
    for shape in shapes:
        figures = milliseconds(rows(shape), repeats)
        if not header:
            print(f"{title:44s}" + "".join(f"{name:>12s}" for name in figures), flush=True)
            header = True
        print(f"{shape.name:44s}" + "".join(f"{ms:12.1f}" for ms in figures.values()), flush=True)


def main(argv: Sequence[str]) -> None:
    """Parses the flags and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timings of which the median is shown")
    parser.add_argument("--shapes", default="", help="only shapes whose line contains this, for example '14x14'")
    parser.add_argument("--skip", default="", help="columns to leave out, comma-separated: xla, torch")
    asked = parser.parse_args(argv)
    shapes = [shape for shape in SHAPES if asked.shapes in shape.name]
    passed = functools.partial(passes, skip=asked.skip.split(","))
    table("forward and both gradients, ms", passed, shapes, asked.repeats)
    print()
    stride_one = [shape for shape in shapes if shape.stride == 1 and shape.taps > 1]
    table("kernel gradient alone, ms", kernel_gradients, stride_one, asked.repeats)


if __name__ == "__main__":
    main(sys.argv[1:])
