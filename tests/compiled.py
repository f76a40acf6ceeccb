"""A model whose functions are compiled whole: called as they are, each of their operations is a program of its own."""

import functools

import jax

from synthjax.model import Model


def compiled(model: Model) -> Model:
    """It, each function behind `jax.jit`; options of `sample` that are no arrays are fixed."""

    @functools.cache
    def program(**fixed):
        return jax.jit(functools.partial(model.sample, **fixed))

    def sample(key, state, labels, **options):
        fixed = {name: value for name, value in options.items() if isinstance(value, str | int | float)}
        rest = {name: value for name, value in options.items() if name not in fixed}
        return program(**fixed)(key, state, labels, **rest)

    others = {name: getattr(model, name) for name in ("init", "step", "score", "log_prob")}
    return model._replace(sample=sample, **{name: f and jax.jit(f) for name, f in others.items()})
