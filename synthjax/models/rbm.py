r"""Restricted Boltzmann machine with label units next to the pixels (Smolensky 1986; Larochelle & Bengio 2008, ICML).

    -E(v, h, y) = b v + c h + d y + v W h + y U h,      p(v, y) = sum_h exp(-E) / Z = exp(-F(v, y)) / Z

Pixels v are Bernoulli, or Gaussian with learned variance; h is Bernoulli; y is one-hot. The gradient of -log p is
dF(data) - <dF>_model. The second term is estimated by block-Gibbs sweeps:

- "cd": k sweeps that start from each example (contrastive divergence, Hinton 2002, Neural Comp. 14:1771);
- "pcd": k sweeps per step of chains that persist from step to step (Tieleman 2008, ICML);
- "pt": as "pcd", with replicas of each chain between the machine without couplings and the full machine, which swap
  their states (parallel tempering, Desjardins et al. 2010, AISTATS 9:145).

Sampling clamps y, so the joint model generates labelled data. `score` is the free energy F(v, y). There is no
`log_prob`, because log Z is unknown. `synthjax.gibbs.partition` estimates log Z by annealed importance sampling; then
log p(v, y) = -score - log Z.

    model = build(Config(hidden=100), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=500)

    >>> import numpy as np
    >>> spec = DataSpec.from_arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    >>> model = build(Config(hidden=5), spec)
    >>> state = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(model.sample, jax.random.key(1), state, jnp.zeros(3, jnp.int32)).shape
    (3, 8, 8, 1)
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
    """The machine, its training and its sampling. The defaults suit MNIST."""

    hidden: int = 500
    """Number of hidden units."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Type of the pixels: Bernoulli for grey images; Gaussian for colour images, with learning rates of about 0.001."""
    binarise: bool = True
    """Whether training and scoring draw binary pixels with the grey value as probability (Bernoulli only)."""
    conditional: bool = True
    """Whether there are softmax units for the label, if the data has labels."""
    algorithm: Literal["cd", "pcd", "pt"] = "pcd"
    """Estimator of the model term of the gradient, see the module's docstring."""
    k: int = 1
    """Number of Gibbs sweeps per step."""
    chains: int = 100
    """Number of persistent chains of "pcd" and "pt"."""
    replicas: int = 10
    """Number of evenly spaced temperatures of "pt"."""
    centred: bool = True
    """Whether the gradient is centred (Melchior et al. 2016). `grad` does not see the batch averages it uses."""
    half: bool = False
    """Whether training and sampling use bfloat16 matrix products, see `Machine.half`."""
    learning_rate: float = 0.05
    """Maximum learning rate; it decays linearly to 0 after `warmup` steps."""
    momentum: tuple[float, float] = (0.5, 0.9)
    """At step 0, and after the share `momentum_ramp` of the steps (Hinton 2010, section 9)."""
    momentum_ramp: float = 0.05
    """Share of `steps` over which the momentum increases."""
    weight_decay: float = 1e-4
    """Coefficient of the L2 penalty on the weights."""
    sparsity_target: float = 0.1
    """Desired mean activation of hidden units."""
    sparsity_cost: float = 0.0
    """Coefficient of the sparsity penalty; 0: none."""
    batch_size: int = 100
    steps: int = 30_000
    """Number of training steps."""
    warmup: int = 100
    """Number of steps over which the learning rate increases linearly."""
    ema_decay: float = 0.999
    """Decay of the average of the parameters that sampling and scoring use, see `optim.ema`."""
    sample_steps: int = 200
    """Default of `Sampling.steps`."""
    anneal: int = 200
    """Default of `Sampling.anneal`."""

    def __post_init__(self):
        """Checks the fields.

        Raises:
          InputError: a field is out of range.
        """
        training.check(self, ("hidden", "k", "chains", "sample_steps"))
        if self.replicas < 2:
            raise InputError(f"model.replicas={self.replicas}: must be at least 2")
        if self.algorithm not in ("cd", "pcd", "pt"):
            raise InputError(f"model.algorithm={self.algorithm}: must be cd, pcd or pt")


PRESETS = {"rbm": Config()}


def architecture(config: Config, spec: DataSpec) -> tuple[Machine, ImageUnits]:
    """The machine of a Config, and the representation of the images of `spec` by its units.

    Raises:
      InputError: the data is a table, or the images are in colour and the pixels Bernoulli.
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
        """The machine with the precision of training and sampling."""
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
        """The layers of a batch whose x is layer 0; hidden units are 0."""
        hidden = jnp.zeros((len(batch.x), self.machine.sizes[1]), batch.x.dtype)
        return (batch.x, hidden, *self.units.label_layer(batch.y))

    def loss(self, params: Params, key: jax.Array, batch: Batch) -> optim.Losses:
        """F(data); for "cd" minus F after k sweeps that start from the data. batch.x is layer 0."""
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
        """Runs k sweeps of the persistent chains. Returns the state, the gradient of their mean F, and metrics."""
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
            state, negative, of_chains = self.negative_phase(key_chains, i, state)
            gradient = jax.tree.map(jnp.subtract, gradient, negative)
            metrics = metrics | of_chains | {"loss": metrics["loss"] - of_chains["chains_free_energy"]}
        offsets = state.offsets
        if config.centred:
            gradient = training.centred(machine, state.params, gradient, offsets)
            # XLA computes this field, which is also in the loss, only once.
            hidden = machine.mean(1, machine.field(state.params, self.layers(batch), 1))
            means = (batch.x, hidden, *self.units.label_layer(batch.y))
            offsets = training.update_offsets(offsets, means, batch.weight)
        gradient = training.decayed(gradient, state.params, config.weight_decay)
        update = optim.train_update(self.optimiser, self.learning_rate, ema_decay=config.ema_decay)
        new, of_update = update(i, state.train, gradient)
        state = state.updated(new)._replace(offsets=offsets)
        return state, metrics | of_update | training.sizes(machine, state.params)

    def score(self, key: jax.Array, state: State, batch: Batch) -> jax.Array:
        """F(v, y) = -log p(v, y) - log Z in nats; pixels are binary draws by `key` if training uses those."""
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
      config: of the training, and of the machine and the optimiser if these are not given.
      spec: of the data, with statistics, from which the initial biases are computed.
      machine: with one hidden layer between pixels and, if the model is conditional, label units. Default: that of
        `architecture`.
      optimiser: any optax transformation with its own learning rate; one that takes extra arguments gets the step
        number as `step`. Default: `training.momentum` with the learning rate of the Config.
      grad: turns the loss into a gradient function. It does not see the offsets of centring.

    Raises:
      InputError: the data is a table, the images are in colour and the pixels Bernoulli, `machine` does not fit, or
        `grad` is private and the gradient centred.
    """
    training.check_parts(config, optimiser, grad)
    default, units = architecture(config, spec)
    if machine is not None:
        images.check_machine(machine, units)
        if len(machine.sizes) != len(default.sizes):
            raise InputError(f"machine: an RBM has {len(default.sizes)} layers, not {len(machine.sizes)}")
    rate = None if optimiser else optim.schedule(config.learning_rate, config.steps, config.warmup, "linear")
    optimiser = optimiser or training.momentum(config.momentum, round(config.momentum_ramp * config.steps))
    rbm = _Rbm(config, machine or default, units, optimiser, rate, grad)
    sample = images.sampler(rbm.training_machine, units, config.sample_steps, config.anneal)
    model = Model(rbm.init, rbm.step, sample, rbm.score, conditional=units.classes > 0, n_classes=units.classes)
    return model._replace(empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The RBM of a Config; see `model`."""
    return model(config, spec, grad=grad)
