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
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import leaks, train_step
from synthjax import adversarial
from synthjax.data.feed import Feed
from synthjax.launch.config import family
from synthjax.model import Batch, DataSpec
from synthjax.models import cgan, dcgan, ddpm, vae
from synthjax.nets import unet
from synthjax.train import optim

UNET = ddpm.Config(width=16, multipliers=(1, 2), blocks=(1, 1), batch_size=4, steps=100, warmup=5)
VAE = vae.Config(latents=3, channels=(4, 6), hidden=(8,), batch_size=4, steps=100, warmup=5)
GANS = {
    **{name: dataclasses.replace(preset, channels=(4, 6), batch_size=4) for name, preset in dcgan.PRESETS.items()},
    **{name: dataclasses.replace(preset, batch_size=4) for name, preset in cgan.PRESETS.items()},
}
GANS["dcgan, r1"] = dataclasses.replace(GANS["dcgan"], norm="layer", rules=adversarial.Rules(r1=1.0))
_ONE = dataclasses.replace(GANS["wgan_gp"].rules, n_critic=1)  # whose penalty needs pairs of one label
GANS["wgan_gp, one update"] = dataclasses.replace(GANS["wgan_gp"], rules=_ONE)
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
    return randomised(jax.eval_shape(module.build(config, SPEC).init, jax.random.key(0)).params)


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
    ours = jax.jit(unet.network(UNET, SPEC).apply)(params, x, t, y)
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
    adam = optim.adam(clip=VAE.clip)
    rate = optim.schedule(VAE.learning_rate, VAE.steps, VAE.warmup, "cosine")
    state = optim.TrainState.create([p.detach().numpy().copy() for p in torch_parameters], adam)
    update = jax.jit(optim.train_update(adam, rate, ema_decay=VAE.ema_decay))
    random = np.random.default_rng(0)
    for step in range(3):
        gradient = [200 * random.standard_normal(p.shape, np.float32) for p in state.params]
        for parameter, g in zip(torch_parameters, gradient, strict=True):
            parameter.grad = torch.from_numpy(g.copy())
        trainer.update(step)
        state, _ = update(step, state, gradient)
    for mine, theirs in zip([*state.params, *state.ema], [*torch_parameters, *trainer.ema], strict=True):
        np.testing.assert_allclose(theirs.detach().numpy(), mine, atol=1e-6)


def test_learning_rate_is_the_same_in_torch(torch_models):
    rate = optim.schedule(UNET.learning_rate, UNET.steps, UNET.warmup, "cosine")
    theirs = [torch_models.learning_rate(UNET, step) for step in range(UNET.steps)]
    np.testing.assert_allclose(theirs, [rate(step) for step in range(UNET.steps)], rtol=1e-4, atol=1e-9)


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
    model = family(request.param.partition(",")[0]).build(config, SPEC)
    ours = model.init.__self__
    theirs = torch_gans.Trainer(config, SPEC, Feed.of(model, X, Y, 4))
    shapes = jax.eval_shape(ours.init, jax.random.key(0))
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
    z = np.random.default_rng(2).standard_normal((4, ours.networks.noise), np.float32)
    y_made = Y[1:5]  # the generated examples may have other labels
    key, new = jax.random.key(3), {"mutable": ["batch_stats"]}

    @jax.jit
    def play(generator, critic, z):
        made, _ = ours.networks.generator.apply(generator, z, y_made, BATCH.weight, train[0], **new)
        (values, _), _ = ours.networks.critic.apply(critic, BATCH.x, BATCH.y, BATCH.weight, train[1], **new)
        if not train[1]:
            return made, values
        statistics = {"batch_stats": critic["batch_stats"]} if "batch_stats" in critic else {}
        pair = adversarial.Pair(*BATCH, (made,), y_made)
        return made, values, ours.critic_loss(0, statistics)(critic["params"], key, pair).losses.mean()

    x, y = nchw(torch, BATCH.x), torch.from_numpy(Y[:4]).long()
    y_there = torch.from_numpy(y_made).long()
    share = np.array(jax.random.uniform(jax.random.split(key, 4)[1], (4, 1, 1, 1)))
    monkeypatch.setattr(torch, "rand", lambda *_: torch.from_numpy(share))
    made = theirs.generator(torch.from_numpy(z), y_there).detach()
    loss = theirs.critic_loss(x, y, made, y_there).detach()
    other = [made.permute(0, 2, 3, 1), theirs.critic(x, y).detach(), loss]
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
    optimiser, opt = torch_gans.optimiser(theirs.config, moving), ours.optimisers.critic.init(params)
    average, values = [value.numpy().copy() for value in theirs.ema], theirs.averaged()
    for step in range(3):
        gradient = [random.standard_normal(p.shape, np.float32) for p in params]
        for parameter, g in zip(moving, gradient, strict=True):
            parameter.grad = torch.from_numpy(g.copy())
        optimiser.step()
        params, opt = ours.update(ours.optimisers.critic, gradient, opt, params, step)
        theirs.average(step)
        average = optim.ema(average, [value.numpy() for value in values], step, ours.optimisers.ema_decay)
    for mine, there in zip([*params, *average], [*moving, *theirs.ema], strict=True):
        np.testing.assert_allclose(there.detach().numpy(), mine, rtol=1e-5, atol=1e-6)
    assert len(theirs.ema) == (ours.optimisers.ema_decay > 0) * len(jax.tree.leaves(games[1][0]))


