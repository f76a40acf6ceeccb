"""What `synthjax.model` promises, asked of every preset of every file in synthjax/models (see `contract.py`)."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import (
    COMPILED_OFTEN,
    GENTLE,
    WITHOUT_NETWORKS,
    Subject,
    assert_same_bits,
    assert_same_metrics,
    assert_same_way,
    copied,
    energy_distance,
    made,
    marked,
    on_no_device,
    one_a_file,
)

from synthjax import sampling
from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.launch.config import presets
from synthjax.model import Batch
from synthjax.nets import precision
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module", params=marked(one_a_file()))
def subject(request) -> Subject:
    return made(request.param)


@pytest.fixture(scope="module", params=marked(COMPILED_OFTEN))
def compiled_often(request) -> Subject:
    """For comparisons, which compile the step anew."""
    return made(request.param, presets()[request.param][0] in GENTLE)


# --- form --------------------------------------------------------------------------------------------------------


def test_the_file_offers_config_presets_and_build(subject):
    assert subject.module.__doc__
    counting = hasattr(subject.module, "releases")
    hooks = ["grad", "count"] if counting else ["grad"]
    assert list(inspect.signature(subject.module.build).parameters) == ["config", "spec", *hooks]
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


def test_a_label_out_of_range_is_named(subject):
    """Before the state is looked at, let alone anything compiled: a compiled `sample` could not tell."""
    if not subject.model.conditional:
        pytest.skip("no label matters to this model")
    count = subject.spec.n_classes
    for label in (count, -1):
        labels = np.array([0, count - 1, label, label])
        line = rf"^labels: {label} in place 2 is out of range: there are classes 0 \.\.\. {count - 1}$"
        with pytest.raises(InputError, match=line):
            next(sampling.draw(subject.model, None, jax.random.key(0), labels))


def test_score_is_one_finite_number_an_example(subject):
    if subject.score is None:
        pytest.skip("this model has no score")
    batch = subject.flat_batch()
    score = np.asarray(subject.score(jax.random.key(0), subject.trained, batch))
    assert score.shape == (len(batch.y),) and score.dtype == np.float32
    assert np.isfinite(score).all() and len(np.unique(score)) > len(score) // 2


def test_sampling_options_are_a_documented_dataclass_and_keyword_arguments(subject):
    """Those of the signature, which the command line reads, are the fields of the family's `Sampling`."""
    offered = list(inspect.signature(subject.model.sample).parameters.values())[3:]
    assert all(option.kind == inspect.Parameter.KEYWORD_ONLY for option in offered)
    kind = getattr(subject.module, "Sampling", None)
    fields = [] if kind is None else [field.name for field in dataclasses.fields(kind)]
    assert [option.name for option in offered] == fields
    if fields:
        defaults = {option.name: option.default for option in offered}
        key, state, labels = jax.random.key(0), subject.start, subject.labels(3)
        sample = subject.model.sample
        assert program(lambda *drawn: sample(*drawn, **defaults), key, state, labels) == program(
            lambda *drawn: sample(*drawn), key, state, labels
        )
        with pytest.raises(TypeError, match="no_such_option"):
            subject.model.sample(key, state, labels, no_such_option=1)


def program(function, *arguments) -> str:
    """What JAX would compile, constants included."""
    return jax.jit(lambda *given: function(*given)).lower(*arguments).as_text()


def test_init_sees_no_training_row(subject):
    """Of two data sets with the same single columns or pixels, whose rows differ, it makes the same state."""
    x, spec = subject.data.train.x, subject.spec
    spans = [slice(c.start, c.start + c.size) for c in spec.columns] or [slice(i, i + 1) for i in range(spec.dims)]
    rng, other = np.random.default_rng(0), x.reshape(len(x), -1).copy()
    for span in spans:
        other[:, span] = rng.permutation(other[:, span])
    other = other.reshape(x.shape)
    assert (other != x).reshape(len(x), -1).any(axis=1).mean() > 0.9
    models = [subject.module.build(subject.config, spec.measured(rows)) for rows in (x, other)]
    key = jax.random.key(1)
    assert program(models[0].init, key) == program(models[1].init, key)


