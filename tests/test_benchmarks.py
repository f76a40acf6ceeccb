"""The benchmark's arithmetic, and that the networks it compares are the same ones."""

import dataclasses
import functools
import importlib.util
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import leaks, train_step
from synthjax import adversarial
from synthjax.data.feed import Feed
from synthjax.launch.config import family
from synthjax.model import Batch, DataSpec
from synthjax.models import cgan, dcgan, ddpm, vae
from synthjax.train import optim

UNET = ddpm.Config(width=16, multipliers=(1, 2), blocks=(1, 1), batch_size=4, steps=100, warmup=5)
VAE = vae.Config(latents=3, channels=(4, 6), hidden=(8,), batch_size=4, steps=100, warmup=5)
GANS = {
    **{name: dataclasses.replace(preset, channels=(4, 6), batch_size=4) for name, preset in dcgan.PRESETS.items()},
    **{name: dataclasses.replace(preset, batch_size=4) for name, preset in cgan.PRESETS.items()},
}
X = np.random.default_rng(0).integers(0, 256, (12, 12, 12, 1), np.uint8)
Y = np.arange(12, dtype=np.int32) % 3
SPEC = DataSpec.from_arrays(X, Y)


def test_ratios_are_taken_round_by_round():
    seconds = {train_step.OURS: [0.1, 0.4, 0.1], train_step.EAGER: [0.2, 0.4, 0.4]}
    _, ours, eager = train_step.table(seconds, batch_size=64)
    assert "100.0 (100.0..400.0)" in ours and "640" in ours
    assert "400.0 (200.0..400.0)" in eager and "160" in eager and "0.50 (0.25..1.00)" in eager


def test_contenders_take_turns_and_never_repeat_a_step():
    calls = []

    def run(name):
        def steps(start, stop):
            calls.append((name, start, stop))
            time.sleep(0.02 * (stop - start))

        return train_step.Contender(steps)

    contenders = {"a": run("a"), "b": run("b")}
    for contender in contenders.values():
        contender.warm_up(seconds=0.1)
    warm, calls[:] = list(calls), []
    seconds = train_step.interleave(contenders, rounds=2)
    assert [name for name, _, _ in calls] == ["a", "b", "a", "b"]
    ends = [stop for name, _, stop in warm + calls if name == "a"]
    assert [start for name, start, _ in warm + calls if name == "a"] == [0, *ends[:-1]]
    # A turn is as many steps as fit the time asked for, and what comes out is per step.
    assert all(2 <= stop - start <= 5 for _, start, stop in calls)
    assert all(0.02 <= value < 0.2 for value in seconds["a"])


def test_compare_prints_the_whole_table(monkeypatch, capsys):
    """One tiny model through everything; beside torch where it is installed, alone elsewhere."""
    monkeypatch.setattr(train_step, "experiment", lambda *_: types.SimpleNamespace(model=VAE))
    monkeypatch.setattr(train_step, "SECONDS", 0.02)
    monkeypatch.setattr(train_step, "SAMPLES", 20)
    train_step.compare("vae", rounds=2, compiled=False)
    out = capsys.readouterr().out
    beside = train_step.EAGER if importlib.util.find_spec("torch") else "torch is not installed: ours alone"
    assert all(
        words in out for words in ("parameters, batch 4", train_step.OURS, beside, "with compilation", "sampling")
    )


@pytest.fixture(scope="module")
def torch_models():
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e '.[bench]')")
    from benchmarks import torch_models

    torch.set_num_threads(1)  # its threads wait for each other after every small operation

    return torch_models


BATCH = Batch(SPEC.encode(X[:4]), jnp.asarray(Y[:4]), jnp.ones(4), jnp.arange(4))


def randomised(shapes):
    """Every parameter random: those that start at zero would hide what they multiply."""
    leaves, tree = jax.tree.flatten(shapes)
    random = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [0.3 * random.standard_normal(leaf.shape, np.float32) for leaf in leaves])


def random_state(module, config):
    """A model's parameters, all of them random."""
    return randomised(jax.eval_shape(module.build(config, SPEC).init, jax.random.key(0), BATCH).params)


def nchw(torch, x):
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


