r"""The two-player game that all GANs share (Goodfellow et al. 2014, arXiv:1406.2661).

A generator G(z, y) makes examples, a critic D(x, y) gives each a number, high for real. With d = D(x), e = D(G(z)):

    bce          critic  softplus(-d) + softplus(e)      generator  softplus(-e)
    hinge        critic  max(0, 1 - d) + max(0, 1 + e)   generator  -e            (Lim & Ye 2017, arXiv:1705.02894)
    wasserstein  critic  e - d                           generator  -e            (Arjovsky et al. 2017, 1701.07875)
    cramer       critic  f(G(z)) - f(x)                  f(x) = |h(x) - h(G(z'))| - |h(x)|, h the critic's features;
                 the generator lowers the energy distance of h(x) and h(G(z))     (Bellemare et al. 2017, 1705.10743)

The last two need a critic of bounded slope: a gradient penalty (|grad D(x^)| - 1)^2 at x^ between real and made
examples (Gulrajani et al. 2017, arXiv:1704.00028), or weights clipped to a box. A step updates the critic `n_critic`
times, then the generator once; with one critic update both use the same made examples, and G runs forward only once.

Players are Linen modules with dropout, if any, from the rng "dropout". Either may keep "batch_stats"; the critic's are
taken from real and made examples apart. The critic's losses are per example and go through the `grad` that `build` is
handed; the generator sees no data but for feature matching and the Cramér distance.

    generator(z (B, noise), y (B,), weight (B,), train)    -> x (B, *spec.shape)
    critic(x (B, *spec.shape), y (B,), weight (B,), train) -> logits (B,), features (B, F)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from synthjax.errors import InputError
from synthjax.model import Batch, Metrics, Model
from synthjax.train import optim


@dataclass(frozen=True)
class Rules:
    """How the game is played. Coefficients of 0 switch a term off."""

    loss: Literal["bce", "hinge", "wasserstein", "cramer"] = "bce"
    n_critic: int = 1
    """Critic updates a step, each on a batch of its own."""
    critic_warmup: int = 0
    """Of the run's steps, how many at its start update the critic alone; at most a tenth of them."""
    gradient_penalty: float = 0.0
    """Coefficient of (|grad D| - 1)^2 between real and made examples; 10 in Gulrajani et al. 2017."""
    weight_clip: float = 0.0
    """The critic's parameters are clipped to [-weight_clip, weight_clip]; 0.01 in Arjovsky et al. 2017."""
    r1: float = 0.0
    """Coefficient of |grad D|^2 / 2 on real examples (Mescheder et al. 2018, arXiv:1801.04406)."""
    label_smoothing: float = 0.0
    """Real examples count as real by 1 - label_smoothing; one-sided, "bce" only (Salimans et al. 2016)."""
    feature_matching: float = 0.0
    """Coefficient of |mean features of real - of made examples|^2 (Salimans et al. 2016, arXiv:1606.03498)."""
    historical_averaging: float = 0.0
    """Coefficient of |params - their mean over all steps|^2, both players (Salimans et al. 2016)."""
    instance_noise: float = 0.0
    """Deviation of noise on the examples that the critic compares, but not on those at which a penalty takes its slope;
    falls linearly to 0 (Sønderby et al. 2017, arXiv:1610.04490)."""


class Pair(NamedTuple):
    """A batch with made examples of the same labels beside the real ones: what the critic is trained on."""

    x: jax.Array
    y: jax.Array
    weight: jax.Array
    index: jax.Array  # type: ignore[assignment]
    made: tuple[jax.Array, ...]
    """Made examples; two independent sets of them for the Cramér distance."""


class State(NamedTuple):
    """What training carries along."""

    generator: Any
    """Its variables: "params", and "batch_stats" where it has batch norm."""
    critic: Any
    ema: Any
    """Moving average of `generator`, statistics included; samples are drawn from it."""
    opt_generator: optax.OptState
    opt_critic: optax.OptState
    history: Any
    """Mean of both players' parameters over all steps; () without historical averaging."""


