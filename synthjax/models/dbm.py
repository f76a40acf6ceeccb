r"""Deep Boltzmann machine with labels on top (Salakhutdinov & Hinton 2009, AISTATS 5:448).

    -E = sum_j b_j h_j + sum_j h_(j-1) W_j h_j,    h_0 the pixels v, h_1 ... h_L hidden, above them one-hot labels y

1. Greedy pre-training: layer by layer as RBMs by contrastive divergence, each on draws from the one below. In the
   whole machine a hidden layer gets input from both sides. An RBM that lacks one side counts the other twice: its
   upward input is doubled except to the top layer, its downward input except to the pixels. So the weights can be used
   in the whole machine unchanged.
2. Joint training: dE is averaged over q(h | v, y) = prod_j q_j, found by mean-field updates, for the data, and over
   persistent chains of block-Gibbs sweeps for the model. That maximises

    log p(v, y) >= -E_q[E] + H(q) - log Z    the ELBO; `score` is E_q[E] - H(q)

The step number decides the phase. Sampling clamps the labels. There is no `log_prob`: log Z is not known.
`synthjax.gibbs.partition` estimates it by annealed importance sampling, and then the ELBO is -score - log Z.

    model = build(Config(hidden=(100, 100)), spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=500)
    x = model.sample(key, state, labels, method="mean_field")
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
    """The machine, its phases and how it is sampled. Defaults suit MNIST (Salakhutdinov & Hinton 2009, section 4.1)."""

    hidden: tuple[int, ...] = (500, 1000)
    """Units of each hidden layer, from the pixels upwards."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Pixels: Bernoulli for grey images, Gaussian for colour; those want learning rates of 0.001 or so."""
    binarise: bool = True
    """Draw pixels black or white with their grey value as probability, in training and scoring (Bernoulli only)."""
    conditional: bool = True
    """Softmax units for the label on top, where the data has one."""
    pretraining: float = 0.25
    """Share of `steps` for the greedy phase, the same for each layer; 0: joint training from the start."""
    k: int = 1
    """Gibbs sweeps of contrastive divergence in pre-training."""
    joint_k: int = 5
    """Gibbs sweeps of the persistent chains per step of joint training."""
    mean_field_steps: int = 10
    """Sweeps of mean-field updates, in training and scoring."""
    chains: int = 100
    """Number of persistent chains."""
    burn_in: int = 200
    """Annealed sweeps of the persistent chains before the first step of joint training."""
    half: bool = False
    """Matrix products of joint training and of sampling in bfloat16, see `Machine.half`."""
    centred: bool = True
    """Centred gradient (Montavon & Müller 2012). Its offsets are averages over batches that `grad` does not see."""
    pretraining_rate: float = 0.02
    """Learning rate of the greedy phase."""
    learning_rate: float = 0.005
    """Of the joint phase; falls to 0 (linear)."""
    clip: float = 20.0
    """Largest global norm of joint training's gradient, which is 12 to 16 for batches of 100 on MNIST. If all chains
    leave the data together it grows to hundreds, which moves all units of a layer at once until training diverges."""
    momentum: tuple[float, float] = (0.5, 0.9)
    """At the start, and from `momentum_ramp` on (Hinton 2010, section 9)."""
    momentum_ramp: float = 0.05
    """Share of `steps`."""
    weight_decay: float = 1e-4
    """L2, of couplings."""
    sparsity_target: float = 0.1
    """Wanted mean activity of hidden units, in joint training."""
    sparsity_cost: float = 0.0
    """Weight of the cross-entropy with it; 0: none."""
    batch_size: int = 100
    steps: int = 40_000
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
    """The machine of a Config, and how its units represent the images of `spec`.

    Raises:
      InputError: the data is no image, or has colours for Bernoulli units.
    """
    units = images.image_units(config, spec, "dbm")
    return images.architecture(units, config.hidden), units


