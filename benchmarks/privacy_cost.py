"""What differential privacy costs in time: training steps with a private gradient beside plain ones.

Per model: milliseconds of processor time a step, plain and private, measured in turns, and their ratio round by round.
Both take batches of the same size from a table, in the real loop. Private batches are Poisson samples, with room for
more rows than a batch has on average.

    python -m benchmarks.privacy_cost --models=table_ar,table_vae --rounds=5
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence

import jax

from benchmarks.train_step import Contender, Spread, interleave
from synthjax import data
from synthjax.data.feed import Feed
from synthjax.launch.config import family, presets
from synthjax.privacy.accounting import capacity
from synthjax.privacy.gradients import dp_grad
from synthjax.train import optim
from synthjax.train.loop import Trainer

MODELS = "table_ar,table_vae,table_ddpm,table_gan,table_wcgan"
SECONDS = 2.0
"""Processor time of one turn."""


def contender(name: str, dataset: data.Dataset, batch: int, microbatch: int | None) -> Contender:
    """Training of a model, private if `microbatch` is not None; 0: all rows at once."""
    config = dataclasses.replace(presets()[name][1], batch_size=batch)
    rows = dataset.train
    grad: optim.Grad = optim.mean_grad
    if microbatch is not None:
        grad = dp_grad(1.0, 1.0, float(batch), microbatch or None)
    model = family(name).build(config, dataset.spec, grad=grad)
    feed = Feed.of(model, rows.x, rows.y, batch)
    if microbatch is not None:
        rate, unit = batch / len(rows.y), microbatch or 1
        size = -(-capacity(len(rows.y), rate, 1000, 1e-9) // unit) * unit
        feed = dataclasses.replace(feed, batch_size=size, poisson=rate)
    trainer = Trainer(model, feed, dataset.spec, devices=jax.devices()[:1])
    key = jax.random.key(0)
    state = trainer.init(key)

    def run(start: int, stop: int) -> None:
        nonlocal state
        state = jax.block_until_ready(trainer.run(trainer.keys(key), start, stop, state)[0])

    return Contender(run, clock=time.process_time)


def main(words: Sequence[str] | None = None) -> None:
    """Prints a line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--dataset", default="adult")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--microbatch", type=int, default=0, help="rows that are differentiated at once; 0: all")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(words)
    dataset = data.load(chosen.dataset)
    print(f"{chosen.dataset}, batches of {chosen.batch}: ms/step plain, private, ratio; median (min..max)")
    for name in chosen.models.split(","):
        both = {
            "plain": contender(name, dataset, chosen.batch, None),
            "private": contender(name, dataset, chosen.batch, chosen.microbatch),
        }
        for one in both.values():
            one.warm_up(SECONDS)
        seconds = interleave(both, chosen.rounds)
        plain, private = (Spread.of([1000 * s for s in seconds[kind]]) for kind in both)
        ratio = Spread.of([b / a for a, b in zip(seconds["plain"], seconds["private"], strict=True)])
        print(f"{name:12} {plain.text(1):>24} {private.text(1):>24} {ratio.text(2):>18}", flush=True)


if __name__ == "__main__":
    main()