def test_log_prob_says_what_it_is(subject):
    model = subject.model
    assert (model.log_prob is None) == (model.log_prob_kind == "") == (model.log_prob_of == "")
    if model.log_prob is None:
        return
    batch = subject.flat_batch()
    found = np.asarray(jax.jit(model.log_prob)(jax.random.key(0), subject.trained, batch))
    assert found.shape == (len(batch.y),) and found.dtype == np.float32 and np.isfinite(found).all()
    if model.log_prob_of != "encoded vector":
        assert (found < 0).all()  # of a mass


# --- what JAX can do with it -------------------------------------------------------------------------------------


def test_ten_steps_trace_once(subject):
    state, _ = subject.run(0, 3, subject.start)  # not `early`: what it compiled may have been cleared since
    before = subject.traces
    for step in range(3, 13):
        state, _ = subject.run(step, step + 1, state)
    subject.run(13, 20, state)
    assert subject.traces == before


def test_no_key_is_used_twice(subject, key_reuse):
    key, labels, state = jax.random.key(0), subject.labels(8), subject.start
    jax.jit(subject.model.init).trace(key)
    jax.jit(subject.model.step).trace(key, 0, state, subject.batch())
    jax.jit(subject.model.sample).trace(key, state, labels)
    if subject.model.score:
        jax.jit(subject.model.score).trace(key, state, subject.flat_batch())


def shapes(subject, model=None):
    """Of all that the model's functions give, traced and not compiled; and the programs of a step and of samples."""
    model = model or subject.module.build(subject.config, subject.spec)
    key, labels, state = jax.random.key(0), subject.labels(8), jax.eval_shape(model.init, jax.random.key(0))
    traced = [(model.step, 0, state, subject.batch()), (model.sample, state, labels)]
    programs, given = zip(*(jax.make_jaxpr(f, return_shape=True)(key, *inputs) for f, *inputs in traced), strict=True)
    batch = subject.flat_batch()
    found = [jax.eval_shape(f, key, state, batch) for f in (model.score, model.log_prob) if f is not None]
    return jax.tree.map(lambda a: (a.shape, a.dtype), [state, *given, *found]), programs


@functools.cache
def usual_shapes(subject):
    return shapes(subject)[0]


@pytest.mark.parametrize("preset", marked(one_a_file()))
def test_two_seeds_under_vmap_have_the_shapes_of_one_twice(preset):
    """Traced; that the numbers are the same is asked below."""
    model, labels, batch = made(preset).model, made(preset).labels(4), made(preset).batch()
    key, keys = jax.random.key(0), jax.random.split(jax.random.key(0))

    def form(tree, *seeds):
        return jax.tree.map(lambda a: ((*seeds, *a.shape), a.dtype), tree)

    one, two = jax.eval_shape(model.init, key), jax.eval_shape(jax.vmap(model.init), keys)
    assert form(two) == form(one, 2)
    step, sample = jax.vmap(model.step, (0, None, 0, None)), jax.vmap(model.sample, (0, 0, None))
    assert form(jax.eval_shape(step, keys, 0, two, batch)) == form(jax.eval_shape(model.step, key, 0, one, batch), 2)
    assert form(jax.eval_shape(sample, keys, two, labels)) == form(jax.eval_shape(model.sample, key, one, labels), 2)


def test_samples_have_a_forward_mode(subject):
    """By the numbers of the state, traced."""
    key, labels = jax.random.key(0), subject.labels(4)
    leaves, tree = jax.tree.flatten(jax.eval_shape(subject.model.init, key))
    moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def slopes(leaves, tangents):
        def sample(numbers):
            given = iter(numbers)
            state = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
            return subject.model.sample(key, tree.unflatten(state), labels)

        return jax.jvp(sample, ([leaf for leaf, moves in zip(leaves, moving, strict=True) if moves],), (tangents,))

    numbers = [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]
    x, slope = jax.eval_shape(slopes, leaves, numbers)
    assert x.shape == slope.shape == (4, *subject.spec.shape) and slope.dtype == np.float32