def test_torch_gan_plays_by_the_rules(games):
    """A step moves both players (biases may cancel); the generator's update moves nothing of the critic's."""
    import torch

    _, _, theirs = games
    before = [p.detach().clone() for p in theirs.net.parameters()]
    assert np.isfinite(theirs.run(0, 2))
    assert all((p != old).any() for p, old in zip(theirs.net.parameters(), before, strict=True) if p.ndim > 1)
    critic = [p.detach().clone() for p in theirs.critic.parameters()]
    y = torch.from_numpy(Y[:4]).long()
    theirs.update_generator(theirs.make(y, True), y)
    assert all(torch.equal(p, old) for p, old in zip(theirs.critic.parameters(), critic, strict=True))


def test_torch_generator_learns_as_ours_does(games, monkeypatch):
    """Labels drawn by frequency, as many forward passes as ours takes, and running statistics of one of them."""
    import torch

    ours, _, theirs = games
    assert theirs.shared == ours.shared and tuple(theirs.frequencies.tolist()) == pytest.approx(ours.frequencies)
    theirs.frequencies = torch.tensor([0.0, 0.0, 1.0])
    make, update, passes, trained = theirs.make, theirs.update_generator, [], []
    monkeypatch.setattr(theirs, "make", lambda y, track: passes.append(track) or make(y, track))
    monkeypatch.setattr(theirs, "update_generator", lambda made, y: trained.append(y) or update(made, y))
    tracked = [value for name, value in theirs.generator.named_buffers() if name.endswith("num_batches_tracked")]
    before = [value.item() for value in tracked]
    theirs.run(0, 2)
    assert passes == 2 * ([True] if ours.shared else [*[False] * ours.rules.n_critic, True])
    assert (torch.cat(trained) == 2).all() and len(trained) == 2
    assert [value.item() for value in tracked] == [value + 2 for value in before]


@pytest.mark.parametrize("name", ["vae", "ddpm", "dcgan", "wgan_gp", "cgan"])
def test_torch_has_every_experiment_that_is_timed(torch_models, name):
    """The Config that `benchmarks.train_step` takes, whatever it has become, is one that the torch side plays."""
    from benchmarks import torch_gans

    config = train_step.experiment(None, name, "mnist").model
    x = np.zeros((config.batch_size, 28, 28, 1), np.uint8)
    y = np.arange(len(x), dtype=np.int32) % 10
    make = torch_gans.Trainer if hasattr(config, "rules") else torch_models.Trainer
    spec = DataSpec.from_arrays(x, y)
    assert make(config, spec, Feed(x, y, config.batch_size)).config is config


def test_rows_are_dealt_once_each():
    parts = leaks.deal(60, 16, seed=0)
    assert [len(part) for part in parts] == [16, 12, 12, 16]
    assert len(np.unique(np.concatenate(parts))) == 56
    assert not np.array_equal(parts[0], leaks.deal(60, 16, seed=1)[0])
    with pytest.raises(SystemExit, match="needs 70 rows, there are 60"):
        leaks.deal(60, 20, seed=0)
