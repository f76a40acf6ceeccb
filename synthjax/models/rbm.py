r"""Restricted Boltzmann machine with label units beside the pixels (Smolensky 1986; Larochelle & Bengio 2008, ICML).

    -E(v, h, y) = b v + c h + d y + v W h + y U h,      p(v, y) = sum_h exp(-E) / Z = exp(-F(v, y)) / Z

Pixels v are Bernoulli, or Gaussian of learnt variance; h is Bernoulli; y is one-hot. The gradient of -log p is
dF(data) - <dF>_model, the second from block-Gibbs sweeps:

- "cd": k sweeps from each example (contrastive divergence, Hinton 2002, Neural Comp. 14:1771);
- "pcd": k sweeps a step of chains that go on from step to step (Tieleman 2008, ICML);
- "pt": the same with replicas of each chain, from the machine without couplings to the whole one, which change places
  (parallel tempering, Desjardins et al. 2010, AISTATS 9:145).

Sampling clamps y, which makes a labelled data set of one joint model. `score` is the free energy F(v, y).

    model = build(Config(hidden=100), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=500)
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs import chains, images, training
from synthjax.gibbs.machine import Layers, Machine, Params, Units
from synthjax.gibbs.training import State
from synthjax.model import Batch, DataSpec, Model
from synthjax.train import optim


@dataclass(frozen=True)
class Config:
    """The machine, how it is trained and how it is sampled. Defaults suit MNIST."""

    hidden: int = 500
    """Hidden units."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Pixels: Bernoulli for grey images, Gaussian for colour; those want a learning rate of 0.001 or so."""
    binarise: bool = True
    """Draw pixels black or white with their grey value as probability, in training and scoring (Bernoulli only)."""
    conditional: bool = True
    """Softmax units for the label, where the data has one."""
    algorithm: Literal["cd", "pcd", "pt"] = "pcd"
    """Where the model's side of the gradient comes from, see the module's docstring."""
    k: int = 1
    """Gibbs sweeps a step."""
    chains: int = 100
    """Of "pcd" and "pt"."""
    replicas: int = 10
    """Temperatures of each chain of "pt", evenly spread."""
    centred: bool = True
    """Centred gradient (Melchior et al. 2016)."""
    half: bool = False
    """Matrix products of training and sampling in bfloat16, see `Machine.half`."""
    learning_rate: float = 0.05
    """Falls to 0 (linear), after a warm-up of `warmup` steps."""
    momentum: tuple[float, float] = (0.5, 0.9)
    """At the start, and from `momentum_ramp` on (Hinton 2010, section 9)."""
    momentum_ramp: float = 0.05
    """Share of `steps`."""
    weight_decay: float = 1e-4
    """L2, of couplings."""
    sparsity_target: float = 0.1
    """Wanted mean activity of hidden units."""
    sparsity_cost: float = 0.0
    """Weight of the cross-entropy with it; 0: none."""
    batch_size: int = 100
    steps: int = 30_000
    warmup: int = 100
    ema_decay: float = 0.999
    """Of the parameters that samples and scores use; warms up, see `optim.ema`."""
    sample_steps: int = 200
    """Gibbs sweeps of an image at the end of its chain; default of the option `steps`."""
    anneal: int = 200
    """Sweeps before those, on the way from the machine without couplings; default of the option."""


PRESETS = {"rbm": Config()}


def _check(config: Config) -> None:
    training.check(config, ("hidden", "k", "chains", "sample_steps"))
    if config.replicas < 2:
        raise InputError(f"model.replicas={config.replicas}: must be at least 2")


