"""Rows that meet conditions (`launch.sample --where`), by conditional and by rejection sampling.

A condition on the target of a conditional model becomes the label. All others use rejection sampling: block b of a set
is drawn up to TRIES times, each time with another key, and the rows that meet the conditions are kept in order. So the
rows of a block depend only on the seed and on b, as without conditions, and have the model's conditional distribution.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synthjax.data.conditions import Condition, parse
from synthjax.data.requests import spread_labels
from synthjax.errors import InputError, Preempted
from synthjax.launch.class_counts import class_counts
from synthjax.model import DataSpec, Model

if TYPE_CHECKING:
    import pandas as pd

    from synthjax.data.encoding import Encoder

TRIES = 50
"""Most attempts to draw the rows of a block."""
PATIENCE = 10
"""Attempts after which rows that repeat a key are left as they are, if they have not become fewer."""


class Wanted(NamedTuple):
    """The rows that rejection sampling accepts."""

    conditions: tuple[Condition, ...]
    labels: np.ndarray
    """(block,) i32 labels of the rows that are drawn in each attempt."""
    encoder: "Encoder"
    """Of the table: conditions are tested on rows that it decodes."""

    def rows(
        self,
        draw: Callable[[int, Sequence[int]], Iterator[tuple[np.ndarray, np.ndarray]]],
        wanted: Mapping[int, int],
        stop: Callable[[], bool] = lambda: False,
    ) -> list[np.ndarray]:
        """So many rows of each block (`wanted`), as `draw` gives them; blocks drawn together do not change one another.

        `draw(attempt, blocks)` gives for each block in turn units (block, columns) f32, on which the conditions are
        tested, and the same rows in the form that is returned. `stop` is called before each attempt.

        Raises:
          InputError: too few rows meet the conditions; the message has their number.
          Preempted: `stop` returned True.
        """
        kept: dict[int, list[np.ndarray]] = {b: [] for b in wanted}
        for t in range(TRIES):
            short = [b for b, n in wanted.items() if sum(map(len, kept[b])) < n]
            if not short:
                break
            if stop():
                raise Preempted("stopped as asked; what is drawn is kept and the same command goes on")
            for b, (units, rows) in zip(short, draw(t, short), strict=True):
                frame = self.encoder.rows(units)
                met = [condition.holds(frame) for condition in self.conditions]
                if self.encoder.plan and self.encoder.plan.left:
                    met.append(self.encoder.plan.keeps(frame))
                kept[b].append(rows[np.all(met, axis=0)])
        for b, n in wanted.items():
            self._check(b, n, sum(map(len, kept[b])))
        return [np.concatenate(kept[b])[:n] for b, n in wanted.items()]

    def _check(self, b: int, wanted: int, count: int) -> None:
        """Raises InputError if fewer rows of block b meet the conditions than are wanted."""
        if count >= wanted:
            return
        ahead = b * len(self.labels) + count
        advice = f"--rows={ahead} is what the same draws give" if ahead else "perhaps no row of the model meets it"
        raise InputError(
            f"--where: {count:,} of the {wanted:,} rows that block {b} needs were found among "
            f"{TRIES * len(self.labels):,} drawn; {advice}"
        )


def keeping_rules(
    encoder: "Encoder",
    x: np.ndarray,
    rows: Callable[[np.ndarray], "pd.DataFrame"],
    again: Callable[[int, np.ndarray], np.ndarray],
    unique: bool = True,
) -> np.ndarray:
    """Rows x (n, ...) with those drawn again that break a rule which decoding alone does not keep.

    `rows` decodes them; `again(attempt, places)` draws those in these places anew. With `unique`, rows are drawn again
    that repeat a key which no two rows should share. Where some break a rule in all of `TRIES` attempts, this is said
    of a rule that was found, and an InputError of one that a person listed. Keys that still repeat are only said: there
    may be fewer of them than rows.
    """
    plan = encoder.plan
    if plan is None or not (plan.left or (unique and plan.unique)):
        return x
    left: list[int] = []
    for t in range(TRIES + 1):
        frame = rows(x)
        kept = plan.keeps(frame)
        broken = np.flatnonzero(~kept | plan.repeats(frame) if unique else ~kept)
        left.append(len(broken))
        exhausted = kept.all() and left[-1] >= left[max(t - PATIENCE, 0)] and t >= PATIENCE
        if not len(broken) or exhausted:
            break
        if t < TRIES:
            x = np.array(x)
            x[broken] = again(t, broken)
    unkept = [rule for rule in plan.left if not rule.holds(frame).all()]
    for rule in unkept:
        if rule.evidence is None:
            raise InputError(
                f"rule {rule.text!r}: some of {len(x)} rows broke it in {TRIES} attempts; train again with "
                "`exact: false` said of it in the schema file"
            )
    unkept += [rule for rule in plan.unique if unique and not rule.holds(frame).all()]
    if unkept:
        texts = ", ".join(repr(rule.text) for rule in unkept)
        _say(f"note: not all synthetic rows keep {texts}, which training rows do")
    return x


@functools.cache
def _say(note: str) -> None:
    """Prints a note once."""
    print(note, flush=True)


def plan(
    model: Model, spec: DataSpec, encoder: "Encoder | None", where: Sequence[str], block: int, **choice: Any
) -> tuple[tuple[int, ...], Wanted | None]:
    """Number of examples of each class to draw, and the conditions COLUMN=VALUE (`where`) that they must meet.

    `encoder`, of the table, is needed for conditions only; `block` is the number of examples drawn at once; `choice`
    are n, per_class, classes and top_up, as `class_counts` takes them. Returns what `class_counts` returns, a single
    count with rejection sampling; and None without. InputError as there and in `conditions.parse`, or conditions that
    exclude one another or another choice of classes.
    """
    if not where:
        return class_counts(spec, model.conditional, **choice), None
    assert encoder is not None
    n = choice.pop("n")
    if n is None or n < 1 or any(value is not None and len(np.atleast_1d(value)) for value in choice.values()):
        raise InputError("--where goes with --rows=N, at least 1, and with no other choice of rows")
    conditions = {text: parse(text, encoder) for text in where}
    by_column: dict[str, Condition] = {}
    for text, condition in conditions.items():
        other = by_column.setdefault(condition.field.name, condition)
        if other.value != condition.value:
            raise InputError(f"--where={text}: no row has two values of {condition.field.name!r}")
    native = by_column.pop(encoder.schema.target or "", None) if model.conditional and spec.n_classes else None
    chosen = [] if native is None else [str(native.value)]
    if not by_column:
        return class_counts(spec, model.conditional, n=n, per_class=None, classes=chosen), None
    drawn = class_counts(spec, model.conditional, n=block, per_class=None, classes=chosen)
    return (n,), Wanted(tuple(by_column.values()), spread_labels(drawn, 0, block), encoder)
