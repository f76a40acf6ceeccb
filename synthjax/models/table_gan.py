r"""Four GANs of tables: cross-entropy or Wasserstein loss, with the label handed to both players or not.

They are the GAN, WGAN, CGAN and WCGAN of C. Joshi, "Generative adversarial networks (GANs) for synthetic dataset
generation with binary classes" (ONS Data Science Campus, 2019), sections 4 and 5 and Table 2:

    generator   [z, one-hot y] -> 3 hidden ReLU layers -> v       as many inputs z as v has values ("n -> n")
    critic      [v, one-hot y] -> 3 hidden ReLU layers -> 1
    batches of 128, learning rate 5e-5, 5,000 training steps after 100 of the critic alone

where v is the row as `synthjax.nets.columns` lays it out. The study feeds numbers in [0, 1], categories as intervals
among them; any encoding will do here, and one-hot columns and codes are made by softmax heads with Gumbel noise
(Jang et al. 2017, arXiv:1611.01144), which have a gradient. A critic may see choices through entity embeddings, the
study's plan (Guo & Berkhahn 2016, arXiv:1604.06737): one learnt vector a category, their length that of `embedding`.

Rare categories: training-by-sampling (CTGAN, Xu et al. 2019, arXiv:1907.00503, section 4.3) as an option. Both players
are told one category of one one-hot column, drawn evenly over columns and, within one, with chances q ~ log(1 + n) of
a category that n rows hold, where its share of the rows is p. CTGAN draws real rows that hold it. Here rows come from
the feed, so the category is the row's own and its losses weigh q / p: the same loss in expectation. What is told is
drawn with the shares p (within the label's rows) in sampling. CTGAN also pushes the generator by a cross-entropy to
make what it was told; here the critic, which sees both, does.

The study gives no widths, optimiser, n_critic, clipping or penalty. Penalty, n_critic and Adam's decays of the presets
are those of Gulrajani et al. 2017 (arXiv:1704.00028); the widths are a first choice that was compared with no other.

    model = build(PRESETS["table_wcgan"], spec)
    state = model.init(key, batch)
    state, metrics = model.step(key, 0, state, stacked)   # n_critic batches, (n_critic, B, D)
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from synthjax import adversarial
from synthjax.adversarial import Rules
from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.columns import Columns, Scale, scaling
from synthjax.nets.dense import Dense
from synthjax.nets.slices import in_slices
from synthjax.train import optim

CROSS_ENTROPY = Rules(critic_warmup=100)
WASSERSTEIN = Rules(loss="wasserstein", gradient_penalty=10.0, n_critic=5, critic_warmup=100)
"""Penalty and n_critic of Gulrajani et al. 2017; the study's pre-training of the critic."""


@dataclass(frozen=True)
class Config:
    """Players, game and optimiser; the defaults are the study's WCGAN (Table 2), what it leaves out chosen by us."""

    conditional: bool = True
    """Both players see the label, and its column is written, not learnt."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers of both players."""
    noise: int = 0
    """Length of z ~ N(0, I); 0: as many as the row has values to make, the study's n."""
    rules: Rules = WASSERSTEIN
    """Loss, penalties, number of critic updates, warm-up of the critic."""
    heads: Literal["soft", "straight_through"] = "soft"
    """What the critic sees of made categories: relaxed draws, or exact ones with the gradient of the relaxed."""
    temperature: float = 0.2
    """Of the relaxed draws; CTGAN's (Xu et al. 2019, arXiv:1907.00503)."""
    embedding: int = 0
    """The critic sees choices of more than so many categories as learnt vectors of that length; 0: all one-hot."""
    by_sampling: bool = False
    """Training-by-sampling over the categories of one-hot columns, so that rare ones are learnt too."""
    learning_rate: float = 5e-5
    """Adam's, of both players (Table 2 names no optimiser)."""
    b1: float = 0.5
    b2: float = 0.9
    batch_size: int = 128
    steps: int = 5_100
    """Steps, the critic's warm-up among them."""
    ema_decay: float = 0.999
    """Of the generator that samples are drawn from; warms up, see `optim.ema`."""


PRESETS = {
    "table_gan": Config(conditional=False, rules=CROSS_ENTROPY),
    "table_wgan": Config(conditional=False),
    "table_cgan": Config(rules=CROSS_ENTROPY),
    "table_wcgan": Config(),
}


