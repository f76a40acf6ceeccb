"""Our training step beside the same network in torch, measured in turns in one run.

Per model, with the Config of its MNIST experiment: milliseconds a step of ours inside the real loop (feed, gradient,
clipping, optimiser, moving average of the parameters, of a GAN all updates of both players; many steps a call), of
eager torch with the same parts, and of torch.compile where it works; the ratio ours / torch, round by round; seconds to
compile; images a second of training and of 25-step sampling. Both sides draw their batches from the same feed and use
the same cores. The images are noise: speed does not depend on what they show.

    python -m benchmarks.train_step --models=ddpm --rounds=9
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from synthjax.data.feed import Feed
from synthjax.launch.config import experiment, family
from synthjax.model import DataSpec
from synthjax.sampling import draw
from synthjax.train.loop import STEPS_PER_CALL, Trainer

ROUNDS = 7
SECONDS = 2.0
"""Length of one turn, about that of one call in the real loop."""
SAMPLE_STEPS = 25
SAMPLES = 200
OURS, EAGER, COMPILED = "synthjax", "torch, eager", "torch.compile"


class Spread(NamedTuple):
    """A median and the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of a non-empty sequence."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        """ "median (low..high)"."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}..{self.high:.{digits}f})"


class Contender:
    """Something that can run training steps: `run(start, stop)` returns when they are done."""

    def __init__(self, run: Callable[[int, int], Any], start: int = 0, clock: Callable[[], float] = time.perf_counter):
        self._run, self._step, self._length, self._clock = run, start, 1, clock

    def turn(self) -> float:
        """Seconds a step of one turn."""
        begun = self._clock()
        self._run(self._step, self._step + self._length)
        seconds = (self._clock() - begun) / self._length
        self._step += self._length
        return seconds

    def warm_up(self, seconds: float) -> None:
        """Runs until compiled and hot, and sets the length of a turn to about `seconds`."""
        self.turn()
        self._length = 2
        self._length = int(np.clip(seconds / self.turn(), 1, STEPS_PER_CALL))


