r"""Deep Boltzmann machine with a label layer on top (Salakhutdinov & Hinton 2009, AISTATS 5:448).

    -E = sum_j b_j h_j + sum_j h_(j-1) W_j h_j,    h_0 the pixels v, h_1 ... h_L hidden, above them one-hot labels y

1. Greedy pre-training: the layers are trained one after the other, as RBMs by contrastive divergence, each on samples
   of the layer below. In the full machine a hidden layer receives input from both sides. An RBM that lacks one side
   counts the other twice: its upward input is doubled except to the top layer, its downward input except to the pixels.
   So its weights can be used in the full machine unchanged.
2. Joint training: the gradient of E is averaged over q(h | v, y) = prod_j q_j, from mean-field updates, for the data,
   and over persistent chains of block-Gibbs sweeps for the model. This maximises

    log p(v, y) >= -E_q[E] + H(q) - log Z    the ELBO; `score` is E_q[E] - H(q)

The step number determines the phase. Sampling clamps the labels. There is no `log_prob`, because log Z is unknown.
`synthjax.gibbs.partition` estimates log Z by annealed importance sampling; then the ELBO is -score - log Z.

    x = model.sample(key, state, labels, steps=500, method="mean_field")
    >>> spec = DataSpec.from_arrays(jax.device_get(jnp.zeros((9, 4, 4, 1), jnp.uint8)))
    >>> state = jax.eval_shape(build(Config(hidden=(5, 4)), spec).init, jax.random.key(0))  # shapes alone
    >>> jax.eval_shape(build(Config(hidden=(5, 4)), spec).sample, jax.random.key(1), state, jnp.zeros(3)).shape
    (3, 4, 4, 1)
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.gibbs import images, partition, training
from synthjax.gibbs.images import ImageUnits, Sampling
from synthjax.gibbs.machine import Layers, Machine, Params, Temper, uniform
from synthjax.gibbs.training import State
from synthjax.model import Batch, DataSpec, Metrics, Model
from synthjax.train import optim

__all__ = ["PRESETS", "Config", "Sampling", "architecture", "build", "model"]


@dataclass(frozen=True)
class Config:
    """The machine, its training and its sampling. Defaults suit MNIST (Salakhutdinov & Hinton 2009, section 4.1)."""

    hidden: tuple[int, ...] = (500, 1000)
    """Number of units of each hidden layer, from the pixels upwards."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Type of the pixels: Bernoulli for grey images; Gaussian for colour images, with learning rates of about 0.001."""
    binarise: bool = True
    """Whether training and scoring draw binary pixels with the grey value as probability (Bernoulli only)."""
    conditional: bool = True
    """Whether there are softmax units for the label, if the data has labels."""
    pretraining: float = 0.25
    """Share of `steps` for the greedy phase, divided equally between the layers; 0: joint training only."""
    k: int = 1
    """Number of Gibbs sweeps of contrastive divergence in pre-training."""
    joint_k: int = 5
    """Number of Gibbs sweeps of the persistent chains per step of joint training."""
    mean_field_steps: int = 10
    """Number of mean-field sweeps, in training and scoring."""
    chains: int = 100
    """Number of persistent chains."""
    burn_in: int = 200
    """Number of annealed sweeps of the persistent chains before the first step of joint training."""
    half: bool = False
    """Whether joint training and sampling use bfloat16 matrix products, see `Machine.half`."""
    centred: bool = True
    """Whether the gradient is centred (Montavon & Müller 2012). `grad` does not see the batch averages it uses."""
    pretraining_rate: float = 0.02
    """Learning rate of the greedy phase."""
    learning_rate: float = 0.005
    """Initial learning rate of the joint phase; it decays linearly to 0."""
    clip: float = 20.0
    """Maximum global norm of the gradient in joint training. The norm is 12 to 16 for batches of 100 on MNIST. If all
    chains leave the data together, it grows to hundreds and would move all units of a layer until training diverges."""
    momentum: tuple[float, float] = (0.5, 0.9)
    """At step 0, and after the share `momentum_ramp` of the steps (Hinton 2010, section 9)."""
    momentum_ramp: float = 0.05
    """Share of `steps` over which the momentum increases."""
    weight_decay: float = 1e-4
    """Coefficient of the L2 penalty on the weights."""
    sparsity_target: float = 0.1
    """Desired mean activation of hidden units in joint training."""
    sparsity_cost: float = 0.0
    """Coefficient of the sparsity penalty; 0: none."""
    batch_size: int = 100
    steps: int = 40_000
    """Number of training steps of both phases."""
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
        if not self.hidden:
            raise InputError("model.hidden=(): a DBM needs at least one hidden layer")
        if min(self.hidden) < 1:
            raise InputError(f"model.hidden={self.hidden}: every layer must have at least 1 unit")
        training.check(self, ("k", "joint_k", "mean_field_steps", "chains", "sample_steps"))
        if self.burn_in < 0:
            raise InputError(f"model.burn_in={self.burn_in}: must not be negative")
        if not 0 <= self.pretraining < 1:
            raise InputError(f"model.pretraining={self.pretraining}: must be at least 0 and below 1")


