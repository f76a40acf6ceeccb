"""The models that `test_contract.py` asks: every preset of every file in synthjax/models, shrunk, and how two compare.

A new model is found by itself. It is shrunk by the fields that all Configs share; if that leaves it too slow to be
trained here, it may get a line in SMALL.
"""

import dataclasses
import functools
import importlib
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import data
from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.launch.config import presets
from synthjax.model import Batch, Model
from synthjax.train import loop

STEPS = 300
COMMON = {"steps": STEPS, "batch_size": 32, "warmup": 20}
"""Set in every Config that has the field."""
SMALL = {
    "cgan": {"noise": 16, "learning_rate": 2e-4},
    "dcgan": {"noise": 16, "channels": (8,), "learning_rate": 2e-3},
    "dbm": {
        **{"hidden": (64, 32), "sample_steps": 20, "anneal": 20, "burn_in": 20},
        # Joint training, which has chains and mean-field inference, from the first step: most tests take three.
        **{"pretraining": 0.0, "learning_rate": 0.2},
    },
    "ddpm": {"width": 16, "multipliers": (1,), "blocks": (1,), "sample_steps": 10, "learning_rate": 3e-3},
    "flow": {"width": 16, "multipliers": (1,), "blocks": (1,), "sample_steps": 10, "learning_rate": 3e-3},
    # It starts from components x members training rows: with 16 its samples are near the data before any step.
    "mixture": {"components": 4, "members": 1, "smoothing": 4.0, "batch_size": 512},
    "rbm": {"hidden": 64, "learning_rate": 0.05, "sample_steps": 20, "anneal": 20},
    "smote": {"batch_size": 512},
    # Dropout slows so short a training; tests of its own have it.
    "table_ar": {"bins": 16, "hidden": 64, "learning_rate": 1e-2, "dropout": 0.0},
    "table_ddpm": {"width": 64, "sample_steps": 100, "eta": 1.0, "learning_rate": 1e-2},
    "table_forest": {"steps": 9},
    "table_gan": {"hidden": (64, 64, 64), "learning_rate": 4e-3, "ema_decay": 0.9},
    "table_marginals": {"bins": 8, "chains": 1024, "iterations": 20, "batch_size": 512},
    "table_vae": {"latents": 8, "hidden": (64,), "learning_rate": 3e-3},
    "vae": {"latents": 8, "channels": (), "hidden": (64,)},
}
"""Further fields, by the file in synthjax/models."""
MOST_COMPLEX = {"cgan": "cdcgan", "dcgan": "wgan_gp", "flow": "meanflow", "table_gan": "table_wcgan"}
"""The preset that stands for its file, the others being slow; default: the first."""
COMPILED_OFTEN = ("dbm", "dcgan", "mixture", "table_wcgan", "vae")
"""Those that stand for all where the step is compiled anew for each comparison. Of the GANs, one has convolutions and
batch norm, the other five critic updates and a gradient penalty."""
GENTLE = {"cgan": {"learning_rate": 1e-6}}
"""Fields for comparisons: its optimisers make whole steps of gradients that are rounding errors."""
WITHOUT_NETWORKS = (
    "dbm",
    "gaussian_mixture",
    "independent",
    "mixture",
    "rbm",
    "smote",
    "table_forest",
    "table_marginals",
)
"""Files whose models have no networks that could compute in bfloat16."""
DATASETS = ("digits", "breast_cancer")
"""A model is tried on the first that it can be built for."""


