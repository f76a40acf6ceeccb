"""One process of a small pod, for `test_pod.py`: trains a VAE on all devices and says what each of them did.

python launch/local.py --processes=2 -- python tests/pod.py --out=FILE
"""

import json
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from synthjax.data.feed import Feed
from synthjax.launch import distributed
from synthjax.model import DataSpec
from synthjax.models import table_vae
from synthjax.train.loop import Trainer

STEPS = 4
ROWS = np.random.default_rng(0).normal(size=(512, 12)).astype(np.float32)
CONFIG = table_vae.Config(latents=4, hidden=(64,), steps=50, warmup=0)


def trained(devices: list[jax.Device] | None = None) -> dict:
    """Losses of a few steps on batches of 512, flops of a device in one of them, and what goes between devices."""
    spec = DataSpec.from_arrays(ROWS)
    one = Trainer(table_vae.build(CONFIG, spec), Feed(ROWS, np.zeros(512, np.int32), 512), spec, devices=devices)
    state = one.init(jax.random.key(0))
    steps = jax.jit(one._steps, out_shardings=one.replicated)
    compiled = steps.lower(jax.random.key(1), np.int32(0), np.int32(1), state, one.batches(0, 1)).compile()
    _, metrics = one.run(jax.random.key(1), 0, STEPS, state)
    text = compiled.as_text()
    return {
        "devices": len(devices or jax.devices()),
        "flops": compiled.cost_analysis()["flops"],
        "moved": [name for name in ("all-gather", "all-to-all", "all-reduce") if name in text],
        "loss": np.asarray(metrics["loss"])[:STEPS].tolist(),
    }


def main(_: list[str]) -> None:
    distributed.initialize()
    found = trained()
    if jax.process_index() == 0:
        Path(flags.FLAGS.out).write_text(json.dumps(found))
    distributed.leave(0)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Where process 0 writes what it found.")
    distributed.define_flags()
    app.run(main)