def check(rules: Rules, mixed: str = "") -> None:
    """Raises InputError for a game that cannot be played.

    Args:
      rules: of the game.
      mixed: what in the critic makes its value at one example depend on the others, "batch norm" say; "": nothing.
    """
    if rules.n_critic < 1:
        raise InputError(f"model.rules.n_critic={rules.n_critic}: must be at least 1")
    for name in ("critic_warmup", "gradient_penalty", "weight_clip", "r1", "feature_matching", "historical_averaging",
                 "instance_noise"):  # fmt: skip
        if getattr(rules, name) < 0:
            raise InputError(f"model.rules.{name}={getattr(rules, name)}: must not be negative")
    for name in ("gradient_penalty", "r1"):
        if getattr(rules, name) and mixed:
            raise InputError(f"model.rules.{name}: the slope at one example means nothing through the critic's {mixed}")
    if rules.gradient_penalty and rules.weight_clip:
        raise InputError("model.rules: gradient_penalty and weight_clip bound the same slope; set one of them to 0")
    if rules.loss in ("wasserstein", "cramer") and not (rules.gradient_penalty or rules.weight_clip):
        raise InputError(f"model.rules.loss={rules.loss}: needs gradient_penalty or weight_clip")
    if not 0 <= rules.label_smoothing < 1:
        raise InputError(f"model.rules.label_smoothing={rules.label_smoothing}: must be at least 0 and below 1")
    if rules.label_smoothing and rules.loss != "bce":
        raise InputError(f"model.rules.label_smoothing: needs model.rules.loss=bce, not {rules.loss}")


def check_rates(learning_rate: float, ema_decay: float) -> None:
    """Raises InputError for a learning rate or a decay of the generator's average with which nothing is learnt.

    Traced numbers, several at once in a search, pass.
    """
    if not isinstance(learning_rate, jax.core.Tracer) and not 0 < learning_rate < math.inf:
        raise InputError(f"model.learning_rate={learning_rate}: must be a finite number above 0")
    if not isinstance(ema_decay, jax.core.Tracer) and not 0 <= ema_decay < 1:
        raise InputError(f"model.ema_decay={ema_decay}: must be at least 0 and below 1")


def critic_losses(rules: Rules, real: jax.Array, made: jax.Array) -> jax.Array:
    """The critic's loss per example from its values on real and made examples, each (B,)."""
    if rules.loss == "bce":
        smooth = rules.label_smoothing
        return (1 - smooth) * nn.softplus(-real) + smooth * nn.softplus(real) + nn.softplus(made)
    if rules.loss == "hinge":
        return nn.relu(1 - real) + nn.relu(1 + made)
    return made - real


