"""Fine-tuning by benchmarks/finetune.py, the contenders and arithmetic of benchmarks/gibbs.py, and their commands."""

import itertools
import re
import sys
from pathlib import Path

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from brute import DBM, B
from commands import write_toy
from in_process import launch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import boltzmann, gibbs
from benchmarks import finetune as benchmark
from synthjax.errors import InputError
from synthjax.gibbs import finetune
from synthjax.gibbs.machine import Machine
from synthjax.models import dbm

KEY = jax.random.key(0)
SKLEARN = (gibbs.SKLEARN, gibbs.SKLEARN_64)


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of an RBM of four hidden units, which was trained without labels on bright and dark images."""
    folder = tmp_path_factory.mktemp("rbm")
    write_toy(folder / "toy.npz")
    words = ["--model=rbm", "--dataset=toy.npz", "--workdir=run", "--steps=20", "--config.model.hidden=4"]
    end = launch(
        folder, *words, "--config.model.conditional=False", "--config.model.chains=10", "--config.sample_every=0"
    )
    assert end.code == 0, end.err
    return folder / "run"


def printed(main, monkeypatch, capsys, *words):
    """What a command of a benchmark prints."""
    monkeypatch.setattr(sys, "argv", [main.__module__, *words])
    main()
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_likelihood_of_a_run_is_that_of_enumeration(trained, monkeypatch, capsys):
    """Over the states of the hidden units: log p(v) = sum over h of exp(b v + c h + v W h) / Z."""
    monkeypatch.chdir(trained.parent)
    words = [f"--workdir={trained}", "--split=test", "--runs=200", "--steps=200", "--sweeps=50"]
    first, last = printed(boltzmann.main, monkeypatch, capsys, *words).splitlines()
    one = boltzmann.subject(str(trained))
    (w,), (b, c) = one.state.ema.weights, one.state.ema.biases
    h = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    log_z = scipy.special.logsumexp(h @ c + np.logaddexp(0, b + h @ np.asarray(w).T).sum(1))
    grey = one.data().test.x.reshape(-1, 64) / 255
    v = np.random.default_rng(0).random(grey.shape) < grey
    exact = v @ np.asarray(b) + scipy.special.logsumexp((v @ np.asarray(w) + c) @ h.T, axis=1) - log_z
    found = dict(
        zip(first.replace(",", "").split()[::2], map(float, first.replace(",", "").split()[1::2]), strict=True)
    )
    assert abs(found["log_z"] - log_z) < 0.05 and found["low"] - 0.01 <= log_z <= found["high"] + 0.01
    assert last.startswith(f"{trained} test: log p(x) ") and last.endswith(f"nats per image, n = {len(v)}")
    mean, error = map(float, re.search(r"log p\(x\) (\S+) \+- (\S+) nats", last).groups())
    assert abs(mean - exact.mean()) < 0.05 and abs(error - exact.std(ddof=1) / len(v) ** 0.5) < 0.01


def test_a_run_starts_a_classifier(trained, monkeypatch, capsys):
    """Bright and dark are told apart without an error, also from random weights; labels are counted."""
    monkeypatch.chdir(trained.parent)
    words = [f"--workdir={trained}", "--split=test", "--seeds=2", "--steps=150", "--learning_rate=0.02"]
    count = len(boltzmann.subject(str(trained)).data().test.y)
    for more, start in (([], trained), (["--scratch"], "random weights")):
        line = printed(benchmark.main, monkeypatch, capsys, *words, *more)
        assert line.startswith(f"{start} test: error 0.00 +- 0.00 %, 2 networks") and line.endswith(f"n = {count}\n")
    line = printed(benchmark.main, monkeypatch, capsys, *words, "--labels=8")
    assert " 8 labels, " in line and float(re.search(r"error (\S+)", line)[1]) < 20
    with pytest.raises(InputError, match="--labels=1: must be at least 2, the number of classes"):
        printed(benchmark.main, monkeypatch, capsys, *words, "--labels=1")


def test_contenders_of_an_rbm_take_turns(monkeypatch, capsys):
    for name, value in (("HIDDEN", 4), ("BATCH", 8), ("SECONDS", 0.001)):
        monkeypatch.setattr(gibbs, name, value)
    monkeypatch.setattr(gibbs.cli, "prepare_jax", lambda: None)
    monkeypatch.setattr(gibbs, "_torch", lambda params: None)
    out = printed(gibbs.main, monkeypatch, capsys, "--rounds=2", "--chains=6")
    learn, sweep = ([line.split(" | ") for line in part.splitlines()] for part in out.strip().split("\n\n"))
    assert [row[0] for row in learn[2:]] == [f"| {name}" for name in (gibbs.OURS, gibbs.HALF, *SKLEARN)]
    assert [row[0] for row in sweep[2:]] == [f"| {name}" for name in (gibbs.OURS, gibbs.HALF, gibbs.PRODUCTS, *SKLEARN)]
    assert learn[4][3] == sweep[5][3] == "1.00 (1.00..1.00) |"
    assert "images a second" in learn[0] and "chains x sweeps a second" in sweep[0]
