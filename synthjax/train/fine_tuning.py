"""Fine-tuning: training that starts from the weights of an earlier run, under a fresh schedule.

model = fine_tuned(model, trained.state)           # its `init` gives the trained weights and a fresh optimiser
model = frozen(model, ("encoder",))                # its `step` does not change the encoder
"""

from typing import Any

import jax
import jax.numpy as jnp

from synthjax.errors import InputError
from synthjax.model import Model, State

_FRESH = (
    "opt",
    "velocity",
    "history",
    "trace",
)  # prefixes of entries of the optimiser


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names along a key path of a state: ("params", "encoder", "Dense_0", "kernel")."""
    return tuple(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)


def fine_tuned(model: Model, trained: State, what: str = "init_from") -> Model:
    """The model with an `init` that returns the weights of a trained state and a new optimiser state.

    Args:
      model: of the same family and sizes as the one that was trained; the data may be other data of the same shape.
      trained: a state of that one.
      what: names the state in an error.

    Raises:
      InputError: the model is fitted to its whole training set at once, or the state is that of another model.
    """
    if model.feed == "dataset":
        raise InputError(f"{what}: this model is fitted to the whole training set, and has no weights to start from")
    like = jax.eval_shape(model.init, jax.random.key(0))
    fresh, found = (jax.tree_util.tree_flatten_with_path(state)[0] for state in (like, trained))
    structures: list[Any] = [jax.tree.structure(state) for state in (like, trained)]
    if structures[0] != structures[1]:
        ours, theirs = ({"/".join(names(path)) for path, _ in leaves} for leaves in (fresh, found))
        odd = sorted(ours ^ theirs)
        at = f"{odd[0]} is in only one of the two" if odd else "its state has another form"
        raise InputError(f"{what}: is a run of another model: {at}")
    for (path, leaf), (_, theirs) in zip(fresh, found, strict=True):
        if leaf.shape != theirs.shape and not _is_fresh(path):
            at = "/".join(names(path))
            raise InputError(f"{what}: its {at} has shape {theirs.shape}, that of this model and data {leaf.shape}")

    def init(key: jax.Array) -> State:
        def chosen(path: tuple[Any, ...], leaf: jax.Array, theirs: jax.Array) -> jax.Array:
            return leaf if _is_fresh(path) else jnp.asarray(theirs, leaf.dtype)

        return jax.tree_util.tree_map_with_path(chosen, model.init(key), trained)

    return model._replace(init=init)


def frozen(model: Model, parts: tuple[str, ...]) -> Model:
    """The model with a `step` that does not change parts of its weights.

    Args:
      model: any that is trained by gradients.
      parts: names along the path to the weights in its state, such as "encoder" or "encoder/Dense_0".

    Raises:
      InputError: no weight has such a name in its path.
    """
    wanted = [tuple(part.split("/")) for part in parts]
    leaves = jax.tree_util.tree_flatten_with_path(jax.eval_shape(model.init, jax.random.key(0)))[0]
    paths = [names(path) for path, _ in leaves if not _is_fresh(path)]
    for part, name in zip(wanted, parts, strict=True):
        if not any(_within(part, path) for path in paths):
            known = sorted({name for path in paths for name in path})
            raise InputError(f"freeze={name}: no weight has this name in its path; there are {', '.join(known[:30])}")

    def step(key: jax.Array, i: Any, state: State, batch: Any) -> Any:
        new, metrics = model.step(key, i, state, batch)

        def kept(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
            return old if not _is_fresh(path) and any(_within(part, names(path)) for part in wanted) else new

        return jax.tree_util.tree_map_with_path(kept, state, new), metrics

    return model._replace(step=step)


def _is_fresh(path: tuple[Any, ...]) -> bool:
    return names(path)[0].startswith(_FRESH)


def _within(part: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether the names of `part` occur consecutively in a path."""
    return any(path[start : start + len(part)] == part for start in range(len(path)))
