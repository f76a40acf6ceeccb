"""Sampling options: a dataclass for each model family, and keyword arguments of `Model.sample`.

>>> @dataclasses.dataclass(frozen=True)
... class Sampling:
...     steps: int
>>> sample = with_options(lambda key, state, labels, **options: options, Sampling, steps=50)
>>> inspect.signature(sample)
<Signature (key, state, labels, *, steps: int = 50)>
>>> sample(None, None, None, steps=25)
{'steps': 25}
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any


def with_options(sample: Callable[..., Any], kind: type, **defaults: Any) -> Callable[..., Any]:
    """Gives `sample` a signature that lists its keyword arguments.

    Args:
      sample: (key, state, labels, **options) -> x.
      kind: dataclass of the options.
      **defaults: defaults that replace those of the dataclass.

    Returns:
      A function that calls `sample` and has that signature.
    """
    hints = typing.get_type_hints(kind)
    positional = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("key", "state", "labels")
    ]
    keywords = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(field.name, field.default),
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]

    @functools.wraps(sample)
    def with_keywords(key: Any, state: Any, labels: Any, **options: Any) -> Any:
        return sample(key, state, labels, **options)

    with_keywords.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
    return with_keywords