@dataclass(frozen=True)
class _GreedyRbm:
    """The RBM of hidden layer `top` in pre-training: a part of the whole machine, with doubled inputs."""

    machine: Machine
    top: int
    last: int
    """The top hidden layer of the whole machine, L."""

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
        """Its layers in the whole machine; those of the top RBM include the labels."""
        return slice(self.top - 1, None if self.top == self.last else self.top + 1)

    @property
    def part(self) -> Machine:
        """Its layers as a machine of their own."""
        return Machine(self.machine.sizes[self.layers], self.machine.units[self.layers])

    def restrict(self, params: Params) -> Params:
        """Its part of the whole machine's parameters."""
        weights = params.weights[self.top - 1 :] if self.top == self.last else params.weights[self.top - 1 : self.top]
        log_var = params.log_var if self.top == 1 else jnp.zeros((), jnp.float32)
        return Params(weights, params.biases[self.layers], log_var)

    def embed(self, part: Params, like: Params) -> Params:
        """Parameters like those of the whole machine: `part`, and zeros elsewhere."""
        whole = jax.tree.map(jnp.zeros_like, like)
        weights, biases = list(whole.weights), list(whole.biases)
        weights[self.top - 1 : self.top - 1 + len(part.weights)] = part.weights
        biases[self.layers] = part.biases
        return Params(tuple(weights), tuple(biases), part.log_var if self.top == 1 else whole.log_var)

    def hidden(self, params: Params, layers: Layers) -> jax.Array:
        """Input of the hidden layer from its data and, if there are any, the labels."""
        data = self.part.seen(params, 0, layers[0])
        field = params.biases[1][None] + self.up * (data @ params.weights[0])
        return field + layers[2] @ params.weights[1].T if len(layers) == 3 else field

    def sweep(self, key: jax.Array, params: Params, layers: Layers) -> Layers:
        """The hidden layer drawn, then the layers that it is coupled to."""
        key_hidden, key_data, key_label = jax.random.split(key, 3)
        part = self.part
        h = part.draw(key_hidden, 1, self.hidden(params, layers), params.log_var)
        field = params.biases[0][None] + self.down * (h @ params.weights[0].T)
        data = part.draw(key_data, 0, field, params.log_var)
        if len(layers) < 3:
            return data, h
        return data, h, part.draw(key_label, 2, params.biases[2][None] + h @ params.weights[1], params.log_var)

    def loss(self, params: Params, key: jax.Array, layers: Layers, k: int) -> jax.Array:
        """E(data) - E(after k sweeps from there), with hidden units at their means: (B,)."""
        own = self.restrict(params)
        fixed = jax.lax.stop_gradient(own)

        def energy(layers: Layers) -> jax.Array:
            h = jax.nn.sigmoid(self.hidden(fixed, layers))
            return self.part.energy(own, (layers[0], h, *layers[2:]))

        swept = jax.lax.fori_loop(0, k, lambda i, layers: self.sweep(jax.random.fold_in(key, i), fixed, layers), layers)
        return energy(layers) - energy(swept)