def accuracies(rules: Rules, real: jax.Array, made: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
    """Whether the critic tells real examples and made ones, each (B,) of 0 and 1.

    By the sign of its value; where only differences of values mean something ("wasserstein", "cramer"), by the side of
    the middle between the batch's two (weighted) means.
    """
    middle: Any = 0.0
    if rules.loss in ("wasserstein", "cramer"):
        middle = (weight @ (real + made)) / jnp.maximum(2 * weight.sum(), 1e-8)
    return {"accuracy_real": jnp.float32(real > middle), "accuracy_made": jnp.float32(made < middle)}


def generator_losses(rules: Rules, made: jax.Array) -> jax.Array:
    """The generator's loss per example from the critic's values on what it made, (B,); not for "cramer"."""
    return nn.softplus(-made) if rules.loss == "bce" else -made


def norm(a: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis; its gradient at 0 is 0."""
    square = (a**2).sum(axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def slopes(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """|grad_x f(x)_b| of each example b: (B,).

    `f` gives (B,) values, each of its own example alone: the gradient of their sum then holds that of each. A second
    derivative takes whole batches so, where `vmap(grad)` makes a kernel gradient for every example by itself.
    """
    gradient = jax.grad(lambda x: f(x).sum())(x)
    return norm(gradient.reshape(len(x), -1))


def blamed(made: tuple[jax.Array, ...], of_critic: Metrics, of_generator: Metrics) -> Metrics:
    """The metrics of both players; where they are not finite, only those of the player who began are left so.

    Each player's loss runs through the other, so that a NaN of one is in the metrics of both. The generator began if
    what it made before either moved is not finite, else the critic; the other's metrics are then 0.
    """
    sound = jnp.stack([jnp.isfinite(x).all() for x in made]).all()
    fine_critic, fine_generator = (
        jnp.stack([jnp.isfinite(m).all() for m in metrics.values()]).all() for metrics in (of_critic, of_generator)
    )
    # A generator in its critic's warm-up has metrics of 0: then the critic's must stay, or the fault would be hidden.
    hide_critic, hide_generator = ~sound & ~fine_generator, sound & ~fine_critic
    return {name: jnp.where(hide_critic, 0.0, m) for name, m in of_critic.items()} | {
        name: jnp.where(hide_generator, 0.0, m) for name, m in of_generator.items()
    }


def minibatch_stddev(h: jax.Array, weight: jax.Array) -> jax.Array:
    """Appends to features h (B, F) their standard deviation over the batch, averaged over F: (B, F + 1).

    It lets a critic see a collapsed generator (Karras et al. 2018, arXiv:1710.10196).
    """
    share = (weight / jnp.maximum(weight.sum(), 1e-8))[:, None]
    mean = (share * h).sum(axis=0)
    deviation = jnp.sqrt((share * (h - mean) ** 2).sum(axis=0) + 1e-8).mean()
    return jnp.concatenate([h, jnp.full((len(h), 1), deviation)], axis=-1)


@dataclass(frozen=True, eq=False)
class _Game:
    """The rules, the players and what they share (see `game`); its methods are the functions of the Model."""

    rules: Rules
    generator: nn.Module
    critic: nn.Module
    optimisers: tuple[optax.GradientTransformation, optax.GradientTransformation]
    noise: int
    steps: int
    ema_decay: float
    mixed: str
    grad: optim.Grad

    def init(self, key: jax.Array, batch: Batch) -> State:
        key_generator, key_critic = jax.random.split(key)
        z = jnp.zeros((len(batch.y), self.noise))
        generator = self.generator.init(key_generator, z, batch.y, batch.weight, False)
        critic = self.critic.init(key_critic, batch.x, batch.y, batch.weight, False)
        both = generator["params"], critic["params"]
        history = jax.tree.map(jnp.copy, both) if self.rules.historical_averaging else ()
        opts = self.optimisers[0].init(both[0]), self.optimisers[1].init(both[1])
        return State(generator, critic, jax.tree.map(jnp.copy, generator), *opts, history)

    # --- the moves -------------------------------------------------------------------------------------------------

    def make(self, key: jax.Array, variables: Any, params: Any, batch: Batch) -> tuple[tuple[jax.Array, ...], Any]:
        """Examples with the labels of the batch, twice over for the Cramér distance; the generator's new statistics."""
        many = 2 if self.rules.loss == "cramer" else 1

        def one(key):
            key_z, key_dropout = jax.random.split(key)
            z = jax.random.normal(key_z, (len(batch.y), self.noise))
            now, rngs = {**variables, "params": params}, {"dropout": key_dropout}
            return self.generator.apply(now, z, batch.y, batch.weight, True, rngs=rngs, mutable=["batch_stats"])

        drawn = [one(key) for key in jax.random.split(key, many)]
        return tuple(made for made, _ in drawn), drawn[0][1]

    def judge(self, key, i, critic, groups: list[jax.Array], y: jax.Array, weight: jax.Array):
        """The critic on G groups, each a batch of its own: values (G, B), features (G, B, F), its new statistics."""
        sigma = self.rules.instance_noise * jnp.maximum(1 - i / self.steps, 0.0)

        def one(key, x, y, weight):
            key_noise, key_dropout = jax.random.split(key)
            if self.rules.instance_noise:
                x = x + sigma * jax.random.normal(key_noise, x.shape)
            return self.critic.apply(critic, x, y, weight, True, rngs={"dropout": key_dropout}, mutable=["batch_stats"])

        if not self.mixed:  # as one batch: XLA:CPU takes kernel gradients of a vmapped product at half the speed
            many = len(groups)
            (values, features), new = one(key, jnp.concatenate(groups), jnp.tile(y, many), jnp.tile(weight, many))
            return values.reshape(many, -1), features.reshape(many, len(y), -1), new
        keys = jax.random.split(key, len(groups))
        (values, features), new = jax.vmap(one, (0, 0, None, None))(keys, jnp.stack(groups), y, weight)
        return values, features, jax.tree.map(lambda a: a.mean(axis=0), new)

    def judged(self, critic, x, y, weight, train: bool, **options: Any) -> tuple[jax.Array, jax.Array]:
        """The critic where its statistics stay as they are."""
        values: Any = self.critic.apply(critic, x, y, weight, train, **options)
        return values

    def value(self, values: jax.Array, features: jax.Array, anchor: jax.Array) -> jax.Array:
        """What the critic's loss compares: its number, or the f of the Cramér distance with h(G(z')) = `anchor`."""
        return norm(features - anchor) - norm(features) if self.rules.loss == "cramer" else values

    def slopes(self, key, critic, x: jax.Array, pair: Pair, anchor: jax.Array) -> jax.Array:
        """How steep the critic is at each of x (B, ...): (B,)."""

        def f(x):
            return self.value(*self.judged(critic, x, pair.y, pair.weight, True, rngs={"dropout": key}), anchor)

        return slopes(f, x)

    # --- the critic ------------------------------------------------------------------------------------------------

    def critic_loss(self, i: jax.Array, statistics: dict[str, Any]) -> optim.Loss:
        """(params, key, pair) -> (losses (B,), terms, new statistics)."""
        rules = self.rules

        def loss(params, key, pair: Pair):
            key_judge, key_between, key_slopes, key_real = jax.random.split(key, 4)
            critic = {**statistics, "params": params}
            values, features, new = self.judge(key_judge, i, critic, [pair.x, *pair.made], pair.y, pair.weight)
            anchor = features[-1]
            real, made = (self.value(values[g], features[g], anchor) for g in (0, 1))
            losses = critic_losses(rules, real, made)
            tells = accuracies(rules, real, made, pair.weight)
            terms = {"critic_loss": losses, "critic_distance": real - made, **tells}
            if rules.gradient_penalty:
                share = jax.random.uniform(key_between, (len(pair.y),) + (1,) * (pair.x.ndim - 1))
                between = pair.made[0] + share * (pair.x - pair.made[0])
                terms["gradient_penalty"] = (self.slopes(key_slopes, critic, between, pair, anchor) - 1) ** 2
                losses = losses + rules.gradient_penalty * terms["gradient_penalty"]
            if rules.r1:
                terms["r1"] = self.slopes(key_real, critic, pair.x, pair, anchor) ** 2
                losses = losses + rules.r1 / 2 * terms["r1"]
            return losses, terms, new

        return loss

    def update_critic(self, key, i, critic, opt, history, batch: Batch, made: tuple[jax.Array, ...]):
        """(critic, its optimiser's state, metrics) after one update."""
        statistics = {name: value for name, value in critic.items() if name != "params"}
        pair = Pair(*batch, made)
        gradient, metrics, new = self.grad(self.critic_loss(i, statistics))(critic["params"], key, pair)
        del metrics["loss"]  # the sum of terms that are there one by one
        metrics["critic_grad_norm"] = optax.tree.norm(gradient)
        if self.rules.historical_averaging:
            gradient = self.pull(gradient, critic["params"], history[1])
        update, opt = self.optimisers[1].update(gradient, opt, critic["params"])
        params = optax.apply_updates(critic["params"], update)
        if box := self.rules.weight_clip:
            params = jax.tree.map(lambda a: jnp.clip(a, -box, box), params)
        return {**new, "params": params}, opt, metrics

    def pull(self, gradient: Any, params: Any, mean: Any) -> Any:
        """Adds the gradient of historical averaging."""
        scale = 2 * self.rules.historical_averaging
        return jax.tree.map(lambda g, p, m: g + scale * (p - m), gradient, params, mean)

    # --- the generator ---------------------------------------------------------------------------------------------

    def generator_loss(self, made: tuple[jax.Array, ...], key, i, critic, batch: Batch) -> jax.Array:
        """Weighted mean over the batch."""
        rules = self.rules
        share = batch.weight / jnp.maximum(batch.weight.sum(), 1e-8)
        groups = [*made, batch.x] if rules.loss == "cramer" or rules.feature_matching else [*made]
        values, features, _ = self.judge(key, i, critic, groups, batch.y, batch.weight)
        if rules.loss == "cramer":
            h, h_other, h_real = features
            loss = share @ (norm(h_real - h) + norm(h_real - h_other) - norm(h - h_other))
        else:
            loss = share @ generator_losses(rules, values[0])
        if rules.feature_matching:
            loss += rules.feature_matching * ((share @ features[-1] - share @ features[0]) ** 2).sum()
        return loss

    def update_generator(self, key, i, state: State, critic, batch: Batch, made, pullback, statistics):
        """(generator, its average, its optimiser's state, metrics); `pullback` leads from `made` to its parameters."""
        loss, toward = jax.value_and_grad(self.generator_loss)(made, key, i, critic, batch)
        (gradient,) = pullback(toward)
        metrics = {"generator_loss": loss, "generator_grad_norm": optax.tree.norm(gradient)}
        params = state.generator["params"]
        if self.rules.historical_averaging:
            gradient = self.pull(gradient, params, state.history[0])
        update, opt = self.optimisers[0].update(gradient, state.opt_generator, params)
        generator = {**statistics, "params": optax.apply_updates(params, update)}
        return generator, optim.ema(state.ema, generator, i, self.ema_decay), opt, metrics

    # --- the functions of the Model ----------------------------------------------------------------------------------

    def step(self, key, i, state: State, batch: Batch):
        key_critic, key_made, key_generator = jax.random.split(key, 3)
        critic, opt_critic = state.critic, state.opt_critic

        def make(key, batch):
            return jax.vjp(lambda p: self.make(key, state.generator, p, batch), state.generator["params"], has_aux=True)

        if self.rules.n_critic == 1:
            made, pullback, statistics = make(key_made, batch)
            critic, opt_critic, metrics = self.update_critic(
                key_critic, i, critic, opt_critic, state.history, batch, made
            )
        else:

            def ahead(key, batch):
                return self.make(key, state.generator, state.generator["params"], batch)[0]

            def turn(carry, inputs):
                critic, opt = carry
                critic, opt, metrics = self.update_critic(inputs[0], i, critic, opt, state.history, *inputs[1:])
                return (critic, opt), metrics

            keys = jax.vmap(jax.random.split)(jax.random.split(key_critic, self.rules.n_critic))
            made = jax.vmap(ahead)(keys[:, 0], batch)  # for all updates at once: the generator stays as it is
            (critic, opt_critic), metrics = jax.lax.scan(turn, (critic, opt_critic), (keys[:, 1], batch, made))
            metrics = jax.tree.map(lambda m: m.mean(axis=0), metrics)
            batch = jax.tree.map(lambda a: a[-1], batch)
            made, pullback, statistics = make(key_made, batch)

        def update():
            return self.update_generator(key_generator, i, state, critic, batch, made, pullback, statistics)

        if warmup := min(self.rules.critic_warmup, self.steps // 10):
            none = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(update)[-1])
            before = state.generator, state.ema, state.opt_generator, none
            *generator, of_generator = jax.lax.cond(i < warmup, lambda: before, update)
        else:
            *generator, of_generator = update()
        generator, ema, opt_generator = generator
        both = generator["params"], critic["params"]
        history = jax.tree.map(lambda m, p: m + (p - m) / (i + 2), state.history, both) if state.history else ()
        metrics = blamed(made, metrics, of_generator)
        return State(generator, critic, ema, opt_generator, opt_critic, history), metrics

    def sample(self, key, state: State, labels: jax.Array) -> jax.Array:
        z = jax.random.normal(key, (len(labels), self.noise))
        x: Any = self.generator.apply(state.ema, z, labels, jnp.ones(len(labels)), False)
        return x

    def score(self, key, state: State, batch: Batch) -> jax.Array:
        """-D(x), or -f(x) of the Cramér distance."""
        values, features = self.judged(state.critic, batch.x, batch.y, batch.weight, False)
        anchor = features
        if self.rules.loss == "cramer":
            made = self.sample(key, state, batch.y)
            _, anchor = self.judged(state.critic, made, batch.y, batch.weight, False)
        return -self.value(values, features, anchor)


def game(
    rules: Rules,
    generator: nn.Module,
    critic: nn.Module,
    optimisers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    *,
    noise: int,
    steps: int,
    ema_decay: float,
    n_classes: int,
    mixed: str = "",
    grad: optim.Grad = optim.mean_grad,
) -> Model:
    """A GAN as a `Model`.

    Args:
      rules: of the game.
      generator: as in the module's docstring.
      critic: as there.
      optimisers: the generator's and the critic's.
      noise: length of z ~ N(0, I).
      steps: of the run; instance noise has gone by then, the critic's warm-up within a tenth of them.
      ema_decay: of the average of the generator that samples are drawn from.
      n_classes: labels that the players look at; 0: none.
      mixed: see `check`.
      grad: turns the critic's loss into its gradient.

    Raises:
      InputError: the rules contradict each other, or there is no noise to draw from.
    """
    check(rules, mixed)
    if noise < 1:
        raise InputError(f"model.noise={noise}: must be at least 1")
    one = _Game(rules, generator, critic, optimisers, noise, steps, ema_decay, mixed, grad)
    return Model(one.init, one.step, one.sample, one.score, n_classes > 0, rules.n_critic, n_classes)