def interleave(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds a step, per contender and round; one turn each a round, so that all meet the same disturbances."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender.turn())
    return seconds


def table(seconds: dict[str, list[float]], batch_size: int) -> list[str]:
    """Lines: per contender ms a step, images a second, and the ratio ours / contender over the rounds."""
    lines = [f"  {'':14} {'ms/step (min..max)':>24} {'images/s':>9}  ratio ours / it (min..max)"]
    for name, values in seconds.items():
        step = Spread.of([1000 * value for value in values])
        ratio = ""
        if name != OURS:
            ratio = Spread.of([ours / other for ours, other in zip(seconds[OURS], values, strict=True)]).text(2)
        lines.append(f"  {name:14} {step.text(1):>24} {1000 * batch_size / step.median:9.0f}  {ratio}".rstrip())
    return lines


def threads() -> int:
    """How many threads XLA:CPU computes with, and torch is told to."""
    return int(os.environ.get("PJRT_NPROC") or len(os.sched_getaffinity(0)))


class Ours:
    """One training run of ours."""

    def __init__(self, name: str, config: Any, spec: DataSpec, feed: Feed, seed: int = 0):
        self.model = family(name).build(config, spec)
        self._trainer = Trainer(self.model, feed, spec, devices=jax.devices()[:1])
        self._key, key = jax.random.split(jax.random.key(seed))
        self.state = self._trainer.init(key)

    def run(self, start: int, stop: int) -> None:
        """Steps start ... stop - 1 in calls as long as the loop makes them."""
        length = self._trainer.steps_per_call
        for first in range(start, stop, length):
            self.state, metrics = self._trainer.run(self._key, first, min(first + length, stop), self.state)
        jax.block_until_ready(metrics)

    def size(self) -> int:
        """How many parameters are trained: those of both players, of a GAN."""
        state = getattr(self.state, "game", self.state)
        params = state.params if hasattr(state, "params") else (state.generator["params"], state.critic["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(params))


def compile_seconds(make: Callable[[], Ours]) -> tuple[Ours, float, float]:
    """The run, and seconds of its first call: cold, and once more from the persistent compilation cache."""
    seconds = []
    for _ in range(2):
        ours = make()
        begun = time.perf_counter()
        ours.run(0, 1)
        seconds.append(time.perf_counter() - begun)
    return ours, seconds[0], seconds[1]


def samples_per_second(ours: Ours, config: Any, n_classes: int) -> float:
    """Images a second, 25 steps each where the sampler has steps; compilation not counted."""
    options = {"steps": SAMPLE_STEPS} if hasattr(config, "sample_steps") else {}
    labels = np.arange(SAMPLES) % n_classes
    seconds = []
    for _ in range(3):  # the first one compiles
        begun = time.perf_counter()
        list(draw(ours.model, ours.state, jax.random.key(2), labels, block=SAMPLES, **options))
        seconds.append(time.perf_counter() - begun)
    return SAMPLES / min(seconds[1:])


def torch_contenders(config: Any, spec: DataSpec, feed: Feed, ours: Ours, compiled: bool) -> dict[str, Contender]:
    """The same training in torch, eager and, if asked for and possible, compiled; none where torch is missing."""
    try:
        import torch

        from benchmarks import torch_gans, torch_models
    except ModuleNotFoundError as error:
        print(f"  {error.name} is not installed: ours alone; for the comparison: pip install -e '.[bench]'")
        return {}
    torch.set_num_threads(threads())
    make: Any = torch_gans.Trainer if hasattr(config, "rules") else torch_models.Trainer
    eager = make(config, spec, feed)
    count, own = sum(parameter.numel() for parameter in eager.net.parameters()), ours.size()
    if count != own:
        raise AssertionError(f"the networks differ: {own} parameters here, {count} in torch")
    contenders = {EAGER: Contender(eager.run)}
    if compiled:
        trainer = make(config, spec, feed, compiled=True)
        begun = time.perf_counter()
        try:
            trainer.run(0, 1)
        except Exception as error:  # whatever its compilers raise where they are missing or fail
            print(f"  torch.compile does not work here ({str(error).strip().splitlines()[0]}): skipped")
        else:
            print(f"  torch.compile: first step after {time.perf_counter() - begun:.0f} s")
            contenders[COMPILED] = Contender(trainer.run)
    return contenders


def compare(name: str, rounds: int, compiled: bool) -> None:
    """Measures one model and prints its table."""
    config = experiment(None, name, "mnist").model
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (2048, 28, 28, 1), np.uint8)
    y = np.arange(len(x), dtype=np.int32) % 10
    spec = DataSpec.from_arrays(x, y)
    feed = Feed.of(family(name).build(config, spec), x, y, config.batch_size)
    ours, cold, cached = compile_seconds(lambda: Ours(name, config, spec, feed))
    print(f"{name}: {ours.size():,} parameters, batch {config.batch_size}, {threads()} threads", flush=True)
    contenders = {OURS: Contender(ours.run), **torch_contenders(config, spec, feed, ours, compiled)}
    for contender in contenders.values():
        contender.warm_up(SECONDS)
    print("\n".join(table(interleave(contenders, rounds), config.batch_size * feed.n_batches)))
    print(f"  first step of ours: {cold:.1f} s with compilation, {cached:.1f} s from the persistent cache")
    rate = samples_per_second(ours, config, spec.n_classes)
    print(f"  sampling of ours: {rate:.0f} images/s" + f" in {SAMPLE_STEPS} steps" * hasattr(config, "sample_steps"))


def main(argv: Sequence[str]) -> None:
    """Parses the flags and compares the models, with a compilation cache of their own that starts empty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vae,ddpm", help="names of models, comma-separated")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    parser.add_argument("--eager_only", action="store_true", help="leave torch.compile out, which takes a minute")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        for name in flags.models.split(","):
            compare(name, flags.rounds, not flags.eager_only)


if __name__ == "__main__":
    main(sys.argv[1:])