class _Phase(NamedTuple):
    """What a step of either phase finds."""

    gradient: Params
    means: Layers
    """Of all layers given the data: (B, n_j) each."""
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
        """The machine with products as joint training and sampling take them."""
        return dataclasses.replace(self.machine, half=self.config.half)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.machine.sizes) - 1 - (self.units.classes > 0)

    @property
    def greedy_steps(self) -> int:
        """Steps of the greedy phase per layer."""
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
        """The optimiser that was handed in, or the default."""
        config = self.config
        return self.optimiser or training.momentum(config.momentum, round(config.momentum_ramp * config.steps))

    def infer(self, machine: Machine, params: Params, x: jax.Array, y: jax.Array) -> Layers:
        """Mean-field means of all layers given pixels x (B, n_0) and labels."""
        label = self.units.label_layer(y)
        return machine.infer(params, x, label[0] if label else None, self.config.mean_field_steps)

    def pretrain(self, top: int, key: jax.Array, i: Any, state: State, batch: Batch) -> _Phase:
        """A step for hidden layer `top`; batch.x is layer 0."""
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
        own, params = greedy.restrict(gradient), greedy.restrict(state.params)
        if config.centred:
            own = training.centred(greedy.part, params, own, state.offsets[greedy.layers])
        own = training.decayed(own, params, config.weight_decay)
        mixing = training.mixing(state.trace, state.trace[:, 0], i)[1]
        metrics = metrics | jax.tree.map(jnp.zeros_like, mixing)
        means = (*means, *self.units.label_layer(batch.y))
        return _Phase(greedy.embed(own, gradient), means, state.chains, state.trace, metrics)

    def joint_loss(self, params: Params, key: jax.Array, batch: Batch) -> optim.Losses:
        """E of the mean-field means, which batch.x holds."""
        config, machine = self.config, self.training_machine
        q: Layers = batch.x  # type: ignore[assignment]
        losses = machine.energy(params, q)
        free = machine.variational_free_energy(params, q, self.units.classes > 0)
        if not training.is_zero(config.sparsity_cost):
            for j in range(1, 1 + self.depth):
                activity = training.sparsity(machine.field(params, q, j), config.sparsity_target)
                losses = losses + config.sparsity_cost * activity
        return optim.Losses(losses, {"free_energy": free})

    def burned_in(self, key: jax.Array, state: State) -> Layers:
        """The persistent chains after annealed sweeps from the machine without couplings."""

        def body(n: jax.Array, layers: Layers) -> Layers:
            temper = Temper(jnp.asarray(n + 1, jnp.float32) / (self.config.burn_in + 1), state.base)
            return self.machine.sweep(jax.random.fold_in(key, n), state.params, layers, temper=temper)

        return jax.lax.fori_loop(0, self.config.burn_in, body, state.chains)

    def joint(self, key: jax.Array, i: Any, state: State, batch: Batch) -> _Phase:
        """A step for all layers; batch.x is layer 0."""
        config, machine = self.config, self.training_machine
        key_loss, key_burn, key_chains = jax.random.split(key, 3)
        means = self.infer(machine, state.params, batch.x, batch.y)
        chains = jax.lax.cond(i == self.joint_start, lambda: self.burned_in(key_burn, state), lambda: state.chains)
        chains = machine.chain(key_chains, state.params, chains, config.joint_k)
        # The means of each example depend on no other example, so they can replace it in the batch.
        batch = batch._replace(x=means)  # type: ignore[arg-type]
        gradient, metrics, _ = self.grad(self.joint_loss)(state.params, key_loss, batch)
        kept = 1 - partition.summed(machine)
        # The same expectation as that of the energy's gradient, with less noise.
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
            found = jax.lax.switch(phase, phases, key_phase, i, state, batch)
        else:
            found = self.joint(key_phase, i, state, batch)
        rate = None if self.optimiser else self.learning_rate
        update = optim.train_update(self.transformation, rate, ema_decay=config.ema_decay)
        new, metrics = update(i, state.train, found.gradient)
        offsets = state.offsets
        if config.centred:
            offsets = training.update_offsets(offsets, found.means, batch.weight)
        state = state.updated(new)._replace(offsets=offsets, chains=found.chains, trace=found.trace)
        return state, found.metrics | metrics | training.sizes(self.machine, state.params)

    def score(self, key: jax.Array, state: State, batch: Batch) -> jax.Array:
        """E_q[E] - H(q) in nats, which is -ELBO - log Z; pixels are drawn from `key` if the model is trained so."""
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
      config: how the machine is trained; and the machine and the optimiser, where none is handed in.
      spec: of the data, with its statistics, from which the first biases are computed.
      machine: hidden layers between pixels and, if the model is conditional, label units. Default: that of
        `architecture`.
      optimiser: any optax transformation, with a learning rate of its own; one with extra arguments gets the step
        number as `step`. In the greedy phase it sees zero gradients of the layers that are not being trained. Default:
        `training.momentum`, with the learning rates of the Config.
      grad: turns the losses into gradients. It does not see the offsets of centring.

    Raises:
      InputError: the data is no image, has colours for Bernoulli units, or the machine does not fit it.
    """
    own, units = architecture(config, spec)
    if machine is not None:
        images.check_machine(machine, units)
        if len(machine.sizes) < 2 + (units.classes > 0):
            raise InputError("machine: a DBM needs at least one hidden layer")
    one = _Dbm(config, machine or own, units, optimiser, grad)
    sample = images.sampler(one.training_machine, units, config.sample_steps, config.anneal)
    model = Model(one.init, one.step, sample, one.score, conditional=units.classes > 0, n_classes=units.classes)
    return model._replace(empty_classes=spec.empty_classes)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """The DBM of a Config; see `model`."""
    return model(config, spec, grad=grad)