def test_64_bit_mode_and_strict_ranks_change_no_dtype(subject):
    expected = usual_shapes(subject)
    assert subject.batch().x.dtype == np.float32
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        assert shapes(subject)[0] == expected


def test_networks_and_nothing_else_compute_in_bfloat16_where_it_is_asked_for(subject):
    expected, networks = usual_shapes(subject), subject.family not in WITHOUT_NETWORKS
    with precision.use("bfloat16"):
        model = subject.module.build(subject.config, subject.spec)
    found, programs = shapes(subject, model)
    assert found == expected  # states, metrics, samples and scores stay in f32
    assert ["bf16[" in str(program) for program in programs] == [networks, networks]


def test_score_has_a_forward_mode_and_hessian_vector_products(subject):
    if subject.model.score is None:
        pytest.skip("this model has no score")
    key, batch = jax.random.key(0), subject.flat_batch()
    state = jax.eval_shape(subject.model.init, key)

    def product(x, tangent, state):
        def total(x):
            return subject.model.score(key, state, batch._replace(x=x)).sum()

        return jax.jvp(total, (x,), (tangent,)), jax.jvp(jax.grad(total), (x,), (tangent,))

    x = jax.ShapeDtypeStruct(batch.x.shape, jnp.float32)
    (_, slope), (_, curvature) = jax.eval_shape(product, x, x, state)
    assert slope.shape == () and curvature.shape == batch.x.shape


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.slow), 4])
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


@dataclasses.dataclass(frozen=True, eq=False)
class Padded(Feed):
    """The second half of each batch is padding, which holds whatever the seed `padding` makes of it."""

    padding: int = 0

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        batch = super().batch(step, part)
        padding = np.arange(batch.y.shape[-1]) >= batch.y.shape[-1] // 2
        noise = np.random.default_rng(self.padding).permuted(batch.x.reshape(*batch.y.shape, -1), axis=-1)
        x = np.where(padding[:, None], noise, batch.x.reshape(noise.shape)).reshape(batch.x.shape)
        y = np.where(padding, np.random.default_rng(self.padding).permutation(batch.y), batch.y)
        weight = np.where(padding, 0.0, 1.0 + self.padding).astype(np.float32)
        return batch._replace(x=x, y=y, weight=np.broadcast_to(weight, batch.y.shape))


def test_padding_changes_neither_metrics_nor_update(subject):
    """Nor does it count: all weights are doubled along with it, which a weighted mean does not see."""
    results, weights, feeds = [], [], [Padded(**vars(subject.feed), padding=seed) for seed in (0, 1)]
    trainer = loop.Trainer(subject.model, feeds[0], subject.spec, devices=jax.devices()[:1])
    for feed in feeds:
        trainer.feed, trainer._dataset = feed, None  # and is compiled once
        weights.append(float(trainer.batches(0, 2).weight.sum()))
        state, metrics = trainer.run(jax.random.key(3), 0, 2, copied(subject.start))
        results.append((state, {name: np.asarray(value)[:2] for name, value in metrics.items()}))
    assert weights[1] == 2 * weights[0] > 0
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
    def train(name, steps):
        hooks = loop.Hooks(log=lambda *_: None, say=lambda line: None)
        kept = Checkpoints(tmp_path / name)
        return loop.train(subject.trainer(), loop.Plan(steps), jax.random.key(4), kept, {}, hooks)

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

    before, after = distance(subject.start), distance(subject.trained)
    # Those that count start with the bins of the spec, drawn evenly, which is near the columns alone.
    assert after < (0.9 if subject.model.feed == "dataset" else 0.5) * before, (before, after)
    if subject.model.feed == "dataset":
        batch = subject.flat_batch()
        scores = [np.mean(subject.score(jax.random.key(0), state, batch)) for state in (subject.start, subject.trained)]
        assert scores[1] < scores[0] - 1, scores  # nats; of SMOTE the distance to the nearest row