class State(NamedTuple):
    """What training carries along."""

    game: adversarial.State
    scale: Scale
    """Of the continuous columns, from the first batch."""


class Counted(NamedTuple):
    """What training-by-sampling carries along."""

    game: adversarial.State
    scale: Scale
    counts: jax.Array
    """(labels, categories) f32 rows seen that hold each category."""


class Categories:
    """The K categories of all one-hot columns, side by side: what training-by-sampling tells the players.

    Told together with the label, as label * K + category; labels are those of a conditional model, else all 0.
    """

    def __init__(self, columns: Columns, n_classes: int):
        parts = [choice.positions for choice in columns.choices if choice.kind == "onehot"]
        if not parts:
            raise InputError(
                "model.by_sampling: is for one-hot columns, of which this table has none beside its target"
            )
        self.positions = np.concatenate([part.ravel() for part in parts])
        """(K,) in x."""
        sizes = [part.shape[1] for part in parts for _ in part]
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        """(K,) the column that each is of."""
        self.member = (np.arange(len(sizes))[:, None] == self.owner).astype(np.float32)
        """(columns, K) 1 where it is of the column."""
        self.n_classes = n_classes

    def labels(self, y: jax.Array) -> jax.Array:
        """Those of a conditional model, else zeros."""
        return y if self.n_classes else jnp.zeros_like(y)

    def count(self, batch: Batch) -> jax.Array:
        """Rows of a batch (or of several, stacked) with each label and category: (labels, K) f32."""
        hot = jax.nn.one_hot(self.labels(batch.y), max(self.n_classes, 1)) * batch.weight[..., None]
        return jnp.einsum("...l,...k->lk", hot, batch.x[..., self.positions])

    def ratios(self, counts: jax.Array) -> jax.Array:
        """q / p of each category, (K,); their mean over the rows, by column, is 1."""
        n = counts.sum(axis=0)
        log = jnp.log1p(n)
        q, p = (a / jnp.maximum(self.member @ a, 1e-8)[self.owner] for a in (log, n))
        return jnp.where(n > 0, q / jnp.maximum(p, 1e-8), 1.0)

    def tell(self, key: jax.Array, batch: Batch, counts: jax.Array) -> Batch:
        """The batch with a category that each row holds in its label, and q / p in its weight."""
        column = jax.random.randint(key, batch.y.shape, 0, len(self.member))
        category = (batch.x[..., self.positions] * jnp.asarray(self.member)[column]).argmax(axis=-1)
        weight = batch.weight * self.ratios(counts)[category]
        return batch._replace(y=self.labels(batch.y) * len(self.positions) + category, weight=weight)

    def ask(self, key: jax.Array, y: jax.Array, counts: jax.Array) -> jax.Array:
        """Labels y (B,) with a category each, of a column drawn evenly, as frequent as among the label's rows."""
        key_column, key_category = jax.random.split(key)
        column = jax.random.randint(key_column, y.shape, 0, len(self.member))
        chances = counts[self.labels(y)] * jnp.asarray(self.member)[column]
        return self.labels(y) * len(self.positions) + jax.random.categorical(key_category, jnp.log(chances))


