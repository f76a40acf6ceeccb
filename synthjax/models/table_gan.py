r"""Four GANs of tables: cross-entropy or Wasserstein loss, with the label given to both networks or not.

They are the GAN, WGAN, CGAN and WCGAN of C. Joshi, "Generative adversarial networks (GANs) for synthetic dataset
generation with binary classes" (ONS Data Science Campus, 2019), sections 4 and 5 and Table 2:

    generator   [z, one-hot y] -> 3 hidden ReLU layers -> v       as many inputs z as v has values ("n -> n")
    critic      [v, one-hot y] -> 3 hidden ReLU layers -> 1
    batches of 128, learning rate 5e-5, 5,000 training steps after 100 of the critic alone

where v is the row as `synthjax.nets.columns` lays it out. The study feeds numbers in [0, 1], categories as intervals
among them; any encoding will do here, and one-hot columns and codes are made by softmax heads with Gumbel noise
(Jang et al. 2017, arXiv:1611.01144), which have a gradient. A critic may see choices through entity embeddings, the
study's plan (Guo & Berkhahn 2016, arXiv:1604.06737): one learnt vector a category, their length that of `embedding`.

Rare categories: training-by-sampling (CTGAN, Xu et al. 2019, arXiv:1907.00503, section 4.3) as an option. Both
networks see one category of one one-hot column as a condition, drawn evenly over columns and, within one, with
probabilities q ~ log(1 + n) of a category that n training rows hold, where its share of the rows is p. CTGAN draws real
rows that hold it. Here rows come from the feed, so the category is the row's own and its losses weigh q / p: the same
loss in expectation. n and p are statistics of the spec. `sample` draws the category given the label: its shares among
the label's rows, which no statistic of single columns has, are counted from the batches of all steps. CTGAN also trains
the generator by a cross-entropy to make the category of the condition; here the critic, which sees both, does.

The study gives no widths, optimiser, n_critic, clipping or penalty. Penalty, n_critic and Adam's decays of the presets
are those of Gulrajani et al. 2017 (arXiv:1704.00028); the widths are a first choice that was compared with no other.

    model = build(PRESETS["table_wcgan"], spec)
    state = model.init(key)
    state, metrics = model.step(key, 0, state, stacked)   # n_critic batches, (n_critic, B, D)
    x = model.sample(key, state, labels)
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from synthjax import adversarial
from synthjax.errors import InputError
from synthjax.gan_losses import Rules
from synthjax.model import Batch, DataSpec, Model
from synthjax.nets.columns import Columns
from synthjax.nets.dense import Dense
from synthjax.nets.slices import in_slices
from synthjax.train import optim

CROSS_ENTROPY = Rules(critic_warmup=100)
WASSERSTEIN = Rules(loss="wasserstein", gradient_penalty=10.0, n_critic=5, critic_warmup=100)
"""Penalty and n_critic of Gulrajani et al. 2017; the study's pre-training of the critic."""


@dataclass(frozen=True)
class Config:
    """Networks, rules and optimiser; the defaults are the study's WCGAN (Table 2), what it leaves out chosen by us."""

    conditional: bool = True
    """Both networks see the label, and its column is written, not learnt."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers of both networks."""
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
    """Adam's, of both networks (Table 2 names no optimiser)."""
    b1: float = 0.5
    b2: float = 0.9
    batch_size: int = 128
    steps: int = 5_100
    """Steps, the critic's warm-up among them."""
    ema_decay: float = 0.999
    """Of the generator that samples are drawn from; warms up, see `optim.ema`."""

    def __post_init__(self) -> None:
        if min(self.hidden, default=1) < 1:
            raise InputError(f"model.hidden={self.hidden}: each must be at least 1")
        for name in ("noise", "embedding"):
            if getattr(self, name) < 0:
                raise InputError(f"model.{name}={getattr(self, name)}: must not be negative")
        if not isinstance(self.temperature, jax.core.Tracer) and not self.temperature > 0:
            raise InputError(f"model.temperature={self.temperature}: must be above 0")
        optim.check_rates(self.learning_rate, self.ema_decay)


