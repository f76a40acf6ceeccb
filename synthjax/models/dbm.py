r"""Deep Boltzmann machine with labels on top (Salakhutdinov & Hinton 2009, AISTATS 5:448).

    -E = sum_j b_j h_j + sum_j h_(j-1) W_j h_j,    h_0 the pixels v, h_1 ... h_L hidden, above them one-hot labels y

1. Greedy pre-training: layer by layer as RBMs by contrastive divergence, each on draws from the one below. In the
   machine as a whole a hidden layer gets input from both sides; an RBM that lacks one side counts the other twice: its
   way up is doubled except to the top layer, its way down except to the pixels. So the couplings are those of the whole
   machine as they are.
2. Joint training: dE is averaged over q(h | v, y) = prod_j q_j, found by mean-field updates, for the data, and over
   persistent chains of block-Gibbs sweeps for the model. That climbs

    log p(v, y) >= -E_q[E] + H(q) - log Z    the ELBO; `score` is E_q[E] - H(q), which lacks log Z alone

The step counter says which phase it is. Sampling clamps the labels.

    model = build(Config(hidden=(100, 100)), spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, batch)
    x = model.sample(key, state, labels, steps=500)
    x = model.sample(key, state, labels, method="mean_field")
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.gibbs import images, partition, training
from synthjax.gibbs.machine import Layers, Machine, Params, Temper, Units
from synthjax.gibbs.training import State
from synthjax.model import Batch, DataSpec, Metrics, Model
from synthjax.train import optim


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
    """Gibbs sweeps of the persistent chains a step of joint training."""
    mean_field_steps: int = 10
    """Sweeps of mean-field updates, for training and scores."""
    chains: int = 100
    """Persistent chains."""
    burn_in: int = 200
    """Annealed sweeps that the persistent chains start with, when joint training does."""
    half: bool = False
    """Matrix products of joint training and of sampling in bfloat16, see `Machine.half`."""
    centred: bool = True
    """Centred gradient (Montavon & Müller 2012)."""
    pretraining_rate: float = 0.02
    """Learning rate of the greedy phase."""
    learning_rate: float = 0.005
    """Of the joint phase; falls to 0 (linear)."""
    clip: float = 20.0
    """Largest global norm of joint training's gradient, which is 12 to 16 for batches of 100 on MNIST. Chains that all
    leave the data together bring it to hundreds, and then push all units of a layer at once, until they blow up."""
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
    """Gibbs sweeps of an image at the end of its chain; default of the option `steps`."""
    anneal: int = 200
    """Sweeps before those, on the way from the machine without couplings; default of the option."""


PRESETS = {"dbm": Config()}


def _check(config: Config) -> None:
    if not config.hidden:
        raise InputError("model.hidden=(): a DBM needs at least one hidden layer")
    training.check(config, ("k", "joint_k", "mean_field_steps", "chains", "sample_steps"))
    if config.clip <= 0:
        raise InputError(f"model.clip={config.clip}: must be positive")
    if config.burn_in < 0:
        raise InputError(f"model.burn_in={config.burn_in}: must not be negative")
    if not 0 <= config.pretraining < 1:
        raise InputError(f"model.pretraining={config.pretraining}: must be at least 0 and below 1")


def form(config: Config, spec: DataSpec) -> tuple[Machine, images.Pictures]:
    """The machine of a Config, and how it holds images: what `synthjax.gibbs` wants to know of a trained run.

    Raises:
      InputError: as `build`.
    """
    _check(config)
    pictures = images.pictures(spec, config.visible, config.binarise, config.conditional, "dbm")
    sizes: tuple[int, ...] = (spec.dims, *config.hidden)
    hidden: list[Units] = ["bernoulli" for _ in config.hidden]
    units: tuple[Units, ...] = (config.visible, *hidden)
    if pictures.classes:
        sizes, units = (*sizes, pictures.classes), (*units, "softmax")
    return Machine(sizes, units), pictures


@dataclass(frozen=True)
class _Greedy:
    """The RBM of hidden layer `top` in pre-training: a part of the whole machine, with doubled ways."""

    machine: Machine
    top: int
    last: int
    """The top hidden layer of the whole machine, L."""

    @property
    def up(self) -> float:
        return 1.0 if self.top == self.last else 2.0

    @property
    def down(self) -> float:
        return 1.0 if self.top == 1 else 2.0

    @property
    def layers(self) -> slice:
        """Of the whole machine; the top one takes the labels with it."""
        return slice(self.top - 1, None if self.top == self.last else self.top + 1)

    @property
    def part(self) -> Machine:
        return Machine(self.machine.sizes[self.layers], self.machine.units[self.layers])

    def of(self, params: Params) -> Params:
        """Its share of the parameters."""
        weights = params.weights[self.top - 1 :] if self.top == self.last else params.weights[self.top - 1 : self.top]
        log_var = params.log_var if self.top == 1 else jnp.zeros(())
        return Params(weights, params.biases[self.layers], log_var)

    def whole(self, part: Params, like: Params) -> Params:
        """The other way round, with zeros where it has no share."""
        weights, biases = (
            list(jax.tree.map(jnp.zeros_like, like.weights)),
            list(jax.tree.map(jnp.zeros_like, like.biases)),
        )
        weights[self.top - 1 : self.top - 1 + len(part.weights)] = part.weights
        biases[self.layers] = part.biases
        return Params(tuple(weights), tuple(biases), part.log_var if self.top == 1 else jnp.zeros_like(like.log_var))

    def hidden(self, params: Params, layers: Layers) -> jax.Array:
        """Field of the hidden layer given its data, and labels, if any."""
        field = params.biases[1] + self.up * (self.part.seen(params, 0, layers[0]) @ params.weights[0])
        return field + layers[2] @ params.weights[1].T if len(layers) == 3 else field

    def sweep(self, key, params: Params, layers: Layers) -> Layers:
        """The hidden layer drawn, then all it is joined to."""
        key_hidden, key_data, key_label = jax.random.split(key, 3)
        part = self.part
        h = part.draw(key_hidden, 1, self.hidden(params, layers), params.log_var)
        data = part.draw(key_data, 0, params.biases[0] + self.down * (h @ params.weights[0].T), params.log_var)
        if len(layers) < 3:
            return data, h
        return data, h, part.draw(key_label, 2, params.biases[2] + h @ params.weights[1], params.log_var)

    def loss(self, params: Params, key, layers: Layers, k: int) -> jax.Array:
        """E(data) - E(k sweeps from there), hidden units at their means: (B,)."""
        own = self.of(params)
        fixed = jax.lax.stop_gradient(own)

        def energy(layers):
            h = jax.nn.sigmoid(self.hidden(fixed, layers))
            return self.part.energy(own, (layers[0], h, *layers[2:]))

        swept = jax.lax.fori_loop(0, k, lambda i, layers: self.sweep(jax.random.fold_in(key, i), fixed, layers), layers)
        return energy(layers) - energy(swept)


@dataclass(frozen=True)
class _Dbm:
    """The functions of the model, for one Config and DataSpec."""

    config: Config
    machine: Machine
    pictures: images.Pictures
    grad: optim.Grad

    @property
    def greedy_steps(self) -> int:
        """Of each layer."""
        return round(self.config.pretraining * self.config.steps / len(self.config.hidden))

    @property
    def joint_start(self) -> int:
        return self.greedy_steps * len(self.config.hidden)

    def infer(self, machine: Machine, params: Params, x: jax.Array, y: jax.Array) -> Layers:
        """Means of all layers given pixels x (B, n_0) and labels."""
        label = self.pictures.label(y)
        return machine.infer(params, x, label[0] if label else None, self.config.mean_field_steps)

    def rate(self, i) -> jax.Array:
        config = self.config
        share = jnp.clip((i - self.joint_start) / max(config.steps - self.joint_start, 1), 0.0, 1.0)
        return jnp.where(i < self.joint_start, config.pretraining_rate, config.learning_rate * (1 - share))

    def pretrain(self, top: int, key, i, state: State, batch: Batch):
        """(gradient, means, (chains, trace), metrics) of a step for hidden layer `top`; batch.x holds layer 0."""
        config, machine = self.config, self.machine
        greedy = _Greedy(machine, top, len(config.hidden))
        means = machine.ascend(state.params, batch.x)[: 1 + len(config.hidden)]

        def loss(params, key, batch: Batch):
            key_below, key_sweeps = jax.random.split(key)
            below = machine.ascend(jax.lax.stop_gradient(params), batch.x)[top - 1]
            if top > 1:
                below = jnp.float32(jax.random.uniform(key_below, below.shape) < below)
            label = self.pictures.label(batch.y) if top == len(config.hidden) else ()
            layers = (below, jnp.zeros((len(below), machine.sizes[top])), *label)
            losses = greedy.loss(params, key_sweeps, layers, config.k)
            return losses, {"free_energy": jnp.zeros_like(losses)}

        gradient, metrics = self.grad(loss)(state.params, key, batch)
        own, params = greedy.of(gradient), greedy.of(state.params)
        if config.centred:
            own = training.centred(greedy.part, params, own, state.offsets[greedy.layers])
        own = training.decayed(own, params, config.weight_decay)
        metrics |= jax.tree.map(jnp.zeros_like, training.mixing(state.trace, state.trace[:, 0], i)[1])
        chains = state.chains, state.trace
        return greedy.whole(own, gradient), (*means, *self.pictures.label(batch.y)), chains, metrics

    def joint(self, key, i, state: State, batch: Batch):
        """The same for all layers together."""
        config, machine = self.config, self.machine
        key_loss, key_burn, key_chains = jax.random.split(key, 3)
        quick = dataclasses.replace(machine, half=config.half)
        means = self.infer(quick, state.params, batch.x, batch.y)

        def loss(params, key, batch: Batch):
            q: Layers = batch.x  # type: ignore[assignment]
            losses = quick.energy(params, q)
            free = quick.variational_free_energy(params, q, self.pictures.classes > 0)
            for j in range(1, len(config.hidden) + 1 if config.sparsity_cost else 0):
                activity = training.sparsity(quick.field(params, q, j), config.sparsity_target)
                losses = losses + config.sparsity_cost * activity
            return losses, {"free_energy": free}

        def burn_in(layers):
            def body(n, layers):
                temper = Temper((n + 1) / (config.burn_in + 1), state.base)
                return machine.sweep(jax.random.fold_in(key_burn, n), state.params, layers, temper=temper)

            return jax.lax.fori_loop(0, config.burn_in, body, layers)

        chains = jax.lax.cond(i == self.joint_start, burn_in, lambda layers: layers, state.chains)
        chains = quick.chain(key_chains, state.params, chains, config.joint_k)
        # Each example's means depend on no other example, so that they can stand in the batch for it.
        gradient, metrics = self.grad(loss)(state.params, key_loss, batch._replace(x=means))  # type: ignore[arg-type]
        kept = 1 - partition.summed(machine)
        # The same expectation as that of the energy's gradient, with less noise.
        value, negative = training.model_side(lambda p: quick.free_energy(p, chains, kept), state.params)
        trace, mixing = training.mixing(state.trace, value, i - self.joint_start)
        gradient = jax.tree.map(jnp.subtract, gradient, negative)
        if config.centred:
            gradient = training.centred(machine, state.params, gradient, state.offsets)
        gradient = training.clipped(gradient, config.clip)
        gradient = training.decayed(gradient, state.params, config.weight_decay)
        metrics["loss"] -= machine.energy(state.params, chains).mean()
        return gradient, means, (chains, trace), metrics | mixing

    def init(self, key, batch: Batch) -> State:
        key_weights, key_chains = jax.random.split(key)
        bias, log_var = self.pictures.statistics(batch)
        base = (bias, *self.machine.flat()[1:])
        params = self.machine.init(key_weights, base, log_var)
        chains = self.machine.start(key_chains, params, base, self.config.chains)
        # Copies: a state that is donated may not hold one array twice.
        return training.first(self.machine, params, jax.tree.map(jnp.copy, base), chains)

    def step(self, key, i, state: State, batch: Batch) -> tuple[State, Metrics]:
        config = self.config
        key_pixels, key_phase = jax.random.split(key)
        batch = batch._replace(x=self.pictures.observe(key_pixels, batch.x, config.half))

        def greedy(top):
            return lambda key, i, state, batch: self.pretrain(top, key, i, state, batch)

        if self.greedy_steps:
            phases = [*(greedy(top) for top in range(1, len(config.hidden) + 1)), self.joint]
            phase = jnp.minimum(i // self.greedy_steps, len(config.hidden))
            found = jax.lax.switch(phase, phases, key_phase, i, state, batch)
        else:
            found = self.joint(key_phase, i, state, batch)
        gradient, means, (chains, trace), metrics = found
        inertia = training.momentum(i, config.momentum, round(config.momentum_ramp * config.steps))
        velocity = training.moving(state.velocity, gradient, self.rate(i), inertia)
        params = jax.tree.map(jnp.add, state.params, velocity)
        average = optim.ema(state.ema, params, i, config.ema_decay)
        offsets = training.moved(state.offsets, means, batch) if config.centred else state.offsets
        metrics = metrics | training.sizes(self.machine, params) | {"learning_rate": self.rate(i)}
        return State(params, average, velocity, state.base, offsets, chains, trace), metrics

    def score(self, key, state: State, batch: Batch) -> jax.Array:
        """E_q[E] - H(q): -ELBO = this + log Z; pixels drawn black or white from `key` where trained so."""
        q = self.infer(self.machine, state.ema, self.pictures.observe(key, batch.x), batch.y)
        return self.machine.variational_free_energy(state.ema, q, self.pictures.classes > 0)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A DBM of images of that shape.

    The first biases and the offsets of centring are means over data, which `grad` does not see.

    Raises:
      InputError: the data is no image, has colours for Bernoulli units, or a field is out of its range.
    """
    machine, pictures = form(config, spec)
    one = _Dbm(config, machine, pictures, grad)
    sample = images.sampler(
        dataclasses.replace(machine, half=config.half), pictures, images.Defaults(config.sample_steps, config.anneal)
    )
    return Model(one.init, one.step, sample, one.score, conditional=pictures.classes > 0, n_classes=pictures.classes)
