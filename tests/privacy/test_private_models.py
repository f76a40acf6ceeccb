"""Every preset with a private gradient: what it uses of training rows, and how far one row can move a gradient."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import data
from synthjax.errors import InputError
from synthjax.launch.config import presets
from synthjax.model import Batch
from synthjax.models import cgan, dcgan, table_gan
from synthjax.privacy import gradients

ROWS, CLIP = 8, 0.01
SMALL = {
    "cgan": {"noise": 4},
    "dcgan": {"noise": 4, "channels": (4, 8), "norm": "layer"},
    "dbm": {"hidden": (6, 5), "burn_in": 2, "chains": 4, "centred": False},
    "ddpm": {"width": 16, "multipliers": (1,), "blocks": (1,)},
    "flow": {"width": 16, "multipliers": (1,), "blocks": (1,)},
    "rbm": {"hidden": 6, "chains": 4, "centred": False},
    "table_ar": {"bins": 8, "hidden": 4, "embedding": 4, "fine": 4},
    "table_ddpm": {"width": 8, "blocks": 1},
    "table_gan": {"hidden": (8, 8)},
    "table_vae": {"latents": 3, "hidden": (8,)},
    "vae": {"latents": 3, "channels": (), "hidden": (8,)},
}
FIELDS = {
    # A gradient penalty needs generated examples with the labels of the batch, which batch norm would couple.
    "cwgan": {"rules": dataclasses.replace(cgan.WASSERSTEIN, n_critic=1, gradient_penalty=0.0, weight_clip=0.1)},
    "cwdcgan": {"rules": dataclasses.replace(cgan.WASSERSTEIN, n_critic=1, gradient_penalty=0.0, weight_clip=0.1)},
    "dcgan": {"rules": dcgan.Rules(n_critic=2)},
    "wgan_gp": {"conditional": False},
    "table_gan": {"rules": dataclasses.replace(table_gan.CROSS_ENTROPY, critic_warmup=0)},
}
"""Further fields of a preset."""
COUNTING = {"gaussian_mixture", "independent", "mixture", "mixture_product", "table_marginals"}
"""Presets that are fitted by counts, not by gradients."""
REFUSED = {"smote", "table_forest"}
REPRESENTED = {"cgan", "cwgan", "cwdcgan", "flow", "table_gan", "table_wgan", "table_cgan", "wgan_gp"}
"""Presets whose file has another one in every run."""
PRIVATE = [
    pytest.param(preset, marks=[pytest.mark.slow] * (preset in REPRESENTED))
    for preset in sorted(set(presets()) - COUNTING - REFUSED)
]
PHASES = {"dbm": (0, 3)}
"""Steps of a run of four that are different programs; default: the first."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A private gradient that lets nothing through, and records the sums of clipped gradients."""

    record: list
    private = True

    def __call__(self, loss):
        def gradient(params, key, batch):
            clipped = gradients.clipped_sum(loss, CLIP)(params, key, batch)
            leaves = jax.tree.leaves(clipped.gradient)
            jax.debug.callback(lambda *sums: self.record.append([np.asarray(a) for a in sums]), *leaves)
            return clipped._replace(gradient=jax.tree.map(jnp.zeros_like, params))

        return gradient


@functools.cache
def images():
    return data.load("digits")


@functools.cache
def table():
    return data.load("breast_cancer")


def build(preset: str, grad):
    """(model, data set) of a small model of the preset."""
    family, config = presets()[preset]
    module = importlib.import_module(f"synthjax.models.{family}")
    fields = {field.name for field in dataclasses.fields(config)}
    small = {name: value for name, value in {"steps": 4}.items() if name in fields}
    config = dataclasses.replace(config, **small | SMALL.get(family, {}) | FIELDS.get(preset, {}))
    for dataset in (images(), table()):
        try:
            return module.build(config, dataset.spec, grad=grad), dataset
        except InputError as error:
            refused = error
    raise refused


