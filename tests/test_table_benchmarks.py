"""That the table GAN that the benchmark compares is the same one in torch, and the benchmark's own arithmetic."""

import dataclasses
import subprocess
import sys
import time
import types
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import tables
from synthjax import adversarial, gan_losses
from synthjax.data.feed import Feed
from synthjax.evals.table import from_frames
from synthjax.model import Column, DataSpec
from synthjax.models import mixture, table_gan

COLUMNS = (
    Column("savings", "continuous", 0, 2, missing=1),
    Column("age", "continuous", 2, 1),
    Column("colour", "onehot", 3, 3),
    Column("town", "code", 6, 1, codes=4),
    Column("churned", "onehot", 7, 2, target=True),
)
N = 12
RANDOM = np.random.default_rng(0)
Y = np.arange(N, dtype=np.int32) % 2
X = np.zeros((N, 9), np.float32)
X[:, [0, 2]], X[:, 1] = RANDOM.standard_normal((N, 2)), np.arange(N) % 3 == 0
X[np.arange(N), 3 + np.arange(N) % 3], X[:, 6], X[np.arange(N), 7 + Y] = 1, np.arange(N) % 4, 1
SPEC = DataSpec("table", (9,), 0, ("no", "yes"), (0.5, 0.5), COLUMNS).measured(X)
CONFIG = dataclasses.replace(
    table_gan.PRESETS["table_wcgan"],
    hidden=(8, 7),
    batch_size=4,
    rules=dataclasses.replace(table_gan.WASSERSTEIN, n_critic=2, critic_warmup=3),
)


@pytest.fixture(scope="module")
def both():
    """(our model, its first state, the same parameters in torch)."""
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e '.[bench]')")
    from benchmarks import torch_models, torch_tables

    torch.set_num_threads(1)
    theirs = torch_tables.Trainer(CONFIG, SPEC, Feed(X, Y, 4, kind="batches", n_batches=2))
    model = table_gan.build(CONFIG, SPEC)
    state = jax.jit(model.init)(jax.random.key(0))
    for net, ours in ((theirs.generator, state.generator), (theirs.critic, state.critic)):
        torch_models.load(net, ours["params"])
    return model, state, theirs


def test_what_the_generator_makes_and_the_critic_says(both, monkeypatch):
    import torch

    from benchmarks import torch_tables

    _, state, theirs = both
    monkeypatch.setattr(torch_tables, "gumbel", torch.zeros_like)
    generator = table_gan.Generator(CONFIG, theirs.columns, 2)
    critic = table_gan.Critic(CONFIG, theirs.columns, 2)
    z, y = RANDOM.standard_normal((4, theirs.noise), np.float32), torch.from_numpy(Y[:4]).long()
    v = generator.apply(state.generator, z, Y[:4], jnp.ones(4), True)  # without a key, of no noise
    values, _ = critic.apply(state.critic, v, Y[:4], jnp.ones(4), True)
    made = theirs.generator(torch.from_numpy(z), y)
    np.testing.assert_allclose(made.detach().numpy(), v, atol=1e-5)
    np.testing.assert_allclose(theirs.critic(made, y).detach().numpy(), values, atol=1e-5)
    share = np.full((4, 1), 0.3, np.float32)
    monkeypatch.setattr(torch, "rand", lambda *_: torch.from_numpy(share))
    monkeypatch.setattr(jax.random, "uniform", lambda *_: jnp.asarray(share))
    real = theirs.examples(theirs.feed.x[:4])[0]
    there = theirs.critic_loss(real, y, made.detach(), y).item()
    networks = adversarial.Networks(generator, critic, theirs.noise)
    losses = gan_losses.losses_of(CONFIG.rules)
    game = adversarial._Game(CONFIG.rules, networks, None, (), 1, losses, None)  # the critic's loss needs no more
    pair = adversarial.Pair(jnp.asarray(real.numpy()), Y[:4], jnp.ones(4), jnp.arange(4), (v,), Y[:4])
    losses, _, _ = game.critic_loss(0, {})(state.critic["params"], jax.random.key(1), pair)
    np.testing.assert_allclose(there, losses.mean(), rtol=1e-4)


def test_torch_rows_are_ours(both):
    """Numbers that are there in units of their deviation, zero where they are missing, and one place a category."""
    _, _, theirs = both
    v = theirs.feed.x
    there = X[:, 1] == 0
    expected = (X[there, 0] - X[there, 0].mean()) / X[there, 0].std()
    np.testing.assert_allclose(v[there, 0], expected, atol=1e-5)
    assert not v[~there, 0].any()
    assert v.shape == (N, 2 + 2 + 3 + 4) and (v[:, 2:].sum(axis=1) == 3).all()