def test_unet_is_the_same_in_torch(torch_models):
    import torch

    params = random_state(ddpm, UNET)
    net = torch_models.UNet(UNET, SPEC)
    assert sum(p.numel() for p in net.parameters()) == sum(leaf.size for leaf in jax.tree.leaves(params))
    torch_models.load(net, params)
    x = np.asarray(SPEC.encode(X[:4, :10, :10]))  # sides that the folds do not divide
    t, y = np.array([0.001, 0.3, 0.7, 1.0], np.float32), np.array([0, 1, 2, 3])
    ours = jax.jit(ddpm._process(UNET, SPEC)[0].apply)(params, x, t, y)
    with torch.no_grad():
        theirs = net(nchw(torch, x), torch.from_numpy(t), torch.from_numpy(y)).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours).max() > 0.5
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())


def test_vae_is_the_same_in_torch(torch_models):
    import torch

    params = random_state(vae, VAE)
    net = torch_models.Vae(VAE, SPEC)
    assert sum(p.numel() for p in net.parameters()) == sum(leaf.size for leaf in jax.tree.leaves(params))
    torch_models.load(net, params)
    x, z = np.asarray(SPEC.encode(X[:4])), np.ones((4, 3), np.float32)
    onehot = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    moments = jax.jit(vae.Encoder(VAE).apply)(params["encoder"], x, onehot)
    logits = jax.jit(vae.Decoder(VAE, SPEC.shape).apply)(params["decoder"], z, onehot)
    with torch.no_grad():
        labels = torch.from_numpy(onehot)
        for ours, theirs in zip(moments, net.encoder(nchw(torch, x), labels), strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-4, atol=1e-4)
        theirs = net.decoder(torch.from_numpy(z), labels).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(theirs, logits, rtol=1e-4, atol=1e-4)


def test_update_is_the_same_in_torch(torch_models):
    """Three updates from gradients large enough to be clipped: schedule, clipping, Adam and the moving average."""
    import torch

    trainer = torch_models.Trainer(VAE, SPEC, Feed(X, Y, VAE.batch_size))
    torch_parameters = list(trainer.net.parameters())
    params = [p.detach().numpy().copy() for p in torch_parameters]
    average = list(params)
    adam = optim.adam(optim.schedule(VAE.learning_rate, VAE.steps, VAE.warmup, "cosine"), clip=VAE.clip)
    opt = adam.init(params)

    @jax.jit
    def ours(i, gradient, opt, params, average):
        update, opt = adam.update(gradient, opt, params)
        params = optax.apply_updates(params, update)
        return opt, params, optim.ema(average, params, i, VAE.ema_decay)

    random = np.random.default_rng(0)
    for step in range(3):
        gradient = [200 * random.standard_normal(p.shape, np.float32) for p in params]
        for parameter, g in zip(torch_parameters, gradient, strict=True):
            parameter.grad = torch.from_numpy(g.copy())
        trainer.update(step)
        opt, params, average = ours(step, gradient, opt, params, average)
    for mine, theirs in zip([*params, *average], [*torch_parameters, *trainer.ema], strict=True):
        np.testing.assert_allclose(theirs.detach().numpy(), mine, atol=1e-6)


@pytest.mark.parametrize("config", [UNET, VAE], ids=["ddpm", "vae"])
def test_torch_training_learns(torch_models, config):
    """The loss of bright images falls, so the step that is timed is one that trains."""
    import torch

    torch.manual_seed(0)
    config = dataclasses.replace(config, learning_rate=1e-2)
    trainer = torch_models.Trainer(config, SPEC, Feed(np.full_like(X[:4], 250), Y[:4], 4))
    first = trainer.run(0, 1)
    assert trainer.run(1, 60) < 0.7 * first


@pytest.fixture(params=GANS)
def games(request, torch_models):
    """The same game with the same parameters: (ours, variables of generator and critic, torch's)."""
    from benchmarks import torch_gans

    config = GANS[request.param]
    ours = family(request.param).build(config, SPEC).init.__self__
    theirs = torch_gans.Trainer(config, SPEC, Feed(X, Y, 4, minibatches=config.rules.n_critic))
    shapes = jax.eval_shape(ours.init, jax.random.key(0), BATCH)
    first = functools.partial(jax.tree.map_with_path, lambda path, a: np.full(a.shape, path[-1].key == "var", a.dtype))
    variables = [{**first(v), "params": randomised(v["params"])} for v in (shapes.generator, shapes.critic)]
    for net, v in zip((theirs.generator, theirs.critic), variables, strict=True):
        assert sum(p.numel() for p in net.parameters()) == sum(leaf.size for leaf in jax.tree.leaves(v["params"]))
        torch_models.load(net, v["params"])
    return ours, variables, theirs


