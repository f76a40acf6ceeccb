"""Fine-tuning: what is kept of a trained state, what starts anew, and what stays frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.model import Batch, DataSpec, Model
from synthjax.models import table_vae
from synthjax.train.fine_tuning import fine_tuned, frozen

ROWS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
CONFIG = table_vae.Config(latents=2, hidden=(8,), steps=50, warmup=0, learning_rate=1e-2, batch_size=64)


def built(rows=ROWS, **fields) -> Model:
    config = table_vae.Config(**{**vars(CONFIG), **fields})
    return table_vae.build(config, DataSpec.from_arrays(rows))


def trained(model: Model, steps: int, state=None, rows=ROWS):
    batch = Batch(jnp.asarray(rows), jnp.zeros(64, jnp.int32), jnp.ones(64), jnp.arange(64))
    step = jax.jit(model.step)
    state = model.init(jax.random.key(0)) if state is None else state
    for i in range(steps):
        state, metrics = step(jax.random.key(i), i, state, batch)
    return state, metrics


def distance(a, b) -> float:
    return sum(float(jnp.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_weights_are_those_of_the_run_and_the_schedule_is_fresh():
    """A finished run ends at a rate of 0; the same weights move again at once, at the rate that is reported."""
    state, last = trained(built(), 50)
    model = fine_tuned(built(rows=ROWS + 5), state)
    start = model.init(jax.random.key(7))
    assert distance(start.params, state.params) == 0 and distance(start.ema, state.ema) == 0
    assert all(float(jnp.abs(a).max()) == 0 for a in jax.tree.leaves(start.opt))
    tuned, metrics = trained(model, 1, start, ROWS + 5)
    assert float(last["learning_rate"]) < 1e-4 < float(metrics["learning_rate"]) == pytest.approx(1e-2)
    # Adam's first step has the size of the rate, in each weight that has a gradient.
    assert distance(tuned.params["log_scale"], start.params["log_scale"]) == pytest.approx(1e-2, rel=0.01)


def test_the_same_state_can_go_on_under_a_new_schedule_without_help():
    state, _ = trained(built(), 50)
    tuned, metrics = trained(built(), 1, state)
    assert distance(tuned.params, state.params) > 0.1 * float(metrics["learning_rate"])


@pytest.mark.parametrize("part", ["encoder", "encoder/params/Dense_0"])
def test_frozen_parts_stay_and_others_move(part):
    model = frozen(built(), (part,))
    start = model.init(jax.random.key(0))
    state, _ = trained(model, 3)
    layers = state.params["encoder"]["params"]
    for name, layer in layers.items():
        moved = distance(layer, start.params["encoder"]["params"][name])
        assert (moved == 0) == (part == "encoder" or name == "Dense_0"), name
    assert distance(state.params["decoder"], start.params["decoder"]) > 0
    assert distance(state.ema["decoder"], start.ema["decoder"]) > 0


def test_what_does_not_fit_is_named():
    state, _ = trained(built(), 1)
    with pytest.raises(InputError, match=r"^init_from: its params/decoder/params/Dense_1/\w+ has shape"):
        fine_tuned(built(rows=ROWS[:, :2]), state)
    with pytest.raises(InputError, match=r"^w: is a run of another model: \S+ is in only one of the two$"):
        fine_tuned(built(hidden=(8, 8)), state, "w")
    with pytest.raises(InputError, match=r"^init_from: this model is fitted to the whole training set"):
        fine_tuned(built()._replace(feed="dataset"), state)
    with pytest.raises(InputError, match=r"^freeze=enc: no weight has this name in its path; there are .*encoder"):
        frozen(built(), ("enc",))


@pytest.mark.parametrize("parts", [("params",), ("encoder", "decoder", "log_scale")])
def test_something_is_left_to_train(parts):
    """The average of the weights alone changes no more."""
    with pytest.raises(InputError, match=rf"^freeze={','.join(parts)}: leaves no weight to train; freeze fewer of"):
        frozen(built(), parts)