def batch(model, dataset, start: int, weight=None) -> Batch:
    """Rows from `start` on, as a step of the model takes them."""
    size = ROWS * model.n_batches
    rows = slice(start, start + size)
    x, y = dataset.spec.encode(dataset.train.x[rows]), jnp.asarray(dataset.train.y[rows])
    made = Batch(x, y, jnp.ones(size), jnp.arange(size))
    if model.feed == "batches":
        made = jax.tree.map(lambda a: a.reshape(model.n_batches, ROWS, *a.shape[1:]), made)
    return made if weight is None else made._replace(weight=weight(made.weight))


def same(a, b):
    jax.tree.map(lambda left, right: np.testing.assert_array_equal(np.asarray(left), np.asarray(right)), a, b)


def without(row: int):
    """Weights whose last batch lacks a row."""
    return lambda weight: weight.at[..., -1, row].set(0) if weight.ndim > 1 else weight.at[row].set(0)


@pytest.mark.parametrize("preset", PRIVATE)
def test_training_uses_rows_through_bounded_gradients_alone(preset):
    """Without the gradients, a step is the same on any rows; and one row moves them by at most the clip."""
    record: list = []
    model, dataset = build(preset, Recorded(record))
    state = jax.jit(model.init)(jax.random.key(0))
    state = jax.tree.map(lambda a: a + 0.01 if jnp.issubdtype(a.dtype, jnp.floating) else a, state)  # no zero layers
    step = jax.jit(model.step)
    rows = [batch(model, dataset, 0, weight) for weight in (None, without(0), without(ROWS - 1))]
    rows.append(batch(model, dataset, 80, without(3)))
    for i in PHASES.get(preset, (0,)):
        del record[:]
        results = [jax.block_until_ready(step(jax.random.key(1), i, state, one)) for one in rows]
        jax.effects_barrier()
        for result in results[1:]:
            same(results[0], result)
        assert len(record) == len(rows) * model.n_batches
        first, *others = np.split(np.arange(len(record)), len(rows))
        moved = [[distance(record[a], record[b]) for a, b in zip(first, other, strict=True)] for other in others]
        for *before, last in moved[:2]:  # the last batch alone differs, by one row whose gradient is clipped
            assert before == [0] * (model.n_batches - 1) and 0.5 * CLIP < last <= CLIP * (1 + 1e-3)
        assert moved[2][-1] > 0.5 * CLIP


def distance(a: list, b: list) -> float:
    return float(np.sqrt(sum(((left - right) ** 2).sum() for left, right in zip(a, b, strict=True))))


@pytest.mark.parametrize(
    ("module", "preset", "fields", "message"),
    [
        ("dcgan", "dcgan", {}, "the critic's batch norm couples the examples of a batch"),
        ("dcgan", "dcgan", {"norm": "layer", "minibatch_stddev": True}, "minibatch standard deviation couples"),
        ("dcgan", "wgan_gp", {}, "batch norm couples the labels of a batch"),
        ("cgan", "cwdcgan", {}, "batch norm couples the labels of a batch"),
        ("dcgan", "dcgan", {"norm": "layer", "rules": dcgan.Rules(feature_matching=1.0)}, "feature_matching"),
        ("dcgan", "wgan_gp", {"rules": dcgan.Rules(loss="cramer", gradient_penalty=1.0)}, "loss=cramer"),
        ("table_gan", "table_wcgan", {"by_sampling": True}, "model.by_sampling counts the categories"),
        ("rbm", "rbm", {}, "model.centred=True: the offsets are means of training rows"),
        ("dbm", "dbm", {}, "model.centred=True: the offsets are means of training rows"),
        ("smote", "smote", {}, "smote keeps the training rows"),
    ],
)
def test_what_cannot_be_private_is_refused_in_one_line(module, preset, fields, message):
    config = dataclasses.replace(presets()[preset][1], **fields)
    spec = (table() if "table" in preset or preset == "smote" else images()).spec
    with pytest.raises(InputError) as error:
        importlib.import_module(f"synthjax.models.{module}").build(config, spec, grad=gradients.dp_grad(1.0, 1.0, 8.0))
    assert str(error.value).startswith("differential privacy: ") and message in str(error.value)
    assert "\n" not in str(error.value)
