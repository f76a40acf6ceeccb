"""What `synthjax.model` promises, asked of every preset of every file in synthjax/models.

A new model is found by itself. It is shrunk by the fields that all Configs share; if that leaves it too slow to be
trained here, it may get a line in SMALL.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import data, sampling
from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.launch.config import presets
from synthjax.model import Batch, Model
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints

STEPS = 300
COMMON = {"steps": STEPS, "batch_size": 32, "warmup": 20}
"""Set in every Config that has the field."""
SMALL = {
    "cgan": {"noise": 16, "learning_rate": 2e-4},
    "dcgan": {"noise": 16, "channels": (8, 16), "learning_rate": 2e-3},
    "dbm": {
        **{"hidden": (64, 32), "sample_steps": 20, "anneal": 20, "burn_in": 20},
        **{"pretraining": 4 / STEPS, "pretraining_rate": 0.2, "learning_rate": 0.2},
    },
    "ddpm": {"width": 16, "multipliers": (1,), "blocks": (1,), "sample_steps": 10, "learning_rate": 3e-3},
    "mixture": {"components": 4, "smoothing": 4.0, "batch_size": 512},
    "rbm": {"hidden": 64, "learning_rate": 0.05, "sample_steps": 20, "anneal": 20},
    "smote": {"batch_size": 512},
    "table_ddpm": {"width": 64, "sample_steps": 10, "learning_rate": 5e-3},
    "table_gan": {"hidden": (64, 64, 64), "learning_rate": 4e-3, "ema_decay": 0.9},
    "table_vae": {"latents": 8, "hidden": (64,), "learning_rate": 3e-3},
    "vae": {"latents": 8, "channels": (), "hidden": (64,)},
}
"""Further fields, by the file in synthjax/models."""
MOST_COMPLEX = {"cgan": "cwdcgan", "dcgan": "wgan_gp", "table_gan": "table_wcgan"}
"""The preset that stands for its file, the others being slow; default: the first."""
COMPILED_OFTEN = ("cwdcgan", "dbm", "mixture", "vae", "wgan_gp")
"""Those that stand for all where the step is compiled anew for each comparison."""
GENTLE = {"cgan": {"learning_rate": 1e-6}}
"""Fields for comparisons: its optimisers make whole steps of gradients that are rounding errors."""
DATASETS = ("digits", "breast_cancer")
"""A model is tried on the first that it can be built for."""


class Subject:
    """One shrunken model with its data; what is compiled or trained is kept for all tests."""

    def __init__(self, preset: str, gentle: bool = False):
        family, config = presets()[preset]
        self.module = importlib.import_module(f"synthjax.models.{family}")
        fields = {field.name for field in dataclasses.fields(config)}
        small = {name: value for name, value in COMMON.items() if name in fields} | SMALL.get(family, {})
        small |= GENTLE.get(family, {}) if gentle else {}
        self.config = dataclasses.replace(config, **small)
        self.traces = 0
        self.data, built = self._build()
        self.spec = self.data.spec
        self.model = built._replace(step=self._counted(built.step))
        self.feed = Feed(self.data.train.x, self.data.train.y, self.config.batch_size, 0, built.minibatches, None, 4)
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
        state, metrics = self.trainer(**trainer).run(key, start, stop, copied(state), loop.STEPS_PER_CALL)
        return state, {name: np.asarray(value)[..., : stop - start] for name, value in metrics.items()}

    @functools.cached_property
    def early(self):
        """Almost untrained: after three steps, (state, metrics)."""
        return self.run(0, 3, self.start)

    @functools.cached_property
    def trained(self):
        state = self.early[0]
        for start in range(3, STEPS, loop.STEPS_PER_CALL):
            state, _ = self.run(start, min(start + loop.STEPS_PER_CALL, STEPS), state)
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


@pytest.fixture(scope="module", params=marked(one_a_file()))
def subject(request) -> Subject:
    return made(request.param)


@pytest.fixture(scope="module", params=marked(COMPILED_OFTEN))
def compiled_often(request) -> Subject:
    """For comparisons, which compile the step anew."""
    return made(request.param, presets()[request.param][0] in GENTLE)


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
    """Two states differ by little, measured by how far they are from where they started.

    Adam turns rounding errors in gradients near zero into whole steps, so single numbers cannot be compared.
    """
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


# --- form --------------------------------------------------------------------------------------------------------


def test_the_file_offers_config_presets_and_build(subject):
    assert subject.module.__doc__
    assert list(inspect.signature(subject.module.build).parameters) == ["config", "spec", "grad"]
    config = subject.module.Config
    assert dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen
    assert {"steps", "batch_size"} <= {field.name for field in dataclasses.fields(config)}
    assert all(isinstance(preset, config) for preset in subject.module.PRESETS.values())


def test_state_is_arrays_and_metrics_are_finite_scalars(subject):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(subject.start))
    state, metrics = subject.early
    form = [(a.shape, a.dtype) for a in jax.tree.leaves(subject.start)]
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(state)] == form
    assert metrics
    for name, value in metrics.items():
        assert value.shape == (3,) and value.dtype == np.float32, name
        assert np.isfinite(value).all(), name


def test_samples_have_the_shape_and_range_of_the_data(subject):
    for state in (subject.early[0], subject.trained):
        x = np.asarray(subject.sample(jax.random.key(0), state, subject.labels(200)))
        assert x.shape == (200, *subject.spec.shape) and x.dtype == np.float32
        assert np.isfinite(x).all()
        if subject.spec.kind == "image":
            assert x.min() >= -1 and x.max() <= 1


def test_samples_depend_on_the_key_and_on_nothing_else(subject):
    labels = subject.labels(200)
    one = subject.sample(jax.random.key(0), subject.trained, labels)
    np.testing.assert_array_equal(one, subject.sample(jax.random.key(0), subject.trained, labels))
    other = np.asarray(subject.sample(jax.random.key(1), subject.trained, labels))
    assert (np.asarray(one) != other).reshape(200, -1).any(axis=1).mean() > 0.9
    assert len(np.unique(np.asarray(one), axis=0)) > 100


def test_labels_matter_to_conditional_models_alone(subject):
    labels = subject.labels(200)
    shifted = ((labels + 1) % max(subject.spec.n_classes, 1)).astype(np.int32)
    one, other = (np.asarray(subject.sample(jax.random.key(0), subject.trained, y)) for y in (labels, shifted))
    if subject.model.conditional:
        assert (one != other).reshape(200, -1).any(axis=1).mean() > 0.9
    else:
        np.testing.assert_array_equal(one, other)


def test_score_is_one_finite_number_an_example(subject):
    if subject.score is None:
        pytest.skip("this model has no score")
    batch = subject.flat_batch()
    score = np.asarray(subject.score(jax.random.key(0), subject.trained, batch))
    assert score.shape == (len(batch.y),) and score.dtype == np.float32
    assert np.isfinite(score).all() and len(np.unique(score)) > len(score) // 2


# --- what JAX can do with it -------------------------------------------------------------------------------------


def test_ten_steps_trace_once(subject):
    state, _ = subject.early
    before = subject.traces
    for step in range(3, 13):
        state, _ = subject.run(step, step + 1, state)
    subject.run(13, 20, state)
    assert subject.traces == before


def test_no_key_is_used_twice(subject, key_reuse):
    key = jax.random.key(0)
    labels, state = subject.labels(8), subject.start
    jax.jit(subject.model.init).trace(key, subject.flat_batch())
    jax.jit(subject.model.step).trace(key, 0, state, subject.batch())
    jax.jit(subject.model.sample).trace(key, state, labels)
    if subject.model.score:
        jax.jit(subject.model.score).trace(key, state, subject.flat_batch())


@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices_agree_with_one(compiled_often, devices):
    subject = compiled_often
    sharding = subject.trainer(devices).replicated
    assert len(sharding.device_set) == devices
    start = jax.device_put(subject.start, sharding)
    state, metrics = subject.run(0, 3, start, devices=devices)
    expected_state, expected = subject.early
    assert_same_metrics(metrics, expected)
    assert_same_way(state, expected_state, subject.start)


def test_seeds_under_vmap_equal_separate_runs(compiled_often):
    subject = compiled_often
    single, pair = subject.trainer(), subject.trainer(seeds=2)
    key, key_init = jax.random.key(5), jax.random.key(6)
    together, metrics = subject.run(0, 3, pair.init(key_init), pair.keys(key), seeds=2)
    for member, (k, k_init) in enumerate(zip(pair.keys(key), pair.keys(key_init), strict=True)):
        start = single.init(k_init)
        alone, expected = subject.run(0, 3, start, k)
        assert_same_metrics({name: value[member] for name, value in metrics.items()}, expected)
        assert_same_way(jax.tree.map(lambda a, m=member: a[m], together), alone, start)


def test_seeds_under_pmap_equal_separate_runs(compiled_often):
    subject = compiled_often
    devices = jax.devices()[:2]
    keys = subject.trainer(seeds=2).keys(jax.random.key(7))
    state = jax.tree.map(lambda a: jnp.stack([a, a]), on_no_device(subject.start))
    step = jax.pmap(subject.model.step, in_axes=(0, None, 0, None), devices=devices)
    losses = []
    for i in range(2):
        drawn = subject.feed.batch(i)
        batch = Batch(np.asarray(subject.spec.encode(drawn.x)), *drawn[1:])
        folded = jnp.stack([jax.random.fold_in(key, i) for key in keys])
        state, metrics = step(folded, i, state, batch)
        losses.append(metrics)
    for member, key in enumerate(keys):
        alone, expected = subject.run(0, 2, subject.start, key)
        assert_same_metrics({name: [m[name][member] for m in losses] for name in expected}, expected)
        assert_same_way(jax.tree.map(lambda a, m=member: a[m], state), alone, subject.start)


# --- what training relies on -------------------------------------------------------------------------------------


class Padded(Feed):
    """The second half of each batch is padding, which holds whatever `seed` makes of it."""

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        batch = Feed(*self[:3], 0, *self[4:]).batch(step, part)
        padding = np.arange(batch.y.shape[-1]) >= batch.y.shape[-1] // 2
        noise = np.random.default_rng(self.seed).permuted(batch.x.reshape(*batch.y.shape, -1), axis=-1)
        x = np.where(padding[:, None], noise, batch.x.reshape(noise.shape)).reshape(batch.x.shape)
        y = np.where(padding, np.random.default_rng(self.seed).permutation(batch.y), batch.y)
        weight = np.where(padding, 0.0, 1.0 + self.seed).astype(np.float32)
        return batch._replace(x=x, y=y, weight=np.broadcast_to(weight, batch.y.shape))


def test_padding_changes_neither_metrics_nor_update(subject):
    """Nor does it count: all weights are doubled along with it, which a weighted mean does not see."""
    results = []
    for seed in (0, 1):
        feed = Padded(*subject.feed[:3], seed, *subject.feed[4:])
        trainer = loop.Trainer(subject.model, feed, subject.spec, devices=jax.devices()[:1])
        state, metrics = trainer.run(jax.random.key(3), 0, 2, copied(subject.start), loop.STEPS_PER_CALL)
        results.append((state, {name: np.asarray(value)[:2] for name, value in metrics.items()}))
    (state, metrics), (other_state, other_metrics) = results
    for name, value in metrics.items():
        np.testing.assert_allclose(value, other_metrics[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert_same_way(state, other_state, subject.start, share=1e-3)


def test_examples_are_scored_each_by_itself(subject):
    if subject.score is None:
        pytest.skip("this model has no score")
    batch = subject.flat_batch()
    first = np.arange(len(batch.y)) < len(batch.y) // 2
    shape = (-1,) + (1,) * (batch.x.ndim - 1)
    other = batch._replace(x=jnp.where(first.reshape(shape), batch.x, batch.x[::-1]), weight=first.astype(np.float32))
    score, changed = (subject.score(jax.random.key(0), subject.trained, b) for b in (batch, other))
    np.testing.assert_allclose(score[first], changed[first], rtol=1e-4)
    assert not np.allclose(score[~first], changed[~first])


def test_an_interrupted_run_equals_a_straight_one_bit_for_bit(subject, tmp_path):
    key = jax.random.key(4)

    def train(name, steps):
        return loop.train(
            subject.trainer(),
            loop.Plan(steps),
            key,
            Checkpoints(tmp_path / name),
            {},
            log=lambda *_: None,
            say=lambda line: None,
        )

    straight = train("straight", 6)
    assert train("halves", 3)[0] == 3
    halves = train("halves", 6)
    assert straight[0] == halves[0] == 6
    assert_same_bits(straight[1], halves[1])
    with pytest.raises(AssertionError):
        assert_same_bits(straight[1], subject.start)


def test_it_learns(subject):
    """The samples come nearer to the data; losses of adversarial models need not fall."""
    held = subject.data.holdout
    labels = held.y[: min(150, len(held.y))]
    real = np.asarray(subject.spec.encode(held.x[: len(labels)]))

    def distance(state):
        drawn = sampling.draw(subject.model, state, jax.random.key(0), labels, block=200)
        return energy_distance(np.concatenate(list(drawn)), real)

    untrained = subject.start if subject.model.minibatches is None else subject.early[0]  # EM is near after one step
    before, after = distance(untrained), distance(subject.trained)
    assert after < before / 2, (before, after)
