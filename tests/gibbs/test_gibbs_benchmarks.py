"""Fine-tuning by benchmarks/finetune.py, and the contenders and arithmetic of benchmarks/gibbs.py."""

import sys
from pathlib import Path

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from brute import DBM, B

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import finetune as benchmark
from benchmarks import gibbs
from synthjax.gibbs import finetune
from synthjax.gibbs.machine import Machine
from synthjax.models import dbm

KEY = jax.random.key(0)


def rule(count, seed):
    """x (count, 3), of which y (count,) says how many values are large."""
    x = np.float32(np.random.default_rng(seed).random((count, 3)))
    return x, np.int32((x > 0.5).sum(1) // 2)


def test_errors_are_those_of_the_networks_on_examples_they_have_not_seen():
    machine, params = Machine(DBM.sizes[:3], (B, B, B)), brute.params(DBM, 2)
    params = params._replace(weights=params.weights[:2], biases=params.biases[:3])
    parts = {"train": rule(200, 0), "judge": rule(100, 1)}
    subject = dbm.Config(hidden=machine.sizes[1:], mean_field_steps=5), machine, params
    protocol = finetune.Protocol(steps=400, learning_rate=0.05)
    found = benchmark.errors(subject, parts, 2, protocol, seeds=2)
    key_new, key_train = jax.random.split(jax.random.key(1))
    x, judged = (finetune.inputs(machine, params, jnp.asarray(parts[name][0]), 5) for name in ("train", "judge"))
    network = finetune.train(
        key_train, finetune.unroll(key_new, machine, params, 2), x, jnp.asarray(parts["train"][1]), protocol
    )
    wrong = finetune.logits(network, judged).argmax(-1) != parts["judge"][1]
    np.testing.assert_allclose(found, [found[0], wrong.mean()], rtol=1e-6)
    assert max(found) < 0.2
    few = benchmark.errors(subject, parts, 2, protocol, seeds=1, labels=4)
    plain = benchmark.errors(subject, parts, 2, protocol, seeds=1, scratch=True)
    assert plain[0] < 0.2 < few[0]


def test_speeds_are_ratios_round_by_round():
    seconds = {gibbs.OURS: [0.01, 0.02, 0.01], gibbs.SKLEARN: [0.03, 0.08, 0.02]}
    _, _, ours, theirs = gibbs.table(seconds, 128, "images")
    assert "10.00 (10.00..20.00)" in ours and "12,800" in ours and "3.00 (2.00..4.00)" in ours
    assert "30.00 (20.00..80.00)" in theirs and "1.00 (1.00..1.00)" in theirs


def test_torch_learns_by_contrastive_divergence(monkeypatch):
    """One step and one sweep by hand, with units drawn as their likelier state."""
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e '.[bench]')")
    from benchmarks.torch_rbm import Rbm

    monkeypatch.setattr(torch, "bernoulli", lambda p: (p > 0.5).float())
    rng = np.random.default_rng(0)
    w, b, c = (rng.normal(size=size).astype(np.float32) for size in ((5, 3), 5, 3))
    p = rng.random((4, 5), np.float32)
    v, sigmoid = p > 0.5, scipy.special.expit
    h = sigmoid(v @ w + c)
    after = sigmoid((h > 0.5) @ w.T + b) > 0.5
    machine = Rbm(*(torch.tensor(a) for a in (w, b, c)))
    np.testing.assert_array_equal(machine.gibbs(torch.tensor(np.float32(v))).numpy(), after)
    machine.learn(torch.tensor(p), 0.5)
    h_after = sigmoid(after @ w + c)
    np.testing.assert_allclose(machine.w, w + 0.5 * (v.T @ h - after.T @ h_after) / 4, rtol=1e-5)
    np.testing.assert_allclose(machine.b, b + 0.5 * (np.float32(v) - after).mean(0), rtol=1e-5)
    np.testing.assert_allclose(machine.c, c + 0.5 * (h - h_after).mean(0), rtol=1e-5)


def test_a_contender_goes_on_from_step_to_step():
    """`_loop` hands each call the state of the one before."""
    seen = []

    def step(i, state):
        jax.debug.callback(lambda i, state: seen.append((int(i), int(state))), i, state)
        return state + 1

    contender = gibbs._loop(step, jnp.int32(0))
    for _ in range(3):
        contender.turn()
    jax.effects_barrier()
    assert sorted(seen) == [(0, 0), (1, 1), (2, 2)]