def told(y: jax.Array, n_classes: int, categories: int) -> jax.Array:
    """What players see of y (B,): one-hot label, and one-hot category where y = label * categories + category."""
    if not categories:
        return jax.nn.one_hot(y, n_classes)
    hot = jax.nn.one_hot(y // categories, n_classes), jax.nn.one_hot(y % categories, categories)
    return jnp.concatenate(hot, axis=-1)


class Generator(nn.Module):
    """Noise and label to a row as networks see it."""

    config: Config
    columns: Columns
    n_classes: int
    """0: it sees no label."""
    categories: int = 0
    """K of training-by-sampling; 0: it is told none."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,) -> v (B, width): relaxed choices in training, else exact ones.

        Choices are drawn with the rng "dropout"; without it they are the likeliest.
        """
        h = jnp.concatenate([z, told(y, self.n_classes, self.categories)], axis=-1)
        for width in self.config.hidden:
            h = nn.relu(Dense(width)(h))
        raw = Dense(self.columns.width)(h)
        key = self.make_rng("dropout") if self.has_rng("dropout") else None
        if not train:
            return self.columns.draw(key, raw)
        return self.columns.relax(key, raw, self.config.temperature, self.config.heads == "straight_through")


class Critic(nn.Module):
    """A row as networks see it, and its label, to one number."""

    config: Config
    columns: Columns
    n_classes: int
    """0: it sees no label."""
    categories: int = 0
    """K of training-by-sampling; 0: it is told none."""

    @nn.compact
    def __call__(self, v: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """v (B, width), y (B,) -> logits (B,), features (B, F)."""
        h = jnp.concatenate([self.embedded(v), told(y, self.n_classes, self.categories)], axis=-1)
        for width in self.config.hidden:
            h = nn.relu(Dense(width)(h))
        return Dense(1)(h)[:, 0], h

    def embedded(self, v: jax.Array) -> jax.Array:
        """v with a learnt vector in place of each choice of more than `config.embedding` categories."""
        length = self.config.embedding
        if not length:
            return v
        real, parts = self.columns.split(v)
        for place, part in enumerate(parts):
            if part.shape[-1] > length:
                shape = (*part.shape[1:], length)
                vectors = self.param(f"embedding_{place}", nn.initializers.normal(1.0), shape)
                parts[place] = jnp.einsum("bcs,cse->bce", part, vectors)
        return self.columns.join(real, parts)


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A GAN of tables of those columns.

    Raises:
      InputError: the data is no table, a conditional model is asked for and there are no labels, or fields of the
        Config contradict each other.
    """
    if config.conditional and not spec.n_classes:
        raise InputError("table_cgan and table_wcgan are conditional, and the data has no labels; take table_wgan")
    adversarial.check_rates(config.learning_rate, config.ema_decay)
    if config.temperature <= 0:
        raise InputError(f"model.temperature={config.temperature}: must be above 0")
    columns = Columns(spec, config.conditional)
    classes = spec.n_classes if config.conditional else 0
    categories = Categories(columns, classes) if config.by_sampling else None
    known = 0 if categories is None else len(categories.positions)
    noise = config.noise or columns.width
    generator = Generator(config, columns, classes, known)
    game = adversarial.game(
        config.rules,
        generator,
        Critic(config, columns, classes, known),
        (
            optax.adam(config.learning_rate, config.b1, config.b2),
            optax.adam(config.learning_rate, config.b1, config.b2),
        ),
        noise=noise,
        steps=config.steps,
        ema_decay=config.ema_decay,
        n_classes=classes,
        grad=grad,
    )
    return _model(columns, game, generator, noise, categories)


def _model(columns: Columns, game: Model, generator: Generator, noise: int, categories: Categories | None) -> Model:
    """The game on rows as they are in the data's space."""

    def inside(batch: Batch, scale: Scale) -> Batch:
        return batch._replace(x=columns.enter(batch.x, scale))

    def init(key, batch: Batch) -> Any:
        scale = scaling(columns, batch.x, batch.weight)
        played = game.init(key, inside(batch, scale))
        return State(played, scale) if categories is None else Counted(played, scale, categories.count(batch))

    def step(key, i, state: Any, batch: Batch):
        if categories is not None:
            key, key_category = jax.random.split(key)
            state = state._replace(counts=state.counts + categories.count(batch))
            batch = categories.tell(key_category, batch, state.counts)
        played, metrics = game.step(key, i, state.game, inside(batch, state.scale))
        return state._replace(game=played), metrics

    def sample(key, state: Any, labels):
        return in_slices(lambda key, labels: some(key, state, labels), key, labels)

    def some(key, state: Any, labels):
        key_z, key_choices = jax.random.split(key)
        y = labels
        if categories is not None:
            key_z, key_category = jax.random.split(key_z)
            y = categories.ask(key_category, labels, state.counts)
        z, weight = jax.random.normal(key_z, (len(labels), noise)), jnp.ones(len(labels))
        v: Any = generator.apply(state.game.ema, z, y, weight, False, rngs={"dropout": key_choices})
        return columns.leave(v, state.scale, labels)

    def score(key, state: Any, batch: Batch):
        """-D(x), or -f(x) of the Cramér distance."""
        assert game.score is not None
        if categories is not None:
            key, key_category = jax.random.split(key)
            batch = categories.tell(key_category, batch, state.counts)
        return game.score(key, state.game, inside(batch, state.scale))

    return Model(init, step, sample, score, game.conditional, game.minibatches, game.n_classes)