PRESETS = {"dbm": Config()}


def architecture(config: Config, spec: DataSpec) -> tuple[Machine, ImageUnits]:
    """The machine of a Config, and the representation of the images of `spec` by its units.

    Raises:
      InputError: the data is a table, or the images are in colour and the pixels Bernoulli.
    """
    units = images.image_units(config, spec, "dbm")
    return images.architecture(units, config.hidden), units


@dataclass(frozen=True)
class _GreedyRbm:
    """The RBM that pre-trains hidden layer `top`: a part of the full machine, with doubled inputs."""

    machine: Machine
    """The full machine."""
    top: int
    last: int
    """Index of the top hidden layer of the full machine, L."""

    @property
    def up(self) -> float:
        """Factor of the upward input."""
        return 1.0 if self.top == self.last else 2.0

    @property
    def down(self) -> float:
        """Factor of the downward input."""
        return 1.0 if self.top == 1 else 2.0

    @property
    def layers(self) -> slice:
        """Its layers in the full machine; those of the top RBM include the labels."""
        return slice(self.top - 1, None if self.top == self.last else self.top + 1)

    @property
    def part(self) -> Machine:
        """Its layers as a separate machine."""
        return Machine(self.machine.sizes[self.layers], self.machine.units[self.layers])

    def restrict(self, params: Params) -> Params:
        """Its part of the parameters of the full machine."""
        weights = params.weights[self.top - 1 :] if self.top == self.last else params.weights[self.top - 1 : self.top]
        log_var = params.log_var if self.top == 1 else jnp.zeros((), jnp.float32)
        return Params(weights, params.biases[self.layers], log_var)

    def embed(self, part: Params, like: Params) -> Params:
        """The inverse of `restrict`: parameters of the full machine that are `part` here and 0 elsewhere."""
        full = jax.tree.map(jnp.zeros_like, like)
        weights, biases = list(full.weights), list(full.biases)
        weights[self.top - 1 : self.top - 1 + len(part.weights)] = part.weights
        biases[self.layers] = part.biases
        return Params(tuple(weights), tuple(biases), part.log_var if self.top == 1 else full.log_var)

    def hidden(self, params: Params, layers: Layers) -> jax.Array:
        """Total input of the hidden layer, from its data and from the labels if there are any."""
        data = self.part.seen(params, 0, layers[0])
        field = params.biases[1][None] + self.up * (data @ params.weights[0])
        return field + layers[2] @ params.weights[1].T if len(layers) == 3 else field

    def sweep(self, key: jax.Array, params: Params, layers: Layers) -> Layers:
        """Draws the hidden layer, then the layers connected to it."""
        key_hidden, key_data, key_label = jax.random.split(key, 3)
        part = self.part
        h = part.draw(key_hidden, 1, self.hidden(params, layers), params.log_var)
        field = params.biases[0][None] + self.down * (h @ params.weights[0].T)
        data = part.draw(key_data, 0, field, params.log_var)
        if len(layers) < 3:
            return data, h
        return data, h, part.draw(key_label, 2, params.biases[2][None] + h @ params.weights[1], params.log_var)

    def loss(self, params: Params, key: jax.Array, layers: Layers, k: int) -> jax.Array:
        """E(data) - E(after k sweeps from the data), with hidden units at their means: (B,)."""
        params = self.restrict(params)
        fixed = jax.lax.stop_gradient(params)

        def energy(layers: Layers) -> jax.Array:
            h = jax.nn.sigmoid(self.hidden(fixed, layers))
            return self.part.energy(params, (layers[0], h, *layers[2:]))

        swept = jax.lax.fori_loop(0, k, lambda i, layers: self.sweep(jax.random.fold_in(key, i), fixed, layers), layers)
        return energy(layers) - energy(swept)


class _Phase(NamedTuple):
    """The results of a step in either phase."""

    gradient: Params
    means: Layers
    """(B, n_j) each: means of all layers given the data."""
    chains: Layers
    trace: jax.Array
    metrics: Metrics