class Subject:
    """One shrunken model with its data; what is compiled or trained is kept for all tests."""

    def __init__(self, preset: str, gentle: bool = False):
        self.family, config = presets()[preset]
        self.module = importlib.import_module(f"synthjax.models.{self.family}")
        fields = {field.name for field in dataclasses.fields(config)}
        small = {name: value for name, value in COMMON.items() if name in fields} | SMALL.get(self.family, {})
        small |= GENTLE.get(self.family, {}) if gentle else {}
        self.config = dataclasses.replace(config, **small)
        self.traces = 0
        self.data, built = self._build()
        self.spec = self.data.spec
        self.model = built._replace(step=self._counted(built.step))
        self.feed = Feed.of(built, self.data.train.x, self.data.train.y, self.config.batch_size, multiple=4)
        self.sample = jax.jit(built.sample)
        self.score = jax.jit(built.score) if built.score else None

    def _build(self) -> tuple[data.Dataset, Model]:
        for name in DATASETS:
            dataset = data.load(name)
            try:
                return dataset, self.module.build(self.config, dataset.spec)
            except InputError as error:
                refusal = error
        raise refusal

    def _counted(self, step):
        def counted(*arguments):
            self.traces += 1
            return step(*arguments)

        return counted

    @functools.cache  # noqa: B019
    def trainer(self, devices: int = 1, seeds: int = 1) -> loop.Trainer:
        return loop.Trainer(self.model, self.feed, self.spec, seeds, devices=jax.devices()[:devices])

    @functools.cached_property
    def start(self):
        """The state before step 0."""
        return self.trainer().init(jax.random.key(1))

    def run(self, start: int, stop: int, state, key=None, **trainer):
        """Steps start ... stop - 1 of a trainer; `state` stays as it is. Metrics as numpy, (..., steps)."""
        key = jax.random.key(2) if key is None else key
        state, metrics = self.trainer(**trainer).run(key, start, stop, copied(state))
        return state, {name: np.asarray(value)[..., : stop - start] for name, value in metrics.items()}

    @functools.cached_property
    def early(self):
        """Almost untrained: after three steps, (state, metrics)."""
        return self.run(0, 3, self.start)

    @functools.cached_property
    def trained(self):
        state = self.early[0]
        length = self.trainer().steps_per_call
        for start in range(3, self.config.steps, length):
            state, _ = self.run(start, min(start + length, self.config.steps), state)
        return state

    def batch(self, feed: Feed | None = None) -> Batch:
        """The batch of step 0 as `Model.step` gets it."""
        drawn = (feed or self.feed).batch(0)
        return Batch(self.spec.encode(drawn.x), *map(jnp.asarray, drawn[1:]))

    def flat_batch(self) -> Batch:
        """At most 64 examples of the holdout: what `score` gets."""
        part = self.data.holdout
        count = min(64, len(part.y))
        return Batch(self.spec.encode(part.x[:count]), part.y[:count], np.ones(count, np.float32), part.index[:count])

    def labels(self, count: int) -> np.ndarray:
        return np.arange(count, dtype=np.int32) % max(self.spec.n_classes, 1)


@functools.cache
def made(preset: str, gentle: bool = False) -> Subject:
    return Subject(preset, gentle)


def one_a_file() -> set[str]:
    """Of the presets of each file the most complex."""
    families: dict[str, list[str]] = {}
    for preset, (family, _) in sorted(presets().items()):
        families.setdefault(family, []).append(preset)
    return {MOST_COMPLEX.get(family, names[0]) for family, names in families.items()}


def marked(quick: Collection[str]) -> list:
    """All presets; those that are not named are slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in sorted(presets())]


def copied(tree):
    """A copy that may be donated."""
    return jax.tree.map(jnp.copy, tree)


def arrays(tree) -> list[np.ndarray]:
    """The leaves as numpy arrays; random keys as their bits."""

    def plain(a):
        return np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a)

    return [plain(a) for a in jax.tree.leaves(tree)]


def on_no_device(tree):
    """A copy that JAX may place where it likes."""

    def placeless(a):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(np.asarray(jax.random.key_data(a)), impl=jax.random.key_impl(a))
        return np.asarray(a)

    return jax.tree.map(placeless, tree)


def vector(tree) -> np.ndarray:
    """All floating-point numbers of a state in one row."""
    return np.concatenate([a.ravel() for a in arrays(tree) if np.issubdtype(a.dtype, np.floating)]).astype(np.float64)


def assert_same_way(a, b, start, share=0.02):
    """Two states differ by little, measured by how far they are from where they started; whole numbers not at all.

    Adam turns rounding errors in gradients near zero into whole steps, so single numbers cannot be compared.
    """
    if not any(np.issubdtype(a.dtype, np.floating) for a in arrays(start)):
        assert any((left != right).any() for left, right in zip(arrays(b), arrays(start), strict=True))
        return assert_same_bits(a, b)
    way = np.linalg.norm(vector(b) - vector(start))
    assert way > 0
    assert np.linalg.norm(vector(a) - vector(b)) < share * way


def assert_same_metrics(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-5, err_msg=name)


def assert_same_bits(a, b):
    for left, right in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(left, right)


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| >= 0, and 0 only for equal distributions (Székely & Rizzo 2013)."""

    def mean_distance(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).mean()

    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
