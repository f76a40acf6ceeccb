r"""Restricted Boltzmann machine with label units beside the pixels (Smolensky 1986; Larochelle & Bengio 2008, ICML).

    -E(v, h, y) = b v + c h + d y + v W h + y U h,      p(v, y) = sum_h exp(-E) / Z = exp(-F(v, y)) / Z

Pixels v are Bernoulli, or Gaussian of learnt variance; h is Bernoulli; y is one-hot. The gradient of -log p is
dF(data) - <dF>_model, the second from block-Gibbs sweeps:

- "cd": k sweeps from each example (contrastive divergence, Hinton 2002, Neural Comp. 14:1771);
- "pcd": k sweeps a step of chains that go on from step to step (Tieleman 2008, ICML);
- "pt": the same with replicas of each chain, from the machine without couplings to the whole one, whose states are
  swapped (parallel tempering, Desjardins et al. 2010, AISTATS 9:145).

Sampling clamps y, which makes a labelled data set of one joint model. `score` is the free energy F(v, y). There is no
`log_prob`: log Z is not known. `synthjax.gibbs.partition` estimates it by annealed importance sampling, and then
log p(v, y) = -score - log Z.

    model = build(Config(hidden=100), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=500)
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.gibbs import chains, images, training
from synthjax.gibbs.images import ImageUnits, Sampling
from synthjax.gibbs.machine import Layers, Machine, Params
from synthjax.gibbs.training import State
from synthjax.model import Batch, DataSpec, Metrics, Model
from synthjax.train import optim

__all__ = ["PRESETS", "Config", "Sampling", "architecture", "build", "model"]


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
    """How the model's part of the gradient is estimated, see the module's docstring."""
    k: int = 1
    """Gibbs sweeps per step."""
    chains: int = 100
    """Number of persistent chains, of "pcd" and "pt"."""
    replicas: int = 10
    """Temperatures of each chain of "pt", evenly spaced."""
    centred: bool = True
    """Centred gradient (Melchior et al. 2016). Its offsets are averages over batches that `grad` does not see."""
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
    """Default of `Sampling.steps`."""
    anneal: int = 200
    """Default of `Sampling.anneal`."""

    def __post_init__(self):
        """Checks the fields.

        Raises:
          InputError: one is out of its range.
        """
        training.check(self, ("hidden", "k", "chains", "sample_steps"))
        if self.replicas < 2:
            raise InputError(f"model.replicas={self.replicas}: must be at least 2")
        if self.algorithm not in ("cd", "pcd", "pt"):
            raise InputError(f"model.algorithm={self.algorithm}: must be cd, pcd or pt")


PRESETS = {"rbm": Config()}


def architecture(config: Config, spec: DataSpec) -> tuple[Machine, ImageUnits]:
    """The machine of a Config, and how its units represent the images of `spec`.

    Raises:
      InputError: the data is no image, or has colours for Bernoulli units.
    """
    units = images.image_units(config, spec, "rbm")
    return images.architecture(units, (config.hidden,)), units


@dataclass(frozen=True)
class _Rbm:
    """The functions of the model."""

    config: Config
    machine: Machine
    units: ImageUnits
    optimiser: optax.GradientTransformation
    learning_rate: optax.Schedule | None
    grad: optim.Grad

    @property
    def training_machine(self) -> Machine:
        """The machine with products as training and sampling take them."""
        return dataclasses.replace(self.machine, half=self.config.half)

    def init(self, key: jax.Array) -> State:
        config, machine = self.config, self.machine
        key_weights, key_chains = jax.random.split(key)
        bias, log_var = self.units.pixel_statistics()
        params = machine.init(key_weights, (bias, *machine.zero_biases()[1:]), log_var)
        replicas = {"cd": 0, "pcd": 1, "pt": config.replicas}[config.algorithm]
        start = machine.start(key_chains, params, params.biases, replicas * config.chains) if replicas else ()
        return State.create(machine, params, self.optimiser, start, config.chains if replicas else 0)

    def layers(self, batch: Batch) -> Layers:
        """Of a batch whose x is layer 0: the data, and zeros for hidden units."""
        hidden = jnp.zeros((len(batch.x), self.machine.sizes[1]), batch.x.dtype)
        return (batch.x, hidden, *self.units.label_layer(batch.y))

    def loss(self, params: Params, key: jax.Array, batch: Batch) -> optim.Losses:
        """F(data), minus F after k sweeps from there for "cd"; batch.x is layer 0."""
        config, machine = self.config, self.training_machine
        data = self.layers(batch)
        free = losses = machine.free_energy(params, data)
        if config.algorithm == "cd":
            fixed = jax.lax.stop_gradient(params)
            losses = free - machine.free_energy(params, machine.chain(key, fixed, data, config.k))
        if not training.is_zero(config.sparsity_cost):
            logits = machine.field(params, data, 1)
            losses = losses + config.sparsity_cost * training.sparsity(logits, config.sparsity_target)
        return optim.Losses(losses, {"free_energy": free})

    def negative_phase(self, key: jax.Array, i: Any, state: State) -> tuple[State, Params, Metrics]:
        """The state after k sweeps of the persistent chains, the gradient of their mean free energy, and metrics."""
        config, machine, metrics = self.config, self.training_machine, {}

        def body(layers: Layers, key: jax.Array) -> tuple[Layers, jax.Array]:
            return chains.temper(machine, key, state.params, layers, state.base, config.replicas)

        if config.algorithm == "pcd":
            layers = machine.chain(key, state.params, state.chains, config.k)
        else:
            layers, swaps = jax.lax.scan(body, state.chains, jax.random.split(key, config.k))
            metrics["swaps"] = swaps.mean()
        at_one = tuple(x[-config.chains :] for x in layers)
        value, gradient = training.model_side(lambda p: machine.free_energy(p, at_one), state.params)
        trace, mixing = training.mixing(state.trace, value, i)
        metrics |= mixing | {"chains_free_energy": value.mean()}
        return state._replace(chains=layers, trace=trace), gradient, metrics

    def step(self, key: jax.Array, i: Any, state: State, batch: Batch) -> tuple[State, Metrics]:
        config, machine = self.config, self.training_machine
        key_pixels, key_loss, key_chains = jax.random.split(key, 3)
        batch = batch._replace(x=self.units.from_images(key_pixels, batch.x, config.half))
        gradient, metrics, _ = self.grad(self.loss)(state.params, key_loss, batch)
        if config.algorithm != "cd":
            state, negative, more = self.negative_phase(key_chains, i, state)
            gradient = jax.tree.map(jnp.subtract, gradient, negative)
            metrics = metrics | more | {"loss": metrics["loss"] - more["chains_free_energy"]}
        offsets = state.offsets
        if config.centred:
            gradient = training.centred(machine, state.params, gradient, offsets)
            # The same field as in the loss: it is computed once.
            hidden = machine.mean(1, machine.field(state.params, self.layers(batch), 1))
            means = (batch.x, hidden, *self.units.label_layer(batch.y))
            offsets = training.update_offsets(offsets, means, batch.weight)
        gradient = training.decayed(gradient, state.params, config.weight_decay)
        update = optim.train_update(self.optimiser, self.learning_rate, ema_decay=config.ema_decay)
        new, more = update(i, state.train, gradient)
        state = state.updated(new)._replace(offsets=offsets)
        return state, metrics | more | training.sizes(machine, state.params)

    def score(self, key: jax.Array, state: State, batch: Batch) -> jax.Array:
        """F(v, y) in nats, which is -log p(v, y) - log Z; pixels are drawn from `key` if the model is trained so."""
        x = self.units.from_images(key, batch.x)
        return self.machine.free_energy(state.ema, self.layers(batch._replace(x=x)))


def model(
    config: Config,
    spec: DataSpec,
    *,
    machine: Machine | None = None,
    optimiser: optax.GradientTransformation | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """An RBM of images.

    Args:
      config: how the machine is trained; and the machine and the optimiser, where none is handed in.
      spec: of the data, with its statistics, from which the first biases are computed.
      machine: one hidden layer between pixels and, if the model is conditional, label units. Default: that of
        `architecture`.
      optimiser: any optax transformation, with a learning rate of its own; one with extra arguments gets the step
        number as `step`. Default: `training.momentum`, with the learning rate of the Config.
      grad: turns the loss into a gradient. It does not see the offsets of centring.

    Raises:
      InputError: the data is no image, has colours for Bernoulli units, or the machine does not fit it.
    """
    own, units = architecture(config, spec)
    if machine is not None:
        images.check_machine(machine, units)
        if len(machine.sizes) != len(own.sizes):
            raise InputError(f"machine: an RBM has {len(own.sizes)} layers, not {len(machine.sizes)}")
    rate = None if optimiser else optim.schedule(config.learning_rate, config.steps, config.warmup, "linear")
    optimiser = optimiser or training.momentum(config.momentum, round(config.momentum_ramp * config.steps))
    one = _Rbm(config, machine or own, units, optimiser, rate, grad)
    sample = images.sampler(one.training_machine, units, config.sample_steps, config.anneal)
    model = Model(one.init, one.step, sample, one.score, conditional=units.classes > 0, n_classes=units.classes)
    return model._replace(empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The RBM of a Config; see `model`."""
    return model(config, spec, grad=grad)