def form(config: Config, spec: DataSpec) -> tuple[Machine, images.Pictures]:
    """The machine of a Config, and how it holds images: what `synthjax.gibbs` wants to know of a trained run.

    Raises:
      InputError: as `build`.
    """
    _check(config)
    pictures = images.pictures(spec, config.visible, config.binarise, config.conditional, "rbm")
    sizes: tuple[int, ...] = (spec.dims, config.hidden)
    units: tuple[Units, ...] = (config.visible, "bernoulli")
    if pictures.classes:
        sizes, units = (*sizes, pictures.classes), (*units, "softmax")
    return Machine(sizes, units), pictures


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """An RBM of images of that shape.

    The first biases and the offsets of centring are means over data, which `grad` does not see.

    Raises:
      InputError: the data is no image, has colours for Bernoulli units, or a field is out of its range.
    """
    machine, pictures = form(config, spec)
    quick = dataclasses.replace(machine, half=config.half)
    rate = optim.schedule(config.learning_rate, config.steps, config.warmup, "linear")

    def init(key, batch: Batch) -> State:
        key_weights, key_chains = jax.random.split(key)
        bias, log_var = pictures.statistics(batch)
        base = (bias, *machine.flat()[1:])
        params = machine.init(key_weights, base, log_var)
        replicas = {"cd": 0, "pcd": 1, "pt": config.replicas}[config.algorithm]
        # Copies: a state that is donated may not hold one array twice.
        start = machine.start(key_chains, params, base, replicas * config.chains) if replicas else ()
        return training.first(machine, params, jax.tree.map(jnp.copy, base), start, config.chains if replicas else 0)

    def layers(batch: Batch) -> Layers:
        """With data where it is known."""
        return (batch.x, jnp.zeros((len(batch.x), config.hidden)), *pictures.label(batch.y))

    def loss(params: Params, key, batch: Batch):
        """F(data), less F of k sweeps from there for contrastive divergence; batch.x holds layer 0."""
        data = layers(batch)
        free = losses = quick.free_energy(params, data)
        if config.algorithm == "cd":
            fixed = jax.lax.stop_gradient(params)
            losses = free - quick.free_energy(params, quick.chain(key, fixed, data, config.k))
        if config.sparsity_cost:
            activity = quick.field(params, data, 1)
            losses = losses + config.sparsity_cost * training.sparsity(activity, config.sparsity_target)
        return losses, {"free_energy": free}

    def step(key, i, state: State, batch: Batch):
        key_pixels, key_loss, key_chains = jax.random.split(key, 3)
        batch = batch._replace(x=pictures.observe(key_pixels, batch.x, config.half))
        gradient, metrics = grad(loss)(state.params, key_loss, batch)
        # The field is one that the loss needs too: computed once.
        hidden = quick.mean(1, quick.field(state.params, layers(batch), 1))
        if config.algorithm != "cd":
            state, negative, more = _model_side(config, quick, key_chains, i, state)
            gradient = jax.tree.map(jnp.subtract, gradient, negative)
            metrics |= more | {"loss": metrics["loss"] - more["chains_free_energy"]}
        state, sizes = _updated(config, machine, i, state, gradient, rate(i))
        means = (batch.x, hidden, *pictures.label(batch.y))
        offsets = training.moved(state.offsets, means, batch) if config.centred else state.offsets
        return state._replace(offsets=offsets), metrics | sizes | {"learning_rate": rate(i)}

    def score(key, state: State, batch: Batch):
        """F(v, y) of pixels drawn black or white from `key` where the model is trained so; nats, + log Z: -log p."""
        return machine.free_energy(state.ema, layers(batch._replace(x=pictures.observe(key, batch.x))))

    sample = images.sampler(quick, pictures, images.Defaults(config.sample_steps, config.anneal))
    return Model(init, step, sample, score, conditional=pictures.classes > 0, n_classes=pictures.classes)


def _model_side(
    config: Config, machine: Machine, key: jax.Array, i, state: State
) -> tuple[State, Params, dict[str, jax.Array]]:
    """The state with the chains of "pcd" or "pt" k sweeps on, the gradient of their free energy, and metrics."""
    metrics: dict[str, jax.Array] = {}

    def body(layers, key):
        return chains.temper(machine, key, state.params, layers, state.base, config.replicas)

    if config.algorithm == "pcd":
        moved = machine.chain(key, state.params, state.chains, config.k)
    else:
        moved, swaps = jax.lax.scan(body, state.chains, jax.random.split(key, config.k))
        metrics["swaps"] = swaps.mean()
    coldest = tuple(x[-config.chains :] for x in moved)
    value, gradient = training.model_side(lambda p: machine.free_energy(p, coldest), state.params)
    trace, mixing = training.mixing(state.trace, value, i)
    metrics |= mixing | {"chains_free_energy": value.mean()}
    return state._replace(chains=moved, trace=trace), gradient, metrics


def _updated(config: Config, machine: Machine, i, state: State, gradient: Params, rate) -> tuple[State, dict]:
    """Parameters, their average and velocity after this gradient, and metrics of their size."""
    params = state.params
    if config.centred:
        gradient = training.centred(machine, params, gradient, state.offsets)
    gradient = training.decayed(gradient, params, config.weight_decay)
    inertia = training.momentum(i, config.momentum, round(config.momentum_ramp * config.steps))
    velocity = training.moving(state.velocity, gradient, rate, inertia)
    params = jax.tree.map(jnp.add, params, velocity)
    average = optim.ema(state.ema, params, i, config.ema_decay)
    return state._replace(params=params, ema=average, velocity=velocity), training.sizes(machine, params)
