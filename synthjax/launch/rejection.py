"""Rows that meet conditions (`launch.sample --where`): asked of a conditional model, or drawn until they do.

A condition on the target of a conditional model is a label. All others are met by rejection: what would be block b of a
set is drawn up to TRIES times, each time with another key, and the rows that meet the conditions are kept in order. So
the rows of a block depend on the seed and on b alone, as all others do, and are distributed as the model's rows are,
given the conditions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from synthjax.data.conditions import Condition, parse
from synthjax.data.requests import spread_labels
from synthjax.errors import InputError, Preempted
from synthjax.launch.counts import class_counts
from synthjax.model import DataSpec, Model

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

TRIES = 50
"""How often a block is drawn at most to find its rows."""


class Wanted(NamedTuple):
    """What rejection looks for."""

    conditions: tuple[Condition, ...]
    labels: np.ndarray
    """(block,) i32 labels of the rows that are drawn each time."""

    def rows(
        self,
        draw: Callable[[int, Sequence[int]], Iterator[tuple[np.ndarray, np.ndarray]]],
        wanted: Mapping[int, int],
        stop: Callable[[], bool] = lambda: False,
    ) -> list[np.ndarray]:
        """The rows of several blocks, each with those rows that it would have by itself.

        Args:
          draw: (try, numbers of blocks) -> for each block in turn units (block, columns) f32, which the conditions are
            tested on, and the same rows as they are to be returned.
          wanted: number of a block to the rows that it needs.
          stop: called before each try; True ends early.

        Returns:
          (n, ...) rows for each block, as `draw` gives them.

        Raises:
          InputError: too few rows meet the conditions; says how many do.
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
                kept[b].append(rows[np.all([condition.holds(units) for condition in self.conditions], axis=0)])
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


def plan(
    model: Model,
    spec: DataSpec,
    encoder: "Encoder | None",
    where: Sequence[str],
    block: int,
    *,
    n: int | None,
    per_class: int | None,
    classes: Sequence[str] = (),
    top_up: np.ndarray | None = None,
) -> tuple[tuple[int, ...], Wanted | None]:
    """How many examples of each class to draw, and what to look for among them.

    Args:
      model: to draw from.
      spec: of its training data.
      encoder: of a table; needed for conditions alone.
      where: conditions COLUMN=VALUE.
      block: examples drawn at once.
      n, per_class, classes, top_up: as for `class_counts`.

    Returns:
      Counts as `class_counts` gives them; a single one where rows are looked for.

    Raises:
      InputError: as `class_counts` and `conditions.parse` do; a condition beside another choice of classes, or
        conditions that exclude one another.
    """
    if not where:
        return class_counts(spec, model.conditional, n=n, per_class=per_class, classes=classes, top_up=top_up), None
    assert encoder is not None
    if n is None or n < 1 or per_class is not None or classes or top_up is not None:
        raise InputError("--where goes with --rows=N, at least 1, and with no other choice of rows")
    conditions = {text: parse(text, encoder) for text in where}
    asked: dict[str, Condition] = {}
    for text, condition in conditions.items():
        other = asked.setdefault(condition.field.name, condition)
        if repr(other.value) != repr(condition.value):
            raise InputError(f"--where={text}: no row has two values of {condition.field.name!r}")
    native = asked.pop(encoder.schema.target or "", None) if model.conditional and spec.n_classes else None
    chosen = [] if native is None else [spec.classes[int(native.value)]]
    if not asked:
        return class_counts(spec, model.conditional, n=n, per_class=None, classes=chosen), None
    drawn = class_counts(spec, model.conditional, n=block, per_class=None, classes=chosen)
    return (n,), Wanted(tuple(asked.values()), spread_labels(drawn, 0, block))
