"""Sampling options as a dataclass of a family, and as keyword arguments of `Model.sample`."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any


def with_options(sample: Callable[..., Any], kind: type, **defaults: Any) -> Callable[..., Any]:
    """The function `sample`, whose signature says which keyword arguments it takes.

    Args:
      sample: (key, state, labels, **options) -> x.
      kind: dataclass of the options.
      **defaults: of options whose default is that of a Config.
    """
    hints = typing.get_type_hints(kind)
    first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("key", "state", "labels")]
    offered = [
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

    with_keywords.__signature__ = inspect.Signature([*first, *offered])  # type: ignore[attr-defined]
    return with_keywords
