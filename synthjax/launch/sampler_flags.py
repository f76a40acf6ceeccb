"""Command-line flags for the options of a model's sampler: `--sample.NAME=VALUE`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from synthjax.errors import InputError

OPTION = "--sample."


def parse_options(argv: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Takes `--sample.NAME=VALUE` out of a command line: (the rest, NAME -> VALUE, None where there is none)."""
    options: dict[str, str | None] = {}
    for argument in (a for a in argv if a.startswith(OPTION)):
        name, equals, value = argument.removeprefix(OPTION).partition("=")
        options[name] = value if equals else None
    return [a for a in argv if not a.startswith(OPTION)], options


def typed_options(sample: Callable[..., Any], options: Mapping[str, str | None]) -> dict[str, Any]:
    """Options NAME -> text (None: without a value) as the keyword arguments of a model's `sample`.

    Its signature has the options and their defaults after (key, state, labels). Values get the default's type, or one
    in the annotation where the default is None; those equal to the default are left out: the request is the same
    without them. InputError: no such option, or its value is missing or of another type.
    """
    offered = list(inspect.signature(sample).parameters.values())[3:]
    known = {option.name: (option.default, kinds) for option in offered if (kinds := _kinds(option))}
    typed = {}
    for name, text in options.items():
        if name not in known:
            raise InputError(f"{OPTION}{name}: no such option of this sampler; it has {', '.join(known) or 'none'}")
        if text is None:
            raise InputError(f"{OPTION}{name}: write {OPTION}{name}=VALUE")
        default, kinds = known[name]
        values = [value for kind in kinds if (value := _as_kind(kind, text)) is not None]
        if not values:
            raise InputError(f"{OPTION}{name}={text}: must be {' or '.join(kind.__name__ for kind in kinds)}")
        if values[0] != default:
            typed[name] = values[0]
    return typed


def _kinds(option: inspect.Parameter) -> list[type]:
    """The types that an option can have on a command line; none if it takes arrays."""
    wanted = {type(option.default)} if option.default is not None else {option.annotation, *get_args(option.annotation)}
    return [kind for kind in (int, float, bool, str) if kind in wanted]


def _as_kind(kind: type, text: str) -> Any:
    """`text` as an int, float, bool or str; None if it is not one."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        return kind(text)
    except ValueError:
        return None
