"""Small Boltzmann machines by brute force, in NumPy: every state, its energy from the definition, its probability."""

import itertools

import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from synthjax.gibbs.machine import Machine, Params

B, S, G = "bernoulli", "softmax", "gaussian"
RBM = Machine((4, 3), (B, B))
LABELLED = Machine((3, 2, 3), (B, B, S))
DBM = Machine((3, 2, 2, 2), (B, B, B, S))
DEEP = Machine((2, 2, 2), (B, B, B))
MACHINES = [RBM, LABELLED, DBM, DEEP]
IDS = ["rbm", "labelled", "dbm_labelled", "dbm"]


def params(machine: Machine, seed: int = 0, scale: float = 1.0) -> Params:
    """Couplings and biases N(0, scale^2)."""
    rng = np.random.default_rng(seed)
    weights = [scale * rng.normal(size=pair) for pair in itertools.pairwise(machine.sizes)]
    biases = [scale * rng.normal(size=n) for n in machine.sizes]
    log_var = rng.normal(size=machine.sizes[0] if machine.units[0] == "gaussian" else ())
    couplings, fields = (tuple(jnp.asarray(np.float32(a)) for a in part) for part in (weights, biases))
    return Params(couplings, fields, jnp.asarray(np.float32(log_var)))


def states(machine: Machine) -> list[np.ndarray]:
    """All states of all layers: (S, n_j) each."""
    choices = []
    for n, units in zip(machine.sizes, machine.units, strict=True):
        choices.append(np.eye(n) if units == "softmax" else np.array(list(itertools.product((0.0, 1.0), repeat=n))))
    rows = list(itertools.product(*choices))
    return [np.stack([row[j] for row in rows]) for j in range(len(machine.sizes))]


def energy(params: Params, layers) -> np.ndarray:
    """E of Bernoulli and softmax layers (S, n_j)."""
    total = sum(x @ np.asarray(b, float) for x, b in zip(layers, params.biases, strict=True))
    for j, w in enumerate(params.weights):
        total = total + np.einsum("si,ij,sj->s", layers[j], np.asarray(w, float), layers[j + 1])
    return -total


def log_z(machine: Machine, params: Params) -> float:
    return float(scipy.special.logsumexp(-energy(params, states(machine))))


def probabilities(machine: Machine, params: Params) -> np.ndarray:
    """Of `states`: (S,)."""
    return scipy.special.softmax(-energy(params, states(machine)))


def code(machine: Machine, layers) -> np.ndarray:
    """Number of each state (B, n_j) in `states`."""
    numbers = np.zeros(len(layers[0]), int)
    for x, n, units in zip(layers, machine.sizes, machine.units, strict=True):
        x = np.asarray(x)
        here = x.argmax(axis=1) if units == "softmax" else (x @ 2.0 ** np.arange(n - 1, -1, -1)).astype(int)
        numbers = numbers * (n if units == "softmax" else 2**n) + here
    return numbers


def total_variation(machine: Machine, layers, expected: np.ndarray) -> float:
    """Between the frequencies of states and their probabilities."""
    counts = np.bincount(code(machine, layers), minlength=len(expected))
    return 0.5 * np.abs(counts / counts.sum() - expected).sum()


class Mixture:
    """p(v) of a Gaussian-Bernoulli RBM: one Gaussian for each state of its hidden units."""

    def __init__(self, machine: Machine, params: Params):
        self.h = np.array(list(itertools.product((0.0, 1.0), repeat=machine.sizes[1])))
        b, c = (np.asarray(a, float) for a in params.biases)
        self.variance = np.exp(np.asarray(params.log_var, float))
        self.means = b + self.h @ np.asarray(params.weights[0], float).T
        log_mass = self.h @ c + ((self.means**2 - b**2) / (2 * self.variance)).sum(1)
        log_mass += 0.5 * np.log(2 * np.pi * self.variance).sum()
        self.log_z = scipy.special.logsumexp(log_mass)
        self.shares = np.exp(log_mass - self.log_z)

    def log_p(self, v: np.ndarray) -> np.ndarray:
        parts = scipy.stats.norm.logpdf(v[:, None], self.means, np.sqrt(self.variance)).sum(-1)
        return scipy.special.logsumexp(parts, axis=1, b=self.shares)
