"""How well trained models know the test set: nats per image of a VAE, bits per dimension of a DDPM.

    python -m benchmarks.likelihood --workdir=runs/vae-mnist --split=holdout         while choosing
    python -m benchmarks.likelihood --workdir=runs/vae-mnist --split=test            once

A VAE's figure is the importance-weighted bound with 1,000 samples; where it was trained on binarised images, the split
is binarised once, each pixel white with its grey value as probability (NumPy's default_rng, seed 0). A DDPM's is its
variational bound, with 100 of the 999 transitions standing for all, evenly spread.
"""

import argparse
import dataclasses
import functools

import jax
import numpy as np

from synthjax import load
from synthjax.jit import jit
from synthjax.launch import cli, runs
from synthjax.model import Batch
from synthjax.models import ddpm, vae

BLOCK = 100


def main() -> None:
    """Prints mean and standard error over the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", choices=("holdout", "test"), default="holdout")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples of a VAE")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many examples")
    given = parser.parse_args()
    experiment, _ = runs.read(given.workdir)
    _, state, spec = load(given.workdir)
    split = getattr(runs.data(dataclasses.replace(experiment, holdout=experiment.holdout or 0.1)), given.split)
    config = experiment.model
    x = np.asarray(spec.encode(split.x))[: given.limit]
    if isinstance(config, vae.Config):
        unit = "nats per image"
        if config.binarise:
            x = np.where(np.random.default_rng(0).random(x.shape) < (x + 1) / 2, 1.0, -1.0).astype(np.float32)
        bound = functools.partial(vae.negative_log_likelihood, config, spec, samples=given.samples)
    else:
        unit = "bits per dimension"
        bound = functools.partial(ddpm.bits_per_dim, config, spec, times=100)
    bound = jit(bound)
    found = []
    for start in range(0, len(x) - len(x) % BLOCK, BLOCK):
        rows = slice(start, start + BLOCK)
        batch = Batch(x[rows], split.y[: len(x)][rows], np.ones(BLOCK, np.float32), np.arange(BLOCK, dtype=np.int32))
        found.append(np.asarray(bound(jax.random.fold_in(jax.random.key(0), start), state, batch)))
    values = np.concatenate(found)
    error = values.std(ddof=1) / np.sqrt(len(values))
    print(f"{given.workdir} {given.split}: {values.mean():.3f} +- {error:.3f} {unit}, n = {len(values)}")


if __name__ == "__main__":
    cli.told(main)
