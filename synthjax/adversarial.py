r"""Training of GANs: a generator and a critic, with the losses and penalties of `synthjax.gan_losses`.

A generator G(z, y) generates examples. A critic D(x, y) gives each example a value, high for real ones (Goodfellow et
al. 2014, arXiv:1406.2661). A step updates the critic `n_critic` times, then the generator once.

    generator(z (B, noise), y (B,), weight (B,), train)    -> x (B, ...)
    critic(x (B, ...), y (B,), weight (B,), train)         -> values (B,), features (B, F)

Both are Linen modules, or objects with the same `init` and `apply`. Dropout uses the rng "dropout". Both may have
"batch_stats"; the critic's are computed separately for real and for generated examples.

The critic's losses are per example, and `game` takes the `grad` that turns them into a gradient. The generator's update
uses no training row, except for feature matching and the Cramér distance: its labels are drawn with their frequencies
in the training set, and its examples have weight 1. With n_critic = 1, one forward pass of the generator serves both
updates. With more critic updates, or if a gradient penalty needs real and generated examples of the same label, the
critic is updated on separate generated examples with the batch's labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from synthjax import gan_losses
from synthjax.errors import InputError
from synthjax.gan_losses import Losses, losses_of, norm
from synthjax.gan_losses import Rules as Rules
from synthjax.model import Batch, Metrics, Model
from synthjax.nets.dense_norms import dense_squares
from synthjax.nets.network import check_game
from synthjax.train import optim


class Networks(NamedTuple):
    """The generator and the critic, see the module's docstring."""

    generator: Any
    critic: Any
    noise: int
    """Length of z ~ N(0, I)."""
    batch_coupling: str = ""
    """Name of a critic layer that couples the examples of a batch, such as "batch norm". "": values are independent."""


class Optimisers(NamedTuple):
    """Optimisers of both networks, and the average of the generator."""

    generator: optax.GradientTransformation
    """Any optax transformation."""
    critic: optax.GradientTransformation
    learning_rate: optax.Schedule | None = None
    """Step -> learning rate, by which the negated updates of both networks are scaled (see `optim.adam`). None: the
    optimisers have their own learning rates. A schedule in one of them counts the updates of its network."""
    ema_decay: float = 0.999
    """Decay of the average of the generator, from which samples are drawn; see `optim.ema`."""


class Pair(NamedTuple):
    """A batch of real examples and as many generated ones, on which the critic is trained."""

    x: jax.Array
    y: jax.Array
    weight: jax.Array
    index: jax.Array  # type: ignore[assignment]
    generated: tuple[jax.Array, ...]
    """(B, ...) each: one set of generated examples, or two independent sets for the Cramér distance."""
    y_generated: jax.Array
    """(B,) i32, the labels of the generated examples."""


class Generated(NamedTuple):
    """Generated examples on which the generator is trained."""

    x: tuple[jax.Array, ...]
    """(B, ...) each: one set, or two independent sets for the Cramér distance."""
    y: jax.Array
    weight: jax.Array


class State(NamedTuple):
    """State of the training."""

    generator: Any
    """Variables of the generator: "params", and "batch_stats" if it has batch norm."""
    critic: Any
    ema: Any
    """Moving average of `generator`, including its statistics; samples are drawn from it."""
    opt_generator: optax.OptState
    opt_critic: optax.OptState
    history: Any
    """Mean of both networks' parameters over all steps; () without historical averaging."""