@dataclass(frozen=True)
class _Dbm:
    """The functions of the model."""

    config: Config
    machine: Machine
    units: ImageUnits
    optimiser: optax.GradientTransformation | None
    grad: optim.Grad

    @property
    def training_machine(self) -> Machine:
        """The machine with the precision of joint training and sampling."""
        return dataclasses.replace(self.machine, half=self.config.half)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.machine.sizes) - 1 - (self.units.classes > 0)

    @property
    def greedy_steps(self) -> int:
        """Number of greedy steps per layer."""
        return round(self.config.pretraining * self.config.steps / self.depth)

    @property
    def joint_start(self) -> int:
        """First step of joint training."""
        return self.greedy_steps * self.depth

    def learning_rate(self, i: Any) -> jax.Array:
        """The schedule of the default optimiser."""
        config = self.config
        joint = max(config.steps - self.joint_start, 1)
        share = jnp.clip(jnp.asarray(i - self.joint_start, jnp.float32) / joint, 0.0, 1.0)
        return jnp.where(i < self.joint_start, config.pretraining_rate, config.learning_rate * (1 - share))

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optimiser given by the caller, or the default."""
        config = self.config
        return self.optimiser or training.momentum(config.momentum, round(config.momentum_ramp * config.steps))

    def infer(self, machine: Machine, params: Params, x: jax.Array, y: jax.Array) -> Layers:
        """Mean-field means of all layers given pixels x (B, n_0) and labels y (B,)."""
        label = self.units.label_layer(y)
        return machine.infer(params, x, label[0] if label else None, self.config.mean_field_steps)

    def pretrain(self, top: int, key: jax.Array, i: Any, state: State, batch: Batch) -> _Phase:
        """A greedy step for hidden layer `top`; batch.x is layer 0."""
        config, machine = self.config, self.machine
        greedy = _GreedyRbm(machine, top, self.depth)
        means = machine.ascend(state.params, batch.x)[: 1 + self.depth]

        def loss(params: Params, key: jax.Array, batch: Batch) -> optim.Losses:
            key_below, key_sweeps = jax.random.split(key)
            below = machine.ascend(jax.lax.stop_gradient(params), batch.x)[top - 1]
            if top > 1:
                below = (uniform(key_below, below.shape) < below).astype(below.dtype)
            label = self.units.label_layer(batch.y) if top == self.depth else ()
            layers = (below, jnp.zeros((len(below), machine.sizes[top]), below.dtype), *label)
            losses = greedy.loss(params, key_sweeps, layers, config.k)
            return optim.Losses(losses, {"free_energy": jnp.zeros_like(losses)})

        gradient, metrics, _ = self.grad(loss)(state.params, key, batch)
        part, params = greedy.restrict(gradient), greedy.restrict(state.params)
        if config.centred:
            part = training.centred(greedy.part, params, part, state.offsets[greedy.layers])
        part = training.decayed(part, params, config.weight_decay)
        mixing = training.mixing(state.trace, state.trace[:, 0], i)[1]
        metrics = metrics | jax.tree.map(jnp.zeros_like, mixing)
        means = (*means, *self.units.label_layer(batch.y))
        return _Phase(greedy.embed(part, gradient), means, state.chains, state.trace, metrics)

    def joint_loss(self, params: Params, key: jax.Array, batch: Batch) -> optim.Losses:
        """E of the mean-field means, which are in batch.x."""
        config, machine = self.config, self.training_machine
        q: Layers = batch.x  # type: ignore[assignment]
        losses = machine.energy(params, q)
        free = machine.variational_free_energy(params, q, self.units.classes > 0)
        if not training.is_zero(config.sparsity_cost):
            for j in range(1, 1 + self.depth):
                penalty = training.sparsity(machine.field(params, q, j), config.sparsity_target)
                losses = losses + config.sparsity_cost * penalty
        return optim.Losses(losses, {"free_energy": free})

    def burn_in(self, key: jax.Array, state: State) -> Layers:
        """Anneals the persistent chains from the machine without couplings to the full machine."""

        def body(n: jax.Array, layers: Layers) -> Layers:
            temper = Temper(jnp.asarray(n + 1, jnp.float32) / (self.config.burn_in + 1), state.base)
            return self.machine.sweep(jax.random.fold_in(key, n), state.params, layers, temper=temper)

        return jax.lax.fori_loop(0, self.config.burn_in, body, state.chains)

    def joint(self, key: jax.Array, i: Any, state: State, batch: Batch) -> _Phase:
        """A joint step for all layers; batch.x is layer 0."""
        config, machine = self.config, self.training_machine
        key_loss, key_burn_in, key_chains = jax.random.split(key, 3)
        means = self.infer(machine, state.params, batch.x, batch.y)
        chains = jax.lax.cond(i == self.joint_start, lambda: self.burn_in(key_burn_in, state), lambda: state.chains)
        chains = machine.chain(key_chains, state.params, chains, config.joint_k)
        # The means of an example do not depend on other examples, so they can replace it in the batch for `grad`.
        batch = batch._replace(x=means)  # type: ignore[arg-type]
        gradient, metrics, _ = self.grad(self.joint_loss)(state.params, key_loss, batch)
        kept = 1 - partition.summed(machine)
        # The gradient of the free energy has the same expectation as that of the energy, and a lower variance.
        value, negative = training.model_side(lambda p: machine.free_energy(p, chains, kept), state.params)
        trace, mixing = training.mixing(state.trace, value, i - self.joint_start)
        gradient = jax.tree.map(jnp.subtract, gradient, negative)
        if config.centred:
            gradient = training.centred(machine, state.params, gradient, state.offsets)
        gradient, _ = optax.clip_by_global_norm(config.clip).update(gradient, optax.EmptyState())
        gradient = training.decayed(gradient, state.params, config.weight_decay)
        loss = metrics["loss"] - machine.energy(state.params, chains).mean()
        return _Phase(gradient, means, chains, trace, metrics | mixing | {"loss": loss})

    def init(self, key: jax.Array) -> State:
        key_weights, key_chains = jax.random.split(key)
        bias, log_var = self.units.pixel_statistics()
        params = self.machine.init(key_weights, (bias, *self.machine.zero_biases()[1:]), log_var)
        chains = self.machine.start(key_chains, params, params.biases, self.config.chains)
        return State.create(self.machine, params, self.transformation, chains, self.config.chains)

    def step(self, key: jax.Array, i: Any, state: State, batch: Batch) -> tuple[State, Metrics]:
        config = self.config
        key_pixels, key_phase = jax.random.split(key)
        batch = batch._replace(x=self.units.from_images(key_pixels, batch.x, config.half))
        if self.greedy_steps:
            phases: list[Any] = [functools.partial(self.pretrain, top) for top in range(1, 1 + self.depth)]
            phases.append(self.joint)
            phase = jnp.minimum(i // self.greedy_steps, self.depth)
            result = jax.lax.switch(phase, phases, key_phase, i, state, batch)
        else:
            result = self.joint(key_phase, i, state, batch)
        rate = None if self.optimiser else self.learning_rate
        update = optim.train_update(self.transformation, rate, ema_decay=config.ema_decay)
        new, metrics = update(i, state.train, result.gradient)
        offsets = state.offsets
        if config.centred:
            offsets = training.update_offsets(offsets, result.means, batch.weight)
        state = state.updated(new)._replace(offsets=offsets, chains=result.chains, trace=result.trace)
        return state, result.metrics | metrics | training.sizes(self.machine, state.params)

    def score(self, key: jax.Array, state: State, batch: Batch) -> jax.Array:
        """E_q[E] - H(q) = -ELBO - log Z in nats; pixels are binary draws by `key` if training uses those."""
        q = self.infer(self.machine, state.ema, self.units.from_images(key, batch.x), batch.y)
        return self.machine.variational_free_energy(state.ema, q, self.units.classes > 0)


def model(
    config: Config,
    spec: DataSpec,
    *,
    machine: Machine | None = None,
    optimiser: optax.GradientTransformation | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A DBM of images.

    Args:
      config: of the training, and of the machine and the optimiser if these are not given.
      spec: of the data, with statistics, from which the initial biases are computed.
      machine: with hidden layers between pixels and, if the model is conditional, label units. Default: the Config's.
      optimiser: any optax transformation with its own learning rate; one that takes extra arguments gets the step
        number as `step`. In the greedy phase the gradients of layers that are not being trained are zero. Default:
        `training.momentum` with the learning rates of the Config.
      grad: turns the losses into gradient functions. It does not see the offsets of centring.

    Raises:
      InputError: the data is a table, `machine` does not fit the images, or `grad` is private and the gradient centred.
    """
    training.check_parts(config, optimiser, grad)
    default, units = architecture(config, spec)
    if machine is not None:
        images.check_machine(machine, units)
        if len(machine.sizes) < 2 + (units.classes > 0):
            raise InputError("machine: a DBM needs at least one hidden layer")
    dbm = _Dbm(config, machine or default, units, optimiser, grad)
    sample = images.sampler(dbm.training_machine, units, config.sample_steps, config.anneal)
    model = Model(dbm.init, dbm.step, sample, dbm.score, conditional=units.classes > 0, n_classes=units.classes)
    return model._replace(empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The DBM of a Config; see `model`."""
    return model(config, spec, grad=grad)