PRESETS = {
    "table_gan": Config(conditional=False, rules=CROSS_ENTROPY),
    "table_wgan": Config(conditional=False),
    "table_cgan": Config(rules=CROSS_ENTROPY),
    "table_wcgan": Config(),
}


class Counted(NamedTuple):
    """What training-by-sampling carries along."""

    game: adversarial.State
    counts: jax.Array
    """(labels, categories) f32 rows of each label that hold each category, see `Categories.start`."""


class Categories:
    """The K categories of all one-hot columns, side by side: the conditions of training-by-sampling.

    A condition is part of what networks take for the label: label * K + category. Labels are those of a conditional
    model, else all 0.
    """

    def __init__(self, columns: Columns, spec: DataSpec, n_classes: int):
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
        self.shares = spec.known().mean[self.positions]
        """(K,) f32 share p of the training rows that hold each."""
        log = np.log1p(spec.rows * self.shares)
        q = log / np.maximum(self.member @ log, 1e-8)[self.owner]
        self.ratios = np.where(self.shares > 0, q / np.maximum(self.shares, 1e-8), 1).astype(np.float32)
        """(K,) f32 q / p; over the rows, the mean within each column is 1."""

    def labels(self, y: jax.Array) -> jax.Array:
        """Those of a conditional model, else zeros."""
        return y if self.n_classes else jnp.zeros_like(y)

    def start(self) -> jax.Array:
        """Counts before any batch, (labels, K) f32: each label holds one row, spread by the shares of all rows."""
        return jnp.tile(jnp.asarray(self.shares, jnp.float32)[None], (max(self.n_classes, 1), 1))

    def count(self, batch: Batch) -> jax.Array:
        """Rows of a batch (or of several, stacked) with each label and category: (labels, K) f32."""
        hot = jax.nn.one_hot(self.labels(batch.y), max(self.n_classes, 1), dtype=jnp.float32)
        return jnp.einsum("...l,...k->lk", hot * batch.weight[..., None], batch.x[..., self.positions])

    def condition(self, key: jax.Array, batch: Batch) -> Batch:
        """The batch with one of each row's categories as part of its label, and its weight times q / p."""
        column = jax.random.randint(key, batch.y.shape, 0, len(self.member), jnp.int32)
        category = (batch.x[..., self.positions] * jnp.asarray(self.member)[column]).argmax(axis=-1)
        y = self.labels(batch.y) * len(self.positions) + category.astype(batch.y.dtype)
        return batch._replace(y=y, weight=batch.weight * jnp.asarray(self.ratios)[category])

    def draw(self, key: jax.Array, y: jax.Array, counts: jax.Array) -> jax.Array:
        """Conditions (B,) of labels y (B,): of a column drawn evenly, a category by its share of the label's counts."""
        key_column, key_category = jax.random.split(key)
        column = jax.random.randint(key_column, y.shape, 0, len(self.member), jnp.int32)
        chances = counts[self.labels(y)] * jnp.asarray(self.member)[column]
        category = jax.random.categorical(key_category, jnp.log(chances))
        return self.labels(y) * len(self.positions) + category.astype(y.dtype)