@dataclass(frozen=True, eq=False)
class _Game:
    """The arguments of `game`; the methods are the functions of the Model."""

    rules: Rules
    networks: Networks
    optimisers: Optimisers
    frequencies: Sequence[float] | None
    steps: int
    losses: Losses
    grad: optim.Grad

    def init(self, key: jax.Array) -> State:
        key_generator, key_critic = jax.random.split(key)
        z = jnp.zeros((1, self.networks.noise), jnp.float32)
        y, weight = jnp.zeros(1, jnp.int32), jnp.ones(1, jnp.float32)
        generator = self.networks.generator.init(key_generator, z, y, weight, False)
        x = self.networks.generator.apply(generator, z, y, weight, False)
        critic = self.networks.critic.init(key_critic, x, y, weight, False)
        both = generator["params"], critic["params"]
        history = jax.tree.map(jnp.copy, both) if self.rules.historical_averaging else ()
        opts = self.optimisers.generator.init(both[0]), self.optimisers.critic.init(both[1])
        return State(generator, critic, jax.tree.map(jnp.copy, generator), *opts, history)

    # --- both networks -----------------------------------------------------------------------------------------------

    @property
    def labels_of_batch(self) -> bool:
        """Whether the generator is trained on the batch's labels, because its loss uses the batch."""
        return self.frequencies is None or self.rules.loss == "cramer" or self.rules.feature_matching > 0

    @property
    def paired(self) -> bool:
        """Whether the critic must compare examples of equal labels."""
        return self.labels_of_batch or bool(self.frequencies and self.rules.gradient_penalty)

    @property
    def shared(self) -> bool:
        """Whether both networks are trained on the same generated examples."""
        return self.rules.n_critic == 1 and (self.labels_of_batch or not self.paired)

    def labels(self, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Labels and weights (B,) that the generator is trained on."""
        if self.labels_of_batch:
            return batch.y, batch.weight
        y = jnp.zeros_like(batch.y)
        if self.frequencies:
            logits = jnp.log(jnp.asarray(self.frequencies, jnp.float32))
            y = jax.random.categorical(key, logits, shape=batch.y.shape).astype(batch.y.dtype)
        # Only a sum with an array of the batch, here of zeros, makes XLA split the generator's work over devices too.
        zero = batch.weight - batch.weight
        return y + zero.astype(y.dtype), 1 + zero

    def generate(self, key, variables: Any, y: jax.Array, weight: jax.Array) -> tuple[tuple[jax.Array, ...], Any]:
        """Generates a set of examples with labels y, or two for the Cramér distance; also the new statistics."""

        def generate_set(key):
            key_z, key_dropout = jax.random.split(key)
            z = jax.random.normal(key_z, (len(y), self.networks.noise), jnp.float32)
            rngs = {"dropout": key_dropout}
            return self.networks.generator.apply(variables, z, y, weight, True, rngs=rngs, mutable=["batch_stats"])

        sets = [generate_set(key) for key in jax.random.split(key, 2 if self.rules.loss == "cramer" else 1)]
        return tuple(x for x, _ in sets), sets[0][1]

    def evaluate(self, key, i, critic, groups: list[jax.Array], labels: list[jax.Array], weight: jax.Array):
        """The critic's values (G, B), features (G, B, F) and new statistics for G groups with separate statistics."""
        sigma = self.rules.instance_noise * jnp.maximum(1 - jnp.asarray(i, jnp.float32) / self.steps, 0.0)

        def apply(key, x, y, weight):
            key_noise, key_dropout = jax.random.split(key)
            if self.rules.instance_noise:
                x = x + sigma * jax.random.normal(key_noise, x.shape, jnp.float32)
            rngs = {"dropout": key_dropout}
            return self.networks.critic.apply(critic, x, y, weight, True, rngs=rngs, mutable=["batch_stats"])

        n = len(groups)
        if not self.networks.batch_coupling:  # in one batch: XLA:CPU is slow at kernel gradients of a vmapped product
            inputs = jnp.concatenate(groups), jnp.concatenate(labels), jnp.tile(weight, n)
            (values, features), new = apply(key, *inputs)
            return values.reshape(n, -1), features.reshape(n, len(weight), -1), new
        keys = jax.random.split(key, n)
        (values, features), new = jax.vmap(apply, (0, 0, 0, None))(keys, jnp.stack(groups), jnp.stack(labels), weight)
        return values, features, jax.tree.map(lambda a: a.mean(axis=0), new)

    def f(self, values: jax.Array, features: jax.Array, anchor: jax.Array) -> jax.Array:
        """The function in the critic's loss: D, or f of the Cramér distance with h(G(z')) = `anchor`; (B,)."""
        return norm(features - anchor) - norm(features) if self.rules.loss == "cramer" else values

    def gradient_norms(self, key, critic, x: jax.Array, pair: Pair, anchor: jax.Array) -> jax.Array:
        """Norm of the gradient of `f` at each of x (B, ...), for the labels of the real examples: (B,)."""

        def f(x):
            values, features = self.networks.critic.apply(critic, x, pair.y, pair.weight, True, rngs={"dropout": key})
            return self.f(values, features, anchor)

        return gan_losses.slopes(f, x)

    def update(self, optimiser, gradient, opt, params, i) -> tuple[Any, Any]:
        """(params, optimiser state) after one update."""
        updates, opt = optimiser.update(gradient, opt, params)
        if rates := self.rates(i):
            rate = rates["learning_rate"]
            updates = jax.tree.map(lambda u: (-rate).astype(u.dtype) * u, updates)
        return optax.apply_updates(params, updates), opt

    def rates(self, i) -> Metrics:
        """The learning rate of step i as a metric; {} if the optimisers have their own."""
        schedule = self.optimisers.learning_rate
        return {} if schedule is None else {"learning_rate": jnp.asarray(schedule(i), jnp.float32)}

    def historical_gradient(self, gradient: Any, params: Any, mean: Any) -> Any:
        """Adds the gradient of the historical-averaging penalty."""
        if not self.rules.historical_averaging:
            return gradient
        return jax.tree.map(lambda g, p, m: g + 2 * self.rules.historical_averaging * (p - m), gradient, params, mean)

    # --- the critic ------------------------------------------------------------------------------------------------

    def critic_loss(self, i: Any, statistics: dict[str, Any]) -> optim.Loss:
        """(params, key, pair) -> optim.Losses."""
        rules = self.rules

        def loss(params, key, pair: Pair) -> optim.Losses:
            key_evaluate, key_share, key_penalty, key_r1 = jax.random.split(key, 4)
            critic = {**statistics, "params": params}
            groups, labels = [pair.x, *pair.generated], [pair.y, *[pair.y_generated] * len(pair.generated)]
            values, features, new = self.evaluate(key_evaluate, i, critic, groups, labels, pair.weight)
            anchor = features[-1]
            real, generated = (self.f(values[g], features[g], anchor) for g in (0, 1))
            losses = self.losses.critic(real, generated)
            accuracies = gan_losses.accuracies(real, generated, pair.weight, self.losses.threshold)
            terms = {"critic_loss": losses, "critic_distance": real - generated, **accuracies}
            if rules.gradient_penalty:
                share = jax.random.uniform(key_share, (len(pair.y),) + (1,) * (pair.x.ndim - 1), jnp.float32)
                between = pair.generated[0] + share * (pair.x - pair.generated[0])
                terms["gradient_penalty"] = (self.gradient_norms(key_penalty, critic, between, pair, anchor) - 1) ** 2
                losses = losses + rules.gradient_penalty * terms["gradient_penalty"]
            if rules.r1:
                terms["r1"] = self.gradient_norms(key_r1, critic, pair.x, pair, anchor) ** 2
                losses = losses + rules.r1 / 2 * terms["r1"]
            return optim.Losses(losses, terms, new)

        if rules.gradient_penalty or rules.r1:  # their gradients use the kernels in another way
            return loss
        return optim.NormedLoss(loss, dense_squares(loss), single=True)

    def update_critic(self, key, i, critic, opt, mean, pair: Pair):
        """(critic, optimiser state, metrics) after one update; `mean` is the mean of its parameters so far."""
        params, statistics = critic["params"], {name: value for name, value in critic.items() if name != "params"}
        gradient, metrics, new = self.grad(self.critic_loss(i, statistics))(params, key, pair)
        del metrics["loss"]  # a sum of terms that are reported one by one
        metrics["critic_grad_norm"] = optax.tree.norm(gradient)
        gradient = self.historical_gradient(gradient, params, mean)
        params, opt = self.update(self.optimisers.critic, gradient, opt, params, i)
        if limit := self.rules.weight_clip:
            params = jax.tree.map(lambda a: jnp.clip(a, -limit, limit), params)
        return {**new, "params": params}, opt, metrics

    def train_critic(self, key, i, state: State, batch: Batch, generated: Generated | None):
        """(critic, optimiser state, metrics) after all critic updates of a step; it generates what is missing."""
        mean = state.history[1] if state.history else ()
        key_generate, key_update = jax.random.split(key)

        def pair(key, batch: Batch) -> Pair:
            # In private training the generator's batch norm must see neither labels nor the number of real examples.
            key_labels, key_x = jax.random.split(key)
            y, weight = (batch.y, batch.weight) if self.paired else self.labels(key_labels, batch)
            return Pair(*batch, self.generate(key_x, state.generator, y, weight)[0], y)

        if self.rules.n_critic == 1:
            only = pair(key_generate, batch) if generated is None else Pair(*batch, generated.x, generated.y)
            return self.update_critic(key_update, i, state.critic, state.opt_critic, mean, only)

        def body(carry, inputs):
            (critic, opt), (key, pair) = carry, inputs
            critic, opt, metrics = self.update_critic(key, i, critic, opt, mean, pair)
            return (critic, opt), metrics

        keys, keys_update = (jax.random.split(k, self.rules.n_critic) for k in (key_generate, key_update))
        pairs = jax.vmap(pair)(keys, batch)  # for all updates at once, since the generator does not change
        (critic, opt), metrics = jax.lax.scan(body, (state.critic, state.opt_critic), (keys_update, pairs))
        return critic, opt, jax.tree.map(lambda m: m.mean(axis=0), metrics)

    # --- the generator ---------------------------------------------------------------------------------------------

    def generator_loss(self, key, i, critic, generated: Generated, real: jax.Array) -> jax.Array:
        """Weighted mean loss over the generated examples; `real` is for Cramér distance and feature matching only."""
        rules, weight = self.rules, generated.weight
        share = weight / jnp.maximum(weight.sum(), 1e-8)
        groups = [*generated.x, real] if rules.loss == "cramer" or rules.feature_matching else [*generated.x]
        values, features, _ = self.evaluate(key, i, critic, groups, [generated.y] * len(groups), weight)
        losses = self.losses.generator(values[0])
        if rules.loss == "cramer":
            h, h_other, h_real = features
            losses = norm(h_real - h) + norm(h_real - h_other) - norm(h - h_other)
        loss = share @ losses
        if rules.feature_matching:
            loss += rules.feature_matching * ((share @ features[-1] - share @ features[0]) ** 2).sum()
        return loss

    def update_generator(self, i, state: State, loss: jax.Array, gradient: Any, statistics: Any):
        """(generator, its moving average, optimiser state, metrics) after one update."""
        metrics = {"generator_loss": loss, "generator_grad_norm": optax.tree.norm(gradient)}
        params = state.generator["params"]
        gradient = self.historical_gradient(gradient, params, state.history[0] if state.history else ())
        params, opt = self.update(self.optimisers.generator, gradient, state.opt_generator, params, i)
        generator = {**statistics, "params": params}
        return generator, optim.ema(state.ema, generator, i, self.optimisers.ema_decay), opt, metrics

    def step(self, key, i, state: State, batch: Batch):
        key_labels, key_generate, key_critic, key_generator = jax.random.split(key, 4)
        last = batch if self.rules.n_critic == 1 else jax.tree.map(lambda a: a[-1], batch)
        y, weight = self.labels(key_labels, last)

        def generate(params):
            return self.generate(key_generate, {**state.generator, "params": params}, y, weight)

        x, vjp, statistics = jax.vjp(generate, state.generator["params"], has_aux=True)
        if x[0].shape != last.x.shape:
            raise InputError(f"generator: makes examples of shape {x[0].shape[1:]}; the data's have {last.x.shape[1:]}")
        shared = Generated(x, y, weight) if self.shared else None
        critic, opt_critic, metrics = self.train_critic(key_critic, i, state, batch, shared)

        def loss(x):
            return self.generator_loss(key_generator, i, critic, Generated(x, y, weight), last.x)

        def update():
            value, cotangent = jax.value_and_grad(loss)(x)
            (gradient,) = vjp(cotangent)
            return self.update_generator(i, state, value, gradient, statistics)

        if warmup := min(self.rules.critic_warmup, self.steps // 10):
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(update)[-1])
            unchanged = state.generator, state.ema, state.opt_generator, zeros
            generator, ema, opt_generator, generator_metrics = jax.lax.cond(i < warmup, lambda: unchanged, update)
        else:
            generator, ema, opt_generator, generator_metrics = update()
        both = generator["params"], critic["params"]
        history = jax.tree.map(lambda m, p: m + (p - m) / (i + 2), state.history, both) if state.history else ()
        metrics = gan_losses.attribute_non_finite(x, metrics, generator_metrics) | self.rates(i)
        return State(generator, critic, ema, opt_generator, opt_critic, history), metrics

    def sample(self, key, state: State, labels: jax.Array) -> jax.Array:
        key_z, key_dropout = jax.random.split(key)
        z = jax.random.normal(key_z, (len(labels), self.networks.noise), jnp.float32)
        weight = jnp.ones(len(labels), jnp.float32)
        x: Any = self.networks.generator.apply(state.ema, z, labels, weight, False, rngs={"dropout": key_dropout})
        return x

    def score(self, key, state: State, batch: Batch) -> jax.Array:
        """-D(x), or -f(x) of the Cramér distance."""

        def critic(x):
            return self.networks.critic.apply(state.critic, x, batch.y, batch.weight, False)

        values, features = critic(batch.x)
        anchor = critic(self.sample(key, state, batch.y))[1] if self.rules.loss == "cramer" else features
        return -self.f(values, features, anchor)


def game(
    rules: Rules,
    networks: Networks,
    optimisers: Optimisers,
    frequencies: Sequence[float] | None,
    steps: int,
    losses: Losses | None = None,
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A GAN as a `Model`. Its examples are in the space of the generator's output.

    Args:
      rules: loss, penalties and number of updates.
      networks: generator and critic.
      optimisers: of both networks.
      frequencies: (n_classes,) frequency of each label; the generator is trained on labels drawn with it. Empty: the
        model is unconditional. None: the generator is trained on the labels and weights of the batch.
      steps: number of training steps. Instance noise decays to 0 over all of them, and the critic's warm-up takes at
        most a tenth.
      losses: replace those that `rules.loss` names.
      grad: turns the critic's per-example loss, whose batch is a `Pair`, into a gradient.

    Raises:
      InputError: parts do not fit the rules or each other, or the game cannot be private and `grad` is.
    """
    for name in ("gradient_penalty", "r1"):
        if (layer := networks.batch_coupling) and getattr(rules, name):
            raise InputError(f"model.rules.{name}: not defined per example, since the critic has {layer}")
    check_game(networks.generator, networks.critic, networks.noise)
    for name in ("generator", "critic"):
        optim.check_optimiser(getattr(optimisers, name), f"optimiser of the {name}")
    game = _Game(rules, networks, optimisers, frequencies, steps, losses or losses_of(rules), grad)
    if optim.is_private(grad):
        statistics = "batch_stats" in jax.eval_shape(game.init, jax.random.key(0)).generator
        coupled = bool(frequencies) and game.paired and statistics
        fault = gan_losses.private_fault(rules, networks.batch_coupling, frequencies is None, coupled)
        optim.refuse_private(grad, fault, fault)
    feed: Literal["batch", "batches"] = "batch" if rules.n_critic == 1 else "batches"
    model = Model(game.init, game.step, game.sample, game.score, feed=feed, n_batches=rules.n_critic)
    conditional = frequencies is None or len(frequencies) > 0
    empty = tuple(label for label, share in enumerate(frequencies or ()) if share == 0)
    return model._replace(conditional=conditional, n_classes=len(frequencies or ()), empty_classes=empty)
