"""The search space: which fields of a model's Config vary, their distributions, and several values as one model.

A field is searched where its value on the command line is one of

    LOW..HIGH       a uniform number; an integer if the field is one
    LOW..HIGH:log   the same, uniform in the logarithm
    A|B|C           one of several values, each written as for `launch.train`

and is fixed otherwise. Trials are drawn at random (Bergstra & Bengio 2012, Random search for hyper-parameter
optimization), as text that `launch.train` takes.

    space = [parse(experiment, "model.learning_rate", "1e-5..1e-3:log")]
    trials = draw(space, 16, seed=0)        # [{"model.learning_rate": "0.0002113"}, ...]

`together` trains several trials by one vmap: their states are stacked, and the fields that differ are traced numbers.
That works for real-valued fields that the model only computes with (a learning rate, a decay), not where Python code
depends on the value (a check, a term that 0 disables, a width). `traceable` tests it; other trials are trained in turn.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.errors import InputError
from synthjax.launch import config, runs
from synthjax.launch.config import Experiment
from synthjax.model import Batch, DataSpec, Model

DRAWS = 100
"""Draws of one trial after which a space counts as exhausted."""


class Searched(NamedTuple):
    """A field and its values: one of `texts`, or a number in [low, high]."""

    field: str
    texts: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> str:
        """A value as text; numbers have four digits."""
        if self.texts:
            return str(rng.choice(self.texts))
        if self.whole and not self.log:
            return str(rng.integers(int(self.low), int(self.high) + 1))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = rng.uniform(low, high)
        value = min(max(math.exp(value) if self.log else value, self.low), self.high)
        return str(round(value)) if self.whole else f"{value:.4g}"


def parse(chosen: Experiment, field: str, text: str) -> Searched | None:
    """The field that `--config.FIELD=TEXT` searches; None: it fixes a value.

    InputError: no such field, a value of another type, an empty range, or a field that cannot be searched.
    """
    flag = f"--config.{field}"
    body, _, scale = text.partition(":")
    low, dots, high = body.partition("..")
    if not dots and "|" not in text:
        return None
    if not field.startswith("model.") or field == "model.steps":
        why = "is the length of a trial" if field == "model.steps" else "decides what the trials are judged by"
        raise InputError(f"{flag}={text}: cannot be searched: it {why}; fields model.NAME can")
    if not dots:
        texts = tuple(dict.fromkeys(part.strip() for part in text.split("|")))
        if len(texts) < 2:
            raise InputError(f"{flag}={text}: one value is nothing to search; write {flag}={texts[0]}")
        for part in texts:
            config.override(chosen, field, part, flag)
        return Searched(field, texts)
    if scale not in ("", "log"):
        raise InputError(f"{flag}={text}: write LOW..HIGH or LOW..HIGH:log")
    kind = type_of(chosen, field, flag)
    if kind not in (int, float):
        raise InputError(f"{flag}={text}: a range is for numbers; write the values as A|B|C")
    ends = [value_of(config.override(chosen, field, end, flag), field) for end in (low, high)]
    if not ends[0] < ends[1]:
        raise InputError(f"{flag}={text}: the range is empty")
    if scale and ends[0] <= 0:
        raise InputError(f"{flag}={text}: a logarithmic range begins above 0")
    return Searched(field, (), ends[0], ends[1], bool(scale), kind is int)


def type_of(chosen: Any, field: str, flag: str) -> Any:
    """The type of a (nested) field, without None if it is optional; InputError if there is no such field."""
    for name in field.split(".")[:-1]:
        chosen = getattr(chosen, name, None)
    name = field.rpartition(".")[2]
    hints = typing.get_type_hints(type(chosen)) if dataclasses.is_dataclass(chosen) else {}
    if name not in hints:
        raise InputError(f"{flag}: no field {name!r}; there are {', '.join(hints) or 'none'}")
    parts = [part for part in typing.get_args(hints[name]) if part is not type(None)]
    return parts[0] if len(parts) == 1 and type(None) in typing.get_args(hints[name]) else hints[name]


def value_of(chosen: Any, field: str) -> Any:
    """The value of a (nested) field."""
    for name in field.split("."):
        chosen = getattr(chosen, name)
    return chosen


def put(chosen: Any, field: str, value: Any) -> Any:
    """The same (nested) dataclass with a field set, unchecked: the value may be traced."""
    name, _, rest = field.partition(".")
    return dataclasses.replace(chosen, **{name: put(getattr(chosen, name), rest, value) if rest else value})


def draw(space: Sequence[Searched], count: int, seed: int) -> list[dict[str, str]]:
    """So many trials, field -> text, all different: fewer where the space has no more (or hardly any).

    Those of a smaller count are the first of a larger one.
    """
    rng = np.random.default_rng([seed, 1])
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for _ in range(DRAWS * count):
        values = {one.field: one.draw(rng) for one in space}
        found.setdefault(tuple(values.values()), values)
        if len(found) == count:
            break
    return list(found.values())


def of(chosen: Experiment, values: Mapping[str, str]) -> Experiment:
    """The experiment of a trial; InputError if a value is not of its field's type."""
    return config.overrides(chosen, [(field, text, f"--config.{field}") for field, text in values.items()])


def together(chosen: Experiment, values: Mapping[str, np.ndarray], count: int, spec: DataSpec) -> Model:
    """Several trials as one model; `values`: field -> (count,) f32, its value in each trial.

    Its state and metrics have the trials as first axis, its samples are (B, count, ...). All trials get the same keys:
    they differ only in their fields.
    """

    def one(place: jax.Array) -> Model:
        changed = chosen
        for field, each in values.items():
            changed = put(changed, field, jnp.asarray(each, jnp.float32)[place])
        return runs.build(changed, spec)

    places = np.arange(count)

    def init(key):
        return jax.vmap(lambda place: one(place).init(key))(places)

    def step(key, i, state, batch):
        return jax.vmap(lambda place, state: one(place).step(key, i, state, batch))(places, state)

    def sample(key, state, labels):
        return jax.vmap(lambda place, state: one(place).sample(key, state, labels), out_axes=1)(places, state)

    known = runs.build(chosen, spec)
    return Model(init, step, sample, conditional=known.conditional, feed=known.feed, n_batches=known.n_batches)


def traceable(chosen: Experiment, field: str, spec: DataSpec) -> bool:
    """Whether trials that differ in the field can be trained at once: a real number that Python never looks at."""
    if type_of(chosen, field, f"--config.{field}") is not float or value_of(chosen, field) is None:
        return False
    model = together(chosen, {field: np.full(1, value_of(chosen, field))}, 1, spec)
    size = chosen.model.batch_size
    batch = Batch(jnp.zeros((size, *spec.shape)), *(jnp.zeros(size, kind) for kind in ("int32", "float32", "int32")))
    stacked = jax.tree.map(lambda a: jnp.stack([a] * model.n_batches), batch) if model.feed == "batches" else batch

    def whole(key):
        state = model.init(key)
        return model.step(key, 0, state, stacked), model.sample(key, state, batch.y)

    try:
        jax.eval_shape(whole, jax.random.key(0))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError, TypeError):
        return False
    return True
