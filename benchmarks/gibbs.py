"""How fast an RBM learns and how fast its chains run, beside scikit-learn and torch, measured in turns in one run.

    python -m benchmarks.gibbs --rounds=7
    python -m benchmarks.gibbs --chains=1000

Training: images a second of contrastive divergence (CD-1) with batches of 128 on 784-512 units. Ours draws pixels black
or white, centres the gradient, has momentum, weight decay and a moving average of the parameters; scikit-learn's
BernoulliRBM and the RBM in eager torch (`benchmarks.torch_rbm`) have none of these, and the one sweep a step of the
former is of persistent chains. Gibbs sampling: chains x sweeps a second, of ours in f32 and with `Machine.half`, of
BernoulliRBM.gibbs, of torch, and of the two matrix products of a sweep alone. All is f32, but for BernoulliRBM once
more with the f64 that it takes where nothing is said; the images are noise: speed does not depend on what they show.
PJRT_NPROC and OMP_NUM_THREADS, set alike, give all of them the same threads; with one, times are CPU time, since those
of the clock say little where others use the machine.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.train_step import Contender, Spread, interleave, threads
from synthjax.gibbs.machine import Machine, Params
from synthjax.jit import jit
from synthjax.launch import cli
from synthjax.model import Batch, DataSpec
from synthjax.models import rbm

PIXELS, HIDDEN, BATCH = 784, 512, 128
SECONDS = 1.0
OURS, HALF, TORCH, PRODUCTS = "synthjax", "synthjax, half", "torch, eager", "two products alone"
SKLEARN, SKLEARN_64 = "scikit-learn", "scikit-learn, f64"


def _loop(step: Callable[[Any, Any], Any], state: Any) -> Contender:
    """`state` goes through step(i, state) in one compiled loop a call."""
    run = jit(lambda start, stop, state: jax.lax.fori_loop(start, stop, step, state))

    def steps(start: int, stop: int) -> None:
        nonlocal state
        state = jax.block_until_ready(run(np.int32(start), np.int32(stop), state))

    return Contender(steps, clock=_clock())


def _repeat(call: Callable[[], Any]) -> Contender:
    def steps(start: int, stop: int) -> None:
        for _ in range(start, stop):
            call()

    return Contender(steps, clock=_clock())


def _clock() -> Callable[[], float]:
    return time.process_time if threads() == 1 else time.perf_counter


def _torch(params: Params) -> Any:
    """(torch, its RBM with those parameters), or None where it is not installed."""
    try:
        import torch

        from benchmarks.torch_rbm import Rbm
    except ModuleNotFoundError as error:
        print(f"  {error.name} is not installed: without it; for the comparison: pip install -e '.[bench]'")
        return None
    torch.set_num_threads(threads())
    return torch, Rbm(*(torch.tensor(np.array(a)) for a in (params.weights[0], *params.biases)))


def training(params: Params, images: np.ndarray) -> dict[str, Contender]:
    """CD-1 on batches of `images` (N, 784) in [0, 1], N a multiple of BATCH; torch's starts from those parameters."""
    from sklearn.neural_network import BernoulliRBM

    spec = DataSpec("image", (28, 28, 1), levels=2).measured(images.reshape(-1, 28, 28, 1))
    batches = jnp.asarray(2 * images - 1).reshape(-1, BATCH, 28, 28, 1)

    def batch(i) -> Batch:
        zero = jnp.zeros(BATCH, jnp.int32)
        return Batch(batches[i % len(batches)], zero, jnp.ones(BATCH), zero)

    key = jax.random.key(0)
    contenders = {}
    for name, half in ((OURS, False), (HALF, True)):
        config = rbm.Config(hidden=HIDDEN, algorithm="cd", k=1, batch_size=BATCH, conditional=False, half=half)
        model = rbm.build(config, spec)

        def step(i, state, model=model):
            return model.step(jax.random.fold_in(key, i), i, state, batch(i))[0]

        contenders[name] = _loop(step, jit(model.init)(key))
    for name, dtype in ((SKLEARN, np.float32), (SKLEARN_64, np.float64)):
        theirs, some = BernoulliRBM(HIDDEN, batch_size=BATCH, random_state=0), images[:BATCH].astype(dtype)
        theirs.fit(some)
        # What `fit` calls for each batch; `partial_fit` makes f64 of everything.
        learn = functools.partial(theirs._fit, some, np.random.RandomState(0))
        contenders[name] = _repeat(learn)
    if found := _torch(params):
        torch, theirs = found
        contenders[TORCH] = _repeat(functools.partial(theirs.learn, torch.tensor(images[:BATCH]), 0.05))
    return contenders


def sampling(params: Params, chains: int) -> dict[str, Contender]:
    """Sweeps of `chains` chains of a machine with those parameters."""
    from sklearn.neural_network import BernoulliRBM

    sizes = (PIXELS, HIDDEN)
    key = jax.random.key(0)
    layers = Machine(sizes, ("bernoulli", "bernoulli")).start(key, params, params.biases, chains)
    contenders = {}
    for name, half in ((OURS, False), (HALF, True)):
        machine = Machine(sizes, ("bernoulli", "bernoulli"), half)

        def sweep(i, layers, machine=machine):
            return machine.sweep(jax.random.fold_in(key, i), params, layers)

        contenders[name] = _loop(sweep, layers)
    w = params.weights[0]
    # A comparison stands between the products, or one matrix could take the place of two.
    contenders[PRODUCTS] = _loop(lambda i, v: jnp.float32(jnp.float32(v @ w > i % 2) @ w.T > 0), layers[0])

    v = np.asarray(layers[0])
    for name, dtype in ((SKLEARN, np.float32), (SKLEARN_64, np.float64)):
        theirs = BernoulliRBM(HIDDEN, batch_size=BATCH, random_state=0)
        theirs.fit(v[:BATCH].astype(dtype))
        theirs.components_ = np.asarray(w.T, dtype, order="F")
        contenders[name] = _repeat(functools.partial(theirs.gibbs, v.astype(dtype)))
    if found := _torch(params):
        torch, theirs = found
        contenders[TORCH] = _repeat(functools.partial(theirs.gibbs, torch.tensor(v)))
    return contenders


def table(seconds: dict[str, list[float]], count: int, unit: str) -> list[str]:
    """Lines of a Markdown table: `count` of that unit a step."""
    lines = [f"| {unit} | ms | {unit} a second | times {SKLEARN}'s speed |", "|---|---|---|---|"]
    for name, values in seconds.items():
        spread = Spread.of([1000 * value for value in values])
        ratios = [other / value for value, other in zip(values, seconds[SKLEARN], strict=True)]
        lines.append(
            f"| {name} | {spread.text(2)} | {1000 * count / spread.median:,.0f} | {Spread.of(ratios).text(2)} |"
        )
    return lines


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chains", type=int, default=BATCH)
    given = parser.parse_args()
    cli.prepare_jax()
    rng = np.random.default_rng(0)
    images = np.float32(rng.random((8 * BATCH, PIXELS)))
    w = jnp.float32(0.05 * rng.normal(size=(PIXELS, HIDDEN)))
    params = Params((w,), (jnp.zeros(PIXELS), jnp.zeros(HIDDEN)), jnp.zeros(()))
    for contenders, count, unit in (
        (training(params, images), BATCH, "images"),
        (sampling(params, given.chains), given.chains, "chains x sweeps"),
    ):
        for contender in contenders.values():
            contender.warm_up(SECONDS)
        print("\n".join(table(interleave(contenders, given.rounds), count, unit)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
