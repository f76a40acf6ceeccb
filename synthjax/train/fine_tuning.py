"""Fine-tuning: training that starts from the weights of an earlier run, with a new optimiser state and schedule.

model = fine_tuned(model, trained.state)           # its `init` returns the trained weights and a new optimiser state
model = frozen(model, ("encoder",))                # its `step` does not change the encoder

>>> def step(key, i, state, batch):
...     return {"encoder": state["encoder"] + 1, "decoder": state["decoder"] + 1}, {}
>>> model = Model(lambda key: {"encoder": jnp.zeros(()), "decoder": jnp.zeros(())}, step, None)
>>> model = frozen(fine_tuned(model, {"encoder": 5.0 * jnp.ones(()), "decoder": jnp.ones(())}), ("encoder",))
>>> state, _ = model.step(None, 0, model.init(jax.random.key(0)), None)
>>> float(state["encoder"]), float(state["decoder"])
(5.0, 2.0)
"""

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import Model, State

_FRESH = ("opt", "velocity", "history", "trace")  # entries of a state that start with these are not taken over
_FOLLOWING = ("ema", "chains", "base", "offsets")  # entries with averages and Markov chains, which no gradient changes


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names along a key path of a state: ("params", "encoder", "Dense_0", "kernel")."""
    return tuple(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)


def fine_tuned(model: Model, trained: State, what: str = "init_from") -> Model:
    """Replaces `init` by a function that returns the weights of a trained state and a new optimiser state.

    Args:
      model: of the same family and sizes as the trained model. Its data may differ but has the same shape.
      trained: state of the trained model.
      what: name of the state in the error.

    Raises:
      InputError: the model is fitted to the whole training set in one step, or the state is of another model.
    """
    if model.feed == "dataset":
        raise InputError(f"{what}: this model is fitted to the whole training set, and has no weights to start from")
    like = jax.eval_shape(model.init, jax.random.key(0))
    new_leaves, trained_leaves = (jax.tree_util.tree_flatten_with_path(state)[0] for state in (like, trained))
    structures: list[Any] = [jax.tree.structure(state) for state in (like, trained)]
    if structures[0] != structures[1]:
        paths = [{"/".join(names(path)) for path, _ in leaves} for leaves in (new_leaves, trained_leaves)]
        unmatched = sorted(paths[0] ^ paths[1])
        reason = f"{unmatched[0]} is in only one of the two" if unmatched else "its state has another form"
        raise InputError(f"{what}: is a run of another model: {reason}")
    for (path, leaf), (_, trained_leaf) in zip(new_leaves, trained_leaves, strict=True):
        if leaf.shape != trained_leaf.shape and not _is_fresh(path):
            name = "/".join(names(path))
            raise InputError(
                f"{what}: its {name} has shape {trained_leaf.shape}, that of this model and data {leaf.shape}"
            )

    def init(key: jax.Array) -> State:
        def choose(path: tuple[Any, ...], leaf: jax.Array, trained_leaf: jax.Array) -> jax.Array:
            return leaf if _is_fresh(path) else jnp.asarray(trained_leaf, leaf.dtype)

        return jax.tree_util.tree_map_with_path(choose, model.init(key), trained)

    return model._replace(init=init)


def frozen(model: Model, parts: tuple[str, ...]) -> Model:
    """Replaces `step` by a function that does not change some of the weights.

    Args:
      model: any model that is trained by gradients.
      parts: names along the paths to these weights in the state, such as "encoder" or "encoder/Dense_0".

    Raises:
      InputError: no weight has such a name in its path, or all are frozen.
    """
    split_parts = [tuple(part.split("/")) for part in parts]
    leaves = jax.tree_util.tree_flatten_with_path(jax.eval_shape(model.init, jax.random.key(0)))[0]
    paths = [names(path) for path, _ in leaves if not _is_fresh(path)]
    for part, name in zip(split_parts, parts, strict=True):
        if not any(_within(part, path) for path in paths):
            known = sorted({name for path in paths for name in path})
            raise InputError(f"freeze={name}: no weight has this name in its path; there are {', '.join(known[:30])}")
    weights = [path for path in paths if path[0] not in _FOLLOWING and "batch_stats" not in path]
    if all(any(_within(part, path) for part in split_parts) for path in weights):
        raise InputError(f"freeze={','.join(parts)}: leaves no weight to train; freeze fewer of them")

    def step(key: jax.Array, i: Any, state: State, batch: Any) -> Any:
        new, metrics = model.step(key, i, state, batch)

        def choose(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
            return old if not _is_fresh(path) and any(_within(part, names(path)) for part in split_parts) else new

        return jax.tree_util.tree_map_with_path(choose, state, new), metrics

    return model._replace(step=step)


def _is_fresh(path: tuple[Any, ...]) -> bool:
    """Whether a leaf belongs to the optimiser or to the diagnostics, and so starts anew."""
    return names(path)[0].startswith(_FRESH)


def _within(part: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether the names of `part` occur consecutively in a path."""
    return any(path[start : start + len(part)] == part for start in range(len(path)))
