"""`launch.sample` with a fake model for the one of the run, for `test_sample.py`; it prints "block" after each block.

SLOW=SECONDS python tests/launch/fake_sampler.py FLAGS...
"""

import functools
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import synthjax
from synthjax import sampling
from synthjax.launch import sample
from synthjax.launch.config import Experiment
from synthjax.model import DataSpec, Model

SPEC = DataSpec("image", (4, 4, 1), 17, ("a", "b", "c"), (0.5, 0.3, 0.2))
STATE = {"shift": np.float32(0.1)}  # no JAX array: two processes must first find each other
DESCRIBED = {"name": "fake", "config": {}, "member": 0, "step": 1, "sha256": "0"}
DATASET = {"name": "fake", "fingerprint": "0"}


def draw_fake(
    key, state, labels, *, steps=10, guidance=1.5, eta: float | None = None, sampler="ddim", clip=True, given=None
):
    noise = jax.random.normal(key, (len(labels), 4, 4, 1))
    return jnp.tanh(noise + state["shift"] * steps + labels[:, None, None, None])


MODEL = Model(init=None, step=None, sample=draw_fake)


def main() -> None:
    blocks, read = sampling.Sampler.__call__, sample.runs.read

    def slow(*args):
        for x in blocks(*args):
            print("block", flush=True)
            time.sleep(float(os.environ["SLOW"]))
            yield x

    fake_run = Experiment(name="fake", model=None), None
    sampling.Sampler.__call__ = slow
    synthjax.load = lambda workdir, member=0, checkpoint="last": (MODEL, STATE, SPEC)
    sample.describe_run = lambda *_: (DESCRIBED, DATASET)
    sample.runs.read = lambda workdir: read(workdir) if Path(workdir, "config.json").exists() else fake_run
    sys.argv, options = sample.parse_options(sys.argv)
    sample.define_flags()
    sample.cli.run(functools.partial(sample.main, options=options), sample.__doc__)


if __name__ == "__main__":
    main()