def one_hot(y: jax.Array, n_classes: int, categories: int) -> jax.Array:
    """What networks see of y (B,): one-hot label, and one-hot category where y = label * categories + category."""
    if not categories:
        return jax.nn.one_hot(y, n_classes, dtype=jnp.float32)
    parts = (y // categories, n_classes), (y % categories, categories)
    return jnp.concatenate([jax.nn.one_hot(a, size, dtype=jnp.float32) for a, size in parts], axis=-1)


class Generator(nn.Module):
    """Noise and label to a row as networks see it."""

    config: Config
    columns: Columns
    n_classes: int
    """0: it sees no label."""
    categories: int = 0
    """K of training-by-sampling; 0: no category is a condition."""

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> jax.Array:
        """z (B, noise), y (B,) -> v (B, width): relaxed choices in training, else exact ones.

        Choices are drawn with the rng "dropout"; without it they are the likeliest.
        """
        h = jnp.concatenate([z, one_hot(y, self.n_classes, self.categories)], axis=-1)
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
    """K of training-by-sampling; 0: no category is a condition."""

    @nn.compact
    def __call__(self, v: jax.Array, y: jax.Array, weight: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """v (B, width), y (B,) -> logits (B,), features (B, F)."""
        h = jnp.concatenate([self.embedded(v), one_hot(y, self.n_classes, self.categories)], axis=-1)
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


def model(columns: Columns, game: Model, categories: Categories | None = None) -> Model:
    """A GAN of a table's rows x from one of rows v as networks see them.

    Args:
      columns: the way from x to v and back.
      game: an `adversarial.game` whose generator gives v (B, width), outside of training with exact choices.
      categories: for training-by-sampling. The game's networks take conditions (see `Categories`) for labels, and it
        is trained on those of its batch (frequencies None).

    Returns:
      A Model with the state of the game, or `Counted`.
    """

    def init(key) -> Any:
        state = game.init(key)
        return state if categories is None else Counted(state, categories.start())

    def inputs(key, batch: Batch) -> tuple[jax.Array, Batch]:
        """A key and a batch for the game."""
        x = columns.encode(batch.x)
        if categories is not None:
            key, key_category = jax.random.split(key)
            batch = categories.condition(key_category, batch)
        return key, batch._replace(x=x)

    def step(key, i, state: Any, batch: Batch):
        key, rows = inputs(key, batch)
        if categories is None:
            return game.step(key, i, state, rows)
        trained, metrics = game.step(key, i, state.game, rows)
        return Counted(trained, state.counts + categories.count(batch)), metrics

    def sample(key, state: Any, labels) -> jax.Array:
        def some(key, labels):
            if categories is None:
                return columns.decode(game.sample(key, state, labels), labels)
            key, key_category = jax.random.split(key)
            conditions = categories.draw(key_category, labels, state.counts)
            return columns.decode(game.sample(key, state.game, conditions), labels)

        return in_slices(some, key, labels)

    def score(key, state: Any, batch: Batch) -> jax.Array:
        """-D(x), or -f(x) of the Cramér distance."""
        assert game.score is not None
        key, rows = inputs(key, batch)
        return game.score(key, state if categories is None else state.game, rows)

    n_classes = game.n_classes if categories is None else categories.n_classes
    return game._replace(
        init=init, step=step, sample=sample, score=score, conditional=n_classes > 0, n_classes=n_classes
    )


def build(config: Config, spec: DataSpec, grad: optim.Grad = optim.mean_grad) -> Model:
    """A GAN of tables of those columns; with other networks, optimisers or losses, call `model`.

    Raises:
      InputError: the data is no table, a conditional model is asked for and there are no labels, or there is no
        category to sample by.
    """
    if config.conditional and not spec.n_classes:
        raise InputError("table_cgan and table_wcgan are conditional, and the data has no labels; take table_wgan")
    columns = Columns(spec, config.conditional)
    classes = spec.n_classes if config.conditional else 0
    categories = Categories(columns, spec, classes) if config.by_sampling else None
    conditions = 0 if categories is None else len(categories.positions)
    generator, critic = (net(config, columns, classes, conditions) for net in (Generator, Critic))
    adam = optim.adam(config.b1, config.b2)
    game = adversarial.game(
        config.rules,
        adversarial.Networks(generator, critic, config.noise or columns.width),
        adversarial.Optimisers(adam, adam, lambda i: config.learning_rate, config.ema_decay),
        None if categories is not None else adversarial.label_frequencies(spec, classes > 0),
        config.steps,
        grad=grad,
    )
    return model(columns, game, categories)._replace(empty_classes=spec.empty_classes)
