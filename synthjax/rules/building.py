"""Construction of a `Plan`: for each rule, a column is replaced or corrected, without cyclic dependencies."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np

from synthjax.rules import expressions
from synthjax.rules.chance import level
from synthjax.rules.columns import Columns, Form, joint
from synthjax.rules.expressions import Call, Expression, Name, Number, combination, evaluate, linear, spelt
from synthjax.rules.kinds import Determined, Equation, Order, Rule, Seen, Together, When
from synthjax.rules.predicates import Compare, Missing, Multiple, Predicate
from synthjax.rules.snapping import Snapped, following, hidden
from synthjax.rules.steps import Base, Bounded, Computed, Joint, Looked, Masked, Shared, Step, ends, typical
from synthjax.rules.tables import Table, cells

_ENFORCED = 0.99
"""Minimum fraction of training rows that keep a condition, for all decoded rows to keep it."""
_KNOWN = 0.1
"""Minimum fraction of rows with keys in the table, for a column to be replaced by a table."""
_LOOSE = 0.9
"""Maximum chance level of an order that replaces a column; above it, the column is corrected."""


class Builder:
    """Builds the steps of a plan; rules are added one by one.

    Args:
        columns: training rows.
        keep: columns that are not replaced.
        subject: columns that are only computed from one another, see `plan`.
        min_count: minimum number of rows that share each stored value.
    """

    def __init__(self, columns: Columns, keep: frozenset[str], subject: frozenset[str], min_count: int):
        self.columns, self.keep, self.subject, self.min_count = columns, keep, subject, min_count
        self.bases: dict[str, Base] = {}
        self.gaps: set[str] = set()
        self.masks: dict[str, list[Step]] = {}
        self.shared: list[Determined] = []
        self.followers: dict[str, list[tuple[str, Expression | Table]]] = {}
        self.inputs: dict[str, set[str]] = {}
        self.taken = set(columns.names)

    def add(self, rule: Rule) -> None:
        """Adds a step so that rows keep a rule, if one of its columns can be replaced or corrected."""
        if isinstance(rule, Equation):
            self._equation(rule)
        elif isinstance(rule, Determined):
            self._determined(rule)
        elif isinstance(rule, Seen):
            self._seen(rule)
        elif isinstance(rule, Order):
            for low, operator, high in rule.pairs(self.columns):
                self._order(low, operator == "<", high, rule)
        elif isinstance(rule, Together):
            self._together(rule)
        elif isinstance(rule, When):
            self._when(rule)

    def ordered(self) -> tuple[Step, ...]:
        """All steps, each after the steps of its inputs."""
        done: dict[str, None] = {}

        for name, parts in self.followers.items():
            if self._free(name):
                self._follow(name, parts)
        for rule in self.shared:
            if self._free(rule.target) and not self._depends(rule.target, set(rule.keys)):
                self._mask(Shared(rule.keys, rule.target, self.columns.form(rule.target), rule.table or ()))

        def visit(name: str) -> None:
            if name not in done:
                for other in sorted(self.inputs.get(name, ())):
                    visit(other)
                done[name] = None

        for name in self.columns.names:
            visit(name)
        steps: list[Step] = []
        for name in done:
            own = [self.bases[name]] if name in self.bases else []
            steps += [step for step in (*own, *_sorted(self.masks.get(name, []))) if step not in steps]
        return tuple(steps)

    # --- columns and their dependencies

    def _free(self, name: str) -> bool:
        """Whether a column can be replaced."""
        return name not in self.keep and name not in self.bases

    def _is_corrected(self, name: str) -> bool:
        """Whether a column is corrected to certain values; if it were computed, it would not have them."""
        return any(
            not (isinstance(mask, Masked) and isinstance(mask.claim, Missing)) for mask in self.masks.get(name, [])
        )

    def _depends(self, target: str, inputs: set[str]) -> bool:
        """Whether one of the inputs is, or depends on, the target, or is not of the subject if the target is."""
        if target in self.subject and not inputs <= self.subject:
            return True
        stack, seen = list(inputs), set()
        while stack:
            name = stack.pop()
            if name == target:
                return True
            if name not in seen:
                seen.add(name)
                stack += self.inputs.get(name, ())
        return False

    def _base(self, step: Base) -> None:
        """Adds a step that replaces columns."""
        for name in step.targets:
            self.bases[name] = step
            self.inputs.setdefault(name, set()).update(step.inputs)

    def _mask(self, step: Masked | Bounded | Shared | Snapped) -> None:
        """Adds a step that corrects a column."""
        (name,) = step.targets
        self.masks.setdefault(name, []).append(step)
        self.inputs.setdefault(name, set()).update(step.inputs)

    def _name(self, text: str) -> str:
        """Makes a unique name for a free column."""
        name = text
        number = 2
        while name in self.taken:
            name, number = f"{text} ({number})", number + 1
        self.taken.add(name)
        return name

    # --- numbers

    def _equation(self, rule: Equation) -> None:
        for equation in (rule, *self._solved(rule)):
            inputs = set(expressions.names(equation.value))
            if self._free(equation.target) and not self._depends(equation.target, inputs):
                self._base(self._computed(equation, rule))
                break
        self._add_follower(rule, set(expressions.names(rule.value)), rule.target, rule.value)

    def _solved(self, rule: Equation) -> list[Equation]:
        """The equation solved for its other columns, if this is as exact: coefficients are 1 or -1, units are equal."""
        form = linear(rule.value)
        if form is None or rule.loose or not rule.exact:
            return []
        terms, constant = form
        units = {name: self.columns.unit(name) for name in rule.names}
        found = []
        for name, coefficient in terms.items():
            if abs(coefficient) != 1 or any(other < units[name] * (1 - 1e-9) for other in units.values()):
                continue
            rest = [(-value / coefficient, Name(other)) for other, value in terms.items() if other != name]
            value = combination([(1 / coefficient, Name(rule.target)), *rest], -constant / coefficient)
            found.append(Equation(name, value, units=rule.units))
        return found

    def _computed(self, equation: Equation, rule: Rule) -> Computed:
        """The step for an equation, with free columns as needed for all training rows."""
        form = self.columns.form(equation.target)
        step = Computed(equation.target, equation.value, form)
        actual, value = self.columns.numbers(equation.target), evaluate(equation.value, self.columns)
        base = form.rounded(value)
        with np.errstate(invalid="ignore"):
            off = np.abs(actual - base) > replace(equation, loose=False).allowance(self.columns)
        gone = np.isnan(actual) & ~np.isnan(base)
        if off.any() or gone.any():
            far = math.inf if off.any() else 0.0
            loose = equation if rule.exact and off.any() else None
            # The free column has the difference, or is missing if the target is.
            step = replace(
                step, rest=self._rest(equation), low=-far, high=far, loose=loose, scale=_scale(form, actual - base)
            )
        return self._other(step, actual, base)

    def _rest(self, equation: Equation) -> str:
        inner = spelt(equation.value, 2)
        return self._name(f"{equation.target} - {inner}")

    def _other(self, step: Computed, actual: np.ndarray, base: np.ndarray) -> Computed:
        """Adds a free column for the target, if the expression has no value in some rows with a target."""
        if (np.isnan(base) & ~np.isnan(actual)).any():
            return replace(step, other=self._name(f"{step.target} (by itself)"))
        return step

    def _order(self, low: Expression, strict: bool, high: Expression, rule: Order) -> None:
        if high == Number(1.0) and rule.exact and not isinstance(low, Name) and self._signs(expressions.names(low)):
            for one, other in combinations(expressions.names(low), 2):
                self._corrected((Compare(one, "==", 1.0),), Compare(other, "==", 0.0))
            return
        # If independent columns would usually keep the order, a correction is better: it changes the column less.
        tight = level(Order((low, high), ("<=",)), self.columns) <= _LOOSE
        for target, bound, upper in ((high, low, False), (low, high, True)):
            if not isinstance(target, Name):
                continue
            name, inputs = target.name, set(expressions.names(bound))
            if not inputs or name in inputs or self._depends(name, inputs) or not self._comparable(name, inputs):
                continue
            if name in self.gaps and not upper and rule.exact:
                self._add_bound(name, bound, strict)
                return
            if self._free(name) and not self._is_corrected(name) and tight:
                self._gap(name, bound, upper, strict, rule.exact)
                return
        if rule.exact:
            self._bound(low, strict, high)

    def _signs(self, names: tuple[str, ...]) -> bool:
        """Whether all columns have only the values 0 and 1."""
        return all(set(self.columns.codes(name)[1].tolist()) <= {0.0, 1.0} for name in names)

    def _comparable(self, name: str, inputs: set[str]) -> bool:
        """Whether a bound has the kind of the column and no smaller units, so that rounding it keeps the order."""
        own = self.columns.unit(name)
        same = all(self.columns.kind(other) == self.columns.kind(name) for other in inputs)
        return same and all(self.columns.unit(other) >= own * (1 - 1e-9) for other in inputs) and own > 0

    def _gap(self, name: str, bound: Expression, upper: bool, strict: bool, exact: bool) -> None:
        """Replaces a column by its difference to a bound."""
        form = self.columns.form(name)
        actual, base = self.columns.numbers(name), form.rounded(evaluate(bound, self.columns))
        least = form.unit if strict else 0.0
        limits = (-math.inf, -least) if upper else (least, math.inf)
        limits = limits if exact else (-math.inf, math.inf)
        text = f"{spelt(bound, 2)} - {name}" if upper else f"{name} - {spelt(bound, 2)}"
        scale = _scale(form, actual - base) * (-1 if upper else 1)
        floor, ceiling = ends(actual, self.min_count)
        step = Computed(name, bound, form, self._name(text), None, *limits, scale, None, floor, ceiling)
        self._base(self._other(step, actual, base))
        if exact and not upper:
            self.gaps.add(name)

    def _add_bound(self, name: str, bound: Expression, strict: bool) -> None:
        """Adds a lower bound to a column that was replaced by its difference to other lower bounds."""
        step = self.bases[name]
        assert isinstance(step, Computed)
        old = step.value.arguments if isinstance(step.value, Call) and step.value.function == "max" else (step.value,)
        value = Call("max", (*old, bound))
        self.taken -= {step.rest or "", step.other or ""}
        del self.bases[name]
        self._gap(name, value, False, strict or step.low > 0, True)

    def _bound(self, low: Expression, strict: bool, high: Expression) -> None:
        """Corrects one side of an order, preferably one without other corrections."""
        ways = [(high, low, False), (low, high, True)]
        for target, bound, upper in sorted(
            ways, key=lambda way: isinstance(way[0], Name) and way[0].name in self.masks
        ):
            if not isinstance(target, Name) or target.name in self.keep:
                continue
            name, inputs = target.name, set(expressions.names(bound))
            if name in self.bases and (name not in self.gaps or upper):
                continue
            if not self._depends(name, inputs):
                form = self.columns.form(name)
                self._mask(Bounded(name, form, **{"high" if upper else "low": bound}, strict=strict))  # type: ignore[arg-type]
                return

    # --- values

    def _determined(self, rule: Determined) -> None:
        if not rule.both and rule.exact and not self._mostly_known(rule):
            self.shared.append(rule)
            return
        ways = [(rule.keys, rule.target, rule.table, rule.back)]
        if rule.both:
            ways.append(((rule.target,), rule.keys[0], rule.back, rule.table))
        for keys, target, table, back in ways:
            if self._free(target) and not self._depends(target, set(keys)) and target not in self.masks:
                self._base(self._looked(rule, keys, target, table or (), back if rule.both else None))
                self._add_follower(rule, set(keys), target, table or ())
                return

    def _mostly_known(self, rule: Determined) -> bool:
        """Whether the table has the keys of at least _KNOWN of the rows."""
        step = Looked(rule.target, rule.keys, rule.table or (), self.columns.form(rule.target))
        return bool(step.find(self.columns)[1].mean() >= _KNOWN)

    def _looked(self, rule: Determined, keys: tuple[str, ...], target: str, table: Table, back: Table | None) -> Looked:
        columns = self.columns
        step = Looked(target, keys, table, columns.form(target))
        absent = columns.missing(target)
        _, known = step.find(columns)
        if (absent & known).any():
            return replace(step, rest=target)
        values = frozenset(value for _, value in table) if back is not None else frozenset()
        fill = None if absent.any() or back is not None else typical(columns, target, ~absent, self.min_count)
        step = replace(step, near=not rule.exact, back=values, fill=fill)
        if known.all() and rule.exact:
            return step
        return replace(step, rest=self._name(f"{target} (rest)"))

    def _seen(self, rule: Seen) -> None:
        free = all(self._free(name) and name not in self.masks and not self.inputs.get(name) for name in rule.columns)
        mixed = 0 < len(self.subject & set(rule.columns)) < len(rule.columns)
        if not free or mixed or not (rule.exact or (rule.evidence and rule.evidence.rate >= _ENFORCED)):
            return
        codes = [self.columns.codes(name)[0] for name in rule.columns]
        group, first = joint(codes)
        counts = np.bincount(group)
        kept = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= self.min_count]
        table = cells(self.columns, rule.columns, first[kept]) if kept else []
        table = [key for key in table if None in key or key in (rule.table or ())]
        if table:
            forms = tuple(self.columns.form(name) for name in rule.columns)
            self._base(Joint(rule.columns, tuple(table), forms, self._name(", ".join(rule.columns))))

    # --- numbers and dates that follow their functions

    def _add_follower(self, rule: Rule, inputs: set[str], part: str, value: Expression | Table) -> None:
        """Notes a number or date that determines a column by itself, and may follow it."""
        if rule.exact and len(inputs) == 1 and self.columns.kind(name := inputs.pop()) in ("number", "date"):
            self.followers.setdefault(name, []).append((part, value))

    def _follow(self, name: str, parts: list[tuple[str, Expression | Table]]) -> None:
        """Lets a number or date follow the columns that it determines, if these are hidden or cannot be replaced."""
        open_ = [pair for pair in parts if pair[0] in self.keep or self._can_show(pair[0])]
        shown = [pair for pair in open_ if pair[0] in self.keep or hidden(self.columns, name, pair[0])]
        tables = [value for _, value in parts if isinstance(value, tuple)]
        for step in following(self.columns, name, shown, tables, self.min_count):
            self._mask(step)
            for part in step.parts:
                base = self.bases.get(part or "")
                if isinstance(base, Computed):
                    self.bases[base.target] = replace(base, shown=True)
                elif isinstance(base, Looked):
                    self.bases[base.target] = replace(base, rest=base.target, fill=None)

    def _can_show(self, name: str) -> bool:
        """Whether a replaced column can be a free column as well."""
        base = self.bases.get(name)
        if isinstance(base, Computed):
            return not base.rest and not base.other
        return isinstance(base, Looked) and not base.near and not base.back

    # --- conditions

    def _when(self, rule: When) -> None:
        if isinstance(rule.claim, Rule) or not (rule.exact or (rule.evidence and rule.evidence.rate >= _ENFORCED)):
            return
        if self._corrected(rule.conditions, rule.claim) or len(rule.conditions) != 1:
            return
        # The contrapositive: rows that do not meet the claim must not meet the condition.
        (condition,) = rule.conditions
        if not (condition.test(self.columns) & self.columns.missing(rule.claim.name)).any():
            self._corrected((rule.claim,), condition, unless=True)

    def _together(self, rule: Together) -> None:
        if not (rule.exact or (rule.evidence and rule.evidence.rate >= _ENFORCED)):
            return
        fixed = [part for part in rule.parts if not self._free(part.name)]
        first = fixed[0] if fixed else rule.parts[0]
        for part in rule.parts:
            if part is not first and self._corrected((first,), part):
                self._corrected((first,), part, unless=True)

    def _corrected(self, conditions: tuple[Predicate, ...], claim: Predicate, unless: bool = False) -> bool:
        """Corrects the column of a claim if possible: it is not replaced, or only made missing or rounded to a grid."""
        name, inputs = claim.name, {part.name for part in conditions}
        allowed = self._free(name) or (isinstance(claim, Missing) and not unless and name not in self.keep)
        allowed |= isinstance(claim, Multiple) and name not in self.bases  # rounding to a grid changes a number little
        if not allowed or isinstance(self.bases.get(name), Joint) or self._depends(name, inputs):
            return False
        met, fits = np.ones(len(self.columns), bool), claim.test(self.columns)
        for part in conditions:
            met &= part.test(self.columns)
        # Of a claim `code == 1` about a column of text, this is the text 1.
        fill = typical(self.columns, name, ~fits if unless else met & fits, self.min_count)
        self._mask(Masked(conditions, claim, self.columns.form(name), fill, unless))
        return True


def _scale(form: Form, rests: np.ndarray) -> float:
    """The largest unit of time in which all differences of dates are integers; 1 for numbers."""
    if form.kind != "date":
        return 1.0
    rests = rests[~np.isnan(rests)]
    return next((unit for unit in (86400.0, 3600.0, 60.0, 1.0) if np.all(rests % unit == 0)), 1e-6)


def _sorted(masks: list[Step]) -> list[Step]:
    """The order of corrections: `Snapped`, to values, to grids and bounds, to missing values, then `Shared`."""

    def rank(step: Step) -> int:
        if isinstance(step, Snapped):
            return -1
        if isinstance(step, Shared):
            return 4
        if isinstance(step, Bounded):
            return 2
        if isinstance(step, Masked) and isinstance(step.claim, Missing):
            return 3 if not step.unless else 0
        return 1 if isinstance(step, Masked) and isinstance(step.claim, Compare) else 2

    return sorted(masks, key=rank)