def test_torch_trains_the_critic_alone_at_first(both):
    _, _, theirs = both
    players = theirs.generator, theirs.critic

    def copies():
        return [[p.detach().clone() for p in player.parameters()] for player in players]

    before = copies()
    theirs.run(0, 3)
    after = copies()
    assert all((a == b).all() for a, b in zip(before[0], after[0], strict=True))
    assert any((a != b).any() for a, b in zip(before[1], after[1], strict=True))
    theirs.run(3, 4)
    assert any((a != b).any() for a, b in zip(after[0], copies()[0], strict=True))


def test_seconds_of_the_process_and_of_the_clock():
    done, seconds = tables.timed(lambda: time.sleep(0.05) or 7)
    assert done == 7 and seconds.wall >= 0.05 and 0 <= seconds.cpu < 0.05


def test_seconds_of_children_count():
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    _, seconds = tables.timed(lambda: subprocess.run([sys.executable, "-c", busy], check=True))
    assert seconds.cpu >= 0.3  # and those of other children that happen to end meanwhile


def test_worth_of_a_copy_and_of_noise():
    """Real rows teach and cannot be told from themselves; rows with shuffled labels teach nothing."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "yes", "no")})
    kinds = {"a": "continuous", "b": "continuous", "y": "categorical"}
    fields = [types.SimpleNamespace(name=name, kind=kind) for name, kind in kinds.items()]
    schema = types.SimpleNamespace(fields=fields, target="y")
    parts = {"train": frame.iloc[:300], "test": frame.iloc[300:]}
    dataset = types.SimpleNamespace(table=types.SimpleNamespace(schema=schema), frame=parts.get)
    assert set(from_frames(parts, kinds, "y")) == set(parts)
    auc, alike = tables.worth(dataset, parts["train"], "test")
    assert auc > 0.98 and alike > 0.8
    noise = parts["train"].assign(y=rng.permutation(parts["train"]["y"]), b=5 + rng.normal(size=300))
    auc, alike = tables.worth(dataset, noise, "test")
    assert 0.3 < auc < 0.7 and alike < 0.05


@pytest.fixture
def toy(monkeypatch):
    """The benchmark on breast cancer in place of Adult, with tiny models; it keeps the tests' compilation cache."""
    known = tables.data.load("breast_cancer")
    monkeypatch.setattr(tables, "loaded", lambda name, data_dir: known)
    small = {"table_wcgan": CONFIG, "mixture": mixture.Config(components=2)}
    monkeypatch.setattr(tables, "experiment", lambda _, name, __: types.SimpleNamespace(model=small[name]))
    soon = {"mixture": {"members": 1, "steps": 2}, "table_wcgan": {"steps": 4}}
    for name, value in (("SOON", soon), ("SECONDS", 0.01), ("ROWS", 100), ("block_size", lambda spec: 50)):
        monkeypatch.setattr(tables, name, value)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    return known


class Copying:
    """Stands for the model of the `ctgan` package: it draws the rows that it was fitted to."""

    seen: typing.ClassVar[list[tuple[int, int]]] = []

    def __init__(self, epochs, enable_gpu):
        self.epochs = epochs

    def set_random_state(self, seed):
        self.seen.append((self.epochs, seed))

    def fit(self, frame, discrete):
        assert discrete == ["diagnosis"] and frame.notna().all(axis=None)
        self.frame = frame

    def sample(self, count):
        return self.frame.head(count)


def test_times_of_encoding_steps_and_sampling(toy, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    tables.main(["--parts=encode,step,sample", "--rounds=2", "--batch_size=8"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"encode: Adult, 569 rows to {toy.spec.dims} values, first time: ")
    assert "torch is not installed: ours alone" in lines[2] and ", batch 8, " in lines[3]
    assert [line.split()[0] for line in lines[5:7]] == ["synthjax", "bfloat16"]
    assert [line.partition(", ")[2].partition(":")[0] for line in lines[7:]] == [
        f"{precision}, {what}" for precision in tables.PRECISIONS for what in ("encoded", "as data frames")
    ]
    assert all(line.startswith("sample: 100 rows, ") for line in lines[7:])


def test_quality_of_a_copy_is_that_of_the_rows_themselves(toy, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ctgan", types.SimpleNamespace(CTGAN=Copying))
    monkeypatch.setattr(Copying, "seen", [])
    tables.main(["--parts=quality", "--epochs=3", "--quality_rounds=1", "--split=test"])
    real, *fits, first, second = capsys.readouterr().out.splitlines()
    assert real.startswith("quality: real rows, on test rows: AUC ")
    names = [line.removeprefix("quality: ").partition(", seed 0: ")[0] for line in fits]
    assert names == ["mixture", "table_wcgan", "ctgan, 3 epochs"] and Copying.seen == [(3, 0)]
    assert fits[2].partition("; ")[2] == real.partition("rows: ")[2]
    assert first.startswith("quality: mixture: ") and second.startswith("quality: table_wcgan: ")
