"""Rules between the columns of a table, and the schema of the columns that models learn under these rules.

A schema file may list the rules:

    rules:
      - total = fare + tip                             # every synthetic row obeys it
      - {rule: "start <= end", exact: false}           # obeyed as often as in the training rows

An empty list means no rules. If the file has no list, `synthjax.rules.find` searches for rules if this is requested
(the option `rules` of `synthjax.data.load`). Identifiers, free text and constants are not in any rule.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synthjax import rules
from synthjax.data import persons, within, within_keys
from synthjax.data.arrays import fault, quoted, shown
from synthjax.data.arrow_types import from_frame
from synthjax.data.schema import DISCRETE, NUMERIC, Kind, Schema, check_known
from synthjax.data.schema_file import Overrides
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk
from synthjax.errors import InputError
from synthjax.rules import Evidence, Plan, Rule
from synthjax.rules.chance import contradiction, rates
from synthjax.rules.columns import Columns
from synthjax.rules.keys import Unique
from synthjax.rules.kinds import Determined

if TYPE_CHECKING:
    import pandas as pd


def read(values: Any, where: str) -> tuple[tuple[Rule, bool], ...]:
    """Parses the rules of a schema file.

    Args:
        values: the list in the file.
        where: name of the file, for messages.

    Returns:
        Pairs of a rule and whether it must hold in every row.

    Raises:
        InputError: `values` is not a list, or an entry is not a rule.
    """
    if not isinstance(values, list):
        raise fault(where, f"rules: {quoted(values)} is not a list of rules, such as ['start <= end']")
    found = []
    for i, value in enumerate(values, 1):
        exact = True
        if isinstance(value, dict) and set(value) <= {"rule", "exact"} and "rule" in value:
            value, exact = value["rule"], value.get("exact", True)
        if not isinstance(value, str) or not isinstance(exact, bool):
            raise fault(where, f"rules: entry {i}, {quoted(value)}, is neither a rule nor {{rule: TEXT, exact: false}}")
        try:
            found.append((rules.parse(value), exact))
        except InputError as error:
            raise fault(where, f"rules: entry {i}: {error}") from error
    return tuple(found)


class Sampled(NamedTuple):
    """The rows by which rules are judged."""

    train: "pd.DataFrame"
    """Typed training rows, or a sample of them, with all columns."""
    unseen: "pd.DataFrame"
    """Typed holdout rows, or a sample of them, which confirm rules."""
    persons: np.ndarray | None = None
    """(n,) i64 whose each training row is, who count for `min_count`; None: each is its own."""

    def few(self, min_count: int) -> tuple["pd.DataFrame", int]:
        """Training rows of which few are of one person, and their `min_count`; see `persons.few`."""
        rows, least = persons.few(self.persons, min_count)
        return self.train.iloc[rows], least


class Between(NamedTuple):
    """The rules of a table."""

    rules: tuple[Rule, ...] = ()
    plan: Plan | None = None
    """How synthetic rows are made to obey them; None if nothing has to be done."""
    notes: tuple[str, ...] = ()
    """Lines for the user about rules of the schema file that training rows break."""
    schema: Schema | None = None
    """The schema of the table, with what the rules say of identifiers; None: it is as before."""


def of(
    said: Overrides,
    sampled: Sampled,
    schema: Schema,
    where: str,
    as_identifiers: Callable[[Collection[str]], Schema],
    keep: Collection[str] = (),
) -> Between:
    """The rules of a table, and a plan for synthetic rows to obey them.

    Args:
        said: the entries of the schema file. If it lists no rules, they are searched for.
        sampled: rows of the table.
        schema: of the table.
        where: name of the schema file, for messages.
        as_identifiers: measures columns as identifiers.
        keep: columns that rules do not replace or correct, beside the target.

    Raises:
        InputError: see `read` and `measured`.
    """
    train, unseen, _ = sampled
    notes: list[str] = []
    keys: list[Unique] = []
    limits: Sequence[Rule] = ()
    if said.rules is not None:
        given = read(said.rules, where)
        constant = [rule for rule, exact in given if exact and _is_within(rule, schema)]
        keys = [rule for rule, exact in given if exact and isinstance(rule, Unique) and _is_key_within(rule, schema)]
        given = tuple(pair for pair in given if pair[0] not in (*constant, *keys))
        found, notes = measured(given, sampled, schema, where)
    else:
        found = _found(sampled, schema)
        if named := within.identifying(found, train, schema, said.columns):
            new = as_identifiers(named)
            schema = replace(schema, fields=tuple(new[f.name] if f.name in named else f for f in schema.fields))
            found, notes = _found(sampled, schema), within.said(named)
        constant, keys = [*within.find(schema, train, unseen)], within_keys.find(schema, train, unseen)
        limits = rules.limits(train[names := _learnable(schema)], unseen[names], found)
    subject = tuple(rule.names[1] for rule in constant)
    keep = [*keep, *([schema.target] if schema.target else []), *within_keys.settling(keys, found, schema)]
    names = _learnable(schema)
    planned = None
    if found or keys or limits:
        few, least = sampled.few(schema.min_count)
        planned = rules.plan(found, few[names], keep=keep, subject=subject, limits=limits, min_count=least)
        planned = replace(planned, unique=(*planned.unique, *keys))
    needed = planned is not None and (planned.steps or planned.left or planned.unique)
    if constant:
        own = within.key(schema)
        fields = (replace(field, within=subject) if field is own else field for field in schema.fields)
        schema = replace(schema, fields=tuple(fields))
    return Between((*found, *constant, *keys), planned if needed else None, tuple(notes), schema)


def _is_key_within(rule: Unique, schema: Schema) -> bool:
    """Whether a key says that a column differs in all rows of the identifier of several rows."""
    field = within.key(schema)
    named = field is not None and len(rule.columns) == 2 and rule.columns[0] == field.name
    return named and schema[rule.columns[1]].kind in (*NUMERIC, *DISCRETE)


def _learnable(schema: Schema) -> list[str]:
    """The columns that rules may have."""
    return [field.name for field in schema.fields if field.kind in (*NUMERIC, *DISCRETE)]


def _found(sampled: Sampled, schema: Schema) -> list[Rule]:
    """The rules that are found; without those that are exact in some rows of each person, but not in all."""
    names, unseen = _learnable(schema), sampled.unseen
    few, least = sampled.few(schema.min_count)
    found = rules.find(few[names], unseen[names] if len(unseen) else None, min_count=least)
    if len(few) == len(sampled.train):
        return found
    every = Columns(sampled.train[names])
    return [rule for rule in found if not rule.exact or rule.holds(every).all()]


def _is_within(rule: Rule, schema: Schema) -> bool:
    """Whether a rule says that a column is constant within the identifier of several rows."""
    field = within.key(schema)
    named = isinstance(rule, Determined) and not rule.both and field is not None and rule.keys == (field.name,)
    return named and schema[rule.names[-1]].kind in (*NUMERIC, *DISCRETE)


def measured(
    given: Iterable[tuple[Rule, bool]], sampled: Sampled, schema: Schema, where: str
) -> tuple[list[Rule], list[str]]:
    """Fits the rules of the schema file on the training rows.

    Returns:
        The fitted rules, and a line for the user for each rule that a training row breaks.

    Raises:
        InputError: a rule has a column that does not exist or is not learnt, or compares columns of different kinds.
    """
    train, unseen = sampled.train[_learnable(schema)], sampled.unseen[_learnable(schema)]
    few, least = sampled.few(schema.min_count)
    found, notes = [], []
    for rule, exact in given:
        for name in rule.names:
            check_known(name, schema.names, where, f"rules: {shown(rule.text)!r}:")
            if name not in train:
                raise fault(where, f"rules: {shown(rule.text)!r}: {shown(name)!r} is {schema[name].holds()}")
        try:
            broken = contradiction(rule, Columns(train))
            rule = rule.fit(few[_learnable(schema)], least)
            (rows, hits), (others, kept) = rates(rule, Columns(train)), rates(rule, Columns(unseen))
        except InputError as error:
            raise fault(where, f"rules: {error}") from error
        rate = hits / rows if rows else 1.0
        if broken and exact:
            notes.append(f"{broken}; synthetic rows all keep it, unless the schema file says `exact: false` of it")
        evidence = Evidence(rows, rate, others, kept / others if others else 1.0, 0.0)
        found.append(rule if exact else replace(rule, evidence=evidence))
    return found, notes


def learnt(
    free: Iterable["pd.DataFrame"], plan: Plan, schema: Schema, where: str, whose: np.ndarray | None = None
) -> Schema:
    """The schema of the columns that a model learns; columns that the plan adds are measured.

    Args:
        free: all training rows in parts, each a result of `Plan.encode`.
        plan: of the rules.
        schema: of the table.
        where: name of the file, for messages.
        whose: (N,) i64 whose row each of the file is, who count for `min_count`; None: each is its own.
    """
    parts = iter(free)
    first = next(parts)
    new = [str(name) for name in first if name not in schema.names]
    kinds = {name: {"kind": _kind(first[name])} for name in new}
    fields = {field.name: field for field in schema.fields}
    if new:
        chunks = (
            Chunk(from_frame(part[new], where), part.index.to_numpy()).of(whose)
            for part in itertools.chain([first], parts)
        )
        fields |= {field.name: field for field in infer(chunks, min_count=schema.min_count, overrides=kinds).fields}
    others = [name for name in schema.names if name not in plan.names]
    return replace(schema, fields=tuple(fields[str(name)] for name in (*first, *others)))


def _kind(values: "pd.Series") -> Kind:
    """The kind of a column that the plan adds, by its dtype."""
    kind = values.dtype.kind
    return "datetime" if kind == "M" else "continuous" if kind in "iuf" else "categorical"
