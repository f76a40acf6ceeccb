"""How well trained models know the test set: nats per example, and of grey levels bits per dimension.

    python -m benchmarks.likelihood --workdir=runs/vae-mnist --split=holdout         while choosing
    python -m benchmarks.likelihood --workdir=runs/vae-mnist --split=test            once

The figure is the model's `log_prob`: exact, or a bound. A VAE's is the importance-weighted bound with --samples=1000;
where it was trained on binarised images, the split is binarised once, each pixel white with its grey value as
probability (NumPy's default_rng, seed 0). A DDPM's is its variational bound with --times=100 forward passes, 0 for
every time.
"""

import argparse
import dataclasses
import functools

import jax
import numpy as np

from synthjax import load
from synthjax.errors import InputError
from synthjax.jit import jit
from synthjax.launch import cli, runs
from synthjax.model import Batch
from synthjax.models import ddpm, table_vae, vae

BLOCK = 100


def main() -> None:
    """Prints mean and standard error over the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", choices=("holdout", "test"), default="holdout")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples of a VAE")
    parser.add_argument("--times", type=int, default=100, help="forward passes of a DDPM")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many examples")
    given = parser.parse_args()
    run = load(given.workdir)
    if run.model.log_prob is None:
        raise InputError(f"{given.workdir}: {run.config.name} has no log_prob")
    config, spec = run.config, run.spec
    split = getattr(runs.data(dataclasses.replace(config, holdout=config.holdout or 0.1)), given.split)
    x = np.asarray(spec.encode(split.x))[: given.limit]
    if run.model.log_prob_of == "binary pixels":
        x = np.where(np.random.default_rng(0).random(x.shape) < (x + 1) / 2, 1.0, -1.0).astype(np.float32)
    options = {"samples": given.samples} if isinstance(config.model, vae.Config | table_vae.Config) else {}
    options |= {"times": given.times} if isinstance(config.model, ddpm.Config) else {}
    log_prob = jit(functools.partial(run.model.log_prob, **options))
    found = []
    for start in range(0, len(x), BLOCK):
        rows = np.arange(start, start + BLOCK) % len(x)  # one shape for all blocks
        batch = Batch(x[rows], split.y[rows], np.ones(BLOCK, np.float32), rows.astype(np.int32))
        values = log_prob(jax.random.fold_in(jax.random.key(0), start), run.state, batch)
        found.append(np.asarray(values)[: len(x) - start])
    unit, scale = "nats", -1.0
    if run.model.log_prob_of == "grey levels":
        unit, scale = "bits per dimension", -1 / (spec.dims * np.log(2))
    values = scale * np.concatenate(found)
    error = values.std(ddof=1) / np.sqrt(len(values))
    what = f"{unit} ({run.model.log_prob_kind}, {run.model.log_prob_of})"
    print(f"{given.workdir} {given.split}: {values.mean():.3f} +- {error:.3f} {what}, n = {len(values)}")


if __name__ == "__main__":
    cli.run_script(main)
