"""Conversion of plans to plain values for JSON, and back."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from synthjax.rules import steps
from synthjax.rules.columns import Form
from synthjax.rules.expressions import Expression, spelt
from synthjax.rules.kinds import Equation, Rule
from synthjax.rules.parsing import parse, parse_expression, parse_predicate
from synthjax.rules.planning import Plan
from synthjax.rules.predicates import Predicate

_STEPS = {kind.__name__: kind for kind in get_args(steps.Step)}
_TABLES = ("table", "back")


def to_dict(plan: Plan) -> dict[str, Any]:
    """Converts a plan to plain values, without the evidence of its rules; see `from_dict`."""
    rules = [_rule(rule) for rule in plan.rules]
    left = [plan.rules.index(rule) for rule in plan.left]
    steps_ = [{"step": type(step).__name__, **_fields(step)} for step in plan.steps]
    found = {"names": list(plan.names), "steps": steps_, "rules": rules, "left": left}
    return found | {"unique": [_rule(rule) for rule in plan.unique]} if plan.unique else found


def from_dict(values: Mapping[str, Any]) -> Plan:
    """Makes a plan from the values of `to_dict`.

    Raises:
        InputError: a text is not in the language of rules.
    """
    rules = tuple(_read_rule(rule) for rule in values["rules"])
    steps_ = tuple(_read_step(step) for step in values["steps"])
    left = tuple(rules[i] for i in values["left"])
    return Plan(tuple(values["names"]), steps_, rules, left, tuple(map(_read_rule, values.get("unique", ()))))  # type: ignore[arg-type]


def _fields(step: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(step, field.name)) for field in dataclasses.fields(step)}


def _plain(value: Any) -> Any:
    """The value of a field of a step or rule; objects become a dict with one entry, their kind."""
    if isinstance(value, get_args(Expression)):
        return {"expression": spelt(value)}
    if isinstance(value, get_args(Predicate)):
        return {"predicate": value.text}
    if isinstance(value, Form):
        return {"form": dataclasses.asdict(value)}
    if isinstance(value, Rule):
        return {"rule": _rule(value)}
    if isinstance(value, frozenset):
        return {"set": sorted(map(_plain, value), key=repr)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return {"infinite": value > 0} if isinstance(value, float) and math.isinf(value) else value


def _read(value: Any) -> Any:
    """The inverse of `_plain`."""
    if isinstance(value, list):
        return tuple(map(_read, value))
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "set":
        return frozenset(map(_read, inner))
    if kind == "infinite":
        return math.inf if inner else -math.inf
    if kind == "form":
        return Form(**inner)
    readers: dict[str, Callable[[Any], Any]] = {"expression": parse_expression, "predicate": parse_predicate}
    return readers.get(kind, _read_rule)(inner)


def _read_step(values: Mapping[str, Any]) -> steps.Step:
    fields = {name: _read(value) for name, value in values.items() if name != "step"}
    return _STEPS[values["step"]](**fields)


def _rule(rule: Rule) -> dict[str, Any]:
    """The text of a rule, with its tables and units."""
    values: dict[str, Any] = {"text": rule.text}
    values |= {name: _plain(getattr(rule, name)) for name in _TABLES if getattr(rule, name, None) is not None}
    claim = getattr(rule, "claim", rule)
    if isinstance(claim, Equation) and claim.units:
        values["units"] = [list(unit) for unit in claim.units]
    return values


def _read_rule(values: Mapping[str, Any]) -> Rule:
    """The inverse of `_rule`."""
    rule = parse(values["text"])
    tables = {name: _read(values[name]) for name in _TABLES if name in values}
    if "units" in values:
        units = tuple((name, unit) for name, unit in values["units"])
        if isinstance(rule, Equation):
            tables["units"] = units
        else:
            tables["claim"] = dataclasses.replace(rule.claim, units=units)  # type: ignore[attr-defined]
    return dataclasses.replace(rule, **tables)
