"""Number of examples of each class in a synthetic set, from the flags of `synthjax.launch.sample`."""

from collections.abc import Sequence

import numpy as np

from synthjax.data import memory, transforms
from synthjax.data.arrays import examples
from synthjax.data.requests import proportional_counts
from synthjax.errors import InputError
from synthjax.model import DataSpec


def class_counts(
    spec: DataSpec,
    conditional: bool,
    *,
    n: int | None,
    per_class: int | None,
    classes: Sequence[str] = (),
    top_up: np.ndarray | None = None,
) -> tuple[int, ...]:
    """Number of examples to draw of each class.

    Exactly one is given of `n`, the total, in the proportions of the training set; `per_class`; and `top_up`, labels
    (N,) i32 of the training set, each class of which is filled up to the size of the largest one. `classes` are the
    names of those to draw from, empty for all; not with `top_up`.

    Returns one count for each class of `spec`, all 0 if there is nothing to top up; a single count if the set will have
    no labels. InputError if the flags contradict each other, or the data or the model has no such classes.
    """
    numbers = {"n": n, "per_class": per_class}
    others = [name for name, value in [*numbers.items(), ("classes", classes or None)] if value is not None]
    if top_up is not None and others:
        raise InputError(f"--top_up says how many of which classes: it goes without --{others[0]}")
    if top_up is None and (n is None) == (per_class is None):
        raise InputError(
            "give either --per_class (examples of each class), --n (examples in all) or --top_up (what classes lack)"
        )
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, not {value}")
    if not (conditional and spec.n_classes):
        why = "the model is unconditional" if spec.n_classes else "the training data has no labels"
        if n is None or classes:
            flag = "top_up" if top_up is not None else "classes" if classes else "per_class"
            raise InputError(f"--{flag}: {why}; give --n alone")
        return (n,)
    if top_up is not None:
        missing = transforms.top_up(top_up, spec.n_classes)
        return _drawable(spec, "top_up", tuple(np.bincount(missing, minlength=spec.n_classes).tolist()))
    if unknown := [name for name in classes if name not in spec.classes]:
        raise InputError(f"--classes: no class {unknown[0]!r}; there are {', '.join(spec.classes)}")
    chosen = [not classes or name in classes for name in spec.classes]
    if per_class is not None:
        return _drawable(spec, "per_class", tuple(per_class if yes else 0 for yes in chosen))
    assert n is not None
    if classes:
        _drawable(spec, "classes", tuple(map(int, chosen)))
    return proportional_counts(n, np.where(chosen, spec.frequencies, 0.0).tolist())


def _drawable(spec: DataSpec, flag: str, counts: tuple[int, ...]) -> tuple[int, ...]:
    """The counts; InputError if one is of a class without training rows."""
    if empty := [spec.classes[label] for label in spec.empty_classes if counts[label]]:
        raise InputError(f"--{flag}: class {empty[0]} has no training row to learn from; --classes names the others")
    return counts


def check_batch(size: int, spec: DataSpec) -> None:
    """Raises InputError if a batch of `size` examples does not fit into memory."""
    if 4 * size * spec.dims > (limit := memory.limit()):
        raise InputError(
            f"--batch_size={size}: its examples take {memory.shown(4 * size * spec.dims)}, and there are "
            f"{memory.shown(limit)}; give a smaller one"
        )


def top_up_line(spec: DataSpec, y: np.ndarray, counts: tuple[int, ...]) -> str:
    """A line on what `--top_up` does; `counts`: what `class_counts` makes of the training labels `y` (N,) i32."""
    largest = np.bincount(y).max()
    if not any(counts):
        return f"nothing to top up: each class has {examples(largest)}; no file is written"
    lacks = ", ".join(f"{count:,} of {name}" for name, count in zip(spec.classes, counts, strict=True))
    return f"topping up each class to {largest:,} examples: {lacks}"