def test_gan_is_the_same_in_torch(games, monkeypatch):
    """What the generator makes, the critic's values, and where nothing is dropped its loss, with the penalty."""
    import torch

    ours, (generator, critic), theirs = games
    train = [not any(isinstance(m, torch.nn.Dropout) for m in net.modules()) for net in theirs.net]
    for net, flag in zip(theirs.net, train, strict=True):
        net.train(flag)
    z = np.random.default_rng(2).standard_normal((4, ours.noise), np.float32)
    key, new = jax.random.key(3), {"mutable": ["batch_stats"]}

    @jax.jit
    def play(generator, critic, z):
        made, _ = ours.generator.apply(generator, z, BATCH.y, BATCH.weight, train[0], **new)
        (values, _), _ = ours.critic.apply(critic, BATCH.x, BATCH.y, BATCH.weight, train[1], **new)
        if not train[1]:
            return made, values
        statistics = {"batch_stats": critic["batch_stats"]} if "batch_stats" in critic else {}
        pair = adversarial.Pair(*BATCH, (made,))
        return made, values, ours.critic_loss(0, statistics)(critic["params"], key, pair)[0].mean()

    x, y = nchw(torch, BATCH.x), torch.from_numpy(Y[:4]).long()
    share = np.array(jax.random.uniform(jax.random.split(key, 4)[1], (4, 1, 1, 1)))
    monkeypatch.setattr(torch, "rand", lambda *_: torch.from_numpy(share))
    made = theirs.generator(torch.from_numpy(z), y).detach()
    other = [made.permute(0, 2, 3, 1), theirs.critic(x, y).detach(), theirs.critic_loss(x, made, y).detach()]
    expected = play(generator, critic, z)
    for mine, there in zip(expected, other[: len(expected)], strict=True):
        np.testing.assert_allclose(there.numpy(), mine, rtol=1e-4, atol=1e-4 * np.abs(mine).max())


def test_gan_updates_are_the_same_in_torch(games):
    """Three updates from the same gradients, and the moving average of parameters and statistics."""
    import torch

    from benchmarks import torch_gans

    ours, _, theirs = games
    random = np.random.default_rng(0)
    params = [random.standard_normal(shape, np.float32) for shape in ((3, 4), (5,))]
    moving = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
    optimiser, opt, update = torch_gans.optimiser(theirs.config, moving), ours.opt_critic.init(params), None
    average, values = [value.numpy().copy() for value in theirs.ema], theirs.averaged()
    for step in range(3):
        gradient = [random.standard_normal(p.shape, np.float32) for p in params]
        for parameter, g in zip(moving, gradient, strict=True):
            parameter.grad = torch.from_numpy(g.copy())
        optimiser.step()
        update, opt = ours.opt_critic.update(gradient, opt, params)
        params = optax.apply_updates(params, update)
        theirs.average(step)
        average = optim.ema(average, [value.numpy() for value in values], step, ours.ema_decay)
    for mine, there in zip([*params, *average], [*moving, *theirs.ema], strict=True):
        np.testing.assert_allclose(there.detach().numpy(), mine, rtol=1e-5, atol=1e-6)
    assert len(theirs.ema) == (ours.ema_decay > 0) * len(jax.tree.leaves(games[1][0]))


def test_torch_gan_plays_by_the_rules(games):
    """A step moves both players (biases may cancel); the generator's update moves nothing of the critic's."""
    import torch

    _, _, theirs = games
    before = [p.detach().clone() for p in theirs.net.parameters()]
    assert np.isfinite(theirs.run(0, 2))
    assert all((p != old).any() for p, old in zip(theirs.net.parameters(), before, strict=True) if p.ndim > 1)
    critic = [p.detach().clone() for p in theirs.critic.parameters()]
    y = torch.from_numpy(Y[:4]).long()
    theirs.update_generator(theirs.make(y), y)
    assert all(torch.equal(p, old) for p, old in zip(theirs.critic.parameters(), critic, strict=True))


def test_rows_are_dealt_once_each():
    parts = leaks.deal(60, 16, seed=0)
    assert [len(part) for part in parts] == [16, 12, 12, 16]
    assert len(np.unique(np.concatenate(parts))) == 56
    assert not np.array_equal(parts[0], leaks.deal(60, 16, seed=1)[0])
    with pytest.raises(SystemExit, match="needs 70 rows, there are 60"):
        leaks.deal(60, 20, seed=0)
