"""How well a trained RBM or DBM knows the test set, in nats per image, and whether its chains mix.

    python -m benchmarks.boltzmann --workdir=runs/rbm-mnist --split=holdout        while choosing
    python -m benchmarks.boltzmann --workdir=runs/rbm-mnist --split=test           once

log Z comes from annealed importance sampling, with the interval of three standard errors that its weights give; the
same walk backwards from the ends of long chains bounds it from above, if those have mixed, which R-hat and the
effective sample size of their free energy speak to. An RBM's figure is log p(x), a DBM's the ELBO of x, with labels
summed out or inferred along. The split is binarised once, each pixel white with its grey value as probability (NumPy's
default_rng, seed 0).
"""

import argparse
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import load
from synthjax.data import Dataset
from synthjax.errors import InputError
from synthjax.gibbs import chains, images, partition, training
from synthjax.gibbs.machine import Layers, Machine, Params
from synthjax.jit import jit
from synthjax.launch import cli, runs
from synthjax.launch.config import Experiment
from synthjax.model import DataSpec
from synthjax.models import dbm, rbm

BLOCK = 500


class Subject(NamedTuple):
    """A Boltzmann machine that a run trained."""

    experiment: Experiment
    config: rbm.Config | dbm.Config
    machine: Machine
    units: images.ImageUnits
    state: training.State
    spec: DataSpec

    def data(self) -> Dataset:
        """What it was trained on, with a holdout split where it had none."""
        return runs.data(dataclasses.replace(self.experiment, holdout=self.experiment.holdout or 0.1))


def subject(workdir: str) -> Subject:
    """The machine of a run's folder.

    Raises:
      InputError: the run's model is no Boltzmann machine.
    """
    experiment, _ = runs.read(workdir)
    config = experiment.model
    if not isinstance(config, rbm.Config | dbm.Config):
        raise InputError(f"--workdir={workdir}: holds a {experiment.name}, which is no Boltzmann machine")
    _, state, spec = load(workdir)
    architecture = rbm.architecture(config, spec) if isinstance(config, rbm.Config) else dbm.architecture(config, spec)
    return Subject(experiment, config, *architecture, state, spec)


def free_energy(machine: Machine, params: Params, x: jax.Array, labelled: bool, mean_field_steps: int) -> jax.Array:
    """-log p(x) - log Z of layer 0 alone, (B,): exact with one hidden layer, by the ELBO with more.

    Args:
      machine: of any architecture.
      params: of the model.
      x: (B, n_0).
      labelled: the top layer holds labels, which are summed out (inferred, with several hidden layers).
      mean_field_steps: of the inference.
    """
    if len(machine.sizes) - labelled > 2:
        q = machine.infer(params, x, None, mean_field_steps)
        return machine.variational_free_energy(params, q, False)
    hidden = jnp.zeros((len(x), machine.sizes[1]))
    if not labelled:
        return machine.free_energy(params, (x, hidden))

    def of_class(label: jax.Array) -> jax.Array:
        return machine.free_energy(params, (x, hidden, jnp.broadcast_to(label, (len(x), len(label)))))

    return -jax.nn.logsumexp(-jax.lax.map(of_class, jnp.eye(machine.sizes[-1])), axis=0)


def log_z(
    machine: Machine, params: Params, base: Layers, key: jax.Array, walks: int, steps: int, sweeps: int
) -> dict[str, float]:
    """log Z with its interval, its upper bound from backward walks, and the diagnostics of their starting chains."""
    key_forward, key_start, key_chain, key_back = jax.random.split(key, 4)
    t = partition.times(steps)
    log_z_base = partition.log_z_base(machine, params, base)
    weights = jit(lambda k: partition.forward(machine, k, params, base, t, walks))(key_forward)
    found = partition.estimate(weights, log_z_base)
    start = machine.start(key_start, params, base, walks)
    layers, energies = jit(lambda k, layers: chains.trace(machine, k, params, layers, 2 * sweeps))(key_chain, start)
    back = jit(lambda k, layers: partition.backward(machine, k, params, base, t, layers))(key_back, layers)
    diagnosed = {name: float(value) for name, value in chains.diagnose(energies[:, sweeps:]).items()}
    return {
        **{name: float(value) for name, value in found._asdict().items()},
        "upper": float(back.mean() + log_z_base),
        **diagnosed,
    }


def main() -> None:
    """Prints log Z and the mean over the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", choices=("train", "holdout", "test"), default="holdout")
    parser.add_argument("--runs", type=int, default=100, help="chains of annealed importance sampling")
    parser.add_argument("--steps", type=int, default=10_000, help="temperatures")
    parser.add_argument("--sweeps", type=int, default=1000, help="sweeps that are diagnosed, after as many to burn in")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many examples")
    given = parser.parse_args()
    one = subject(given.workdir)
    config, machine, state, spec = one.config, one.machine, one.state, one.spec
    found = log_z(machine, state.ema, state.base, jax.random.key(0), given.runs, given.steps, given.sweeps)
    print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    split = getattr(one.data(), given.split)
    x = np.asarray(spec.encode(split.x[: given.limit])).reshape(-1, spec.dims)
    if config.visible == "bernoulli":
        x = np.float32(np.random.default_rng(0).random(x.shape) < (x + 1) / 2)
    inference = getattr(config, "mean_field_steps", 1)
    score = jit(lambda x: free_energy(machine, state.ema, x, one.units.classes > 0, inference))
    values = -np.concatenate([score(x[start : start + BLOCK]) for start in range(0, len(x), BLOCK)]) - found["log_z"]
    error = values.std(ddof=1) / np.sqrt(len(values))
    kind = "log p(x)" if isinstance(config, rbm.Config) else "ELBO"
    print(f"{given.workdir} {given.split}: {kind} {values.mean():.3f} +- {error:.3f} nats per image, n = {len(values)}")


if __name__ == "__main__":
    cli.run_script(main)
